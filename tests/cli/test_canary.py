"""A planted key never leaves the process, whatever an upstream does with it: the real command, at LOG_LEVEL=debug."""

from __future__ import annotations

import base64
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from tests.cli.test_process import CANARY, CHAT, INITIALIZE, answers_in, start

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
