"""Servers of this machine are found by what they answer, in bounded time, and make a configuration that loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from openai_gateway import config, detect
from openai_gateway.config.writing import toml
from openai_gateway.detect import PATIENCE, SERVERS, Found, document, find
from openai_gateway.errors import ConfigError
from tests.gateway_config.test_cli import run
from tests.gateway_engine.loopback import Connection, loopback, whole_answer

HOST = ("127.0.0.1",)


def listing(*names: str, owner: str = "someone") -> Any:
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner} for name in names]}


class Machine(httpx.AsyncBaseTransport):
    """Answers by address and path, `127.0.0.1:8000/v1/models`; anything else refuses the connection."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        where = f"{request.url.netloc.decode()}{request.url.path}"
        self.asked.append(where)
        answer = self.answers.get(where)
        if answer is None:
            if any(known.startswith(request.url.netloc.decode() + "/") for known in self.answers):
                return _response(404, b"{}")
            raise httpx.ConnectError("refused")
        if answer is ...:
            await trio.sleep_forever()
        return answer if isinstance(answer, httpx.Response) else _response(200, json.dumps(answer).encode())


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self):  # type: ignore[no-untyped-def]  # an async generator
        await trio.lowlevel.checkpoint()
        yield self._body


def _response(status: int, body: bytes) -> httpx.Response:
    return httpx.Response(status, stream=_Body(body))


SIGNS: dict[str, tuple[int, dict[str, Any]]] = {
    "KoboldCpp": (
        5001,
        {"/v1/models": listing("k"), "/api/extra/version": {"result": "KoboldCpp"}, "/api/version": {"version": "0.7"}},
    ),
    "LocalAI": (8080, {"/v1/models": listing("l"), "/system": {"backends": [], "loaded_models": []}}),
    "LM Studio": (1234, {"/v1/models": listing("s"), "/api/v0/models": listing("s")}),
    "llama.cpp": (8080, {"/v1/models": listing("c"), "/props": {"default_generation_settings": {}}}),
    "Ollama": (11434, {"/v1/models": listing("o"), "/api/version": {"version": "0.12"}}),
    "vLLM": (8000, {"/v1/models": listing("v"), "/version": {"version": "0.11"}}),
    "LiteLLM": (4000, {"/v1/models": listing("t", owner="openai"), "/health/liveliness": "I'm alive!"}),
    "openai-gateway": (4000, {"/v1/models": listing("w"), "/health/readiness": {"status": "ready"}}),
    "SGLang": (30000, {"/v1/models": listing("g", owner="sglang")}),
    "Docker Model Runner": (12434, {"/engines/v1/models": listing("d", owner="docker")}),
}


def machine(*programs: tuple[int, dict[str, Any]], host: str = "127.0.0.1") -> Machine:
    return Machine({f"{host}:{port}{path}": answer for port, paths in programs for path, answer in paths.items()})


@pytest.mark.parametrize("title", SIGNS)
async def test_a_program_is_told_by_what_only_it_answers(title: str, autojump_clock: MockClock) -> None:
    (found,) = await find(hosts=HOST, transport=machine(SIGNS[title]))
    assert (found.title, found.is_sure, len(found.models)) == (title, True, 1)


@pytest.mark.parametrize("title", [title for title in SIGNS if title != "Docker Model Runner"])
async def test_it_is_told_on_another_port_too(title: str, autojump_clock: MockClock) -> None:
    (found,) = await find([7777], hosts=HOST, transport=machine((7777, SIGNS[title][1])))
    assert (found.title, found.is_sure, found.base_url) == (title, True, "http://127.0.0.1:7777/v1")


@pytest.mark.parametrize("owner", [server.owner for server in SERVERS if server.owner])
async def test_the_owner_of_its_models_tells_it_where_it_says_nothing_else(
    owner: str, autojump_clock: MockClock
) -> None:
    (found,) = await find([7777], hosts=HOST, transport=machine((7777, {"/v1/models": listing("m", owner=owner)})))
    assert found.is_sure
    assert found.name == next(server.name for server in SERVERS if server.owner == owner)


async def test_what_says_nothing_of_itself_is_told_by_its_port_and_not_for_sure(autojump_clock: MockClock) -> None:
    programs = (1337, {"/v1/models": listing("m")}), (7777, {"/v1/models": listing("m")})
    jan, other = await find([1337, 7777], hosts=HOST, transport=machine(*programs))
    assert (jan.title, jan.is_sure) == ("Jan", False)
    assert (other.name, other.title, other.is_sure) == ("local-7777", "an OpenAI-compatible server", False)


