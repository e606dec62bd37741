"""The service: each request through the door, to its row of the table, and back with an answer or an error."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs
import trio

from openai_gateway.engine.gateway import Gateway
from openai_gateway.engine.store import ServiceStore
from openai_gateway.errors import ConfigError, GatewayError, Kind
from openai_gateway.net.admission import Admission
from openai_gateway.net.listener import Exchange, PeerError
from openai_gateway.routing.calls import Json, Model
from openai_gateway.routing.forms import Upload
from openai_gateway.routing.globs import is_allowed
from openai_gateway.routing.grants import excess
from openai_gateway.routing.ledger import dollars
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway.routing.virtual_keys import VirtualKey
from openai_gateway.secret import Redactor
from openai_gateway.service import page
from openai_gateway.service.admin import create_key, revoke_key, rotate_key, shown_key, usage
from openai_gateway.service.asking import (
    call_of,
    json_object,
    number_of,
    query_of,
    refuse_other_types,
    refuse_query,
    typed,
)
from openai_gateway.service.audit import Audit
from openai_gateway.service.guard import Guard, refuse_endpoint, refuse_metrics, refuse_no_admin
from openai_gateway.service.metrics import Metrics, Snapshot, render
from openai_gateway.service.objects import Objects
from openai_gateway.service.openapi import description
from openai_gateway.service.replies import error_reply, refuse
from openai_gateway.service.routes import Does, Match, NoMatch, Who, match
from openai_gateway.service.streaming import relay
from openai_gateway.service.traces import Traces
from openai_gateway.service.uploads import is_form, read_form
from openai_gateway.service.visit import Visit

_READY_FOR: Final = 1.0  # seconds that an answer of the store about itself is good for
Counts = Sequence[Snapshot]
"""What each worker counted."""

_NOTED: Final = frozenset({401, 403, 429})
"""Refusals that the audit log has: somebody wanted what is not theirs."""

_QUERY_OF_USAGE: Final = frozenset({"by", "since", "until", "key"})
_QUERY_OF_DASHBOARD: Final = frozenset({"days"})
_REFUSALS: Final = 25  # that the page shows
_ASKS_THE_BROWSER: Final = (
    'Basic realm="openai-gateway: any name, and an admin\'s key as the password", charset="UTF-8"'
)
_OF_PAGE: Final = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)
_DAY: Final = 86_400_000  # milliseconds
_AT_WORK: Final = frozenset({Does.LIVENESS, Does.READINESS, Does.METRICS})
"""What is answered while the service drains."""


class Service:
    """Serves the exchanges of a listener. `draining` may be set at any time: from then on no work is taken."""

    def __init__(
        self,
        gateway: Gateway,
        store: ServiceStore,
        settings: ServiceSettings,
        redactor: Redactor,
        *,
        audit: Audit,
        metrics: Metrics,
        traces: Traces | None = None,
        in_work: Callable[[], int] = lambda: 0,
        counts: Callable[[], Awaitable[Counts]] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.draining = False
        self._gateway = gateway
        self._store = store
        self._settings = settings
        self._redactor = redactor
        self._audit = audit
        self._metrics = metrics
        self._traces = traces or Traces()
        self._in_work = in_work
        self._counts = counts
        self._wall = wall
        self._door = Admission.of(bound=settings.host, hosts=settings.hosts, origins=settings.origins)
        self._guard = Guard(store, no_auth=settings.no_auth, lenient=settings.lenient, wall=wall)
        self._checked = -_READY_FOR
        self._objects = objects = Objects(gateway, store, settings, wall)
        self._does: Mapping[Does, Callable[[Visit], Awaitable[None]]] = {
            Does.GENERATE: self._generate,
            Does.LIST_MODELS: self._list_models,
            Does.SHOW_MODEL: self._show_model,
            Does.LIVENESS: self._liveness,
            Does.READINESS: self._readiness,
            Does.OPENAPI: self._openapi,
            Does.METRICS: self._show_metrics,
            Does.CREATE_KEY: self._create_key,
            Does.LIST_KEYS: self._list_keys,
            Does.REVOKE_KEY: self._revoke_key,
            Does.ROTATE_KEY: self._rotate_key,
            Does.USAGE: self._usage,
            Does.DASHBOARD: self._dashboard,
            Does.CREATE_FILE: objects.create_file,
            Does.LIST_FILES: objects.list_files,
            Does.SHOW_FILE: objects.show_file,
            Does.DELETE_FILE: objects.delete_file,
            Does.FILE_CONTENT: objects.content,
            Does.CREATE_BATCH: objects.create_batch,
            Does.LIST_BATCHES: objects.list_batches,
            Does.SHOW_BATCH: objects.show_batch,
            Does.CANCEL_BATCH: objects.cancel_batch,
        }

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        visit = Visit(exchange)
        try:
            await self._serve(visit)
        except PeerError as error:  # of the body; what is wrong with a head never gets here
            if not exchange.begun:
                headers, body = refuse(error.status, error.words)
                await exchange.answer(error.status, [*headers, *visit.fields], body)
        except GatewayError as error:
            self._note(error, visit)
            if exchange.begun:
                return  # the stream has said it; the connection is cut
            status, headers, body = error_reply(error, self._redactor)
            await exchange.answer(status, [*headers, *visit.fields], body)

    def _note(self, error: GatewayError, visit: Visit) -> None:
        self._metrics.refused(error)
        is_ours = error.is_own or not error.attempts  # what an upstream refuses is none of the audit's
        if error.status in _NOTED and is_ours:
            request, code = visit.exchange.request, error.code or error.type
            route = visit.match.route.template if visit.match is not None else "-"
            self._audit.refused(
                actor=visit.key.id or "-", status=error.status, code=code, route=route, peer=request.peer, id=visit.id
            )

    async def _serve(self, visit: Visit) -> None:
        request = visit.exchange.request
        self._door.check(request)
        found = match(request.method, request.path)
        if isinstance(found, Match) and found.route.does is Does.DASHBOARD and not self._settings.dashboard:
            found = NoMatch()
        if isinstance(found, NoMatch):
            await self._refuse_path(visit, found)
        else:
            visit.match = found
            await self._authorise(visit, found)
            if self.draining and found.route.does not in _AT_WORK:
                message = "The gateway is shutting down; ask again, and another one answers."
                raise GatewayError(kind=Kind.SHUTTING_DOWN, message=message, retry_after=1)
            await self._does[found.route.does](visit)

    async def _authorise(self, visit: Visit, found: Match) -> None:
        """By the row alone: what is not for everybody is for nobody without a word in its favour."""
        request = visit.exchange.request
        match found.route.who:
            case Who.NOBODY:
                return
            case Who.METRICS:
                refuse_metrics(request, self._settings.metrics_token)
            case Who.KEY:
                visit.key = await self._guard.key_of(request)
                if found.route.endpoint:
                    refuse_endpoint(visit.key, found.route.endpoint)
            case Who.PAGE:
                visit.fields.append(("www-authenticate", _ASKS_THE_BROWSER))
                visit.key = await self._guard.key_of_page(request)
                refuse_no_admin(visit.key)
                visit.fields.pop()
            case Who.ADMIN:
                visit.key = await self._guard.key_of(request)
                refuse_no_admin(visit.key)

    async def _refuse_path(self, visit: Visit, found: NoMatch) -> None:
        """Whoever has no key learns nothing of which paths there are."""
        visit.key = await self._guard.key_of(visit.exchange.request)
        if found.allowed:
            visit.fields.append(("allow", ", ".join(found.allowed)))
            message = f"This path takes {' and '.join(found.allowed)} only."
            raise GatewayError(kind=Kind.INVALID_REQUEST, message=message, status=405, code="method_not_allowed")
        raise GatewayError(
            kind=Kind.MODEL_NOT_FOUND, message="There is no such path; /openapi.json names all.", code="not_found"
        )

    async def _generate(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        if visit.route.takes_forms and is_form(visit.exchange):
            most, directory = self._settings.max_upload_bytes, self._settings.data
            async with read_form(visit.exchange, most=most, directory=directory) as form:
                await self._answer(visit, typed(form.fields), form.upload)
            return
        refuse_other_types(visit.exchange.request)
        raw = await visit.exchange.body(self._settings.max_body_bytes)
        body = json_object(raw)
        await self._objects.refuse_foreign(raw, body, visit.key)
        await self._answer(visit, body)

    async def _answer(self, visit: Visit, body: Mapping[str, Json], upload: Upload | None = None) -> None:
        call = call_of(
            visit.exchange.request,
            body,
            endpoint=visit.route.endpoint,
            key=visit.key,
            id=visit.id,
            repair=self._settings.repair,
            upload=upload,
        )
        with self._traces.span(call) as span:
            if span.traceparent != call.traceparent:  # a copy of so many fields is dear, and traces are seldom on
                call = attrs.evolve(call, traceparent=span.traceparent)
            if body.get("stream"):
                span.answered(await relay(self._gateway, call, visit.exchange, visit.fields, self._redactor))
            else:
                reply = await self._gateway.call(call)
                span.answered(reply.served)
                await visit.pass_on(reply)

    async def _list_models(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        models = [_shown(model) for model in await self._allowed_models(visit.key)]
        await visit.answer_json({"object": "list", "data": models})

    async def _show_model(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        wanted = visit.target
        for model in await self._allowed_models(visit.key):
            if model.id == wanted:
                await visit.answer_json(_shown(model))
                return
        message = f"The model {wanted!r} is not served here, or not to this key."
        raise GatewayError(kind=Kind.MODEL_NOT_FOUND, message=message, param="model")

    async def _allowed_models(self, key: VirtualKey) -> list[Model]:
        return [model for model in await self._gateway.models() if is_allowed(model.id, key.models)]

    async def _liveness(self, visit: Visit) -> None:
        await visit.answer_json({"status": "ok"})

    async def _readiness(self, visit: Visit) -> None:
        if self.draining:
            raise GatewayError(kind=Kind.SHUTTING_DOWN, message="The gateway is shutting down.", retry_after=1)
        if not self._settings.lenient and trio.current_time() - self._checked >= _READY_FOR:
            await self._store.check()
            self._checked = trio.current_time()
        await visit.answer_json({"status": "ready"})

    async def _openapi(self, visit: Visit) -> None:
        await visit.answer_json(description())

    async def _show_metrics(self, visit: Visit) -> None:
        counts = [self._metrics.snapshot()] if self._counts is None else await self._counts()
        try:
            text = render(counts, in_work=self._in_work(), health=self._gateway.health())
        except ConfigError as error:
            raise GatewayError(kind=Kind.CONFIGURATION, message=str(error)) from None
        headers = [("content-type", "text/plain; version=0.0.4; charset=utf-8"), *visit.fields]
        await visit.exchange.answer(200, headers, text)

    async def _create_key(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        refuse_other_types(visit.exchange.request)
        body = json_object(await visit.exchange.body(self._settings.max_body_bytes))
        key, secret = await create_key(self._store, visit.key, body, now=int(self._wall()))
        await self._audit.note("key.created", actor=visit.key.id, key=key.id, name=key.name, role=key.role)
        await visit.answer_json({**shown_key(key), "key": secret}, status=201)

    async def _list_keys(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        keys = [key for key in await self._store.keys() if excess(key, visit.key) is None]
        spent = await self._store.spent([key.limits for key in keys if key.limits is not None])
        data = [{**shown_key(key), "spent": dollars(spent.get(f"key {key.id}", 0))} for key in keys]
        await visit.answer_json({"object": "list", "data": data})

    async def _revoke_key(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        key = await revoke_key(self._store, visit.key, visit.target, now=int(self._wall()))
        self._guard.forget()
        await self._audit.note("key.revoked", actor=visit.key.id, key=key.id)
        await visit.answer_json(shown_key(key))

    async def _rotate_key(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        key, secret = await rotate_key(self._store, visit.key, visit.target)
        self._guard.forget()
        await self._audit.note("key.rotated", actor=visit.key.id, key=key.id)
        await visit.answer_json({**shown_key(key), "key": secret})

    async def _usage(self, visit: Visit) -> None:
        query = query_of(visit.exchange.request, _QUERY_OF_USAGE)
        now = round(self._wall() * 1000)
        found = await usage(
            self._store,
            by=query.get("by", "day"),
            since=number_of(query, "since", now - 30 * _DAY),
            until=number_of(query, "until", now + 1),
            key=query.get("key"),
        )
        await visit.answer_json({"object": "list", "data": found})

    async def _dashboard(self, visit: Visit) -> None:
        query = query_of(visit.exchange.request, _QUERY_OF_DASHBOARD)
        days = number_of(query, "days", page.SPANS[2])
        if days not in page.SPANS:
            raise GatewayError(kind=Kind.INVALID_REQUEST, message=f"`days` is one of {page.SPANS}.", param="days")
        now = datetime.fromtimestamp(self._wall(), UTC)
        since, until = page.since(now, days), round(now.timestamp() * 1000) + 1
        keys = await self._store.keys()
        shown = page.Shown(
            days=days,
            now=now,
            by_day=await self._store.sums("day", since=since, until=until),
            by_model=await self._store.sums("model", since=since, until=until),
            by_key=await self._store.sums("key", since=since, until=until),
            keys={key.id: key for key in keys},
            spent=await self._store.spent([key.limits for key in keys if key.limits is not None]),
            health=self._gateway.health(),
            refused=await self._audit.refused_last(_REFUSALS),
            in_work=self._in_work(),
        )
        nonce = secrets.token_urlsafe(16)
        headers = [*_OF_PAGE, ("content-security-policy", page.policy(nonce)), *visit.fields]
        await visit.exchange.answer(200, headers, page.written(shown, nonce))


def _shown(model: Model) -> Mapping[str, object]:
    return {**model.raw, "id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}
