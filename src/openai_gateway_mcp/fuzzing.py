"""The command `fuzz`: attacks any MCP server, and shows the shortest conversation for each thing it finds."""

from __future__ import annotations

import functools
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import attrs
import trio
import typer

from openai_gateway.errors import ConfigError
from openai_gateway.log import harmless
from openai_gateway.terminal import counted
from openai_gateway_mcp.serve import INTERRUPTED, say

if TYPE_CHECKING:
    from openai_gateway_mcp.fuzz.bridge import AsyncLine, Bridged
    from openai_gateway_mcp.fuzz.campaign import Campaign, Finding
    from openai_gateway_mcp.fuzz.conversation import Conversation

    Starting = Callable[[trio.Nursery], Awaitable[AsyncLine]]
    Opening = Callable[[], Bridged]

DEFAULT_SECONDS: Final = 60.0
TOLD_EVERY: Final = 60.0  # seconds between two lines of a long search

_Command = Annotated[
    list[str] | None, typer.Argument(metavar="COMMAND...", help="What starts the server, for each conversation anew.")
]
_Url = Annotated[
    str | None, typer.Option(metavar="URL", help="A Streamable HTTP server that runs on this machine, instead.")
]
_Headers = Annotated[
    list[str] | None, typer.Option("--header", metavar="NAME:VALUE", help="With --url: sent along. May be repeated.")
]
_Seconds = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="N",
        help="How long to search; each finding takes up to a minute more. [default: 60, unless --examples]",
        show_default=False,
    ),
]
_Examples = Annotated[int | None, typer.Option(min=1, metavar="N", help="How many conversations to have.")]
_Seed = Annotated[int | None, typer.Option(min=0, metavar="N", help="The same seed says the same. Default: any.")]
_Patience = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long an answer may take.")]
_Calls = Annotated[
    list[str] | None,
    typer.Option(
        "--call", metavar="TOOL", help="Call this tool too; else only those that say readOnlyHint. May be repeated."
    ),
]
_Corpus = Annotated[
    Path | None,
    typer.Option(metavar="DIRECTORY", help="Keep findings here; those of earlier runs are tried first."),
]
_Junit = Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JUnit report.")]
_Replay = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Have one kept conversation again, and show it. -: from stdin.")
]


def fuzz(
    *,
    command: _Command = None,
    url: _Url = None,
    headers: _Headers = None,
    seconds: _Seconds = None,
    examples: _Examples = None,
    seed: _Seed = None,
    patience: _Patience = 5.0,
    calls: _Calls = None,
    corpus: _Corpus = None,
    junit: _Junit = None,
    replay: _Replay = None,
) -> None:
    """Attack any MCP server, and hold it to the specification.

    fuzz [OPTIONS] -- COMMAND... prints what it finds as conversations that --replay has again, and exits with 1 where
    there is any.
    """
    try:
        import hypothesis.configuration  # noqa: PLC0415 - the extra, which no other command needs
    except ModuleNotFoundError:
        raise ConfigError("fuzz needs the extra: pip install 'openai-gateway-mcp[fuzz]'.") from None
    if bool(command) is bool(url):
        raise ConfigError("Give the command that starts a server, after --, or --url.")
    start = _over_http(url, headers or (), patience) if url else _over_stdio(command or (), patience)
    if seconds is None and examples is None:
        seconds = DEFAULT_SECONDS
    work: Callable[[Opening], int]
    if replay is not None:
        work = functools.partial(_replay, text=_read(replay), patience=patience)
    else:
        options = Options(
            server=url or " ".join(command or ()), seconds=seconds, examples=examples,
            seed=secrets.randbelow(1_000_000) if seed is None else seed,
            patience=patience, calls=tuple(calls or ()), corpus=corpus, junit=junit,
        )  # fmt: skip
        work = functools.partial(_search, options=options)
    with tempfile.TemporaryDirectory() as home:  # hypothesis keeps tables, and would in the user's directory
        hypothesis.configuration.set_hypothesis_home_dir(home)
        try:
            code = _run(work, start)
        finally:
            hypothesis.configuration.set_hypothesis_home_dir(None)
    raise typer.Exit(code)


@attrs.frozen(kw_only=True)
class Options:
    server: str
    seconds: float | None
    examples: int | None
    seed: int
    patience: float
    calls: tuple[str, ...]
    corpus: Path | None
    junit: Path | None


def _run(work: Callable[[Opening], int], start: Starting) -> int:
    from openai_gateway_mcp.fuzz.bridge import in_a_thread  # noqa: PLC0415 - as above
    from openai_gateway_mcp.fuzz.survey import NoServer  # noqa: PLC0415

    code = INTERRUPTED
    wrong: Exception | None = None
    try:
        code = trio.run(in_a_thread, work, start)
    except* KeyboardInterrupt:
        say("interrupted")
    except* NoServer:
        wrong = ConfigError("It answers as no MCP server of any known revision does.")
    except* (BrokenPipeError, ConfigError) as group:  # of the former typer makes a quiet end, if it is in no group
        wrong = group.exceptions[0]
    if wrong is not None:
        raise wrong
    return code


# --- the search -------------------------------------------------------------------------------------------------------


