"""`doctor`: looks at everything between the settings and an answer, and says how to mend what is wrong."""

from __future__ import annotations

import enum
import functools
import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol
from urllib.parse import urlsplit

import attrs
import trio

from openai_gateway import GatewayError
from openai_gateway import Settings as GatewaySettings
from openai_gateway.errors import ConfigError
from openai_gateway.net.tls import client_context
from openai_gateway.routing.plan import Provider, RouteTable
from openai_gateway.secret import Redactor
from openai_gateway_mcp.features.default_model import choose
from openai_gateway_mcp.features.door import Door, Opener, open_door
from openai_gateway_mcp.features.failures import MODELS_COMMAND, next_step
from openai_gateway_mcp.features.settings import Settings as FeatureSettings

WayIn = Callable[[GatewaySettings], AbstractAsyncContextManager[Door]]
"""`open_door`, told all but the settings."""

_PATIENCE = 10.0  # seconds for one look at the network


class Health(enum.Enum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@attrs.frozen(kw_only=True)
class Finding:
    """One thing looked at: what is so, and what to do where that is no good. Neither shows a secret."""

    health: Health
    about: str
    text: str
    mend: str = ""


class Probe(Protocol):
    """The looks at the network below HTTP. Both raise OSError (ssl's errors are of its kind) with the reason."""

    async def resolve(self, host: str, port: int) -> int:
        """How many addresses the name has."""
        ...

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> str:
        """Connect, with a TLS handshake where a context is given; the TLS version, or ""."""
        ...


class NetworkProbe:
    """The looks as trio takes them."""

    async def resolve(self, host: str, port: int) -> int:
        return len({entry[4] for entry in await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)})

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> str:
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError as error:
            # trio sums up the attempts, one an address; the first reason says more than the sum.
            raise _first_reason(error) from None
        async with stream:
            if tls is None:
                return ""
            secured = trio.SSLStream(stream, tls, server_hostname=host)
            try:
                await secured.do_handshake()
            except trio.BrokenResourceError as broke:  # trio's wrapping of whatever ssl raised
                raise broke.__cause__ if isinstance(broke.__cause__, OSError) else OSError("cut off") from None
            return str(secured.version())


def _first_reason(error: OSError) -> OSError:
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error


async def examine(
    settings: GatewaySettings,
    report: Callable[[Finding], None],
    *,
    probe: Probe | None = None,
    opener: Opener | None = None,
    redactor: Redactor | None = None,
) -> None:
    """Report each finding as it is made, in the order in which a call would meet what they are about.

    `redactor` strikes the reports; it learns the keys that are read on the way, as `open_gateway` has it.
    """
    way_in = functools.partial(open_door, opener=opener, redactor=redactor)
    if not settings.table.rows:
        text, mend = "No model can be asked.", settings.table.missing
        report(Finding(health=Health.WRONG, about="configuration", text=text, mend=mend))
        return
    for warning in settings.warnings:
        report(Finding(health=Health.WARNING, about="configuration", text=warning))
    for finding in _impatient_rows(settings):
        report(finding)
    answers = [
        await _examine_provider(settings, provider, report, probe or NetworkProbe(), way_in)
        for provider in settings.table.providers.values()
    ]
    if any(answers):
        report(await _default_model(settings, way_in))
    elif all(provider.missing for provider in settings.table.providers.values()):
        mend = "Mend one of the warnings, or set the key of another provider, such as OPENAI_API_KEY, or GATEWAY_URL."
        report(Finding(health=Health.WRONG, about="configuration", text="No provider can be asked.", mend=mend))


_THINKERS: Final = re.compile(
    r"(?:^|[/-])(?:o[1-9]|gpt-5|deepseek-reasoner|deepseek-r\d|r1|qwq|magistral)(?!\d)"
    r"|thinking|reason",
    re.IGNORECASE,
)
"""Names of models that may think for minutes before they say a word; of some a look at the name is all there is."""

