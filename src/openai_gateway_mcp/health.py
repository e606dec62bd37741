"""`doctor --health`, the question of a container's health check: is the server that is process 1 here well?"""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

import attrs
import trio

from openai_gateway.net.client import Http11Client, Origin
from openai_gateway.net.connection import NetError, Unwatched

SECONDS: Final = 4.0
_ANYWHERE: Final = {"", "0.0.0.0", "::", "*"}  # noqa: S104 - it is looked for, and nothing is bound to it


@attrs.frozen(kw_only=True)
class _Server:
    """How a command that serves over HTTP is told where: its flags, its variables and its own port."""

    command: str
    port: int
    host_variable: str
    port_variable: str
    certificate_flag: str
    certificate_variable: str
    authorities: tuple[str, str]


_SERVERS: Final = {
    "openai-gateway-mcp": _Server(
        command="http",
        port=3000,
        host_variable="MCP_HOST",
        port_variable="MCP_PORT",
        certificate_flag="--tls-cert",
        certificate_variable="MCP_TLS_CERT",
        authorities=("--tls-client-ca", "MCP_TLS_CLIENT_CA"),
    ),
    "openai-gateway": _Server(
        command="serve",
        port=4000,
        host_variable="",
        port_variable="",
        certificate_flag="--tls-certificate",
        certificate_variable="",
        authorities=("--client-ca", ""),
    ),
}


@attrs.frozen(kw_only=True)
class Address:
    """Where the server listens. `asks_certificate`: only a client with one of its own is answered at all."""

    host: str
    port: int
    is_secure: bool
    asks_certificate: bool


def of_process(process: Path = Path("/proc/1")) -> Address | None:
    """Where process 1 serves HTTP; None where it serves stdio, or cannot be seen: then it is well as long as it is."""
    try:
        args = process.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
        said = process.joinpath("environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    return address_of(args, dict(one.partition("=")[::2] for one in said))


def address_of(args: Sequence[str], environ: Mapping[str, str]) -> Address | None:
    """What a command line and its environment say of it."""
    names = [PurePath(arg).name for arg in args]
    program = next((name for name in names if name in _SERVERS), None)
    if program is None:
        return None
    server, rest = _SERVERS[program], list(args[names.index(program) + 1 :])
    if server.command not in rest:
        return None
    in_file = _serve_table(_said(rest, "--config")) if server.command == "serve" else {}

    def said(flag: str, variable: str) -> str:
        by_file = in_file.get(flag.removeprefix("--").replace("-", "_"), "")
        return _said(rest, flag) or environ.get(variable, "") or str(by_file)

    host, port = said("--host", server.host_variable), said("--port", server.port_variable)
    return Address(
        host="127.0.0.1" if host in _ANYWHERE else host,
        port=int(port) if port.isdecimal() else server.port,
        is_secure=bool(said(server.certificate_flag, server.certificate_variable)),
        asks_certificate=bool(said(*server.authorities)),
    )


def _serve_table(path: str) -> Mapping[str, Any]:
    """The gateway's own settings in its file; what is wrong with it the gateway itself has said."""
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    table = found.get("serve")
    return table if isinstance(table, dict) else {}


def _said(args: Sequence[str], flag: str) -> str:
    for place, arg in enumerate(args):
        if arg == flag and place + 1 < len(args):
            return args[place + 1]
        if arg.startswith(f"{flag}="):
            return arg.removeprefix(f"{flag}=")
    return ""


async def is_well(address: Address) -> bool:
    """Whether /health is answered, and not by 503; where that wants a certificate, whether anybody is there."""
    with trio.move_on_after(SECONDS):
        if address.asks_certificate:
            try:
                stream = await trio.open_tcp_stream(address.host, address.port)
            except OSError:
                return False
            await stream.aclose()
            return True
        return await _answers(address)
    return False


async def _answers(address: Address) -> bool:
    # It is this machine's own server, and its certificate is made out for other names.
    tls = ssl._create_unverified_context() if address.is_secure else None  # noqa: S323, SLF001
    client = Http11Client(tls=tls)
    origin = Origin("https" if address.is_secure else "http", address.host, address.port)
    host = f"[{address.host}]" if ":" in address.host else address.host
    try:
        answer = await client.ask(
            origin,
            method="GET",
            target=b"/health",
            headers=[("host", f"{host}:{address.port}")],
            body=b"",
            watch=Unwatched(),
        )
        await answer.aclose()
    except NetError:
        return False
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await client.aclose()
    return answer.status < 500  # a Host that it is not known by is refused, and that is an answer
