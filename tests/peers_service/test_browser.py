"""A real browser: the page for people in it, and pages of others, which get nothing out of the service."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import pytest

from tests.gateway_service.process import configuration, made_key, served
from tests.peers.fake_upstream import Upstream, running

pytestmark = pytest.mark.peers


@attrs.frozen
class Browser:
    """Headless Chromium with a profile of its own."""

    profile: Path

    def run(self, url: str, *more: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.fail("The test needs Chromium; `apt-get install chromium` brings it.")
        return subprocess.run(
            [
                *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                *("--enable-logging=stderr", f"--user-data-dir={self.profile}", *more, url),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def dom(self, url: str, *more: str) -> str:
        """The page as it is once its scripts have run for a while."""
        done = self.run(url, "--dump-dom", "--virtual-time-budget=5000", *more)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Content Security Policy" not in done.stderr, done.stderr[-2000:]
        return done.stdout


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path / "profile")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running() as started:
        yield started


@contextmanager
def page(content: str) -> Iterator[str]:
    """The address of a page of somebody else's, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_for_people_is_shown_and_its_script_runs(tmp_path: Path, browser: Browser, upstream: Upstream) -> None:
    model = '[[models]]\nname = "gpt-5"\nprovider = "up"\nmodel = "gpt-5"\n'
    config = configuration(tmp_path / "gateway.toml", upstream.url, model)
    data = tmp_path / "data"
    key = made_key(data, "--admin", "--name", "me", "--budget", "5")
    with served(data, "--config", str(config), "--dashboard") as service:
        url = service.url.replace("http://", f"http://me:{key}@")
        dom = browser.dom(url)
        assert "<td>me (key_" in dom
        assert dom.count("<button>") == len(re.findall("<th ", dom)) > 0  # the script made the heads sort
        picture = tmp_path / "page.png"
        assert browser.run(url, f"--screenshot={picture}", "--window-size=1200,900").returncode == 0
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert "<td>me (key_" not in browser.dom(service.url)


ATTACK = """<!DOCTYPE html><title>evil</title><body><script>
const service = SERVICE, said = {};
const chat = JSON.stringify({model: "echo", messages: [{role: "user", content: "Hello!"}]});
const attempts = {
  reads: () => fetch(service + "/v1/models").then((answer) => answer.text()),
  reads_health: () => fetch(service + "/health").then((answer) => answer.text()),
  posts_text: () => fetch(service + "/v1/chat/completions", {method: "POST", mode: "no-cors", body: chat}),
  posts_json: () => fetch(service + "/v1/chat/completions",
    {method: "POST", headers: {"content-type": "application/json"}, body: chat}).then((answer) => answer.text()),
  posts_form: () => {
    const form = new FormData();
    form.append("model", "echo");
    form.append("file", new Blob(["x"]), "a.wav");
    return fetch(service + "/v1/audio/transcriptions", {method: "POST", mode: "no-cors", body: form});
  },
  beacons: async () => navigator.sendBeacon(service + "/v1/chat/completions", chat) ? "sent" : "not sent",
};
(async () => {
  for (const [name, attempt] of Object.entries(attempts)) {
    try { const got = await attempt(); said[name] = got instanceof Response ? got.type : got; }
    catch (error) { said[name] = error.name; }
  }
  document.body.textContent = JSON.stringify(said);
})();
</script>"""


def test_a_page_of_another_origin_reaches_nothing(tmp_path: Path, browser: Browser, upstream: Upstream) -> None:
    """Without keys, which is the weakest that the service can be: what such a page sends does and tells nothing."""
    config = configuration(tmp_path / "gateway.toml", upstream.url)
    with served(tmp_path / "data", "--config", str(config), "--no-auth") as service:
        with page(ATTACK.replace("SERVICE", json.dumps(service.url))) as evil:
            found = re.search(r"<body>(\{.*\})", browser.dom(evil))
        assert found is not None
        assert json.loads(html.unescape(found[1])) == {
            "reads": "TypeError",
            "reads_health": "TypeError",
            "posts_text": "opaque",
            "posts_json": "TypeError",
            "posts_form": "opaque",
            "beacons": "sent",
        }
        assert not upstream.journal.entries


def test_a_name_that_leads_here_is_not_ours(tmp_path: Path, browser: Browser, upstream: Upstream) -> None:
    """DNS rebinding: the browser takes the service for a part of evil.example, and tells it so."""
    config = configuration(tmp_path / "gateway.toml", upstream.url)
    with served(tmp_path / "data", "--config", str(config), "--no-auth") as service:
        port = service.url.rpartition(":")[2]
        rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
        assert "host_not_allowed" in browser.dom(f"http://evil.example:{port}/v1/models", rules)
        assert "echo" in browser.dom(f"http://localhost:{port}/v1/models", rules)
