"""Several workers: one port, one set of limits, one sum of counts; who dies is replaced, and all are stopped as one."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway_service.process import Served, command, configuration, made_key, served
from tests.peers.fake_upstream import Kind, Upstream, running

SAY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running() as started:
        yield started


@pytest.fixture
def service(tmp_path: Path, upstream: Upstream) -> Iterator[Served]:
    config = configuration(tmp_path / "gateway.toml", upstream.url)
    with served(tmp_path, "--config", str(config), "--workers", "2") as started:
        for _ in workers_of(started, 2):
            pass
        yield started


def workers_of(service: Served, count: int) -> list[int]:
    """The pids of the workers, once there are so many that serve."""
    while True:
        threads = Path(f"/proc/{service.process.pid}/task").iterdir()  # a process is its thread's that started it
        children = [pid for thread in threads for pid in children_of(thread)]
        if len(children) == count and all(has_a_store(pid) for pid in children):
            return [int(pid) for pid in children]


def children_of(thread: Path) -> list[str]:
    try:
        return (thread / "children").read_text().split()
    except OSError:
        return []  # it has ended


def has_a_store(pid: str) -> bool:
    """A worker that has opened its store is about to serve."""
    try:
        return any("gateway.db" in os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir())  # noqa: PTH115 - a link of /proc
    except OSError:
        return False


def client(service: Served, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)


def counted(service: Served) -> float:
    """The attempts of all workers."""
    with urllib.request.urlopen(f"{service.url}/metrics") as said:  # noqa: S310 - it is http, on this machine
        families = text_string_to_metric_families(said.read().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "openai_gateway_attempts_total"
    )


def test_a_limit_holds_for_all_workers_and_metrics_are_the_sum(tmp_path: Path, service: Served) -> None:
    key = made_key(tmp_path, "--rpm", "10")
    statuses: list[int] = []

    def ask() -> None:
        with client(service, key) as ai:  # a connection of its own, which any worker may take
            try:
                ai.chat.completions.create(model="echo", messages=SAY)
                statuses.append(200)
            except openai.RateLimitError:
                statuses.append(429)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [200] * 10 + [429] * 30
    assert [counted(service) for _ in range(4)] == [10] * 4
    (usage,) = json.loads(command("usage", "--json", data=tmp_path).stdout)
    assert (usage["calls"], usage["failed"]) == (40, 30)


def test_a_worker_that_dies_is_replaced_and_what_it_counted_stays(tmp_path: Path, service: Served) -> None:
    key = made_key(tmp_path)
    with client(service, key) as ai:
        ai.chat.completions.create(model="echo", messages=SAY)
    before = counted(service)
    first, second = workers_of(service, 2)
    os.kill(first, signal.SIGKILL)
    service.until("another takes its place")
    assert first not in workers_of(service, 2)
    with client(service, key) as ai:
        ai.chat.completions.create(model="echo", messages=SAY)
    assert counted(service) == before + 1
    assert second in workers_of(service, 2)


def test_a_hangup_is_taken_by_all_or_by_none(tmp_path: Path, service: Served) -> None:
    config, key = tmp_path / "gateway.toml", made_key(tmp_path)
    sound = config.read_text()
    config.write_text("nonsense")
    service.process.send_signal(signal.SIGHUP)
    service.until("the old configuration serves on")
    config.write_text(sound.replace('name = "*"', 'name = "only/*"'))
    service.process.send_signal(signal.SIGHUP)
    service.until("read again, by 2 workers")
    for _ in range(6):
        with client(service, key) as ai, pytest.raises(openai.NotFoundError):
            ai.chat.completions.create(model="echo", messages=SAY)


def test_asked_to_stop_all_end_when_their_streams_have(tmp_path: Path, service: Served, upstream: Upstream) -> None:
    key, heard = made_key(tmp_path), []

    def read() -> None:
        with client(service, key) as ai:
            stream = ai.chat.completions.create(model="drip", messages=SAY, stream=True)
            heard.append(sum(1 for chunk in stream if chunk.choices))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    while upstream.journal.kinds("drip").count("asked") < 4:
        upstream.wait_for(Kind.ASKED, "drip")
    service.process.send_signal(signal.SIGTERM)
    service.until("Asked to stop")
    urllib.request.urlopen(f"{upstream.url}/release/drip").close()  # noqa: S310 - it is http, on this machine
    for reader in readers:
        reader.join(30)
    assert service.process.wait(30) == 0
    assert len(heard) == 4


def test_workers_whose_parent_is_gone_end_too(service: Served) -> None:
    pids = workers_of(service, 2)
    handles = [os.pidfd_open(pid) for pid in pids]
    service.process.kill()
    import select

    for handle in handles:
        assert select.select([handle], [], [], 30)[0]
        os.close(handle)


def test_workers_that_cannot_start_are_not_started_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "gateway.db").write_text("no database " * 100)
    done = command("serve", "--port", "0", "--workers", "2", data=tmp_path)
    assert done.returncode == 2
    assert "A worker could not start" in done.stderr


def test_only_a_parent_makes_workers(tmp_path: Path) -> None:
    done = command("serve", "--worker", "x", data=tmp_path)
    assert (done.returncode, "is for the workers" in done.stderr) == (2, True)
