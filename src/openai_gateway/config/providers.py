"""The rows that the environment alone makes: what `--embedded` serves where no file says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import attrs

from openai_gateway.config import environment
from openai_gateway.config.addresses import (
    anthropic_url,
    azure_url,
    base_url,
    checked_api_version,
    checked_proxy,
    proxy_of,
)
from openai_gateway.routing.plan import ModelRow, Provider
from openai_gateway.secret import Secret

if TYPE_CHECKING:
    from openai_gateway.routing.key_source import KeySource

OPENAI_URL: Final = "https://api.openai.com/v1"
OPENROUTER_URL: Final = "https://openrouter.ai/api/v1"
ANTHROPIC_URL: Final = "https://api.anthropic.com/v1"
ECHO: Final = "echo"


def openai_provider(
    environ: Mapping[str, str],
    *,
    name: str,
    url: str,
    key: Secret | None,
    key_set_by: str,
    kind: str = "openai",
    url_set_by: str = "",
    organization: str | None = None,
    project: str | None = None,
    allow_insecure: bool = False,
    key_source: KeySource | None = None,
) -> Provider:
    """A provider of that kind behind the proxy and the certificates that the environment names."""
    return Provider(
        name=name,
        kind=kind,
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
    makers = (_openai, _azure, _anthropic, _openrouter)
    found = [provider for provider in (make(environ) for make in makers) if provider is not None]
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


def _azure(environ: Mapping[str, str]) -> Provider | None:
    """The resource; the variables are those that the `openai` package's AzureOpenAI reads."""
    key = environment.read_secret(environ, "AZURE_OPENAI_API_KEY")
    raw = environment.text(environ, "AZURE_OPENAI_ENDPOINT")
    if key is None and raw is None:
        return None
    said_by = "AZURE_OPENAI_API_VERSION"
    if environment.text(environ, said_by) is None:
        said_by = "OPENAI_API_VERSION"
    given = environment.text(environ, said_by)
    version = None if given is None else checked_api_version(given, said_by)
    if raw is None:
        missing = (
            "AZURE_OPENAI_ENDPOINT is not set: AZURE_OPENAI_API_KEY needs the address of its resource, such as"
            " https://NAME.openai.azure.com."
        )
        return Provider(name="azure", kind="azure", api_key=key, missing=missing)
    insecure = environment.switch(environ, "ALLOW_INSECURE")
    provider = openai_provider(
        environ,
        name="azure",
        kind="azure",
        key_source=environment.key_file(environ, "AZURE_OPENAI_API_KEY"),
        url=azure_url(raw, "AZURE_OPENAI_ENDPOINT", api_version=version, allow_insecure=insecure),
        key=key,
        key_set_by="AZURE_OPENAI_API_KEY",
        url_set_by="AZURE_OPENAI_ENDPOINT",
        allow_insecure=insecure,
    )
    missing = "" if key else "AZURE_OPENAI_API_KEY is not set: the resource at AZURE_OPENAI_ENDPOINT takes it."
    return attrs.evolve(provider, api_version=version, missing=missing)


def _anthropic(environ: Mapping[str, str]) -> Provider | None:
    key = environment.read_secret(environ, "ANTHROPIC_API_KEY")
    if key is None:  # an address alone is no sign: programs set it for others that they start
        return None
    raw = environment.text(environ, "ANTHROPIC_BASE_URL")
    insecure = environment.switch(environ, "ALLOW_INSECURE")
    return openai_provider(
        environ,
        name="anthropic",
        kind="anthropic",
        key_source=environment.key_file(environ, "ANTHROPIC_API_KEY"),
        url=ANTHROPIC_URL if raw is None else anthropic_url(raw, "ANTHROPIC_BASE_URL", allow_insecure=insecure),
        key=key,
        key_set_by="ANTHROPIC_API_KEY",
        url_set_by="ANTHROPIC_BASE_URL",
        allow_insecure=insecure,
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
