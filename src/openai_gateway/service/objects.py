"""Files and batches: they lie at a provider, and belong to the key that made them. To all others there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import attrs
import trio

from openai_gateway.engine.gateway import Gateway
from openai_gateway.engine.store import Owned, ServiceStore
from openai_gateway.engine.store.hold import holding
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call, Json, Reply
from openai_gateway.routing.limits import Demand
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway.routing.virtual_keys import VirtualKey
from openai_gateway.service.asking import json_object, query_of, refuse_other_types, refuse_query, refuse_steering
from openai_gateway.service.guard import refuse_endpoint
from openai_gateway.service.replies import plain, underway_fields
from openai_gateway.service.uploads import is_form, read_form
from openai_gateway.service.visit import Visit

_KEEPS: Final = ("openai", "azure")  # kinds of providers that have files
_QUERY: Final = frozenset({"after", "limit", "order", "purpose"})
_AT_ONCE: Final = 8  # things of a list that are asked for side by side
_LONGEST: Final = 100  # things of one list
_MADE_BY_BATCH: Final = ("output_file_id", "error_file_id")
_REFERS: Final = frozenset({"file_id", "file_ids", "input_file_id"})
_MARKS: Final = (b"file_id", b"\\u")
"""One of these is in the text of every body that names a file: the letters, or an escape that may stand for one."""


@attrs.frozen
class Objects:
    """What the service does with them."""

    _gateway: Gateway
    _store: ServiceStore
    _settings: ServiceSettings
    _wall: Callable[[], float]

    async def create_file(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        if not is_form(visit.exchange):
            message = "A file is sent as a form: `Content-Type: multipart/form-data`."
            raise GatewayError(kind=Kind.INVALID_REQUEST, message=message, status=415, code="unsupported_media_type")
        provider = self._provider()
        most, directory = self._settings.max_upload_bytes, self._settings.data
        async with read_form(visit.exchange, most=most, directory=directory) as form:
            refuse_steering(form.fields)
            reply = await self._gateway.call(
                _call(visit, "files", provider, method="POST", body=form.fields, upload=form.upload)
            )
        await self._own("file", reply.json, visit.key, provider)
        await visit.pass_on(reply)

    async def create_batch(self, visit: Visit) -> None:
        refuse_query(visit.exchange.request)
        refuse_other_types(visit.exchange.request)
        body = json_object(await visit.exchange.body(self._settings.max_body_bytes))
        refuse_steering(body)
        _refuse_uncounted(visit.key)
        endpoint = body.get("endpoint")
        refuse_endpoint(visit.key, endpoint.removeprefix("/v1/") if isinstance(endpoint, str) else "")
        file = await self._mine("file", body.get("input_file_id"), visit.key)
        reply = await self._gateway.call(_call(visit, "batches", file.provider, method="POST", body=body))
        await self._own("batch", reply.json, visit.key, file.provider)
        await visit.pass_on(reply)

    async def list_files(self, visit: Visit) -> None:
        await self._list(visit, "file")

    async def list_batches(self, visit: Visit) -> None:
        await self._list(visit, "batch")

    async def show_file(self, visit: Visit) -> None:
        await visit.pass_on(await self._asked(visit, "file"))

    async def show_batch(self, visit: Visit) -> None:
        await visit.pass_on(await self._asked(visit, "batch"))

    async def cancel_batch(self, visit: Visit) -> None:
        await visit.pass_on(await self._asked(visit, "batch", method="POST", then="/cancel"))

    async def delete_file(self, visit: Visit) -> None:
        reply = await self._asked(visit, "file", method="DELETE")
        await self._store.disown("file", visit.target)
        await visit.pass_on(reply)

    async def content(self, visit: Visit) -> None:
        """The file itself, as it comes."""
        refuse_query(visit.exchange.request)
        file = await self._mine("file", visit.target, visit.key)
        exchange = visit.exchange
        async with self._gateway.download(_call(visit, f"{_path(file)}/content", file.provider)) as download:
            under = download.underway
            facts = underway_fields(target=under.target, attempts=under.attempts, overhead=under.overhead)
            headers = [("content-type", plain(download.content_type)), *visit.fields, *facts]
            await exchange.begin(download.status, headers)
            async for piece in download.pieces():
                await exchange.send(piece)
        await exchange.finish()

    async def refuse_foreign(self, raw: bytes, body: Mapping[str, Json], key: VirtualKey) -> None:
        """Raises GatewayError for a call that names a file of another key: the provider knows of no keys of ours."""
        if any(mark in raw for mark in _MARKS):
            # What is no text names no file, and may be an object, of which no set can be made.
            for id_ in dict.fromkeys(one if isinstance(one, str) else None for one in _named(body)):
                await self._mine("file", id_, key)

    async def _asked(self, visit: Visit, kind: str, *, method: str = "GET", then: str = "") -> Reply:
        refuse_query(visit.exchange.request)
        owned = await self._mine(kind, visit.target, visit.key)
        reply = await self._gateway.call(_call(visit, _path(owned) + then, owned.provider, method=method))
        await self._own_outcome(reply.json, owned)
        return reply

    async def _list(self, visit: Visit, kind: str) -> None:
        """Those that the key owns, each asked for at its provider: a provider's own list is everybody's."""
        query = query_of(visit.exchange.request, _QUERY)
        limits = visit.key.limits
        chosen, has_more = _page(await self._store.owned(kind, visit.key.id), query)
        async with holding(self._store, Demand(limits=() if limits is None else (limits,))) as hold:
            hold.used(0)
            found = await self._each(chosen)
        purpose = query.get("purpose")
        data = [one for one in found if one is not None and purpose in {None, one.get("purpose")}]
        ends = {"first_id": data[0].get("id"), "last_id": data[-1].get("id")} if data else {}
        await visit.answer_json({"object": "list", "data": data, **ends, "has_more": has_more})

    async def _each(self, chosen: Sequence[Owned]) -> Sequence[Mapping[str, Json] | None]:
        found: list[Mapping[str, Json] | None] = [None] * len(chosen)
        failed: list[GatewayError] = []
        side_by_side = trio.CapacityLimiter(_AT_ONCE)

        async def ask(at: int) -> None:
            async with side_by_side:
                owned = chosen[at]
                # One request of its caller's, and one row, not one for each: these have neither limits nor an id.
                call = Call(model="", endpoint=_path(owned), provider=owned.provider, method="GET", body={})
                try:
                    found[at] = (await self._gateway.call(call)).json
                    await self._own_outcome(found[at] or {}, owned)
                except GatewayError as error:
                    if error.status == 404:  # it has ended there, as files do
                        await self._store.disown(owned.kind, owned.id)
                    else:
                        failed.append(error)
                        nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for at in range(len(chosen)):
                nursery.start_soon(ask, at)
        if failed:
            raise failed[0]
        return found

    async def _mine(self, kind: str, id_: Json, key: VirtualKey) -> Owned:
        owned = await self._store.owner_of(kind, id_) if isinstance(id_, str) else None
        if owned is None or owned.key != key.id:
            message = f"There is no {kind} {str(id_)[:100]!r}, or it is another key's."
            raise GatewayError(kind=Kind.MODEL_NOT_FOUND, message=message, code="not_found")
        return owned

    async def _own(self, kind: str, answer: Mapping[str, Json], key: VirtualKey, provider: str) -> None:
        id_ = answer.get("id")
        if not isinstance(id_, str):
            raise GatewayError(kind=Kind.UPSTREAM, message=f"The provider {provider} gave the {kind} no id.")
        await self._store.own(Owned(id=id_, kind=kind, key=key.id, provider=provider, made=int(self._wall())))

    async def _own_outcome(self, answer: Mapping[str, Json], owned: Owned) -> None:
        """What a batch has made belongs to whom the batch belongs to."""
        for name in _MADE_BY_BATCH if owned.kind == "batch" else ():
            if isinstance(id_ := answer.get(name), str) and await self._store.owner_of("file", id_) is None:
                await self._store.own(attrs.evolve(owned, kind="file", id=id_))

    def _provider(self) -> str:
        """Where new files go: the one that the operator has named, else the first that may have any."""
        providers = self._gateway.settings.table.providers
        named = self._settings.files
        found = [named] if named else [one.name for one in providers.values() if one.kind in _KEEPS and not one.missing]
        if not found or found[0] not in providers:
            raise GatewayError(kind=Kind.CONFIGURATION, message="No provider of this gateway keeps files.")
        return found[0]


def _call(
    visit: Visit,
    endpoint: str,
    provider: str,
    *,
    method: str = "GET",
    body: Mapping[str, Json] | None = None,
    **more: Any,
) -> Call:
    """On the key's account: it is a request to its limits, without tokens."""
    headers = visit.exchange.request.headers
    return Call(
        model="",
        endpoint=endpoint,
        provider=provider,
        method=method,
        body=body or {},
        tenant=visit.key.id,
        limits=visit.key.limits,
        id=visit.id,
        traceparent=headers.get("traceparent"),
        idempotency_key=headers.get("idempotency-key"),
        **more,
    )


