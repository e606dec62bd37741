"""How the help of the two command lines is laid out."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class CommandsFirst(TyperGroup):
    """Whoever asks for help wants to know what can be done; the options follow."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        # Not the group's own, which would have the commands once more.
        TyperCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]  # it needs no more than a command
