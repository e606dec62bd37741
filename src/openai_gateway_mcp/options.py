"""The tables of settings as options of commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final

import typer

from openai_gateway_mcp.config import SETTINGS
from openai_gateway_mcp.said import Setting, Sort

Command = Callable[..., int | None]
"""It takes `flags` last; what it returns is the exit code, None to go on to the command below it."""


def with_settings(command: Command, rows: Sequence[Setting] = SETTINGS, *, serves: bool = True) -> Callable[..., None]:
    """The command with every flag of the table as an option. `flags` has those given here and those of the root.

    One that `serves` nothing takes a server's flags too, so that those of a client's entry may be tried on it as they
    are; its help leaves them out.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name not in {"context", "flags"}]

    @functools.wraps(command)
    def wrapped(context: typer.Context, **values: Any) -> None:
        said = {row.name: values.pop(row.name) for row in rows if row.flag}
        flags = {name: "true" if text is True else text for name, text in said.items() if text not in (None, False)}
        context.obj = {**(context.obj or {}), **flags}
        if "context" in signature.parameters:
            values["context"] = context
        code = command(**values, flags=context.obj)
        if code is not None:
            raise typer.Exit(code)

    parameters = [_CONTEXT, *own, *_options(rows, serves=serves)]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _options(rows: Iterable[Setting], *, serves: bool) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            row.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if row.sort is Sort.SWITCH else None,
            annotation=_option(row, row.flag, hidden=row.serves and not serves),
        )
        for row in rows
        if row.flag
    ]


_METAVARS: Final = {Sort.SECONDS: "SECONDS", Sort.COUNT: "N", Sort.LEVEL: "LEVEL", Sort.TOOLS: "TOOLS"}


def _option(row: Setting, flag: str, *, hidden: bool) -> Any:
    if row.sort is Sort.SWITCH:
        return Annotated[bool, typer.Option(flag, help=row.help, hidden=hidden)]
    shown = f"{row.help} [default: {row.default}]" if row.default else row.help
    metavar = row.metavar or _METAVARS[row.sort]
    return Annotated[str | None, typer.Option(flag, help=shown, show_default=False, metavar=metavar, hidden=hidden)]
