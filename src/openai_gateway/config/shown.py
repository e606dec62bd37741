"""The settings that take effect as a document of plain values, with every secret struck out."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from openai_gateway.config.file import NO_KEYS, is_secret_header
from openai_gateway.routing.plan import Provider
from openai_gateway.routing.settings import Settings
from openai_gateway.secret import MARK, Redactor, Secret

Document = dict[str, Any]
"""What a configuration file would hold: `providers`, `models`, and a table for each further part of the settings."""


def document(settings: Settings, key_sources: Mapping[str, Any] | None) -> Document:
    """All that a file would have to say for the same effect; what it would be unsaid is left out of rows.

    `key_sources` are those that the file names, by the provider (see file.key_sources); None where the environment made
    the settings. A literal key or header stands as a mark.
    """
    table = settings.table
    found: Document = {
        "providers": {name: _provider(provider, key_sources) for name, provider in table.providers.items()},
        "models": [_said(row) for row in table.rows],
    }
    parts = {field.name: getattr(settings, field.name) for field in attrs.fields(Settings) if field.name != "table"}
    found |= {name: _plain(part) for name, part in parts.items() if attrs.has(type(part))}
    # Only what is configured is struck: a model's name may have the shape of a key.
    shown: Document = Redactor(settings.secrets).strike_known_json(found)
    return shown


def _provider(provider: Provider, key_sources: Mapping[str, Any] | None) -> Document:
    said = _said(provider, leave_out=NO_KEYS)  # a key in it is a mark
    if (key := _key(provider, key_sources)) is not None:
        said["api_key"] = key
    if provider.headers:
        said["headers"] = {name: MARK if is_secret_header(name) else text for name, text in provider.headers.items()}
    if provider.proxy is not None:
        said["proxy"] = _without_password(provider.proxy)
    return said


def _key(provider: Provider, key_sources: Mapping[str, Any] | None) -> Any:
    if key_sources is None:
        return None if provider.api_key is None else {"env": provider.api_key.name}
    return key_sources.get(provider.name) or (None if provider.api_key is None else MARK)


def _without_password(url: str) -> str:
    user, at, host = urlsplit(url).netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    # No brackets in a user's password: a URL takes them for an IPv6 address.
    return url.replace(f"{user}{at}{host}", f"{name}{colon}redacted{at}{host}", 1) if colon else url


def _said(value: attrs.AttrsInstance, leave_out: Collection[str] = ()) -> Document:
    """The fields that are not what they would be unsaid."""
    fields = [field for field in attrs.fields(type(value)) if field.name not in leave_out]
    shown = {field.name: getattr(value, field.name) for field in fields if getattr(value, field.name) != _unsaid(field)}
    return {name: _plain(item) for name, item in shown.items()}


def _unsaid(field: attrs.Attribute[Any]) -> Any:
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) and not default.takes_self else default  # type: ignore[arg-type]  # attrs declares Factory as a function


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return MARK
    if isinstance(value, enum.Enum):
        return value.value
    if attrs.has(type(value)):
        fields = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
        return {name: _plain(item) for name, item in fields.items() if item is not None}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 30 says the same as 30.0
