"""The service as people run it: its commands, its signals, TLS, and the official client against it."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import openai
import pytest
import trustme
from openai.types.chat import ChatCompletionMessageParam

from openai_gateway.administration import _usage_lines
from openai_gateway.routing.ledger import Sum
from tests.gateway_service.process import PATIENCE, Served, command, configuration, made_key, served
from tests.peers.fake_upstream import Kind, Upstream, running

SAY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running() as started:
        yield started


@pytest.fixture
def config(tmp_path: Path, upstream: Upstream) -> Path:
    return configuration(tmp_path / "gateway.toml", upstream.url)


@pytest.fixture
def service(tmp_path: Path, config: Path) -> Iterator[Served]:
    with served(tmp_path, "--config", str(config)) as running_service:
        yield running_service


def client(service: Served, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)


def test_the_official_client_is_answered_whole_and_streamed_and_told_what_is_wrong(
    tmp_path: Path, service: Served
) -> None:
    key = made_key(tmp_path, "--name", "ci", "--rpm", "6", "--model", "echo", "--model", "refuse", "--model", "gone")
    with client(service, key) as ai:
        assert [model.id for model in ai.models.list().data] == ["echo", "refuse"]
        answer = ai.chat.completions.create(model="echo", messages=SAY)
        assert answer.choices[0].message.content == "Hello!"
        stream = ai.chat.completions.create(model="echo", messages=SAY, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Hello!"
        raw = ai.chat.completions.with_raw_response.create(model="echo", messages=SAY)
        assert raw.headers["x-ratelimit-remaining-requests"] == "3"
        for model, kind, code in (
            ("refuse", openai.BadRequestError, "refused"),
            ("gone", openai.NotFoundError, "model_not_found"),
            ("drip", openai.PermissionDeniedError, "model_not_allowed"),
        ):
            with pytest.raises(kind) as caught:
                ai.chat.completions.create(model=model, messages=SAY)
            assert caught.value.code == code
        ai.chat.completions.create(model="echo", messages=SAY)
        with pytest.raises(openai.RateLimitError) as limited:
            ai.chat.completions.create(model="echo", messages=SAY)
        assert limited.value.code == "rate_limit_exceeded"
        assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60
    with client(service, key[:-1]) as ai, pytest.raises(openai.AuthenticationError):
        ai.models.list()


def test_keys_are_made_listed_rotated_and_revoked_by_commands_while_it_runs(tmp_path: Path, service: Served) -> None:
    key = made_key(tmp_path, "--name", "ci", "--owner", "alice", "--budget", "5", "--per", "day", "--expires", "30d")
    with client(service, key) as ai:
        ai.chat.completions.create(model="echo", messages=SAY)
    listed = json.loads(command("keys", "list", "--json", data=tmp_path).stdout)
    assert (listed[0]["name"], listed[0]["owner"], listed[0]["budget"]) == ("ci", "alice", 5.0)
    assert listed[0]["spent"] > 0
    table = command("keys", "list", data=tmp_path).stdout
    assert "$5.00 a day" in table
    assert key not in table
    renewed = json.loads(command("keys", "rotate", "ci", "--json", data=tmp_path).stdout)["key"]
    assert command("keys", "revoke", "ci", data=tmp_path).returncode == 0
    assert "revoked" in command("keys", "list", data=tmp_path).stdout
    with client(service, renewed) as ai, pytest.raises(openai.AuthenticationError, match="revoked"):
        ai.models.list()
    assert command("keys", "revoke", "nobody", data=tmp_path).returncode == 2
    sound = command("audit", "verify", data=tmp_path)
    assert (sound.returncode, sound.stdout.split(" ")[0]) == (0, "4")


def test_where_nothing_was_used_a_person_is_told_so_and_a_program_gets_an_empty_list(tmp_path: Path) -> None:
    done = command("usage", "--since", "2026-11-01", data=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No call since 2026-11-01.\n")
    assert json.loads(command("usage", "--json", data=tmp_path).stdout) == []


@pytest.mark.parametrize(("columns", "longest"), [(None, 30), (80, 21), (64, 0)])
def test_the_bars_of_usage_have_what_room_the_numbers_leave(columns: int | None, longest: int) -> None:
    day = Sum(name="2026-11-26", calls=4, failed=0, input=9, output=9, cached_input=0, reasoning=0, money=2_000_000_000)
    lines = _usage_lines("day", (day, attrs.evolve(day, money=1_000_000_000)), columns)
    assert "".join(lines[1]).count("█") == longest
    assert "".join(lines[2]).count("█") == round(longest / 2)


def test_what_was_used_is_shown_as_a_table_json_and_csv(tmp_path: Path, service: Served) -> None:
    with client(service, made_key(tmp_path, "--name", "=1+1")) as ai:
        ai.chat.completions.create(model="echo", messages=SAY)
    table = command("usage", "--by", "model", data=tmp_path).stdout
    assert "echo" in table
    assert "█" in table
    (found,) = json.loads(command("usage", "--json", data=tmp_path).stdout)
    assert (found["calls"], found["failed"]) == (1, 0)
    assert command("usage", "--csv", "--by", "key", data=tmp_path).stdout.splitlines()[0].startswith("name,calls")
    for wrong in (["--by", "week"], ["--since", "yesterday"]):
        done = command("usage", *wrong, data=tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)


@pytest.mark.parametrize(("argv", "words"), [
    (["--host", "192.0.2.1", "--no-auth"], "--no-auth needs an address of this machine alone"),
    (["--tls-certificate", "/nowhere"], "TLS needs both"),
    (["--tls-certificate", "/nowhere", "--tls-key", "/nowhere"], "cannot be used"),
    (["--host", "no such host"], "cannot be listened on"),
    (["--config", "/nowhere"], "cannot be read"),
])  # fmt: skip
def test_what_cannot_be_served_is_said_in_a_line(tmp_path: Path, argv: list[str], words: str) -> None:
    done = command("serve", "--port", "0", *argv, data=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_first_start_says_how_to_make_a_key_and_one_without_keys_says_what_that_means(tmp_path: Path) -> None:
    with served(tmp_path) as service:
        service.until("openai-gateway keys create --name me")
        assert service.stop() == 0
    with served(tmp_path, "--no-auth") as service:
        service.until("--no-auth: whoever reaches")
        with client(service, "none") as ai:
            answer = ai.chat.completions.create(model="echo", messages=SAY)
            assert "Hello!" in str(answer.choices[0].message.content)


def test_tls_is_served_to_who_trusts_it(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem, ca = tmp_path / "server.pem", tmp_path / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(ca))
    with served(tmp_path, "--tls-certificate", str(pem), "--tls-key", str(pem)) as service:
        assert service.url.startswith("https://")
        import ssl

        trust = ssl.create_default_context(cafile=str(ca))
        with urllib.request.urlopen(f"{service.url}/health", context=trust) as said:  # noqa: S310 - it is https
            assert json.load(said) == {"status": "ok"}


def test_a_stream_that_runs_when_it_is_asked_to_stop_ends_well_and_new_work_is_refused(
    tmp_path: Path, service: Served, upstream: Upstream
) -> None:
    key = made_key(tmp_path)
    done: list[str] = []

    def read() -> None:
        with client(service, key) as ai:
            stream = ai.chat.completions.create(model="drip", messages=SAY, stream=True)
            done.append("".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))

    reader = threading.Thread(target=read)
    reader.start()
    upstream.wait_for(Kind.ASKED, "drip")
    service.process.send_signal(signal.SIGTERM)
    service.until("Asked to stop")
    with client(service, key) as ai, pytest.raises(openai.InternalServerError) as refused:
        ai.chat.completions.create(model="echo", messages=SAY)
    assert (refused.value.status_code, refused.value.code) == (503, "shutting_down")
    assert refused.value.response.headers["retry-after"] == "1"
    urllib.request.urlopen(f"{upstream.url}/release/drip").close()  # noqa: S310 - it is http, on this machine
    reader.join(30)
    assert service.process.wait(30) == 0
    assert done
    assert done[0].startswith("drop drop")
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as ledger, ledger:
        rows = ledger.execute("SELECT status FROM ledger WHERE model = 'drip'").fetchall()
    assert rows == [(200,)]


def test_a_second_signal_ends_it_now_and_what_was_reserved_is_charged_later(
    tmp_path: Path, config: Path, upstream: Upstream
) -> None:
    key = made_key(tmp_path, "--budget", "5")
    with served(tmp_path, "--config", str(config)) as service:

        def ask() -> None:
            with client(service, key) as ai, pytest.raises(openai.APIConnectionError):
                ai.chat.completions.create(model="mute", messages=SAY)

        asking = threading.Thread(target=ask)
        asking.start()
        upstream.wait_for(Kind.ASKED, "mute")
        service.process.send_signal(signal.SIGTERM)
        service.until("Asked to stop")
        assert service.stop() == 128 + signal.SIGTERM
        asking.join(30)
    assert json.loads(command("keys", "list", "--json", data=tmp_path).stdout)[0]["spent"] > 0


def test_a_grace_that_is_over_cuts_what_is_left(tmp_path: Path, config: Path, upstream: Upstream) -> None:
    key = made_key(tmp_path)
    with served(tmp_path, "--config", str(config), "--grace", "0.2") as service:

        def ask() -> None:
            with client(service, key) as ai, pytest.raises(openai.APIConnectionError):
                ai.chat.completions.create(model="stuck", messages=SAY)

        asking = threading.Thread(target=ask)
        asking.start()
        upstream.wait_for(Kind.ASKED, "stuck")
        assert service.stop() == 0
        asking.join(30)
        assert "1 call(s) are cut" in "".join(service.log)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_comes_while_the_service_starts_is_kept_for_when_it_serves(
    tmp_path: Path, config: Path, workers: str, signum: signal.Signals
) -> None:
    """Whoever reads "Serving on" may send one at once; the store may take its time to open."""
    with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as another:
        another.execute("BEGIN EXCLUSIVE")  # nobody opens the store before this ends
        with served(tmp_path, "--config", str(config), "--workers", workers) as service:
            service.process.send_signal(signum)
            another.execute("ROLLBACK")
            service.until("the configuration is read again" if signum == signal.SIGHUP else "Asked to stop")
            assert (service.stop() if signum == signal.SIGHUP else service.process.wait(PATIENCE)) == 0


def test_a_hangup_reloads_what_is_sound_and_keeps_the_old_where_it_is_not(
    tmp_path: Path, config: Path, service: Served, upstream: Upstream
) -> None:
    key = made_key(tmp_path)
    config.write_text(config.read_text().replace('name = "*"', 'name = "only/*"'))
    service.process.send_signal(signal.SIGHUP)
    service.until("the configuration is read again")
    with client(service, key) as ai:
        with pytest.raises(openai.NotFoundError):
            ai.chat.completions.create(model="echo", messages=SAY)
        ai.chat.completions.create(model="only/echo", messages=SAY)
        config.write_text("nonsense")
        service.process.send_signal(signal.SIGHUP)
        service.until("the old configuration serves on")
        ai.chat.completions.create(model="only/echo", messages=SAY)
