"""Serving MCP over HTTP: where the settings, the two layers and the listener are put together."""

from __future__ import annotations

import functools
import gc
import logging
import os
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

from openai_gateway.errors import ConfigError
from openai_gateway.log import set_up
from openai_gateway.net.admission import Admission
from openai_gateway.net.client import Http11Client
from openai_gateway.net.leaving import drained, watch_signals
from openai_gateway.net.listener import HttpServer
from openai_gateway.net.tls import server_context
from openai_gateway.secret import Redactor
from openai_gateway_mcp.access.bearer import Bearers, Known, OneToken, TokenFile
from openai_gateway_mcp.access.fetch import fetcher
from openai_gateway_mcp.access.resource import challenge, metadata, metadata_url
from openai_gateway_mcp.config import Settings
from openai_gateway_mcp.features.door import Door, open_door
from openai_gateway_mcp.features.guests import Guests
from openai_gateway_mcp.features.settings import Settings as FeatureSettings
from openai_gateway_mcp.http_config import HttpSettings, OAuth
from openai_gateway_mcp.reload import Reloading
from openai_gateway_mcp.serve import log_remark, open_kept
from openai_gateway_mcp.transports.callers import Verifier, let_in_anybody
from openai_gateway_mcp.transports.http import PATH, Endpoint
from openai_gateway_mcp.transports.replies import refuse
from openai_gateway_mcp.transports.signals import Hangup

_LOG: Final = logging.getLogger("openai_gateway_mcp")


def serve_http(settings: Settings, http: HttpSettings, reread: Callable[[], Settings], hangup: Hangup) -> int:
    """Serve until a signal asks to stop and what was in work then has ended, or the grace is over; the exit code.

    `reread` reads the settings again, for a reload. Raises ConfigError; a second signal ends the process at once.
    """
    redactor = Redactor([*settings.features.gateway.secrets, *([] if http.token is None else [http.token])])
    set_up(settings.log_level, redactor)
    for warning in settings.warnings:
        _LOG.warning("%s", warning)
    serve = functools.partial(
        _serve,
        settings,
        http,
        reread=reread,
        hangup=hangup,
        redactor=redactor,
    )
    try:
        trio.run(serve)
    except* ConfigError as group:
        raise _first(group) from None
    return 0


def _first(group: ExceptionGroup[ConfigError]) -> ConfigError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


def _verifier(http: HttpSettings, tools: Sequence[str], client: Http11Client) -> Verifier:
    """`client` fetches the keys of the authorization server."""
    if not http.asks_who:
        return let_in_anybody
    kinds: list[Known] = []
    if http.token is not None:
        kinds.append(OneToken(http.token))
    if http.tokens is not None:
        kinds.append(TokenFile(http.tokens))
    if http.oauth is None:
        return Bearers(kinds, certificates=http.knows_certificates).verify
    kinds.append(_access_tokens(http.oauth, client))
    return Bearers(kinds, challenge=challenge(http.oauth.resource, tools)).verify


def _access_tokens(oauth: OAuth, client: Http11Client) -> Known:
    try:
        from openai_gateway_mcp.access.oauth import AccessTokens  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("--oauth-issuer needs the extra: pip install 'openai-gateway-mcp[oauth]'.") from None
    return AccessTokens(
        issuer=oauth.issuer,
        audience=oauth.resource,
        fetch=fetcher(client),
        jwks_url=oauth.jwks_url,
        algorithms=oauth.algorithms,
    )


async def _serve(
    settings: Settings,
    http: HttpSettings,
    *,
    reread: Callable[[], Settings],
    hangup: Hangup,
    redactor: Redactor,
) -> None:
    features = settings.features if http.remote_paths else attrs.evolve(settings.features, roots=())
    client = Http11Client()
    verify = _verifier(http, settings.features.tools, client)
    tls = None if http.tls is None else server_context(http.tls.certificate, http.tls.key, http.tls.client_ca)
    listeners = await _bind(http)
    async with (
        open_door(settings.features.gateway, redactor=redactor) as door,
        open_kept(settings.state, must=True) as (kept, tasks),
        trio.open_nursery() as beside,
    ):
        guests = Guests(features, door, is_private=http.asks_who, kept=kept, tasks=tasks)
        endpoint = Endpoint(
            guests,
            verify=verify,
            admission=Admission.of(bound=http.host, hosts=http.hosts, origins=http.origins),
            remark=log_remark,
            max_message_bytes=settings.max_message_bytes,
            max_in_flight=settings.max_in_flight,
            grace=http.grace,
            documents=None if http.oauth is None else metadata(http.oauth, settings.features.tools),
            metadata_url="" if http.oauth is None else metadata_url(http.oauth.resource),
        )
        server = HttpServer(endpoint.handle, refuse=refuse, tls=tls)
        drain = trio.Event()
        await beside.start(watch_signals, drain, os._exit)

        def offer(new: FeatureSettings) -> None:
            guests.renew(new if http.remote_paths else attrs.evolve(new, roots=()))
            endpoint.offer()

        reloading = Reloading(settings, reread, door, redactor=redactor, offer=offer)
        beside.start_soon(reloading.on_hangup, hangup)
        if settings.watch:
            beside.start_soon(reloading.on_change)
        await beside.start(functools.partial(server.serve, listeners))
        _say_where(http, listeners)
        beside.start_soon(_get_ready, door)
        await drain.wait()
        endpoint.drain()
        await drained(server, http.grace)
        beside.cancel_scope.cancel()
    await client.aclose()


async def _bind(http: HttpSettings) -> Sequence[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(http.port, host=http.host, backlog=1024)
    except OSError as error:
        raise ConfigError(f"{http.host}:{http.port} cannot be listened on: {error.strerror or error}.") from None


def _say_where(http: HttpSettings, listeners: Sequence[trio.SocketListener]) -> None:
    scheme = "http" if http.tls is None else "https"
    host = f"[{http.host}]" if ":" in http.host else http.host
    _LOG.info("Serving MCP on %s://%s:%d%s.", scheme, host, listeners[0].socket.getsockname()[1], PATH)


async def _get_ready(door: Door) -> None:
    await door.warm_up()
    gc.freeze()  # what the imports made stays: no later collection has to look at it
    gc.enable()