_LONG: Final = 60.0  # seconds; a row, or a file, that says as much has thought of it


def _impatient_rows(settings: GatewaySettings) -> Iterator[Finding]:
    """Rows whose model may think for longer than it is waited for."""
    for row in settings.table.rows:
        first_byte = settings.timeouts.first_byte if row.first_byte is None else row.first_byte
        if row.first_byte is None and first_byte < _LONG and _THINKERS.search(row.model):
            text = f"it may think for long, and is waited for {first_byte:g} s until its first word"
            mend = "Give its row a first_byte, such as 300, or raise TIMEOUT."
            yield Finding(health=Health.WARNING, about=f"model {row.name}", text=text, mend=mend)


async def _examine_provider(
    settings: GatewaySettings,
    provider: Provider,
    report: Callable[[Finding], None],
    probe: Probe,
    way_in: WayIn,
) -> bool:
    """Whether the provider lists its models."""
    rows = tuple(row for row in settings.table.rows if row.provider == provider.name)
    # Each provider by itself: together one that answers would hide one that does not.
    alone = attrs.evolve(settings, table=RouteTable(providers={provider.name: provider}, rows=rows))
    async with way_in(alone) as door:
        return await _examine_behind(door, provider, report, probe)


async def _examine_behind(door: Door, provider: Provider, report: Callable[[Finding], None], probe: Probe) -> bool:
    credentials = await _credentials(door, provider)
    for finding in credentials:
        report(finding)
    if provider.missing or not provider.base_url:
        return not provider.missing
    if any(finding.health is Health.WRONG for finding in credentials):
        return False
    below = await _network(provider, probe)
    for finding in below:
        report(finding)
    if any(finding.health is Health.WRONG for finding in below):
        return False
    listed = await _model_list(door, provider)
    report(listed)
    return listed.health is not Health.WRONG


async def _credentials(door: Door, provider: Provider) -> list[Finding]:
    about = f"provider {provider.name}"
    if provider.missing:
        return [Finding(health=Health.WARNING, about=about, text=provider.missing)]
    if not provider.base_url:
        return [Finding(health=Health.OK, about=about, text=f"built in (kind {provider.kind}); it needs no key")]
    where = Finding(health=Health.OK, about=about, text=f"{_KINDS.get(provider.kind, '')}asked at {provider.base_url}")
    try:
        key = await (await door.gateway()).key_of(provider.name)
    except GatewayError as error:
        return [where, Finding(health=Health.WRONG, about=about, text="its key cannot be read", mend=error.message)]
    if key is None:
        text, mend = "no key is set", f"If it wants one, set {provider.key_set_by}."
        return [where, Finding(health=Health.WARNING, about=about, text=text, mend=mend)]
    # Of a key that was read just now the length tells whether all of it came, and nothing else.
    came = f"; {len(key.reveal())} characters came" if provider.key_source else ""
    return [where, Finding(health=Health.OK, about=about, text=f"its key comes from {key.name}{came}")]


_KINDS: Final = {"azure": "Azure OpenAI, ", "anthropic": "Anthropic's Messages API, "}


async def _network(provider: Provider, probe: Probe) -> list[Finding]:
    """Name and connection, each only where the one before it is well; behind a proxy both are the proxy's affair."""
    url = urlsplit(provider.base_url)
    if provider.proxy:
        proxy = urlsplit(provider.proxy).hostname
        return [Finding(health=Health.OK, about="proxy", text=f"{url.hostname} is reached through the proxy {proxy}")]
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        with trio.fail_after(_PATIENCE):
            count = await probe.resolve(host, port)
    except (OSError, trio.TooSlowError) as error:
        mend = "Check the spelling of the URL, the DNS, and a VPN it may need."
        text = f"{host} has no address: {_reason(error)}"
        return [Finding(health=Health.WRONG, about="DNS", text=text, mend=mend)]
    found = Finding(health=Health.OK, about="DNS", text=f"{host} has {count} address{'' if count == 1 else 'es'}")
    return [found, await _connection(provider, host, port, probe)]