@pytest.mark.parametrize(
    "answer",
    [
        {"no": "list"},
        [],
        {"data": 5},
        _response(200, b"<html>"),
        _response(404, b"{}"),
        _response(502, b"{}"),
        _response(200, b" " * (2**20 + 1)),
        httpx.Response(302, headers={"location": "http://elsewhere.example/v1/models"}, stream=_Body(b"")),
    ],
)
async def test_a_port_that_speaks_something_else_is_no_server(answer: Any, autojump_clock: MockClock) -> None:
    asked = machine((8000, {"/v1/models": answer}))
    assert await find([8000], hosts=HOST, transport=asked) == []
    assert asked.asked == ["127.0.0.1:8000/v1/models"]


async def test_a_port_that_breaks_is_a_server_only_by_a_sign_of_its_own(autojump_clock: MockClock) -> None:
    """LiteLLM breaks so; of anything else a 500 says nothing."""
    asked = machine((8000, {"/v1/models": _response(500, b"{}")}))
    assert await find([8000], hosts=HOST, transport=asked) == []
    signs = [server.sign[0] for server in SERVERS if server.sign is not None]
    assert sorted(asked.asked) == sorted(f"127.0.0.1:8000{path}" for path in ("/v1/models", *signs))


async def test_only_this_machine_is_asked(autojump_clock: MockClock) -> None:
    asked = machine()
    assert await find(transport=asked) == []
    assert {where.rsplit(":", 1)[0] for where in asked.asked} == {"127.0.0.1", "[::1]"}


async def test_a_server_that_listens_on_both_addresses_is_one(autojump_clock: MockClock) -> None:
    port, paths = SIGNS["Ollama"]
    both = Machine({f"{host}:{port}{path}": paths[path] for host in ("127.0.0.1", "[::1]") for path in paths})
    (found,) = await find(transport=both)
    assert found.base_url == "http://127.0.0.1:11434/v1"
    (found,) = await find(transport=machine(SIGNS["Ollama"], host="[::1]"))
    assert found.base_url == "http://[::1]:11434/v1"


@pytest.mark.parametrize("silent", ["/v1/models", "/props"])
async def test_a_port_that_never_answers_holds_nothing_up(silent: str, autojump_clock: MockClock) -> None:
    programs = SIGNS["Ollama"], (8000, {"/v1/models": listing("m", owner="vllm"), silent: ...})
    began = trio.current_time()
    found = await find(hosts=HOST, transport=machine(*programs))
    assert trio.current_time() - began <= PATIENCE
    assert [one.title for one in found] == ["Ollama"] + ["vLLM"] * (silent != "/v1/models")


async def test_a_search_that_is_cancelled_leaves_nothing(autojump_clock: MockClock) -> None:
    with trio.move_on_after(PATIENCE / 4) as scope:
        await find(hosts=HOST, transport=machine((8000, {"/v1/models": ...})))
    assert scope.cancelled_caught


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_litellm_is_found_whatever_it_says_to_those_without_a_key(status: int, autojump_clock: MockClock) -> None:
    refuses = {"/v1/models": _response(status, b"{}")}
    (found,) = await find(hosts=HOST, transport=machine((4000, refuses | {"/health/liveliness": "I'm alive!"})))
    assert (found.title, found.is_sure, found.wants_key) == ("LiteLLM", True, True)
    others = await find(hosts=HOST, transport=machine((4000, {"/v1/models": _response(status, b"{}")})))
    assert [one.wants_key for one in others] == ([True] if status == 401 else [])


