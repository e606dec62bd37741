"""Model servers that run on this machine: which of the usual ports answer, what is behind each, and what it serves."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from openai_gateway.config.writing import is_text
from openai_gateway.engine.clocks import Broke, Clocks
from openai_gateway.engine.upstream import Upstream, open_upstream
from openai_gateway.routing.dialects.dialect import UpstreamRequest
from openai_gateway.routing.plan import Provider
from openai_gateway.wire.strict import JsonError, loads

if TYPE_CHECKING:
    from openai_gateway.engine.httpx_client import Transport

PATIENCE: Final = 1.0
"""Seconds for everything; all ports are asked side by side, and a server of this machine that is well needs few ms."""

HOSTS: Final = ("127.0.0.1", "[::1]")
"""This machine only, by its numbers: a name could be looked up to another one."""

_FOR_LISTS: Final = 0.6  # which part of it is for the lists; the rest is for telling the programs apart

_MAX_BYTES: Final = 2**20  # of one answer; the largest is llama.cpp's /props, with a chat template of some 100 KB in it
_MAX_NAME: Final = 200  # characters of a model's name; longer ones are no names

_REFUSALS: Final = frozenset({401, 403})  # what says that a list of models wants a key

Json = Any


@attrs.frozen(kw_only=True)
class Server:
    """A program that serves models: its table's name in a configuration, its own, and the port where it is found.

    `path` is what its OpenAI-compatible API begins with, `owner` the `owned_by` of the models it lists. `sign` is a
    path of its own with what the answer has to be: two programs may have one port, and either may be on another.
    `refusals` are the statuses with which it asks for a key.
    """

    name: str
    title: str
    port: int
    path: str = "/v1"
    owner: str | None = None
    sign: tuple[str, Callable[[Json], bool]] | None = None
    refusals: frozenset[int] = _REFUSALS


def _has(*keys: str) -> Callable[[Json], bool]:
    return lambda json: isinstance(json, dict) and all(key in json for key in keys)


def _is_koboldcpp(json: Json) -> bool:
    return isinstance(json, dict) and json.get("result") == "KoboldCpp"


# Signs count in this order, since some servers answer another's paths too (KoboldCpp plays Ollama).
SERVERS: Final = (
    Server(name="koboldcpp", title="KoboldCpp", port=5001, sign=("/api/extra/version", _is_koboldcpp)),
    Server(name="localai", title="LocalAI", port=8080, sign=("/system", _has("backends", "loaded_models"))),
    Server(
        name="lm-studio",
        title="LM Studio",
        port=1234,
        owner="organization_owner",
        sign=("/api/v0/models", _has("data")),
    ),
    Server(
        name="llama-cpp",
        title="llama.cpp",
        port=8080,
        owner="llamacpp",
        sign=("/props", _has("default_generation_settings")),
    ),
    Server(name="ollama", title="Ollama", port=11434, owner="library", sign=("/api/version", _has("version"))),
    Server(name="vllm", title="vLLM", port=8000, owner="vllm", sign=("/version", _has("version"))),
    Server(name="sglang", title="SGLang", port=30000, owner="sglang"),
    Server(name="jan", title="Jan", port=1337),
    Server(name="gpt4all", title="GPT4All", port=4891),
    Server(name="text-generation-webui", title="text-generation-webui", port=5000),
    Server(
        name="litellm",
        title="LiteLLM",
        port=4000,
        sign=("/health/liveliness", lambda json: json == "I'm alive!"),
        refusals=_REFUSALS | {400, 500},  # without a database it looks for any other key than its master key there
    ),
    Server(
        name="openai-gateway",
        title="openai-gateway",
        port=4000,
        sign=("/health/readiness", lambda json: json == {"status": "ready"}),
    ),
    Server(name="docker-model-runner", title="Docker Model Runner", port=12434, path="/engines/v1", owner="docker"),
)


_ANY_REFUSAL: Final = frozenset[int]().union(*(server.refusals for server in SERVERS))


@attrs.frozen(kw_only=True)
class Found:
    """A server that answers. `is_sure`: it was told by what it said, and not only by its port."""

    name: str
    title: str
    base_url: str
    models: tuple[str, ...] = ()
    wants_key: bool = False
    is_sure: bool = True


async def find(
    ports: Iterable[int] = (), *, hosts: Sequence[str] = HOSTS, transport: Transport | None = None
) -> list[Found]:
    """What answers on the usual ports, or on `ports`, within PATIENCE; in the order of the table, or of `ports`."""
    wanted = tuple(dict.fromkeys(ports)) or tuple(dict.fromkeys(server.port for server in SERVERS))
    places = [(port, host) for port in wanted for host in hosts]
    found: dict[tuple[int, str], Found] = {}
    async with open_upstream(transport) as upstream:

        async def look(port: int, host: str) -> None:
            maybe = await _Look(upstream, f"http://{host}:{port}", port).maybe_found()
            if maybe is not None:
                found[port, host] = maybe

        async with trio.open_nursery() as nursery:
            for port, host in places:
                nursery.start_soon(look, port, host)
    return _named(_once([(port, found[port, host]) for port, host in places if (port, host) in found]))


def _once(found: Iterable[tuple[int, Found]]) -> list[Found]:
    """A server that listens on both addresses of this machine is one."""
    kept: dict[tuple[int, str, tuple[str, ...]], Found] = {}
    for port, one in found:
        kept.setdefault((port, one.title, one.models), one)
    return list(kept.values())


def _named(found: Iterable[Found]) -> list[Found]:
    """Each with a name that no other has."""
    named: dict[str, Found] = {}
    for one in found:
        number, name = 1, one.name
        while name in named:
            number += 1
            name = f"{one.name}-{number}"
        named[name] = attrs.evolve(one, name=name)
    return list(named.values())


@attrs.frozen
class _Look:
    """One address being looked at."""

    upstream: Upstream
    origin: str
    port: int

    async def maybe_found(self) -> Found | None:
        """What is behind it; None where nothing speaks OpenAI's protocol there."""
        listed: tuple[str, int, Json] | None = None
        with trio.move_on_after(PATIENCE * _FOR_LISTS):
            for path in dict.fromkeys(("/v1", *(server.path for server in SERVERS if server.port == self.port))):
                answer = await self._ask(f"{path}/models")
                if answer is not None and (answer[0] in _ANY_REFUSAL or _entries(answer[1]) is not None):
                    listed = path, *answer
                    break
        return None if listed is None else await self._told(*listed)

    async def _told(self, path: str, status: int, json: Json) -> Found | None:
        entries = _entries(json) or []
        owners = {entry.get("owned_by") for entry in entries}
        server = await self._by_sign() or next((one for one in SERVERS if one.owner and owners == {one.owner}), None)
        wants_key = status in (server.refusals if server else _REFUSALS)
        if not wants_key and _entries(json) is None:
            return None
        by_port = next((one for one in SERVERS if one.port == self.port), None)
        names = [entry["id"] for entry in entries if _is_name(entry.get("id"))]
        either = server or by_port
        return Found(
            name=either.name if either else f"local-{self.port}",
            title=either.title if either else "an OpenAI-compatible server",
            base_url=self.origin + path,
            models=tuple(dict.fromkeys(names)),
            wants_key=wants_key,
            is_sure=server is not None,
        )

    async def _by_sign(self) -> Server | None:
        """By the paths that only one program has; one that lets us wait for them is told by what it lists."""
        held: set[str] = set()

        async def ask(name: str, path: str, holds: Callable[[Json], bool]) -> None:
            answer = await self._ask(path)
            if answer is not None and answer[0] == 200 and holds(answer[1]):
                held.add(name)

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE * (1 - _FOR_LISTS)
            for server in SERVERS:
                if server.sign is not None:
                    nursery.start_soon(ask, server.name, *server.sign)
        return next((server for server in SERVERS if server.name in held), None)

    async def _ask(self, path: str) -> tuple[int, Json] | None:
        """Status and JSON of a GET, the latter None where it is none; None where nothing answers."""
        provider = Provider(name=self.origin, kind="openai", base_url=self.origin)
        headers = (("accept", "application/json"), ("accept-encoding", "identity"))
        request = UpstreamRequest(method="GET", url=self.origin + path, headers=headers)
        clocks = Clocks(connect=PATIENCE, first_byte=PATIENCE, idle=PATIENCE)
        try:
            exchange = await self.upstream.open(provider, request, clocks)
            try:
                return exchange.status, loads(await exchange.read_all(_MAX_BYTES))
            except JsonError:
                return exchange.status, None
            finally:
                await exchange.aclose()
        except Broke:
            return None


