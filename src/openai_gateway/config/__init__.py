"""The gateway's configuration: a file and the environment, made into one frozen Settings; nothing below reads either.

The environment comes in as a mapping, so that only a composition root touches the process's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from openai_gateway.config import environment
from openai_gateway.config.addresses import base_url
from openai_gateway.config.environment import key_directory, log_level, read_secret
from openai_gateway.config.providers import from_environment, openai_provider, provider_secrets
from openai_gateway.config.sources import files_of_environment, marks
from openai_gateway.routing.plan import ModelRow, Provider, RouteTable
from openai_gateway.routing.settings import Breaking, Cache, Retries, Settings, Timeouts
from openai_gateway.secret import Secret

if TYPE_CHECKING:
    from openai_gateway.routing.service_settings import ServiceSettings

__all__ = [
    "Overrides",
    "Settings",
    "embedded",
    "key_directory",
    "load",
    "load_service",
    "log_level",
    "read_secret",
    "remote",
]


@attrs.frozen(kw_only=True)
class Overrides:
    """Flags; each wins over its environment variable, which wins over the file. `timeout` is in seconds."""

    default_model: str | None = None
    timeout: float | None = None
    max_retries: int | None = None


def load(environ: Mapping[str, str], *, config_path: str | None = None, overrides: Overrides | None = None) -> Settings:
    """The table of the file, or without one the rows that the environment makes. Raises ConfigError."""
    if config_path is None:
        return _of_environment(environ, overrides or Overrides())
    from openai_gateway.config.file import read_file  # noqa: PLC0415 - tomllib is for those who have a file

    content = read_file(config_path, environ)
    missing = (
        ""
        if content.rows
        else f'{config_path} has no [[models]]: add one, such as name = "gpt-5", provider = "openai".'
    )
    table = RouteTable(providers=content.providers, rows=content.rows, missing=missing)
    return _settings(
        environ,
        overrides or Overrides(),
        table,
        timeouts=content.timeouts,
        retries=content.retries,
        breakers=content.breakers,
        cache=content.cache,
        secrets=content.secrets,
        files=content.files,
        warnings=[*content.warnings, *_warnings_about(content.providers.values(), already=content.warnings)],
    )


def load_service(
    environ: Mapping[str, str],
    *,
    config_path: str | None = None,
    flags: Mapping[str, Any] | None = None,
    no_auth: bool = False,
) -> ServiceSettings:
    """What `serve` is told beside the route table; `flags` are by the names of `[serve]`. Raises ConfigError."""
    from openai_gateway.config.service import service_settings  # noqa: PLC0415 - for a service alone

    said: Mapping[str, Any] = {}
    if config_path is not None:
        from openai_gateway.config.file import read_file  # noqa: PLC0415 - as above

        said = read_file(config_path, environ).serve
    return service_settings(environ, said, flags or {}, no_auth=no_auth)


def embedded(
    environ: Mapping[str, str], *, config_path: str | None = None, overrides: Overrides | None = None
) -> Settings:
    """What `--embedded` serves: the file's table, else the environment's rows, else echo. Raises ConfigError."""
    settings = load(environ, config_path=config_path, overrides=overrides)
    if environment.text(environ, "GATEWAY_URL") is None:
        return settings
    warning = "GATEWAY_URL is set and not used: --embedded (or a configuration file) wins over it."
    return attrs.evolve(settings, warnings=(*settings.warnings, warning))


def remote(environ: Mapping[str, str], *, url: str | None = None, overrides: Overrides | None = None) -> Settings:
    """A table of one row, `*` to the gateway at `url` or GATEWAY_URL, with GATEWAY_API_KEY. Raises ConfigError.

    Without a URL the table is empty and says what to set: the start must not fail for it.
    """
    said_by = "GATEWAY_URL" if url is None else "The gateway's URL"
    raw = url or environment.text(environ, "GATEWAY_URL")
    if raw is None:
        return _settings(environ, overrides or Overrides(), RouteTable(missing=_NO_GATEWAY))
    files = marks(files_of_environment(environ))
    insecure = environment.switch(environ, "ALLOW_INSECURE")
    gateway = openai_provider(
        environ,
        name="gateway",
        url=base_url(raw, said_by, allow_insecure=insecure),
        key=read_secret(environ, "GATEWAY_API_KEY"),
        url_set_by="GATEWAY_URL" if url is None else "the gateway's URL",
        key_set_by="GATEWAY_API_KEY",
        allow_insecure=insecure,
        key_source=environment.key_file(environ, "GATEWAY_API_KEY"),
    )
    table = RouteTable(providers={gateway.name: gateway}, rows=(ModelRow(name="*", provider=gateway.name, model="*"),))
    return _settings(environ, overrides or Overrides(), table, secrets=provider_secrets(gateway), files=files)


_NO_GATEWAY: Final = (
    "No gateway is configured: set GATEWAY_URL to your gateway's address (such as https://your-gateway.company.com) and"
    " GATEWAY_API_KEY to its key, or start with --embedded and set OPENAI_API_KEY."
)


def _of_environment(environ: Mapping[str, str], overrides: Overrides) -> Settings:
    files = marks(files_of_environment(environ))
    found = from_environment(environ)
    return _settings(
        environ,
        overrides,
        RouteTable(providers=found.providers, rows=found.rows),
        secrets=[secret for provider in found.providers.values() for secret in provider_secrets(provider)],
        files=files,
        warnings=_warnings_about(found.providers.values()),
    )


def _warnings_about(providers: Iterable[Provider], already: Sequence[str] = ()) -> list[str]:
    return [provider.missing for provider in providers if provider.missing and provider.missing not in already]


def _settings(
    environ: Mapping[str, str],
    overrides: Overrides,
    table: RouteTable,
    *,
    timeouts: Mapping[str, float] | None = None,
    retries: Mapping[str, int] | None = None,
    breakers: Breaking | None = None,
    cache: Cache | None = None,
    secrets: Sequence[Secret] = (),
    files: Mapping[str, str | None] | None = None,
    warnings: Sequence[str] = (),
) -> Settings:
    """The precedence, in one place: flag, then environment, then file, then the default of the value itself."""
    model = overrides.default_model or environment.text(environ, "DEFAULT_MODEL")
    default_model: dict[str, Any] = {} if model is None else {"default_model": model, "default_model_is_set": True}
    return Settings(
        table=_with_certificates(table, files or {}),
        timeouts=Timeouts(**{**(timeouts or {}), **_timeout(environ, overrides)}),
        retries=Retries(**{**(retries or {}), **_max_retries(environ, overrides)}),
        breakers=breakers or Breaking(),
        cache=cache or Cache(),
        **default_model,
        secrets=tuple(secrets),
        files=files or {},
        warnings=tuple(warnings),
    )


def _with_certificates(table: RouteTable, files: Mapping[str, str | None]) -> RouteTable:
    """The table whose providers say which version of their certificate files it was made with."""
    versions = {
        name: " ".join(filter(None, (files.get(path or "") for path in (provider.ca_bundle, provider.client_cert))))
        for name, provider in table.providers.items()
    }
    providers = {
        name: attrs.evolve(provider, certificates=versions[name]) if versions[name] else provider
        for name, provider in table.providers.items()
    }
    return attrs.evolve(table, providers=providers)


def _timeout(environ: Mapping[str, str], overrides: Overrides) -> dict[str, float]:
    """TIMEOUT is two of the clocks: until the first byte, and between bytes."""
    flag = overrides.timeout
    value = (
        environment.seconds(environ, "TIMEOUT")
        if flag is None
        else environment.checked_seconds(repr(flag), "--timeout")
    )
    return {} if value is None else {"first_byte": value, "idle": value}


def _max_retries(environ: Mapping[str, str], overrides: Overrides) -> dict[str, int]:
    flag = overrides.max_retries
    value = (
        environment.retries(environ, "MAX_RETRIES")
        if flag is None
        else environment.checked_retries(repr(flag), "--max-retries")
    )
    return {} if value is None else {"max_retries": value}