async def test_a_server_that_wants_a_key_is_found_and_named_a_variable(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (found,) = await find(
        hosts=HOST, transport=machine((8000, {"/v1/models": _response(401, b"no"), "/version": {"version": "1"}}))
    )
    assert (found.wants_key, found.models, found.title) == (True, (), "vLLM")
    made = document([found])
    assert made["providers"]["vllm"]["api_key"] == {"env": "VLLM_API_KEY"}
    assert made["models"] == [{"name": "vllm/*", "provider": "vllm", "model": "*"}]


async def test_over_real_sockets_a_server_is_found() -> None:
    async def serve(connection: Connection) -> None:
        while request := await connection.request():
            path = request.split(b" ")[1]
            answer = {b"/v1/models": listing("a"), b"/api/version": {"version": "1"}}.get(path, {})
            await connection.stream.send_all(whole_answer(json.dumps(answer).encode()))

    async with loopback(serve) as server:
        port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        (found,) = await find([port])
    assert found == Found(name="ollama", title="Ollama", base_url=server.base_url, models=("a",))


# --- what is made of it -------------------------------------------------------------------------------------------


def test_of_a_list_without_end_each_name_is_counted_once() -> None:
    """What counts each in the whole list is at it for hours."""
    found = Found(name="a", title="A", base_url="http://127.0.0.1:1/v1", models=tuple(map(str, range(300_000))))
    assert len(document([found])["models"]) == 300_000


def test_a_model_that_two_servers_have_is_asked_of_each_by_name(tmp_path: Path) -> None:
    one = Found(name="a", title="A", base_url="http://127.0.0.1:1/v1", models=("m", "n"))
    two = Found(name="b", title="B", base_url="http://127.0.0.1:2/v1", models=("m",))
    assert [(row["name"], row.get("model")) for row in document([one, two])["models"]] == [
        ("a/m", "m"),
        ("n", None),
        ("b/m", "m"),
    ]


async def test_two_programs_of_one_kind_have_two_names(autojump_clock: MockClock) -> None:
    paths = SIGNS["vLLM"][1]
    found = await find([8000, 8001], hosts=HOST, transport=machine((8000, paths), (8001, paths)))
    assert [one.name for one in found] == ["vllm", "vllm-2"]


@given(st.lists(st.lists(st.text(max_size=6) | st.none() | st.just("a*"), max_size=4), max_size=3))
def test_whatever_they_list_the_configuration_loads(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[str | None]]
) -> None:
    listed = [(8000 + at, {"/v1/models": {"data": [{"id": one} for one in each]}}) for at, each in enumerate(lists)]

    async def search() -> list[Found]:
        return await find(range(8000, 8003), hosts=HOST, transport=machine(*listed))

    found = trio.run(search, clock=MockClock(autojump_threshold=0))
    path = tmp_path_factory.getbasetemp() / "found.toml"
    path.write_text(toml(document(found)), encoding="utf-8")
    settings = config.load({}, config_path=str(path))
    assert len(settings.table.providers) == len(found) == len(lists)
    assert len(settings.table.rows) == sum(max(1, len(one.models)) for one in found)


# --- the command --------------------------------------------------------------------------------------------------

OLLAMA = Found(name="ollama", title="Ollama", base_url="http://127.0.0.1:11434/v1", models=tuple("abcdef"))
LOCKED = Found(name="vllm", title="vLLM", base_url="http://127.0.0.1:8000/v1", wants_key=True, is_sure=False)


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> list[Found]:
    """What the command will find, in the place of what runs on the machine of the tests."""
    found: list[Found] = []

    async def instead(ports: object) -> list[Found]:
        await trio.lowlevel.checkpoint()
        return found

    monkeypatch.setattr(detect, "find", instead)
    return found


def test_the_command_shows_a_table_and_a_configuration(finds: list[Found], tmp_path: Path) -> None:
    finds += [OLLAMA, LOCKED]
    status, output = run("config", "detect")
    lines = output.splitlines()
    assert status == 0
    assert lines[:3] == [
        "SERVER  ADDRESS                    MODELS",
        "Ollama  http://127.0.0.1:11434/v1  6: a, b, c, d, e, …",
        "vLLM?   http://127.0.0.1:8000/v1   wants a key",
    ]
    only = run("config", "detect", "--toml")[1]
    assert output.endswith(only)
    (tmp_path / "found.toml").write_text(only)
    assert "7 model rows, 2 providers" in run("config", "check", str(tmp_path / "found.toml"))[1]


def test_the_command_shows_json(finds: list[Found]) -> None:
    finds += [OLLAMA]
    status, output = run("config", "detect", "--json", "--port", "11434", "--port", "1")
    found = json.loads(output)
    assert (status, found["ports"], found["found"][0]["base_url"]) == (0, [11434, 1], OLLAMA.base_url)


def test_the_command_says_where_it_looked_in_vain(finds: list[Found]) -> None:
    status, output = run("config", "detect", "--port", "1")
    assert (status, output) == (1, "No model server answers on this machine. Tried: 1.\n")
    assert run("config", "detect")[1].count(", ") == len({server.port for server in SERVERS}) - 1
    assert run("config", "detect", "--json", "--port", "1") == (1, '{\n  "found": [],\n  "ports": [\n    1\n  ]\n}\n')


def test_two_ways_to_print_exclude_each_other(finds: list[Found]) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        run("config", "detect", "--json", "--toml")