def _path(owned: Owned) -> str:
    return f"{'files' if owned.kind == 'file' else 'batches'}/{quote(owned.id, safe='')}"


def _refuse_uncounted(key: VirtualKey) -> None:
    """What a batch asks, and what it costs, passes by all that counts."""
    if key.budget is not None or key.tpm is not None or key.models is not None:
        message = (
            "This key may make no batches: their models, tokens and costs are not counted, and the key has limits."
        )
        raise GatewayError(kind=Kind.PERMISSION, code="batches_not_counted", message=message)


def _page(owned: Sequence[Owned], query: Mapping[str, str]) -> tuple[Sequence[Owned], bool]:
    """The part of what a key owns, newest first, that is asked for, and whether more follows."""
    text = query.get("limit", str(_LONGEST))
    order = query.get("order", "desc")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= 10_000) or order not in {"asc", "desc"}:
        message = "`limit` is a number from 1 to 10000, `order` is asc or desc."
        raise GatewayError(kind=Kind.INVALID_REQUEST, message=message)
    limit = min(int(text), _LONGEST)
    ordered = list(owned) if order == "desc" else list(reversed(owned))
    after = query.get("after")
    start = next((at + 1 for at, one in enumerate(ordered) if one.id == after), len(ordered) if after else 0)
    return ordered[start : start + limit], start + limit < len(ordered)


def _named(value: Json) -> Iterator[Json]:
    """All files that a body names."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for name, item in one.items():
                if name in _REFERS and isinstance(item, str | list):
                    yield from [item] if isinstance(item, str) else item
                else:
                    waiting.append(item)
        elif isinstance(one, list):
            waiting += one
