"""The clients' environments, installed once a run, and one recorded session for each client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import installed
from tests.installed import Peer
from tests.peers import fake_upstream, npm
from tests.peers.peers import CLIENTS, INSPECTOR, NPM_PEERS, PYTHON_PEERS, Client
from tests.peers.playing import Played, Runtime, play

Rooms = Mapping[str, Path | str]
CORPUS = Path(__file__).parent.parent / "corpus"


@pytest.fixture(scope="session")
def rooms() -> Rooms:
    """For each peer's name where it was installed, or why it was not."""
    pythons = installed.install_all([*PYTHON_PEERS, npm.NODE])
    node = pythons[npm.NODE.name]
    if isinstance(node, str):
        return {**pythons, **dict.fromkeys((peer.name for peer in NPM_PEERS), f"there is no Node for it: {node}")}
    return {**pythons, **npm.install_all(NPM_PEERS, node)}


def _room(rooms: Rooms, peer: Peer) -> Path:
    room = rooms[peer.name]
    if isinstance(room, str):
        installed.missing(peer, room)
    return room


def _runtime(rooms: Rooms, peer: Peer) -> Runtime:
    room = _room(rooms, peer)
    if peer in PYTHON_PEERS:
        return Runtime(program=room, packages=room.parent)
    return Runtime(program=npm.node_of(_room(rooms, npm.NODE)), packages=room)


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """Each client in turn."""
    chosen: Client = request.param
    return chosen


@pytest.fixture(scope="module")
def runtime(client: Client, rooms: Rooms) -> Runtime:
    return _runtime(rooms, client.peer)


@pytest.fixture(scope="module")
def played(
    client: Client, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Played:
    """A whole session with our server between the client and a fake upstream, recorded on the way."""
    with fake_upstream.running() as upstream:
        result = play(client, runtime, tmp_path_factory.mktemp("session"), upstream=upstream)
    if pytestconfig.getoption("--save-corpus"):
        save(client, result)
    return result


def save(client: Client, result: Played) -> None:
    """Keeps the client's lines, for the in-process suite to play again; a twin's beside them."""
    for session, suffix in zip(result.sessions, ("", "-twin"), strict=False):
        lines = session.client_lines()
        if lines:
            (CORPUS / f"{client.name}{suffix}.jsonl").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def inspector(rooms: Rooms) -> Runtime:
    return _runtime(rooms, INSPECTOR)
