"""The audit log: lines that vouch for each other, whoever writes and whoever dies."""

from __future__ import annotations

import fcntl
import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from openai_gateway.errors import GatewayError
from openai_gateway.service.audit import chained, open_audit, verify
from tests.gateway_service.house import house, http


def lines(count: int) -> list[str]:
    before, found = "0" * 64, []
    for number in range(count):
        found.append(chained({"event": "e", "number": number}, before) + "\n")
        before = json.loads(found[-1])["hash"]
    return found


LOG = "".join(lines(5))


def test_what_was_written_is_sound() -> None:
    verdict = verify(io.StringIO(LOG))
    assert (verdict.lines, verdict.wrong, verdict.last) == (5, "", json.loads(LOG.splitlines()[-1])["hash"])
    assert verify(io.StringIO("")).lines == 0


@given(st.integers(0, len(LOG) - 1), st.text(min_size=1, max_size=1).filter(lambda letter: letter != "\r"))
def test_a_letter_that_was_changed_is_found(at: int, letter: str) -> None:
    changed = LOG[:at] + letter + LOG[at + 1 :]
    verdict = verify(io.StringIO(changed, newline=""))
    assert bool(verdict.wrong) == (changed != LOG)
    assert verdict.lines <= LOG[:at].count("\n") + (changed == LOG) * 5


@given(st.lists(st.integers(0, 4), max_size=6))
def test_lines_that_are_missing_doubled_or_moved_are_found_but_at_the_end(order: list[int]) -> None:
    all_lines = lines(5)
    verdict = verify(io.StringIO("".join(all_lines[at] for at in order)))
    assert bool(verdict.wrong) == (order != list(range(len(order))))


@pytest.mark.parametrize("rest", ["{", "[]\n", "5\n", "{}\n", '{"hash": 5}\n', "[" * 5000 + "\n"])
def test_what_is_no_line_is_found(rest: str) -> None:
    verdict = verify(io.StringIO(LOG + rest))
    assert (verdict.lines, bool(verdict.wrong)) == (5, True)


def checked(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        verdict = verify(file)
    assert not verdict.wrong
    return verdict.lines


async def test_a_flush_waits_for_what_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    flushed = trio.Event()

    async def flush() -> None:
        await audit.flush()
        flushed.set()

    async with open_audit(str(path)) as audit, trio.open_nursery() as nursery:
        with path.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            audit.refused(actor="key_1", status=429, code="c", route="/", peer="", id="r")
            await wait_all_tasks_blocked()  # the thread that writes it waits for the lock
            nursery.start_soon(flush)
            await wait_all_tasks_blocked()
            assert not flushed.is_set()
    assert flushed.is_set()
    assert checked(path) == 1


async def test_tasks_and_processes_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    code = f"""
import trio
from openai_gateway.service.audit import open_audit
async def main():
    async with open_audit({str(path)!r}) as audit:
        for _ in range(25):
            await audit.note("e", actor="other")
trio.run(main)
"""
    async with open_audit(str(path)) as audit, trio.open_nursery() as nursery:
        nursery.start_soon(trio.run_process, [sys.executable, "-c", code])
        for _ in range(25):
            nursery.start_soon(lambda: audit.note("e", actor="me", fact="x\ny"))
    assert checked(path) == 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_line_left_half_written_is_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with open_audit(str(path)) as audit:
        await audit.note("first", actor="me")
        with path.open("a", encoding="utf-8") as file:
            file.write('{"actor": "me", "ev')
        await audit.note("second", actor="me")
    assert checked(path) == 2


async def test_a_log_that_was_tampered_with_goes_on_and_says_so_when_it_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("no entry\n")
    async with open_audit(str(path)) as audit:
        await audit.note("e", actor="me")
    with path.open(encoding="utf-8") as file:
        assert verify(file).wrong == "line 1 is no entry"


async def test_of_a_flood_of_refusals_a_hundred_a_minute_are_written_and_the_rest_counted(tmp_path: Path) -> None:
    path, wall = tmp_path / "audit.jsonl", [60.0]
    async with open_audit(str(path), wall=lambda: wall[0]) as audit:
        for _ in range(1000):
            audit.refused(actor="-", status=401)
        wall[0] = 120.0
        audit.refused(actor="-", status=401)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry.get("more") for entry in entries].count(900) == 1
    assert len(entries) == 102
    assert checked(path) == 102


async def test_a_log_that_cannot_be_written_says_so_and_ends_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_audit(str(tmp_path)) as audit:
        with pytest.raises(GatewayError, match="cannot be written") as caught:
            await audit.note("e", actor="me")
        assert caught.value.status == 503
        audit.refused(actor="-", status=401)
        await audit.flush()
    assert "1 refusal(s) are not in the audit log" in caplog.text


async def test_what_an_admin_does_and_who_is_refused_is_in_it_and_no_key(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        admin = await here.key(role="admin")
        made = (await here.ask("POST", "/admin/keys", key=admin, body={"name": "ci"})).json
        await here.ask("POST", f"/admin/keys/{made['id']}/rotate", key=admin)
        await here.ask("DELETE", f"/admin/keys/{made['id']}", key=admin)
        await here.ask("GET", "/v1/models", key=made["key"])
        await here.ask("GET", "/admin/keys", key=await here.key())
    text = (tmp_path / "audit.jsonl").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    events = [(entry["event"], entry["actor"], entry.get("status"), entry.get("route")) for entry in entries]
    assert events == [
        ("key.created", "key_1", None, None),
        ("key.rotated", "key_1", None, None),
        ("key.revoked", "key_1", None, None),
        ("refused", "-", 401, "/v1/models"),
        ("refused", "key_3", 403, "/admin/keys"),
    ]
    assert made["key"] not in text
    assert checked(tmp_path / "audit.jsonl") == 5


async def test_what_an_upstream_refuses_is_none_of_it(tmp_path: Path) -> None:
    limited = {"error": {"message": "slow down", "type": "x", "param": None, "code": "theirs"}}
    async with house(tmp_path, http(429, limited), http(403, limited)) as here:
        key = await here.key()
        for status in (429, 403):
            body = {"model": "m", "messages": [], "max_tokens": 1}
            said = await here.ask("POST", "/v1/chat/completions", key=key, body=body)
            assert said.status in {status, 502}
    assert not (tmp_path / "audit.jsonl").exists()


def test_the_command_says_whether_a_log_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "openai_gateway", "audit", "verify", str(path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run().returncode == 2
    path.write_text(LOG)
    last = json.loads(LOG.splitlines()[-1])["hash"]
    assert run("--expect", last).returncode == 0
    assert last in run().stdout
    assert run("--expect", "0").returncode == 1
    path.write_text(LOG.replace('"number": 2', '"number": 7'))
    broken = run()
    assert (broken.returncode, "line 3 was changed" in broken.stderr) == (1, True)
