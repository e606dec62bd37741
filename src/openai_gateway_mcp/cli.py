"""The command line of `openai-gateway-mcp`, for people: what it prints goes to stdout, what went wrong to stderr."""

from __future__ import annotations

import errno
import functools
import gc
import json
import select
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, TextIO

import attrs
import trio
import typer

from openai_gateway import GatewayError, Model, __version__
from openai_gateway.errors import ConfigError
from openai_gateway.help_text import CommandsFirst
from openai_gateway.log import harmless, set_up
from openai_gateway.secret import Redactor
from openai_gateway.terminal import columns_of, counted, folded, print_table, stdout
from openai_gateway_mcp.chatting import Question, converse
from openai_gateway_mcp.config import SETTINGS, Settings, read, read_http
from openai_gateway_mcp.doctor import Finding, Health, examine
from openai_gateway_mcp.features.door import Door, open_door
from openai_gateway_mcp.features.failures import MODELS_COMMAND, explain
from openai_gateway_mcp.features.tools.list_models import model_entry
from openai_gateway_mcp.fuzzing import fuzz
from openai_gateway_mcp.http_config import HTTP_SETTINGS
from openai_gateway_mcp.install import clients, install, uninstall
from openai_gateway_mcp.keys import app as keys_app
from openai_gateway_mcp.options import with_settings
from openai_gateway_mcp.serve import INTERRUPTED, as_said, say, serve
from openai_gateway_mcp.tokens import app as tokens_app
from openai_gateway_mcp.transports.descriptors import claim
from openai_gateway_mcp.transports.signals import Hangup

STDIN_PATIENCE = 1.0  # seconds; what feeds a pipe was started together with us

app = typer.Typer(
    cls=CommandsFirst,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show local variables
    subcommand_metavar="[COMMAND ...]",
    help="""An MCP server that lets MCP clients ask any OpenAI-compatible API.

    Without a command it serves MCP on stdin and stdout, as MCP clients start it. To ask a model from here, to put it
    into an MCP client, and to see what is amiss:

    \b
      openai-gateway-mcp chat --embedded "Hello!"
      openai-gateway-mcp install cursor --embedded
      openai-gateway-mcp doctor --embedded
    """,
)
_ONCE: Final = functools.partial(with_settings, serves=False)
_SERVERS_TOO: Final = "A server's other flags (openai-gateway-mcp --help) are taken too, and change nothing."
app.add_typer(keys_app, name="keys")
app.add_typer(tokens_app, name="tokens")


def run(argv: Sequence[str]) -> int:
    """Run a command; the exit code, if typer does not exit with it by itself. Raises ConfigError."""
    gc.enable()
    # The two signals ended the process at once so far; commands unwind, so that the provider is told.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return int(app(args=list(argv), prog_name="openai-gateway-mcp") or 0)


# --- the commands ---------------------------------------------------------------------------------------------------


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"openai-gateway-mcp {__version__}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback(invoke_without_command=True)
@with_settings
def root(*, context: typer.Context, version: _Version = False, flags: dict[str, str]) -> int | None:
    del version  # its callback has answered
    if context.invoked_subcommand is not None:
        return None
    hangup = Hangup()
    hangup.watch()
    reread = functools.partial(read, flags)
    return serve(reread(), claim(), reread, hangup)


@app.command("chat", epilog=_SERVERS_TOO)
@_ONCE
def chat(
    *,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="What to ask; what is piped in is added.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model to ask.", metavar="MODEL")] = None,
    thread: Annotated[
        str | None,
        typer.Option("--thread", help="Go on with the conversation of this name; it is kept.", metavar="NAME"),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Show Markdown as it is written, on a terminal too.")] = False,
    as_json: _Json = False,
    flags: dict[str, str],
) -> int:
    """Ask a model; the answer is printed as it comes. Ctrl-C stops the provider too."""
    settings, redactor = _people_settings(flags)
    *said, last = words or ["-"]
    wait = last == "-"
    asked = " ".join(said if wait else [*said, last])
    prompt = "\n\n".join(part for part in (asked, _piped(wait=wait)) if part)
    if not prompt:
        raise ConfigError("There is nothing to ask: give a prompt, or pipe one in.")
    is_read = not plain and sys.stdout.isatty()  # noqa: TID251 - a command's output, and no wire
    question = Question(prompt=prompt, model=model, thread=thread, as_json=as_json, as_markdown=is_read)
    ask = functools.partial(converse, settings=settings, question=question)
    return _run(functools.partial(_with_door, settings, redactor, ask))


@app.command("models", epilog=_SERVERS_TOO)
@_ONCE
def models(*, as_json: _Json = False, flags: dict[str, str]) -> int:
    """List the models that can be asked."""
    return _run(functools.partial(_with_door, *_people_settings(flags), functools.partial(_models, as_json=as_json)))


@app.command("http")
@functools.partial(with_settings, rows=(*SETTINGS, *HTTP_SETTINGS))
def http(*, flags: dict[str, str]) -> int:
    """Serve MCP over HTTP, at /mcp, until SIGTERM or Ctrl-C."""
    from openai_gateway_mcp.serve_http import serve_http  # noqa: PLC0415 - no other command needs the listener

    hangup = Hangup()
    hangup.watch()
    reread = functools.partial(read, flags)
    settings = reread()
    if settings.relay is not None:
        raise ConfigError(f"{settings.relay.url} is an MCP server already; http needs a gateway, or --embedded.")
    return serve_http(settings, read_http(flags), reread, hangup)


