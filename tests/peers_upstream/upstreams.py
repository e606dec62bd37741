"""Real OpenAI-compatible servers as child processes on loopback: llama.cpp, and LiteLLM's proxy in front of it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
from tests.installed import ambient

HERE = Path(__file__).parent
START_SECONDS = 90  # LiteLLM's first start on two busy cores; a later one takes a few seconds
LLAMA_KEY = "sk-llama-canary-7f3a9b2c5d8e"
LITELLM_KEY = "sk-litellm-canary-1c4e6a8b0d2f"
SLOTS = 2

# Nothing may leave this machine: what would, meets a closed door. The rest turns off what is known to call home.
SEALED = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    "NO_PROXY": "127.0.0.1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",  # reads no .env file
}


class NotStarted(Exception):
    """The server ended or said nothing within its time; the message holds the end of its log."""


@attrs.frozen(kw_only=True)
class Upstream:
    """A running server. `url` has no path and no trailing slash. `stops`: the model stops when the client hangs up."""

    name: str
    url: str
    key: str
    model: str = "tiny"
    stops: bool


@contextlib.contextmanager
def llama_cpp(python: Path, room: Path) -> Iterator[Upstream]:
    """`room` is an empty directory: the model and the log are written there. Raises NotStarted."""
    command: list[str | Path] = [python, HERE / "llama_server.py", room / "tiny.gguf", LLAMA_KEY, str(SLOTS)]
    with _child(command, room, stdout=subprocess.PIPE) as (process, log):
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        url = process.stdout.readline().decode().strip() if readable else ""
        if not url:
            raise NotStarted(_end_of(log))
        yield Upstream(name="llama.cpp", url=url, key=LLAMA_KEY, stops=True)


@contextlib.contextmanager
def litellm(python: Path, room: Path, behind: Upstream) -> Iterator[Upstream]:
    """The proxy serves `tiny` from `behind` and `canned` from its own mock. Raises NotStarted."""
    configuration = room / "litellm.yaml"
    configuration.write_text(json.dumps(_litellm_configuration(behind)))  # JSON is YAML
    port = _free_port()
    arguments = ["--config", str(configuration), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with _child([python, HERE / "litellm_proxy.py", *arguments], room, stdout=None) as (process, log):
        url = f"http://127.0.0.1:{port}"
        _wait_until_alive(f"{url}/health/liveliness", process, log)
        yield Upstream(name="LiteLLM", url=url, key=LITELLM_KEY, stops=False)


def _litellm_configuration(behind: Upstream) -> dict[str, object]:
    tiny = {
        "model": f"openai/{behind.model}",
        "api_base": f"{behind.url}/v1",
        "api_key": behind.key,
        # Its client hangs up and it goes on reading: without an end, an endless answer would keep the model busy.
        "max_tokens": 4000,
    }
    canned = {"model": "openai/canned", "api_key": "none", "mock_response": "This answer is canned."}
    return {
        "model_list": [
            {"model_name": "tiny", "litellm_params": tiny},
            {"model_name": "canned", "litellm_params": canned},
        ],
        "general_settings": {"master_key": LITELLM_KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }


@contextlib.contextmanager
def _child(
    command: list[str | Path], room: Path, *, stdout: int | None
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The child has a pipe as stdin and ends when that closes; its stderr (and stdout, unless told) goes to the log."""
    log = room / "log.txt"
    environment = {**ambient("PATH", "LANG", "LD_LIBRARY_PATH"), **SEALED, "HOME": str(room)}
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stdout or sink, stderr=sink, env=environment, cwd=room
        ) as process,
    ):
        try:
            yield process, log
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_alive(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False, timeout=5).is_success:
                return
        time.sleep(0.1)
    raise NotStarted(_end_of(log))


def _free_port() -> int:
    # LiteLLM takes no port 0. Another process could take this one in between; then the start fails and says so.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end_of(log: Path) -> str:
    return os.linesep.join(log.read_text(errors="replace").splitlines()[-8:])
