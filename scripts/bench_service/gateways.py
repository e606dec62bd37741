"""The gateways that are measured: how each is started in front of the same upstream, and how it is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
CORE = "0"
"""Where each gateway is pinned; the upstream and whoever asks have the other core."""

UPSTREAM_KEY = "bench-upstream-key"
LITELLM, PORTKEY = "litellm[proxy]==1.108.7", "@portkey-ai/gateway@1.15.2"


_OPEN = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}  # keys would cost it more
_LITELLM_MODEL = {"model": "openai/m", "api_key": UPSTREAM_KEY}


@attrs.frozen(kw_only=True)
class Ports:
    """`fast` is the upstream that answers at once, `silent` the one that sees when it is left."""

    own: int
    fast: int
    silent: int


@attrs.frozen(kw_only=True)
class Started:
    """A running gateway: what a request to the fast or the silent upstream carries beside its body."""

    pid: int
    port: int
    path: str
    headers: Mapping[str, str]
    silent_path: str
    silent_headers: Mapping[str, str]
    start: float
    """Seconds until it first answered."""


@attrs.frozen(kw_only=True)
class Gateway:
    """`prepare` installs what is needed, or says why it cannot be had; `command` makes the command line."""

    name: str
    title: str
    prepare: Callable[[], str | None]
    run: Callable[[Ports, Path], tuple[Sequence[str | Path], Mapping[str, str]]]
    health: str
    path: str = "/v1/chat/completions"
    silent_path: str = "/v1/chat/completions"
    headers: Callable[[Path, int], Mapping[str, str]] = lambda _room, _port: {}
    streams: bool = True
    """Whether it passes on what comes as it comes, and leaves who leaves it."""


@contextmanager
def running(gateway: Gateway, ports: Ports, room: Path) -> Iterator[Started]:
    """The gateway, pinned to its core, from its start to the first answer; ended after the block."""
    command, environ = gateway.run(ports, room)
    began = time.perf_counter()
    with (room / "log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", CORE, *map(str, command)],
            env={"PATH": os.environ["PATH"], "HOME": str(room), **environ},  # noqa: TID251 - for a child
            stdout=log,
            stderr=log,
            cwd=room,
        )
        try:
            _until_it_answers(process, f"http://127.0.0.1:{ports.own}{gateway.health}", room)
            yield Started(
                pid=process.pid,
                port=ports.own,
                path=gateway.path,
                headers=gateway.headers(room, ports.fast),
                silent_path=gateway.silent_path,
                silent_headers=gateway.headers(room, ports.silent),
                start=time.perf_counter() - began,
            )
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until_it_answers(process: subprocess.Popen[bytes], url: str, room: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - it is http, on this machine
        except urllib.error.HTTPError:
            return  # an answer all the same
        except OSError:
            time.sleep(0.005)
        else:
            return
    raise SystemExit(f"{process.args} did not start: {(room / 'log').read_text(errors='replace')[-2000:]}")


def _nothing() -> None:
    return None


def _nginx() -> str | None:
    return None if shutil.which("nginx") else "nginx is not installed (Debian's package nginx)"


def _run_nginx(ports: Ports, room: Path) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    (room / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {room}/pid; error_log {room}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {room}/b; proxy_temp_path {room}/p; fastcgi_temp_path {room}/f;
  uwsgi_temp_path {room}/u; scgi_temp_path {room}/s; keepalive_requests 1000000;
  upstream fast {{ server 127.0.0.1:{ports.fast}; keepalive 128; }}
  upstream silent {{ server 127.0.0.1:{ports.silent}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{ports.own};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    location /v1/ {{ proxy_pass http://fast; }}
    location /silent/v1/ {{ proxy_pass http://silent/v1/; }}
  }}
}}""")
    return ["nginx", "-c", room / "nginx.conf"], {}


def _litellm() -> str | None:
    return _install(
        "litellm",
        lambda room: [[sys.executable, "-m", "venv", room], [room / "bin/pip", "install", "--quiet", LITELLM]],
    )