def _search(opening: Opening, *, options: Options) -> int:
    from openai_gateway_mcp.fuzz.campaign import Budget, Campaign  # noqa: PLC0415 - as above
    from openai_gateway_mcp.fuzz.survey import survey  # noqa: PLC0415

    begun = time.monotonic()
    known = survey(opening, patience=options.patience, calls=options.calls)
    facts = known.facts
    say(f"seed {options.seed}; it speaks {', '.join(facts.revisions)}")
    say(f"tools that are called: {', '.join(map(harmless, facts.tools)) or 'none'}")
    if known.left_alone:
        names = ", ".join(map(harmless, known.left_alone))
        say(f"left alone, since they don't say that they change nothing (--call NAME calls one): {names}")
    told = _Told(options.corpus, begun)
    campaign = Campaign(told.counting(opening), facts, told.found, patience=options.patience, seed=options.seed)
    told.watched = campaign
    _try_again(campaign, options.corpus)
    campaign.search(Budget(seconds=options.seconds, examples=options.examples))
    if options.junit is not None:
        _write_junit(options.junit, campaign, options.server, time.monotonic() - begun)
    found, had = counted(len(campaign.findings), "finding"), counted(campaign.conversations, "conversation")
    typer.echo(f"{found} in {had}, {time.monotonic() - begun:.0f} s, seed {options.seed}")
    return int(bool(campaign.findings))


@attrs.define
class _Told:
    """What is said in the course of a search."""

    _corpus: Path | None
    _last: float
    watched: Campaign | None = None

    def counting(self, opening: Opening) -> Opening:
        def opened() -> Bridged:
            now = time.monotonic()
            if self.watched is not None and now - self._last >= TOLD_EVERY:
                self._last = now
                found = counted(len(self.watched.findings), "finding")
                say(f"{counted(self.watched.conversations, 'conversation')}, {found}")
            return opening()

        return opened

    def found(self, finding: Finding) -> None:
        from openai_gateway_mcp.fuzz.report import as_script, file_name  # noqa: PLC0415 - as above

        text = as_script(finding)
        typer.echo(text)
        if self._corpus is not None:
            path = self._corpus / file_name(finding)
            try:
                self._corpus.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise ConfigError(f"{path} can't be written: {error.strerror}.") from None


def _try_again(campaign: Campaign, corpus: Path | None) -> None:
    from openai_gateway_mcp.fuzz.conversation import read_script  # noqa: PLC0415 - as above

    for path in sorted(corpus.glob("*.jsonl")) if corpus is not None and corpus.is_dir() else ():
        try:
            steps = list(read_script(_read(path)))
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
        if not campaign.again(steps):
            say(f"{path.name} shows nothing any more")


def _write_junit(path: Path, campaign: Campaign, server: str, seconds: float) -> None:
    from openai_gateway_mcp.fuzz.report import as_junit  # noqa: PLC0415 - as above

    report = as_junit(
        campaign.findings, server=server, conversations=campaign.conversations, seed=campaign.seed, seconds=seconds
    )
    try:
        path.write_bytes(report)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}.") from None


# --- one conversation again -------------------------------------------------------------------------------------------


def _replay(opening: Opening, *, text: str, patience: float) -> int:
    from openai_gateway_mcp.fuzz.campaign import replay  # noqa: PLC0415 - as above
    from openai_gateway_mcp.fuzz.conversation import Say, read_script  # noqa: PLC0415

    try:
        steps = list(read_script(text))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    lines: list[Bridged] = []

    def opened() -> Bridged:
        lines.append(opening())
        return lines[-1]

    conversation: Conversation = replay(opened, steps, patience=patience)
    for step in steps:
        if isinstance(step, Say):
            typer.echo(harmless(f"> {step.data.decode(errors='backslashreplace').rstrip()}"))
    for heard in conversation.heard:
        typer.echo(harmless(f"< {heard.decode(errors='backslashreplace')}"))
    for words in lines[0].line.last_words.decode(errors="backslashreplace").splitlines():
        typer.echo(harmless(f"stderr: {words}"))
    for deviation in conversation.judge.deviations:
        rule = deviation.rule
        typer.echo(harmless(f"{rule.level.value} {rule.id}: {deviation.text} ({rule.reference})"))
    if not conversation.judge.deviations:
        typer.echo("nothing is against it")
    return int(bool(conversation.judge.deviations))


def _read(path: Path) -> str:
    try:
        return typer.get_text_stream("stdin").read() if path == Path("-") else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from None


# --- the two transports -----------------------------------------------------------------------------------------------


def _over_stdio(command: Sequence[str], patience: float) -> Starting:
    from openai_gateway_mcp.fuzz.stdio import Process  # noqa: PLC0415 - as above

    async def start(nursery: trio.Nursery) -> Process:
        try:
            return await Process.start(nursery, command, patience=patience)
        except OSError as error:
            raise ConfigError(f"The server can't be started: {error}.") from None

    return start


def _over_http(url: str, headers: Sequence[str], patience: float) -> Starting:
    from openai_gateway_mcp.fuzz.http import LOOPBACK, Session  # noqa: PLC0415 - as above

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or parts.hostname not in LOOPBACK:
        raise ConfigError("--url takes a server on this machine, such as http://127.0.0.1:8000/mcp.")
    pairs = [header.partition(":") for header in headers]
    if not all(name.strip() and colon for name, colon, _ in pairs):
        raise ConfigError("--header takes NAME:VALUE.")
    sent = {name.strip(): value.strip() for name, _, value in pairs}
    return lambda nursery: Session.start(nursery, url, headers=sent, patience=patience)