def _entries(json: Json) -> list[Mapping[str, Json]] | None:
    """The entries of a list of models; None for what is none. Ollama without any model sends null for the list."""
    if not isinstance(json, dict) or "data" not in json:
        return None
    data = json["data"] if json["data"] is not None else []
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else None


def _is_name(value: Json) -> bool:
    """Whether it can be the name of a row: a `*` would be a wildcard."""
    return is_text(value) and value == value.strip() and "*" not in value and len(value) <= _MAX_NAME


def document(found: Sequence[Found]) -> dict[str, Any]:
    """A configuration that serves what was found. A model that two of them have is asked by `SERVER/MODEL` of each."""
    times = Counter(model for one in found for model in one.models)
    return {
        "providers": {one.name: _provider(one) for one in found},
        "models": [row for one in found for row in _rows(one, times)],
    }


def _provider(found: Found) -> dict[str, Any]:
    key = {"api_key": {"env": f"{found.name.upper().replace('-', '_')}_API_KEY"}} if found.wants_key else {}
    return {"kind": "openai", "base_url": found.base_url, **key}


def _rows(found: Found, times: Mapping[str, int]) -> list[dict[str, Any]]:
    if not found.models:  # it says none yet, or not to us
        return [{"name": f"{found.name}/*", "provider": found.name, "model": "*"}]
    prefixed = functools.partial("{}/{}".format, found.name)
    return [
        {"name": model, "provider": found.name}
        if times[model] == 1
        else {"name": prefixed(model), "provider": found.name, "model": model}
        for model in found.models
    ]
