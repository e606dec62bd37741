"""`chat`: one question from the terminal, and a conversation that goes on where a person names it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import typer

from openai_gateway import Call, Chunk, Finished, GatewayError, Served
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import make_private, write_private_file
from openai_gateway.log import harmless
from openai_gateway.routing.key_source import entry_name
from openai_gateway_mcp.config import Settings, key_store
from openai_gateway_mcp.features.answer import Answer, End, facts_of, finish_notice, show
from openai_gateway_mcp.features.default_model import choose, with_names
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.settings import MAX_CHARACTERS
from openai_gateway_mcp.features.transcript import Transcript
from openai_gateway_mcp.serve import say

Json = Any

_MOST: Final = 400_000  # characters of a conversation that are sent again


@attrs.frozen(kw_only=True)
class Question:
    """`thread` is the name of a conversation to go on with, None for none. `as_markdown`: a person reads it."""

    prompt: str
    model: str | None = None
    thread: str | None = None
    as_json: bool = False
    as_markdown: bool = False


async def converse(door: Door, *, settings: Settings, question: Question) -> int:
    """Ask, and print the answer as it comes; the exit code. Raises GatewayError and ConfigError."""
    thread = None if question.thread is None else _Thread.read(question.thread)
    asked = question.model or (None if thread is None else thread.model)
    choice = await choose(door, asked, settings.features)
    if choice.note and door.settings.table.rows:  # without any the call itself says what to set
        say(choice.note)
    message = {"role": "user", "content": question.prompt}
    messages = [*(() if thread is None else thread.messages), message]
    call = Call(model=choice.model, body={"messages": messages}, repair=True)
    transcript, served = Transcript(), None
    printer = _printer(question)
    try:
        with printer.waiting():
            async with (await door.gateway()).stream(call) as parts:
                async for part in parts:
                    if isinstance(part, Chunk):
                        printer.take(transcript.feed(part.json))
                    elif isinstance(part, Finished):  # never Restarted: what is shown as it comes is not begun anew
                        served = part.served
    except GatewayError as error:
        raise await with_names(door, error, asked, settings.features) from error
    finally:
        printer.end()
    if thread is not None and transcript.text.strip():
        thread.with_turn(choice.model, message, transcript.text).write()
    if question.as_json:
        return _print_json(choice.model, transcript, served)
    return _end(choice.model, transcript)


def _end(model: str, transcript: Transcript) -> int:
    if transcript.text.strip():
        if notice := finish_notice(transcript.finish_reason):
            say(notice)
        return 0
    answer = Answer(
        model=model,
        end=End.FINISHED,
        reasoning=transcript.reasoning,
        refusal=transcript.refusal,
        finish_reason=transcript.finish_reason,
    )
    shown = show(answer, soft_deadline=None, max_characters=MAX_CHARACTERS)
    say(shown.text)
    return 1


def _print_json(model: str, transcript: Transcript, served: Served | None) -> int:
    facts: dict[str, Json] = {"model": model} if served is None else facts_of(served)
    said = {"text": transcript.text, "reasoning": transcript.reasoning, "refusal": transcript.refusal}
    typer.echo(json.dumps({**facts, **{name: text for name, text in said.items() if text or name == "text"}}, indent=2))
    return 0 if transcript.text.strip() else 1


# --- how it is printed ----------------------------------------------------------------------------------------------


class _Printer:
    """Text as it comes, for a program or a file."""

    def __init__(self) -> None:
        self._is_begun = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        yield

    def take(self, text: str) -> None:
        self._is_begun = self._is_begun or bool(text)
        typer.echo(harmless(text), nl=False)

    def end(self) -> None:
        if self._is_begun:
            typer.echo()


class _Silent(_Printer):
    """For JSON, which is printed at the end."""

    def take(self, text: str) -> None: ...


class _Markdown(_Printer):
    """A block of Markdown at a time, each when it is whole: what was printed is never printed again."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console  # noqa: PLC0415 - it comes with typer; only a person at a terminal waits for it
        from rich.theme import Theme  # noqa: PLC0415 - as above

        self._console = Console(soft_wrap=False, theme=Theme(_STYLES))
        self._notes = Console(stderr=True)
        self._blocks = Blocks()
        self._stop_waiting: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Shows that something is done, until the first words are there."""
        with contextlib.ExitStack() as stack:
            if sys.stderr is not None and sys.stderr.isatty():
                stack.enter_context(self._notes.status("waiting for the model …"))
            self._stop_waiting = stack.close
            yield

    def take(self, text: str) -> None:
        for block in self._blocks.feed(text):
            self._print(block)

    def end(self) -> None:
        self._stop_waiting()
        if (rest := self._blocks.rest()).strip():
            self._print(rest)

    def _print(self, block: str) -> None:
        from rich.markdown import Markdown  # noqa: PLC0415 - as above

        self._stop_waiting()
        with self._console.capture() as captured:
            # Addresses in full: a link that a terminal hides behind words leads where its writer wants.
            self._console.print(Markdown(harmless(block), code_theme=_code_theme(), hyperlinks=False))
        lines = captured.get().splitlines()
        while lines and _is_blank(lines[0]):  # some elements bring empty lines of their own, at the end as well
            del lines[0]
        while lines and _is_blank(lines[-1]):
            del lines[-1]
        typer.echo("\n".join([*([""] if self._is_begun else []), *(line.rstrip(" ") for line in lines)]))
        self._is_begun = True


_STYLES: Final = {
    "markdown.code": "cyan",
    "markdown.link": "default",
    "markdown.link_url": "underline",
    "markdown.block_quote": "italic",
}
"""In the place of rich's: a black ground beneath code, and blue words, suit terminals of one ground each."""


