"""A service that is killed under load: what a client had whole is in the ledger, and nothing is free."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import attrs
import pytest
import trio

from openai_gateway.engine.store.sqlite import _now as real_clock
from openai_gateway.engine.store.sqlite import open_sqlite
from openai_gateway.service.audit import verify
from tests.gateway_service.process import configuration, made_key, served
from tests.gateway_service.test_workers import workers_of
from tests.gateway_store.load import totals
from tests.peers.fake_upstream import running

CALLERS = 6
BEFORE_A_KILL = 25


class Load:
    """Callers that ask without pause until the service is gone; the ids of the calls whose answers they had whole."""

    def __init__(self, port: int, key: str, round_: int) -> None:
        self.whole: list[str] = []
        self.enough = threading.Event()
        self._port, self._key, self._round = port, key, round_
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CALLERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}], "stream": number % 2 == 0}
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            for count in range(100_000):
                id_ = f"r{self._round}-{number}-{count}"
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {**headers, "x-request-id": id_})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status == 200 and (number % 2 or b"[DONE]" in said):
                    self.whole.append(id_)
                    if len(self.whole) >= BEFORE_A_KILL:
                        self.enough.set()
        except (http.client.HTTPException, OSError):
            self.enough.set()  # it is gone
        finally:
            connection.close()


async def after_the_leases(path: str) -> dict[str, int]:
    """As 20 s later: whoever looks then charges what the dead had reserved."""
    async with open_sqlite(path, clock=lambda: attrs.evolve(real_clock(), now=real_clock().now + 20)):
        return totals(path)


@pytest.mark.parametrize(("workers", "kills"), [(1, 4), pytest.param(2, 20, marks=pytest.mark.peers)])
def test_whatever_a_client_received_whole_has_its_row_however_often_it_is_killed(
    tmp_path: Path, workers: int, kills: int
) -> None:
    """Of two workers one is killed by itself every other time: then the rest goes on, and is killed after."""
    data = tmp_path / "data"
    key = made_key(data, "--budget", "1000000", "--max-parallel", "100", "--rpm", "1000000")
    whole: list[str] = []
    with running() as upstream:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        for number in range(kills):
            with served(data, "--config", str(config), "--workers", str(workers)) as service:
                pids = [] if workers == 1 else workers_of(service, workers)
                load = Load(int(service.url.rpartition(":")[2]), key, number)
                load.start()
                assert load.enough.wait(30)
                if pids and number % 2:
                    os.kill(pids.pop(), signal.SIGKILL)
                service.process.kill()
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                load.join()
                whole += load.whole
    assert len(whole) >= kills * BEFORE_A_KILL
    with closing(sqlite3.connect(data / "gateway.db")) as ledger, ledger:
        rows = {id_ for (id_,) in ledger.execute("SELECT id FROM ledger WHERE status = 200")}
    assert set(whole) <= rows
    sums = trio.run(after_the_leases, str(data / "gateway.db"))
    assert sums["spent"] == sums["rows"] + sums["charged"]
    assert (sums["reserved"], sums["running"]) == (0, 0)
    with (data / "audit.jsonl").open(encoding="utf-8") as log:
        assert verify(log).wrong == ""