async def _connection(provider: Provider, host: str, port: int, probe: Probe) -> Finding:
    is_https = provider.base_url.startswith("https:")
    about = "TLS" if is_https else "connection"
    try:
        tls = client_context(provider.ca_bundle, provider.client_cert) if is_https else None
    except ConfigError as error:
        mend = "Check SSL_CERT_FILE, or ca_bundle and client_cert of the configuration: PEM files that can be read."
        return Finding(health=Health.WRONG, about=about, text=str(error), mend=mend)
    try:
        with trio.fail_after(_PATIENCE):
            version = await probe.connect(host, port, tls)
    except ssl.SSLError as error:
        mend = "A company's own authority goes into SSL_CERT_FILE (or ca_bundle); also check this machine's clock."
        return Finding(health=Health.WRONG, about=about, text=f"{host} is not trusted: {_reason(error)}", mend=mend)
    except (OSError, trio.TooSlowError) as error:
        mend = "Check that it runs, the port, and the firewall; behind a proxy set HTTPS_PROXY."
        text = f"no connection to {host}:{port}: {_reason(error)}"
        return Finding(health=Health.WRONG, about=about, text=text, mend=mend)
    text = f"{host} is trusted ({version})" if is_https else f"{host}:{port} takes connections, without TLS"
    return Finding(health=Health.OK, about=about, text=text)


def _reason(error: OSError | trio.TooSlowError) -> str:
    if isinstance(error, trio.TooSlowError):
        return f"nothing came within {_PATIENCE:g} s"
    if isinstance(error, ConnectionError) and error.errno:  # trio's words repeat the address
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


async def _model_list(door: Door, provider: Provider) -> Finding:
    about = f"models of {provider.name}"
    if not door.settings.table.rows:
        text, mend = "no model is asked of it", "Add a [[models]] entry that names it as its provider."
        return Finding(health=Health.WARNING, about=about, text=text, mend=mend)
    began = trio.current_time()
    try:
        models = await door.models()
    except GatewayError as error:
        return Finding(
            health=Health.WRONG, about=about, text=error.message, mend=next_step(error, models=MODELS_COMMAND)
        )
    milliseconds = round((trio.current_time() - began) * 1000)
    text = f"{len(models)} listed in {milliseconds} ms"
    if models and provider.kind == "azure":
        text = f"{len(models)} named by the configuration; Azure lists none, so that the first call tries the key"
    if models:
        return Finding(health=Health.OK, about=about, text=text)
    if provider.kind == "azure":
        mend = "Azure lists no deployments: name them in [[models]], or one in AZURE_OPENAI_DEPLOYMENT."
    else:
        mend = "The key may have no rights to any, or the URL may not be the API's."
    return Finding(health=Health.WARNING, about=about, text=text, mend=mend)


async def _default_model(settings: GatewaySettings, way_in: WayIn) -> Finding:
    about = "default model"
    async with way_in(settings) as door:
        try:
            listed = [model.id for model in await door.models()]
        except GatewayError as error:  # it answered a moment ago
            return Finding(
                health=Health.WRONG, about=about, text=error.message, mend=next_step(error, models=MODELS_COMMAND)
            )
        choice = await choose(door, None, FeatureSettings(gateway=settings))
    if choice.model in listed:
        return Finding(health=Health.OK, about=about, text=f"{choice.model} is served. {choice.note}".rstrip())
    mend = f"Set DEFAULT_MODEL to one that is, such as {listed[0]}." if listed else "Set DEFAULT_MODEL."
    is_set = "DEFAULT_MODEL" if settings.default_model_is_set else "DEFAULT_MODEL is not set, and its default"
    # Nobody chose a default that is not set, and who names models needs none.
    health = Health.WRONG if settings.default_model_is_set else Health.WARNING
    return Finding(
        health=health, about=about, text=f"{is_set} {choice.model} is not among the models listed", mend=mend
    )
