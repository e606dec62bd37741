"""The file of tokens, the commands that write it, and the verifier that reads it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock
from typer.testing import CliRunner

from openai_gateway.errors import ConfigError
from openai_gateway.net.listener import Headers, Request
from openai_gateway.secret import Secret
from openai_gateway_mcp.access.bearer import FRESH, Bearers, Known, OneToken, TokenFile
from openai_gateway_mcp.access.tokens import Token, digest_of, new_token, read_tokens, write_tokens
from openai_gateway_mcp.cli import app
from openai_gateway_mcp.transports.callers import Caller, Unauthorized

TOKEN = "ogm_canary0123456789"


def asking(*values: str, certificate: Any = None) -> Request:
    fields = tuple((b"authorization", value.encode("latin-1")) for value in values)
    return Request(
        method="POST", target="/mcp", path="/mcp", query="", headers=Headers(fields), certificate=certificate
    )


def run(*argv: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["tokens", *argv])
    if code == 0 and done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_token_is_written_as_its_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token, shown = new_token(name="ci", now=1, expires=2, tools=["chat"], models=["gpt-*"])
    write_tokens(str(path), [token])
    assert shown not in path.read_text()
    assert shown.startswith("ogm_")
    assert len(shown) > 40
    assert read_tokens(str(path)) == {digest_of(shown): token}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token.digest not in repr(token)


def test_a_file_that_is_not_there_has_no_tokens(tmp_path: Path) -> None:
    assert read_tokens(str(tmp_path / "none")) == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"tokens": 1}',
        '{"tokens": [{"id": "a"}]}',
        '{"tokens": [{"id": "a", "digest": "ab"}]}',
        '{"x": 1}',
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(ConfigError, match="tokens create"):
        read_tokens(str(tmp_path / "t"))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(str(tmp_path))


# --- the commands ---------------------------------------------------------------------------------------------------


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    path = str(tmp_path / "t.json")
    first = run("create", "--name", "ada", "--tool", "chat", "--model", "gpt-*", "--days", "2", "--tokens", path)
    second = run("create", "--tokens", path)
    assert len(first.stdout.split()) == len(second.stdout.split()) == 1
    listed = run("list", "--tokens", path).stdout
    assert "ada" in listed
    assert "gpt-*" in listed
    assert "never" in listed
    assert first.stdout.strip() not in listed
    known = json.loads(run("list", "--json", "--tokens", path).stdout)
    assert [one["name"] for one in known] == ["ada", ""]
    assert all("digest" not in one for one in known)
    assert run("revoke", "ada", "--tokens", path).exit_code == 0
    assert run("revoke", known[1]["id"], "--tokens", path).exit_code == 0
    assert read_tokens(path) == {}


def test_what_cannot_be_revoked_is_said(tmp_path: Path) -> None:
    path = str(tmp_path / "t.json")
    assert isinstance(run("revoke", "ada", "--tokens", path, code=1).exception, ConfigError)
    run("create", "--name", "ada", "--tokens", path)
    run("create", "--name", "ada", "--tokens", path)
    assert "more than one" in str(run("revoke", "ada", "--tokens", path, code=1).exception)


def test_the_file_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_TOKENS", raising=False)
    assert "--tokens" in str(run("list", code=1).exception)


# --- the verifier ---------------------------------------------------------------------------------------------------


async def refusal(verifier: Bearers, request: Request) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        await verifier.verify(request)
    return caught.value


async def test_the_one_token_lets_in() -> None:
    verifier = Bearers([OneToken(Secret(TOKEN, name="t"))])
    assert await verifier.verify(asking(f"Bearer {TOKEN}")) == Caller(identity="token")
    assert await verifier.verify(asking(f"bearer  {TOKEN}")) == Caller(identity="token")


@pytest.mark.parametrize(
    ("values", "challenge"),
    [
        ((), "Bearer"),
        (("",), 'Bearer error="invalid_token"'),
        (("Bearer",), 'Bearer error="invalid_token"'),
        ((TOKEN,), 'Bearer error="invalid_token"'),
        ((f"Basic {TOKEN}",), 'Bearer error="invalid_token"'),
        ((f"Bearer {TOKEN}x",), 'Bearer error="invalid_token"'),
        ((f"Bearer {TOKEN} {TOKEN}",), 'Bearer error="invalid_token"'),
        ((f"Bearer {TOKEN}", f"Bearer {TOKEN}"), 'Bearer error="invalid_token"'),
        (("Bearer \xff",), 'Bearer error="invalid_token"'),
        ((f"Bearer {digest_of(TOKEN)}",), 'Bearer error="invalid_token"'),
        (("Bearer " + "'" * 65_000,), 'Bearer error="invalid_token"'),
    ],
)
async def test_nothing_else_does(values: tuple[str, ...], challenge: str) -> None:
    error = await refusal(Bearers([OneToken(Secret(TOKEN, name="t"))]), asking(*values))
    assert (error.status, error.challenge) == (401, challenge)
    assert TOKEN not in error.words


async def test_a_challenge_may_say_more() -> None:
    verifier = Bearers([OneToken(Secret(TOKEN, name="t"))], challenge='resource_metadata="u"')
    assert (await refusal(verifier, asking())).challenge == 'Bearer resource_metadata="u"'
    both = 'Bearer error="invalid_token", resource_metadata="u"'
    assert (await refusal(verifier, asking("Bearer x"))).challenge == both


def stored(path: Path, **fields: Any) -> str:
    """A new token in the file, beside those that are there; what its caller shows."""
    token, shown = new_token(name="n", now=0)
    write_tokens(str(path), [*read_tokens(str(path)).values(), attrs.evolve(token, **fields)])
    return shown


async def test_a_token_of_the_file_is_its_caller(tmp_path: Path) -> None:
    path = tmp_path / "t"
    shown = stored(path, id="token_1", tools=("chat",), models=("m*",))
    caller = await Bearers([TokenFile(str(path))]).verify(asking(f"Bearer {shown}"))
    assert caller == Caller(identity="token_1", tools=("chat",), models=("m*",))


async def test_an_expired_one_says_so(tmp_path: Path) -> None:
    shown = stored(tmp_path / "t", expires=100)
    now = [99.0]
    verifier = Bearers([TokenFile(str(tmp_path / "t"), wall=lambda: now[0])])
    await verifier.verify(asking(f"Bearer {shown}"))
    now[0] = 100.0
    error = await refusal(verifier, asking(f"Bearer {shown}"))
    assert (error.status, error.words) == (401, "The token has expired.")


async def test_new_and_revoked_tokens_are_known_within_a_second(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "t"
    first = stored(path)
    verifier = Bearers([TokenFile(str(path))])
    await verifier.verify(asking(f"Bearer {first}"))
    second = stored(path)
    write_tokens(str(path), [one for one in read_tokens(str(path)).values() if one.digest != digest_of(first)])
    await verifier.verify(asking(f"Bearer {first}"))  # it is believed for a second
    await trio.sleep(FRESH)
    await verifier.verify(asking(f"Bearer {second}"))
    assert (await refusal(verifier, asking(f"Bearer {first}"))).status == 401


async def test_a_file_that_cannot_be_understood_changes_nothing_but_a_missing_one_lets_in_nobody(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t"
    shown = stored(path)
    verifier = Bearers([TokenFile(str(path))])
    path.write_text("{")
    await verifier.verify(asking(f"Bearer {shown}"))
    assert "still hold" in caplog.text
    path.unlink()
    await trio.sleep(FRESH)
    assert (await refusal(verifier, asking(f"Bearer {shown}"))).status == 401


async def test_many_at_once_look_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = stored(tmp_path / "t")
    kind = TokenFile(str(tmp_path / "t"))
    looks: list[int] = []
    real = os.stat

    def counted(*args: Any, **options: Any) -> Any:
        looks.append(1)
        return real(*args, **options)

    monkeypatch.setattr("os.stat", counted)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(kind.caller_of, shown)
    assert len(looks) == 1


async def test_several_kinds_are_asked_in_turn(tmp_path: Path) -> None:
    shown = stored(tmp_path / "t", id="token_1")
    kinds: list[Known] = [OneToken(Secret(TOKEN, name="t")), TokenFile(str(tmp_path / "t"))]
    verifier = Bearers(kinds, certificates=True)
    assert (await verifier.verify(asking(f"Bearer {shown}"))).identity == "token_1"
    assert (await verifier.verify(asking(f"Bearer {TOKEN}"))).identity == "token"
    assert (await refusal(verifier, asking())).status == 401  # a certificate is not enough where tokens are asked for


async def test_a_certificate_is_its_subject() -> None:
    subject = ((("organizationName", "Us"),), (("commonName", "laptop"),))
    caller = await Bearers([], certificates=True).verify(asking(certificate={"subject": subject}))
    assert caller == Caller(identity="certificate organizationName=Us, commonName=laptop")


def test_a_token_s_defaults_allow_all() -> None:
    token = Token(id="a", digest="0" * 64)
    assert (token.tools, token.models, token.expires) == (None, None, None)