@app.command("doctor", epilog=_SERVERS_TOO)
@_ONCE
def doctor(
    *,
    as_json: _Json = False,
    health: Annotated[
        bool, typer.Option("--health", help="Of a container: 0 where its server (process 1) is well, else 1.")
    ] = False,
    flags: dict[str, str],
) -> int:
    """Check the way from the settings to an answer. Says how to mend what is wrong."""
    if health:
        from openai_gateway_mcp.health import is_well, of_process  # noqa: PLC0415 - for containers alone

        address = of_process()
        return 0 if address is None or trio.run(is_well, address) else 1
    settings, redactor = _people_settings(flags, reports_itself=True)
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            typer.echo(_line(finding, redactor))

    code = _run(functools.partial(_examine, settings, redactor, report))
    if as_json:
        shown = [attrs.asdict(finding, value_serializer=_plain) for finding in findings]
        typer.echo(json.dumps(redactor.redact_json(shown), indent=2))
    elif not code:
        typer.echo(f"\n{_verdict(findings)}")
    return code or int(any(finding.health is Health.WRONG for finding in findings))


app.command("install")(install)
app.command("uninstall")(uninstall)
app.command("clients")(clients)
app.command("fuzz", context_settings={"allow_interspersed_args": False})(fuzz)


def _people_settings(flags: dict[str, str], *, reports_itself: bool = False) -> tuple[Settings, Redactor]:
    """The settings of a command, and what its log is struck with; warnings are said, unless it `reports_itself`."""
    settings = read(flags)
    redactor = Redactor(settings.features.gateway.secrets)
    # A person reads the answer on the same terminal: what the server logs at info would stand in its midst.
    level = "error" if reports_itself else "warn"
    if settings.log_level == "info":
        set_up(level, redactor, told=as_said)
    else:
        set_up(settings.log_level, redactor)
    for warning in () if reports_itself else settings.warnings:
        say(f"warning: {redactor.redact(warning)}")
    return settings, redactor


def _piped(*, wait: bool) -> str:
    """All of stdin, where it is no terminal. Unless told to wait, not where nothing comes from it."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    if not wait and not _has_something(sys.stdin):
        say("stdin is open and nothing comes from it, so it is left out; end the prompt with - to wait for it.")
        return ""
    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"stdin is not UTF-8 text (byte {error.start}); only text can be asked.") from None


def _has_something(stdin: TextIO) -> bool:
    """Whether bytes or the end are there. Programs that start others often leave them a pipe that nobody writes to."""
    try:
        descriptor = stdin.fileno()
    except (OSError, ValueError):  # no file at all
        return True
    if sys.platform == "win32":  # select knows only sockets there
        return True
    return bool(select.select([descriptor], [], [], STDIN_PATIENCE)[0])


def _run(main: Callable[[], Awaitable[int]]) -> int:
    code = 0
    is_read = True
    try:
        code = trio.run(main)
    except* KeyboardInterrupt:
        code = INTERRUPTED
    except* BrokenPipeError:
        is_read = False
    if not is_read:  # `| head` has enough: typer ends a command quietly for this error, if it is in no group
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output")
    return code


async def _with_door(settings: Settings, redactor: Redactor, act: Callable[[Door], Awaitable[int]]) -> int:
    async with open_door(settings.features.gateway, redactor=redactor) as door:
        try:
            return await act(door)
        except GatewayError as error:
            say(explain(error, asked="the call", models=MODELS_COMMAND))
            return 1


async def _examine(settings: Settings, redactor: Redactor, report: Callable[[Finding], None]) -> int:
    await examine(settings.features.gateway, report, redactor=redactor)
    return 0


# --- models and doctor ----------------------------------------------------------------------------------------------


async def _models(door: Door, *, as_json: bool) -> int:
    found = await door.models()
    if as_json:
        typer.echo(json.dumps([model_entry(model) for model in found], indent=2))
        return 0
    print_table([("MODEL", "OWNED BY", "CREATED"), *(_row(model) for model in found)])
    return 0


def _row(model: Model) -> tuple[str, str, str]:
    try:
        created = time.strftime("%Y-%m-%d", time.gmtime(model.created)) if model.created else ""
    except (OverflowError, ValueError, OSError):  # a number that is no time
        created = ""
    return model.id, model.owned_by, created


_MARKS = {Health.OK: "ok     ", Health.WARNING: "warning", Health.WRONG: "WRONG  "}
_INDENT = " " * 9  # what is under a mark and the gap behind it


def _line(finding: Finding, redactor: Redactor) -> str:
    columns = columns_of(stdout())
    mark = _MARKS[finding.health]
    found = harmless(redactor.redact(f"{mark}  {finding.about}: {finding.text}"))
    mend = harmless(redactor.redact(f"{_INDENT}→ {finding.mend}")) if finding.mend else ""
    # Bold is readable on every background, as no colour is; where there is no terminal, typer leaves it out.
    seen = typer.style(mark, bold=finding.health is not Health.OK)
    seen += folded(found, columns, indent=_INDENT).removeprefix(mark)
    return seen + (f"\n{folded(mend, columns, indent=f'{_INDENT}  ')}" if mend else "")


def _verdict(findings: Sequence[Finding]) -> str:
    wrong = sum(finding.health is Health.WRONG for finding in findings)
    warnings = sum(finding.health is Health.WARNING for finding in findings)
    also = f", and {counted(warnings, 'warning')}" if warnings else ""
    if wrong:
        return f"{counted(wrong, 'thing')} wrong{also}. Mend the first, then look again."
    return f"Calls should be answered{also}." if warnings else "All is well."


def _plain(_instance: type, _field: Any, value: Any) -> Any:
    return value.value if isinstance(value, Health) else value
