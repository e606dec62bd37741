"""The rows that the environment alone makes: what `--embedded` serves where no file says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

from openai_gateway.config import environment
from openai_gateway.config.addresses import base_url, checked_proxy, proxy_of
from openai_gateway.routing.key_source import KeySource
from openai_gateway.routing.plan import ModelRow, Provider
from openai_gateway.secret import Secret

OPENAI_URL: Final = "https://api.openai.com/v1"
OPENROUTER_URL: Final = "https://openrouter.ai/api/v1"
ECHO: Final = "echo"
_KEY_VARIABLES: Final = {"azure": "AZURE_OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


def not_built(kind: str, what: str) -> str:
    """The sentence for a kind of provider that has a name but no dialect yet."""
    return f"The kind {kind!r} of {what} is not built yet; its models answer with this error."


def openai_provider(
    environ: Mapping[str, str],
    *,
    name: str,
    url: str,
    key: Secret | None,
    key_set_by: str,
    url_set_by: str = "",
    organization: str | None = None,
    project: str | None = None,
    allow_insecure: bool = False,
    key_source: KeySource | None = None,
) -> Provider:
    """A provider of kind openai behind the proxy and the certificates that the environment names."""
    return Provider(
        name=name,
        kind="openai",
        base_url=url,
        api_key=key,
        organization=organization,
        project=project,
        proxy=environment_proxy(environ, url),
        ca_bundle=environment.text(environ, "SSL_CERT_FILE"),
        allow_insecure=allow_insecure,
        url_set_by=url_set_by,
        key_set_by=key_set_by,
        key_source=key_source,
    )


def environment_proxy(environ: Mapping[str, str], url: str) -> str | None:
    """The checked proxy of the environment for this URL. Raises ConfigError where it is no usable one."""
    raw = proxy_of(environ, url)
    return (
        None if raw is None else checked_proxy(raw, "The proxy of the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)")
    )


def provider_secrets(provider: Provider) -> tuple[Secret, ...]:
    """The key, and the password in the proxy's URL as it stands there and as it is meant."""
    password = urlsplit(provider.proxy or "").password or ""
    spellings = dict.fromkeys(form for form in (password, unquote(password)) if form)
    key = () if provider.api_key is None else (provider.api_key,)
    return (*key, *(Secret(form, name=f"proxy password of {provider.name}") for form in spellings))


@attrs.frozen(kw_only=True)
class Found:
    """What the environment offers: providers by name, and the rows over them in the order of docs/spec/gateway.md."""

    providers: Mapping[str, Provider]
    rows: tuple[ModelRow, ...]


def from_environment(environ: Mapping[str, str]) -> Found:
    """Providers and rows for the keys that are set; without any, the built-in echo model. Raises ConfigError."""
    found = [
        provider for provider in (_openai(environ), *_planned(environ), _openrouter(environ)) if provider is not None
    ]
    if not found:
        row = ModelRow(name=ECHO, provider=ECHO, model=ECHO)
        return Found(providers={ECHO: Provider(name=ECHO, kind=ECHO)}, rows=(row,))
    providers = {provider.name: provider for provider in found}
    return Found(providers=providers, rows=_rows(environ, providers))


def _openai(environ: Mapping[str, str]) -> Provider | None:
    key = environment.read_secret(environ, "OPENAI_API_KEY")
    raw = environment.text(environ, "OPENAI_BASE_URL")
    if key is None and raw is None:  # a local server needs no key, so its address alone is enough
        return None
    insecure = environment.switch(environ, "ALLOW_INSECURE")
    return openai_provider(
        environ,
        name="openai",
        url=OPENAI_URL if raw is None else base_url(raw, "OPENAI_BASE_URL", allow_insecure=insecure),
        key=key,
        key_set_by="OPENAI_API_KEY",
        url_set_by="OPENAI_BASE_URL",
        organization=_header(environ, "OPENAI_ORG_ID"),
        project=_header(environ, "OPENAI_PROJECT_ID"),
        allow_insecure=insecure,
        key_source=environment.key_file(environ, "OPENAI_API_KEY"),
    )


def _header(environ: Mapping[str, str], name: str) -> str | None:
    value = environment.text(environ, name)
    return None if value is None else environment.usable_header(value, name)


def _openrouter(environ: Mapping[str, str]) -> Provider | None:
    variable = "OPENROUTER_API_KEY"
    key = environment.read_secret(environ, variable)
    if key is None:
        return None
    source = environment.key_file(environ, variable)
    return openai_provider(
        environ, name="openrouter", url=OPENROUTER_URL, key=key, key_set_by=variable, key_source=source
    )


def _planned(environ: Mapping[str, str]) -> tuple[Provider, ...]:
    """Their keys are taken all the same: the redactor strikes them out, and the error can say what was meant."""
    found = {kind: environment.read_secret(environ, variable) for kind, variable in _KEY_VARIABLES.items()}
    keys = {kind: key for kind, key in found.items() if key is not None}
    if not keys:
        return ()
    from openai_gateway.routing.dialects import PLANNED  # noqa: PLC0415 - at most starts there is no such key

    return tuple(
        Provider(name=kind, kind=kind, api_key=key, missing=not_built(kind, f"the provider of {key.name}"))
        for kind, key in keys.items()
        if kind in PLANNED
    )


def _rows(environ: Mapping[str, str], providers: Mapping[str, Provider]) -> tuple[ModelRow, ...]:
    rows = [ModelRow(name=f"{name}/*", provider=name, model="*") for name in providers]
    if "anthropic" in providers:
        rows.append(ModelRow(name="claude-*", provider="anthropic", model="claude-*"))
    deployment = environment.text(environ, "AZURE_OPENAI_DEPLOYMENT")
    if "azure" in providers and deployment is not None:
        rows.append(ModelRow(name=deployment, provider="azure", model=deployment))
    catch_all = next((name for name in ("openai", "openrouter") if name in providers), None)
    if catch_all is not None:
        rows.append(ModelRow(name="*", provider=catch_all, model="*"))
    return tuple(rows)
