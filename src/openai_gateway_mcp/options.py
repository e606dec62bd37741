"""The tables of settings as options of commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer

from openai_gateway_mcp.config import SETTINGS
from openai_gateway_mcp.said import Setting, Sort

Command = Callable[..., int | None]
"""It takes `flags` last; what it returns is the exit code, None to go on to the command below it."""


def with_settings(command: Command, rows: Sequence[Setting] = SETTINGS) -> Callable[..., None]:
    """The command with every flag of the table as an option. `flags` has those given here and those of the root."""
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

    parameters = [_CONTEXT, *own, *_options(rows)]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _options(rows: Iterable[Setting] = SETTINGS) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            row.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if row.sort is Sort.SWITCH else None,
            annotation=_option(row.flag, row.help, row.default, is_switch=row.sort is Sort.SWITCH),
        )
        for row in rows
        if row.flag
    ]


def _option(flag: str, words: str, default: str, *, is_switch: bool) -> Any:
    if is_switch:
        return Annotated[bool, typer.Option(flag, help=words)]
    shown = f"{words} [default: {default}]" if default else words
    return Annotated[str | None, typer.Option(flag, help=shown, show_default=False)]
