"""A service that is asked to stop under load: nobody is reset, and whoever is in work gets all of it."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

from tests.gateway_service.process import configuration, made_key, served
from tests.gateway_service.test_workers import workers_of
from tests.peers.fake_upstream import running

CALLERS = 12
BEFORE = 60  # answers, before it is asked to stop


class Crowd:
    """Callers that ask without pause until the service is gone, each on a connection that it keeps."""

    def __init__(self, port: int, key: str) -> None:
        self.saw: Counter[str] = Counter()
        self.enough = threading.Event()
        self._port, self._key = port, key
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(60)

    def _call(self, number: int) -> None:
        streams = number % 2 == 0
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                while self._ask(connection, streams=streams):
                    pass
            except ConnectionRefusedError:
                return  # it is gone
            except http.client.RemoteDisconnected:
                self.saw["closed before an answer"] += 1
            except (http.client.HTTPException, OSError) as error:
                self.saw[type(error).__name__] += 1
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection, *, streams: bool) -> bool:
        """Whether the connection may be asked again."""
        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}], "stream": streams}
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status == 200:
            is_whole = said.endswith(b"data: [DONE]\n\n") if streams else "choices" in json.loads(said)
            self.saw["whole" if is_whole else "cut"] += 1
        else:
            self.saw[f"{answer.status} {answer.getheader('retry-after')}"] += 1
        if self.saw["whole"] >= BEFORE:
            self.enough.set()
        return answer.getheader("connection") != "close"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.peers)])
def test_nobody_is_reset_and_nothing_is_cut(tmp_path: Path, workers: int) -> None:
    with running() as upstream:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        with served(tmp_path / "data", "--config", str(config), "--workers", str(workers)) as service:
            if workers > 1:
                workers_of(service, workers)
            with Crowd(int(service.url.rpartition(":")[2]), made_key(tmp_path / "data")) as crowd:
                assert crowd.enough.wait(60)
                assert service.stop() == 0
    assert crowd.saw["whole"] >= BEFORE
    assert set(crowd.saw) <= {"whole", "503 1", "closed before an answer"}, crowd.saw