def _code_theme() -> Any:
    """The terminal's own ground, and of its colours those that can be read on a light one and on a dark one.

    A theme as rich's Syntax takes it; its Markdown, which passes it on, says that it takes but the name of one.
    """
    from pygments import token  # type: ignore[import-untyped]  # noqa: PLC0415 - rich brings it, and it has no types
    from rich.style import Style  # noqa: PLC0415 - as above
    from rich.syntax import ANSISyntaxTheme  # noqa: PLC0415 - as above

    return ANSISyntaxTheme(
        {
            token.Comment: Style(italic=True),
            token.Keyword: Style(bold=True),
            token.Name.Function: Style(color="cyan"),
            token.Name.Class: Style(color="cyan"),
            token.Number: Style(color="magenta"),
            token.String: Style(color="green"),
        }
    )


def _is_blank(line: str) -> bool:
    from rich.text import Text  # noqa: PLC0415 - as above

    return not Text.from_ansi(line).plain.strip()


def _printer(question: Question) -> _Printer:
    if question.as_json:
        return _Silent()
    return _Markdown() if question.as_markdown else _Printer()


class Blocks:
    """Markdown as it comes, a block at a time: an empty line ends one, not in a fence. No line is read twice."""

    def __init__(self) -> None:
        self._lines: list[str] = []  # of the block that goes on
        self._open: list[str] = []  # pieces of a line that has not ended
        self._fence = ""

    def feed(self, text: str) -> list[str]:
        """The blocks that are whole now."""
        ended, newline, rest = text.rpartition("\n")
        if not newline:
            self._open.append(rest)
            return []
        lines = "".join((*self._open, ended, newline)).splitlines(keepends=True)
        self._open = [rest]
        return [block for line in lines if (block := self._take(line)).strip()]

    def rest(self) -> str:
        """What came behind the last whole block. It is gone then."""
        rest = "".join((*self._lines, *self._open))
        self._lines, self._open, self._fence = [], [], ""
        return rest

    def _take(self, line: str) -> str:
        """The block that this line ends, if it ends one."""
        mark = line.lstrip()[:3]
        if mark in {"```", "~~~"} and (not self._fence or mark == self._fence):
            self._fence = "" if self._fence else mark
        self._lines.append(line)
        if line.strip() or not line.endswith("\n") or self._fence:
            return ""
        block, self._lines = "".join(self._lines), []
        return block


# --- conversations --------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Thread:
    """A conversation in a file of its owner's alone."""

    path: Path
    model: str | None = None
    messages: tuple[Mapping[str, Json], ...] = ()

    @classmethod
    def read(cls, name: str) -> _Thread:
        """Raises ConfigError for a name that is none, and a file that says something else."""
        path = key_store().with_name("chats") / f"{entry_name(name)}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(path=path, model=str(found["model"]), messages=tuple(found["messages"]))
        except FileNotFoundError:
            return cls(path=path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"The conversation in {path} cannot be read: {type(error).__name__}.") from None

    def with_turn(self, model: str, question: Mapping[str, Json], answer: str) -> _Thread:
        messages = [*self.messages, question, {"role": "assistant", "content": answer}]
        while len(messages) > 2 and sum(len(str(message["content"])) for message in messages) > _MOST:
            del messages[:2]
        return attrs.evolve(self, model=model, messages=tuple(messages))

    def write(self) -> None:
        """Raises ConfigError."""
        try:
            make_private(self.path.parent)
        except OSError as error:
            raise ConfigError(f"{str(self.path)!r} cannot be written: {error.strerror}.") from None
        write_private_file(self.path, json.dumps({"model": self.model, "messages": list(self.messages)}).encode())
