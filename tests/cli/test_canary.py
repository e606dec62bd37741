"""A planted key never leaves the process, whatever an upstream does with it: the real command, at LOG_LEVEL=debug."""

from __future__ import annotations

import base64
import json
import os
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from openai_gateway.keystore.store import Store
from openai_gateway.secret import Secret
from tests.cli.test_process import CANARY, CHAT, INITIALIZE, ROOT, answers_in, start

SPELLINGS = (CANARY, quote(CANARY), base64.b64encode(CANARY.encode()).decode(), CANARY[:20])
QUOTED = " ".join(SPELLINGS)

SEED = {"jsonrpc": "2.0", "id": 4, "method": "completion/complete", "params": {"prompt": "Hi", "model": "m"}}
MODELS = {"jsonrpc": "2.0", "id": 5, "method": "models/list"}
LISTED = {"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": {"name": "list_models"}}
COMPARED = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {"name": "compare_models", "arguments": {"prompt": "Hi", "models": ["a", "b"]}},
}


def http(status: str, body: str, *headers: str, content_type: str = "application/json") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Connection: close"]
    return ("\r\n".join([*head, *headers]) + "\r\n\r\n" + body).encode()


def sse(*events: str) -> bytes:
    body = "".join(f"data: {event}\n\n" for event in events)
    return http("200 OK", body, content_type="text/event-stream")


CHUNK = json.dumps({"choices": [{"index": 0, "delta": {"content": "Hello"}}]})
ERROR = json.dumps({"error": {"message": f"Incorrect API key provided: {QUOTED}", "type": QUOTED, "code": QUOTED}})

# What the upstream answers to every request; b"" hangs up.
FAILURES = {
    "a 401 that quotes the key": http("401 Unauthorized", ERROR),
    "a 400 that quotes the key": http("400 Bad Request", ERROR),
    "a 429 that quotes the key": http("429 Too Many Requests", ERROR, f"x-request-id: {CANARY}"),
    "a page that quotes the key": http("500 Oops", f"<h1>{QUOTED}</h1>", content_type="text/html"),
    "a hang-up": b"",
    "no HTTP at all": f"{QUOTED}\r\n\r\n".encode(),
    "a header that is none": f"HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n".encode(),
    "a redirect that quotes the key": http("302 Found", "", f"Location: http://127.0.0.1:9/{CANARY}"),
    "no JSON": http("200 OK", QUOTED),
    "an error in a 200": http("200 OK", ERROR),
    "an error in the stream": sse(CHUNK, ERROR),
    "an event that is no JSON, and a cut": sse(CHUNK, f"{{{QUOTED}"),
}


@contextmanager
def upstream(answer: bytes, heads: list[bytes]) -> Iterator[str]:
    """A loopback server that gives every request the same bytes, and keeps the lines of its head; its base URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while (line := self.rfile.readline()).strip():
                heads.append(line.strip())
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            self.rfile.read(length)
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


RING = """
from keyring.backend import KeyringBackend
class Keyring(KeyringBackend):
    priority = 9
    def get_password(self, *asked): return {key!r} if asked == ("openai-gateway", "one") else None
    def set_password(self, *said): pass
Keyring.__module__ = "keyring.backends.SecretService"
"""
"""A keyring that passes for an allowed one: by the name of its class, which is all that keyring itself goes by."""


def in_a_file(directory: Path) -> tuple[str, dict[str, str]]:
    path = directory / "key"
    path.write_text(CANARY)
    path.chmod(0o600)
    return f'{{ file = "{path}" }}', {}


def from_a_command(directory: Path) -> tuple[str, dict[str, str]]:
    path = directory / "program.py"
    path.write_text(f"import sys; print({CANARY!r}); print({CANARY!r}, file=sys.stderr)")
    return f'{{ command = ["{sys.executable}", "{path}"] }}', {}


def in_the_keyring(directory: Path) -> tuple[str, dict[str, str]]:
    (directory / "ring.py").write_text(RING.format(key=CANARY))
    path = f"{ROOT / 'src'}{os.pathsep}{directory}"
    return '{ keyring = "one" }', {"PYTHON_KEYRING_BACKEND": "ring.Keyring", "PYTHONPATH": path}


def in_the_store(directory: Path) -> tuple[str, dict[str, str]]:
    Store(directory / "openai-gateway" / "keys").set("one", Secret(CANARY, name="x"), in_file=True)
    return '{ keyring = "one" }', {"XDG_CONFIG_HOME": str(directory)}


@pytest.mark.parametrize("failing", ["a 401 that quotes the key", "an error in the stream"])
@pytest.mark.parametrize("source", [in_a_file, from_a_command, in_the_keyring, in_the_store])
def test_a_planted_key_that_is_read_late_shows_nowhere(
    source: Callable[[Path], tuple[str, dict[str, str]]], failing: str, tmp_path: Path
) -> None:
    messages = [INITIALIZE, CHAT, MODELS, LISTED, COMPARED]
    heads: list[bytes] = []
    with upstream(FAILURES[failing], heads) as url:
        api_key, environ = source(tmp_path)
        file = tmp_path / "gateway.toml"
        provider = f'[providers.p]\nkind = "openai"\nbase_url = "{url}"\napi_key = {api_key}\n'
        file.write_text(f'{provider}[[models]]\nname = "*"\nprovider = "p"\n')
        environ |= {"LOG_LEVEL": "debug", "MAX_RETRIES": "0"}
        done = start("--config", str(file), "--drain", "30", messages=messages, environ=environ)
        diagnosis = start("doctor", "--config", str(file), messages=[], environ=environ)
    assert done.returncode == 0
    assert diagnosis.returncode == 1
    assert heads.count(f"authorization: Bearer {CANARY}".encode()) >= len(messages)
    assert answers_in(done).keys() == {message["id"] for message in messages}
    for spelling in SPELLINGS:
        for output in (done.stdout, done.stderr, diagnosis.stdout, diagnosis.stderr):
            assert spelling not in output


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES.keys())
def test_a_planted_key_shows_nowhere(answer: bytes) -> None:
    messages = [INITIALIZE, CHAT, SEED, MODELS, LISTED, COMPARED]
    heads: list[bytes] = []
    with upstream(answer, heads) as url:
        environ = {"GATEWAY_URL": url, "GATEWAY_API_KEY": CANARY, "LOG_LEVEL": "debug", "MAX_RETRIES": "0"}
        done = start("--drain", "30", messages=messages, environ=environ)
    assert done.returncode == 0
    assert f"authorization: Bearer {CANARY}".encode() in heads
    assert answers_in(done).keys() == {message["id"] for message in messages}
    for spelling in SPELLINGS:
        assert spelling not in done.stdout
        assert spelling not in done.stderr
