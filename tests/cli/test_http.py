"""`openai-gateway-mcp http` as a process: whom it lets in, how it reloads, and how it ends."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import attrs
import httpx
import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.config import read_http
from tests.gateway_net.certificates import CA
from tests.gateway_service.process import environment
from tests.playbook import modern
from tests.transports.posting import messages, modern_fields

Json = Any
CANARY = "ogm_canary0123456789abcdef"
PATIENCE = 60
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of this machine, for a test
LIST = {"jsonrpc": "2.0", "method": "models/list", "id": 1}


@attrs.define
class Serving:
    process: subprocess.Popen[str]
    url: str
    log: list[str]

    def until(self, words: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if words in line:
                return line
        raise AssertionError("".join(self.log))

    def end(self, signum: int = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(signum)
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(*argv: str, embedded: bool = True, **environ: str) -> Iterator[Serving]:
    kind = ["--embedded"] if embedded else []
    with subprocess.Popen(
        [sys.executable, "-m", "openai_gateway_mcp", "http", *kind, "--port", "0", *argv],
        env=environment(**environ),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        started = Serving(process=process, url="", log=[])
        try:
            found = re.search(r"https?://\S+/mcp", started.until("Serving MCP on"))
            assert found is not None
            started.url = found[0]
            yield started
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Not by SIGKILL: what it knows of its coverage would be torn."""
    process.terminate()
    process.wait(PATIENCE)


def refusal(*argv: str, **environ: str) -> str:
    """What it says where it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "openai_gateway_mcp", "http", "--embedded", *argv],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.requirement("http/loopback")
def test_it_serves_until_it_is_asked_to_stop() -> None:
    with serving() as started:
        assert httpx.post(started.url, json=LIST).json()["result"]["models"][0]["id"] == "echo"
        host, port = started.url.split("/")[2].split(":")
        assert host == "127.0.0.1"
        with socket.create_connection((host, int(port))):
            assert started.end() == 0


def test_a_subscription_is_ended_with_its_result() -> None:
    listen = modern(1, "subscriptions/listen", notifications={"toolsListChanged": True})
    fields = {name.replace("_", "-"): value for name, value in modern_fields("subscriptions/listen").items() if value}
    with serving() as started:
        with httpx.stream("POST", started.url, json=listen, headers=fields) as stream:
            pieces = stream.iter_bytes()
            said = next(pieces)
            started.process.send_signal(signal.SIGTERM)
            said += b"".join(pieces)
        assert [message.get("id") for message in messages(said)] == [None, 1]
        assert started.process.wait(PATIENCE) == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with serving("--grace", "600") as started:
        host, port = started.url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            client.sendall(b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n")
            assert b"100" in client.recv(100)
            started.process.send_signal(signal.SIGTERM)
            started.until("Asked to stop")
            assert started.end(signal.SIGINT) == 130


def test_the_token_is_asked_for_and_never_shown() -> None:
    with serving(MCP_TOKEN=CANARY, LOG_LEVEL="debug") as started:
        refused = httpx.post(started.url, json=LIST)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert httpx.post(started.url, json=LIST, headers={"Authorization": "Bearer x"}).status_code == 401
        allowed = httpx.post(started.url, json=LIST, headers={"Authorization": f"Bearer {CANARY}"})
        assert allowed.status_code == 200
        assert httpx.get(started.url.replace("/mcp", "/health")).status_code == 200
        assert started.end() == 0
        assert CANARY not in "".join(started.log)


def test_tokens_of_a_file_and_what_they_allow(tmp_path: Path) -> None:
    path = str(tmp_path / "tokens.json")
    made = subprocess.run(
        [sys.executable, "-m", "openai_gateway_mcp", "tokens", "create", "--tool", "list_models", "--tokens", path],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    bearer = {"Authorization": f"Bearer {made.stdout.strip()}"}
    call: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "chat"}}
    with serving("--tokens", path) as started:
        listed = httpx.post(started.url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=bearer)
        assert [tool["name"] for tool in listed.json()["result"]["tools"]] == ["list_models"]
        refused = httpx.post(started.url, json=call, headers=bearer)
        assert refused.status_code == 403
        assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="tools:chat"'


class AuthorizationServer(http.server.BaseHTTPRequestHandler):
    """Its two documents."""

    documents: ClassVar[dict[str, Json]] = {}

    def do_GET(self) -> None:
        found = self.documents.get(self.path)
        body = json.dumps(found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def issuing(key: rsa.RSAPrivateKey) -> Iterator[str]:
    """An authorization server on this machine; its issuer's URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AuthorizationServer) as server:
        issuer = f"http://127.0.0.1:{server.server_port}"
        jwk = {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "k"}
        AuthorizationServer.documents = {
            "/.well-known/oauth-authorization-server": {"issuer": issuer, "jwks_uri": f"{issuer}/keys"},
            "/keys": {"keys": [jwk]},
        }
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()


