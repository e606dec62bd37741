"""The providers behind LiteLLM's deployments: those that differ in nothing are one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_gateway.config.addresses import base_url
from openai_gateway.config.file import is_secret_header
from openai_gateway.config.litellm.origins import ORIGINS, Origin
from openai_gateway.config.litellm.parts import Notes, Part, environment_variable
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.usable import is_header_value
from openai_gateway.secret import Redactor

_CHAT: Final = "/chat/completions"
_KNOWN_VARIABLES: Final = frozenset(origin.key for origin in ORIGINS.values() if origin.key is not None)
_NO_KEYS: Final = frozenset(
    ("none", "null", "empty", "dummy", "fake", "fake-key", "anything", "no-key", "not-needed", "sk-no-key-required")
)
"""What people write, in any case of letters, where LiteLLM demands a key and the server wants none."""


@attrs.frozen(kw_only=True)
class _Literal:
    """A key that stood in the file. It tells whether two are the same, and goes nowhere else."""

    value: str = attrs.field(repr=False)


@attrs.define(kw_only=True)
class Providers:
    """The tables so far, by name. Keys that stood in the file get the name of a variable at the end."""

    notes: Notes
    tables: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    _keys: dict[str, Any] = attrs.field(factory=dict)
    _first_use: dict[str, Part] = attrs.field(factory=dict)

    def of(self, prefix: str, params: Part) -> str | None:
        """The name of the provider that these parameters mean, made if there is none like it; None: a note says why."""
        origin = ORIGINS.get(prefix)
        if origin is None:
            params.note("model", f"LiteLLM's provider {prefix!r} has no counterpart here, so the model is left out")
            return None
        table = _table(origin, params)
        if table is None:
            return None
        key = _key(params, origin)
        for name, known in self.tables.items():
            if known == table and self._keys[name] == key and _stem(name) == prefix:
                return name
        return self._add(prefix, table, key, params)

    def finish(self) -> Mapping[str, Mapping[str, Any]]:
        """All tables, each with the source of its key."""
        taken = {source["env"] for source in self._keys.values() if isinstance(source, dict)}
        for name, key in self._keys.items():
            source = key
            if isinstance(key, _Literal):
                # Whoever has OPENAI_API_KEY set means OpenAI by it, and not another server that speaks its protocol.
                others = frozenset() if self._is_at_home(name) else _KNOWN_VARIABLES
                variable = _free(f"{name.upper().replace('-', '_')}_API_KEY", taken | others)
                taken.add(variable)
                source = {"env": variable}
                why = f"a key that stands in the file is not copied; put it into the variable {variable}"
                self._first_use[name].note("api_key", why)
            if source is not None:
                self.tables[name]["api_key"] = source
        return self.tables

    def _is_at_home(self, name: str) -> bool:
        """Whether the provider is asked where its name says, and not at an address of its own."""
        return ORIGINS[_stem(name)].base_url in {None, self.tables[name].get("base_url", "")}

    def _add(self, prefix: str, table: dict[str, Any], key: Any, params: Part) -> str:
        alike = sum(_stem(name) == prefix for name in self.tables)
        name = f"{prefix}-{alike + 1}" if alike else prefix
        self.tables[name], self._keys[name], self._first_use[name] = table, key, params
        return name


def _stem(name: str) -> str:
    stem, dash, number = name.rpartition("-")
    return stem if dash and number.isdecimal() else name


def _free(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _key(params: Part, origin: Origin) -> dict[str, str] | _Literal | None:
    value = params.take("api_key")
    variable = environment_variable(value)
    if variable:
        return {"env": variable}
    if isinstance(value, str) and value.strip().lower() in _NO_KEYS:
        params.note("api_key", "it only stands for one, so no key is sent")
        return None
    if isinstance(value, str) and value.strip():
        return _Literal(value=value)
    return None if origin.key is None else {"env": origin.key}


def _table(origin: Origin, params: Part) -> dict[str, Any] | None:
    """All of a `[providers]` table but its key; None where it cannot be asked at all, which a note says."""
    table: dict[str, Any] = {"kind": origin.kind}
    where = _address(origin, params)
    if where is None:
        return None
    table |= where
    organization = params.text("organization")
    if organization is not None and is_header_value(organization):
        table["organization"] = organization
    elif organization is not None:
        params.note("organization", "it holds a character that no header can carry")
    version = params.text("api_version")
    if version is not None and origin.kind == "azure":
        table["api_version"] = version
    elif version is not None:
        params.note("api_version", "only Azure asks for one")
    if headers := _headers(params):
        table["headers"] = headers
    return table


def _address(origin: Origin, params: Part) -> dict[str, Any] | None:
    said = [key for key in ("api_base", "base_url") if params.left.get(key) is not None]
    raw = next((params.text(key) for key in said), None)
    if said and raw is None:  # its variable is not set, which is noted
        params.note("model", "without its address it is left out")
        return None
    if raw is None and origin.base_variable is not None:
        raw = params.notes.environ.get(origin.base_variable, "").strip() or None
    if raw is None and origin.base_url is None:
        variable = f" (nor {origin.base_variable} set)" if origin.base_variable else ""
        params.note("api_base", f"it is not there{variable}, so the model is left out")
        return None
    return _checked(raw or origin.base_url or "", origin, params)


def _checked(raw: str, origin: Origin, params: Part) -> dict[str, Any] | None:
    if not raw:
        return {}
    if "://0.0.0.0" in raw:
        raw = raw.replace("://0.0.0.0", "://127.0.0.1", 1)
        params.note("api_base", "0.0.0.0 is this machine, so 127.0.0.1 is written")
    try:
        written = base_url(raw, "api_base", allow_insecure=True)
    except ConfigError as error:
        params.note("api_base", f"{str(error).rstrip('.')}; the model is left out")
        return None
    table: dict[str, Any] = {"base_url": _exactly(raw.rstrip("/"), written, origin)}
    try:
        base_url(raw, "api_base")
    except ConfigError:
        table["allow_insecure"] = True
        params.note("api_base", "plain http:// to another machine is taken over, with allow_insecure = true")
    return table


def _exactly(raw: str, written: str, origin: Origin) -> str:
    """LiteLLM puts /chat/completions right behind an api_base; where we would put /v1 between, it is spelled out."""
    if origin.kind != "openai" or origin.is_native or raw in {written, written + _CHAT}:
        return raw
    return raw + _CHAT


def _headers(params: Part) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in ("headers", "extra_headers"):
        part = params.mapping(key)
        for name, value in part.left.items():
            if environment_variable(value) is not None or is_secret_header(name) or _looks_like_a_key(value):
                part.note(
                    name, "a header that may hold a secret is not copied; add it where only you can read the file"
                )
            elif isinstance(value, str) and value.strip() and is_header_value(value) and is_token(name):
                found[name] = value.strip()
            else:
                part.note(name, "it is no header that can be sent")
    return found


def _looks_like_a_key(value: Any) -> bool:
    return isinstance(value, str) and Redactor().redact(value) != value


def is_token(name: str) -> bool:
    """Whether it can be the name of a header, by the rule of the file's reader."""
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum()
