"""What the image has to do, as its users start it: read-only, without capabilities, without a network."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")
# What containers in containers want; they take nothing away from the trial.
HERE = ("--runtime", "runc", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
MOST_BYTES = 200 * 10**6
TALK: list[dict[str, Any]] = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "trial", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "chat", "arguments": {"prompt": "Hello!"}}},
]


def podman(*argv: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *argv], input=text, capture_output=True, text=True, check=False, timeout=120)


def run(
    image: str, *argv: str, flags: tuple[str, ...] = (), text: str | None = None
) -> subprocess.CompletedProcess[str]:
    return podman("run", "--rm", *HERE, *HARDENED, *flags, image, *argv, text=text)


def check(what: str, is_so: bool, seen: object) -> None:  # noqa: FBT001 - what is checked
    print(f"{'ok    ' if is_so else 'WRONG '} {what}: {seen}")
    if not is_so:
        sys.exit(1)


def serves_stdio(image: str) -> None:
    talk = "".join(json.dumps(message) + "\n" for message in TALK)
    done = run(image, "--embedded", flags=("-i",), text=talk)
    answers = {message["id"]: message for message in map(json.loads, done.stdout.splitlines())}
    said = answers.get(2, {}).get("result", {}).get("content", [{}])[0].get("text", done.stderr)
    check("a conversation on stdio", done.returncode == 0 and "Hello!" in said, said)
    done = run(image, "--embedded")
    check("without -i it says so and ends well", done.returncode == 0 and "-i" in done.stderr, done.stderr.strip())


def serves_http(image: str) -> None:
    name = "openai-gateway-mcp-trial"
    podman("rm", "--force", name)
    try:
        podman("run", "--detach", "--name", name, *HERE, *HARDENED, image, "http", "--embedded")
        well = podman("exec", name, "openai-gateway-mcp", "doctor", "--health")
        deadline = time.monotonic() + 20
        while well.returncode and time.monotonic() < deadline:
            time.sleep(0.2)
            well = podman("exec", name, "openai-gateway-mcp", "doctor", "--health")
        check("its health over HTTP", well.returncode == 0, well.stderr.strip() or "0")
        other = podman("exec", "--env", "X=1", name, "openai-gateway", "--help")
        check("the gateway's command is inside", other.returncode == 0, other.stdout.split("\n")[1].strip())
        who = podman("exec", name, "python3", "-c", "import os; print(os.getuid(), os.access('/', os.W_OK))")
        check("it is uid 1001, and nothing can be written", who.stdout.split() == ["1001", "False"], who.stdout.strip())
        podman("stop", "--time", "20", name)
        ended = podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip()
        check("SIGTERM ends it well", ended == "0", ended)
    finally:
        podman("rm", "--force", name)


def main(image: str) -> None:
    size = int(podman("image", "inspect", "--format", "{{.Size}}", image).stdout)
    check("less than 200 MB", size < MOST_BYTES, f"{size / 10**6:.0f} MB")
    labels = json.loads(podman("image", "inspect", "--format", "{{json .Labels}}", image).stdout)
    version = run(image, "--version").stdout.split()[-1]
    check("the version is the label's", version == labels["org.opencontainers.image.version"], version)
    serves_stdio(image)
    serves_http(image)


if __name__ == "__main__":
    main(sys.argv[1])
