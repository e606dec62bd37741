"""What people read: tables and sentences as wide as their terminal. Into files and pipes they go as they are."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final, TextIO

from openai_gateway.log import harmless

_GAP: Final = "  "
_NARROWEST: Final = 24  # characters; only a longer word than this, such as a path, is broken


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print it on stdout; the first row is the head. What a peer wrote in it does nothing to the terminal."""
    out = stdout()
    if out is not None:
        out.write(harmless("\n".join(lines_of(rows, columns_of(out)))) + "\n")
        out.flush()


def stdout() -> TextIO | None:
    return sys.stdout  # noqa: TID251 - a command's output, and no wire


def columns_of(stream: TextIO | None) -> int | None:
    """How wide the terminal is that this goes to; None where it is none, or does not tell."""
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):  # closed, or a file of memory
        return None


def lines_of(rows: Sequence[tuple[str, ...]], columns: int | None) -> list[str]:
    """Where the rows are wider than that, the widest columns give way, and their cells go on in the line below.

    Where not even their words have room, each row becomes a block with a line a cell.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    fitting = widths if columns is None else _maybe_narrowed(rows, widths, columns - len(_GAP) * (len(widths) - 1))
    if fitting is None:
        return _blocks(rows[0], rows[1:])
    return [line for row in rows for line in _row(row, fitting)]


def folded(text: str, columns: int | None, *, indent: str = "") -> str:
    """Broken at spaces alone: an address, a path or a command stays whole, to be copied."""
    if columns is None:
        return text
    lines = (
        textwrap.wrap(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )
    return "\n".join("\n".join(pieces) for pieces in lines)


def counted(count: int, one: str, many: str = "") -> str:
    """`1 model`, `2 models`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _maybe_narrowed(rows: Sequence[tuple[str, ...]], widths: Sequence[int], room: int) -> list[int] | None:
    """Widths that fit into the room; None where there is not enough of it."""
    words = [max(map(len, " ".join(row[column] for row in rows).split()), default=0) for column in range(len(widths))]
    least = [min(word, _NARROWEST) for word in words]
    found = list(widths)
    while sum(found) > room:
        spare = [column for column, width in enumerate(found) if width > least[column]]
        if not spare:
            return None
        found[max(spare, key=lambda column: found[column])] -= 1
    return found


def _blocks(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    width = max(map(len, head))
    blocks = [[f"{name:<{width}}{_GAP}{cell}" for name, cell in zip(head, row, strict=True) if cell] for row in rows]
    return "\n\n".join("\n".join(block) for block in blocks).split("\n")


def _row(row: tuple[str, ...], widths: Sequence[int]) -> list[str]:
    cells = [_pieces(cell, width) for cell, width in zip(row, widths, strict=True)]
    return [
        _GAP.join(f"{piece:<{width}}" for piece, width in zip(pieces, widths, strict=True)).rstrip()
        for pieces in zip_longest(*cells, fillvalue="")
    ]


def _pieces(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False)