def test_access_tokens_of_an_authorization_server() -> None:
    """The way of a client: turned away, led to the document and by it to the issuer, let in with what that gave."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    resource = "http://127.0.0.1/mcp"
    with issuing(key) as issuer, serving("--oauth-issuer", issuer, "--oauth-resource", resource) as started:
        refused = httpx.post(started.url, json=LIST)
        assert refused.status_code == 401
        found = re.search(
            r'resource_metadata="http://127\.0\.0\.1(/[^"]+)", scope="([^"]+)"', refused.headers["www-authenticate"]
        )
        assert found is not None
        document = httpx.get(started.url.replace("/mcp", found[1])).json()
        assert (document["resource"], document["authorization_servers"]) == (resource, [issuer])
        assert found[2].split() == document["scopes_supported"]

        claims = {
            "iss": issuer,
            "aud": resource,
            "sub": "ada",
            "exp": int(time.time()) + 600,
            "scope": "tools:list_models",
        }
        shown = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k"})
        bearer = {"Authorization": f"Bearer {shown}"}
        assert httpx.post(started.url, json=LIST, headers=bearer).status_code == 200
        call: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "chat"}}
        short = httpx.post(started.url, json=call, headers=bearer)
        assert short.status_code == 403
        assert 'error="insufficient_scope", scope="tools:chat", resource_metadata=' in short.headers["www-authenticate"]
        assert (
            httpx.post(started.url, json=LIST, headers={"Authorization": f"Bearer {shown[:-8]}AAAAAAAA"}).status_code
            == 401
        )
        assert started.end() == 0
        assert shown not in "".join(started.log)


def test_over_tls_a_client_is_its_certificate(tmp_path: Path) -> None:
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = CA.issue_cert("127.0.0.1", "localhost")
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    for pem in server.cert_chain_pems:
        pem.write_to_path(tmp_path / "cert.pem", append=True)
    files = [f"--tls-{name}={tmp_path}/{file}" for name, file in
             (("cert", "cert.pem"), ("key", "key.pem"), ("client-ca", "ca.pem"))]  # fmt: skip
    known, stranger = ssl.create_default_context(), ssl.create_default_context()
    for context in (known, stranger):
        CA.configure_trust(context)
    CA.issue_cert("laptop@example.org").configure_cert(known)
    trustme.CA().issue_cert("laptop@example.org").configure_cert(stranger)
    with serving(*files, "--host", EVERYWHERE) as started:
        url = started.url.replace(EVERYWHERE, "localhost")
        assert httpx.post(url, json=LIST, verify=known).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.post(url, json=LIST, verify=stranger)


def test_a_signal_reloads_it(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    text = '[providers.p]\nkind = "echo"\n[[models]]\nname = "NAME"\nprovider = "p"\nmodel = "echo"\n'
    config.write_text(text.replace("NAME", "before"))
    with subprocess.Popen(
        [sys.executable, "-m", "openai_gateway_mcp", "http", "--config", str(config), "--port", "0", "--watch"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        started = Serving(process=process, url="", log=[])
        try:
            found = re.search(r"http://\S+/mcp", started.until("Serving MCP on"))
            assert found is not None
            config.write_text(text.replace("NAME", "after"))
            process.send_signal(signal.SIGHUP)
            started.until("is read again")
            listed = httpx.post(found[0], json=LIST).json()["result"]["models"]
            assert [model["id"] for model in listed] == ["after"]
        finally:
            stop(process)


# --- what it refuses ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("http/loopback")
def test_nobody_serves_the_network_by_accident() -> None:
    words = refusal("--host", EVERYWHERE)
    assert "MCP_TOKEN" in words
    assert "--tokens" in words


def test_an_address_that_cannot_be_had(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot be listened on" in refusal("--port", str(taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"port": "70000"}, "65535"),
        ({"grace": "never"}, "--grace"),
        ({"tls_cert": "a"}, "--tls-key"),
        ({"tls_client_ca": "a"}, "--tls-cert"),
        ({"token_env": "NOT_THERE"}, "NOT_THERE"),
        ({"host": "::"}, "MCP_TOKEN"),
    ],
)
def test_wrong_settings_say_what_is_allowed(flags: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_http(flags)
    assert words in str(caught.value)


def test_settings_that_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_TOKEN", CANARY)
    monkeypatch.setenv("MCP_ALLOWED_ORIGINS", "https://a.example, https://b.example")
    settings = read_http({"host": EVERYWHERE, "token_env": "TEAM_TOKEN", "allowed_hosts": "mcp.example"})
    assert settings.origins == {"https://a.example", "https://b.example"}
    assert settings.hosts == {"mcp.example"}
    assert settings.asks_who
    assert CANARY not in repr(settings)
    assert json.dumps(settings.grace) == "30.0"