def _run_litellm(ports: Ports, room: Path) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    models = [
        {"model_name": name, "litellm_params": {**_LITELLM_MODEL, "api_base": f"http://127.0.0.1:{port}/v1"}}
        for name, port in (("m", ports.fast), ("silent", ports.silent))
    ]
    (room / "config.yaml").write_text(json.dumps({"model_list": models}))  # JSON is YAML
    where = ["--port", str(ports.own), "--host", "127.0.0.1"]
    command = [CACHE / "litellm/bin/litellm", "--config", room / "config.yaml", *where]
    return command, {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", **_OPEN}


def _portkey() -> str | None:
    return _install("portkey", lambda room: [["npm", "install", "--silent", "--prefix", room, PORTKEY]])


def _run_portkey(ports: Ports, _room: Path) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    script = CACHE / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    return ["node", script, f"--port={ports.own}", "--headless"], {"NODE_ENV": "production"}


def _portkey_headers(_room: Path, port: int) -> Mapping[str, str]:
    return {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{port}/v1",
        "authorization": f"Bearer {UPSTREAM_KEY}",
    }


def _run_floor(ports: Ports, _room: Path) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    script = Path(__file__).with_name("passthrough.py")
    return [sys.executable, script, str(ports.own), f"fast={ports.fast}", f"silent={ports.silent}"], {}


def _run_ours(ports: Ports, room: Path) -> tuple[Sequence[str | Path], Mapping[str, str]]:
    (room / "key").write_text(UPSTREAM_KEY)
    (room / "key").chmod(0o600)
    providers = "".join(
        f'[providers.{name}]\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        f'api_key = {{ file = "{room}/key" }}\n'
        f'[[models]]\nname = "{model}"\nprovider = "{name}"\nmodel = "m"\nmax_output_tokens = 1000\n'
        "price = { input = 1.0, output = 2.0 }\n"
        for name, port, model in (("fast", ports.fast, "m"), ("silent", ports.silent, "silent"))
    )
    config = room / "gateway.toml"
    config.write_text(providers)
    config.chmod(0o600)
    ours = [sys.executable, "-m", "openai_gateway"]
    limits = ["--rpm", "1000000000", "--tpm", "1000000000000", "--max-parallel", "100000", "--budget", "1000000"]
    made = subprocess.run(
        [*ours, "keys", "create", "--data", room, *limits], capture_output=True, text=True, check=True
    )
    (room / "virtual-key").write_text(made.stdout.strip())
    return [*ours, "serve", "--config", config, "--data", room, "--port", str(ports.own)], {}


def _our_headers(room: Path, _port: int) -> Mapping[str, str]:
    return {"authorization": f"Bearer {(room / 'virtual-key').read_text()}"}


def _install(name: str, commands: Callable[[Path], list[list[str | Path]]]) -> str | None:
    room = CACHE / name
    if (room / "installed").exists():
        return None
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    for command in commands(room):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{name} could not be installed: {done.stderr[-300:]}"
    (room / "installed").touch()
    return None


GATEWAYS = (
    Gateway(
        name="nginx", title="nginx", prepare=_nginx, run=_run_nginx, health="/",
        silent_path="/silent/v1/chat/completions",
    ),
    Gateway(
        name="floor", title="h11, both sides", prepare=_nothing, run=_run_floor, health="/health",
        path="/fast/v1/chat/completions", streams=False,
    ),
    Gateway(
        name="ours", title="openai-gateway", prepare=_nothing, run=_run_ours, health="/health", headers=_our_headers
    ),
    Gateway(
        name="portkey", title="Portkey 1.15", prepare=_portkey, run=_run_portkey, health="/", headers=_portkey_headers
    ),
    Gateway(name="litellm", title="LiteLLM 1.108", prepare=_litellm, run=_run_litellm, health="/health/liveliness"),
)  # fmt: skip
