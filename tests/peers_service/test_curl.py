"""curl, as the page of the service shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.gateway_service.process import configuration, made_key, served
from tests.peers.fake_upstream import running

pytestmark = pytest.mark.peers


@attrs.frozen
class Curl:
    url: str
    key: str

    def __call__(self, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("curl")
        if program is None:
            pytest.fail("The test needs curl; `apt-get install curl` brings it.")
        authorization = ("-H", f"Authorization: Bearer {self.key}")
        command = [program, "--silent", "--show-error", "--max-time", "30", *authorization, *arguments]
        return subprocess.run([*command, f"{self.url}{path}"], capture_output=True, text=True, check=False)


@pytest.fixture
def curl(tmp_path: Path) -> Iterator[Curl]:
    with running() as upstream:
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        with served(tmp_path, "--config", str(config)) as service:
            yield Curl(service.url, made_key(tmp_path))


ASKS = ("-H", "Content-Type: application/json", "-d")
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "Hello!"}]}


def test_it_is_answered_whole_and_streamed(curl: Curl) -> None:
    whole = curl("/v1/chat/completions", *ASKS, json.dumps(CHAT))
    assert json.loads(whole.stdout)["choices"][0]["message"]["content"] == "Hello!"
    stream = curl("/v1/chat/completions", "--no-buffer", *ASKS, json.dumps({**CHAT, "stream": True}))
    assert '"content":"Hello!"' in stream.stdout.replace(": ", ":")
    assert stream.stdout.endswith("data: [DONE]\n\n")


def test_it_is_told_what_is_wrong(curl: Curl) -> None:
    form = curl("/v1/chat/completions", "-d", json.dumps(CHAT), "--fail-with-body")
    assert form.returncode == 22
    assert json.loads(form.stdout)["error"]["code"] == "unsupported_media_type"
    large = curl(
        "/v1/chat/completions", *ASKS, "x" * 100_000, "-H", "Expect: 100-continue", "--write-out", "%{http_code}"
    )
    assert large.stdout.endswith("400")
    head = curl("/v1/models", "--head")
    assert head.stdout.startswith("HTTP/1.1 200")


def test_a_file_is_uploaded(curl: Curl, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    sent = curl("/v1/files", "-F", "purpose=batch", "-F", f"file=@{tmp_path / 'a.jsonl'}")
    assert "/files" in json.loads(sent.stdout)["error"]["message"]  # the upstream of the tests has none, and says so
