"""A part of LiteLLM's configuration from which things are taken; what is left over in the end is told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from openai_gateway.config.writing import is_text

_ENVIRONMENT: Final = "os.environ/"
_DIGITS: Final = re.compile("[0-9]{1,16}")
_NO_COUNTERPART: Final = "there is nothing like it here"


@attrs.define(kw_only=True)
class Notes:
    """What is not carried over, a line each: where it stands, and why. It shows no value, which might be a secret."""

    environ: Mapping[str, str]
    lines: list[str] = attrs.field(factory=list)

    def add(self, where: str, why: str) -> None:
        self.lines.append(f"{where} - {why}.")  # no colon: "api_key: a" would look like a key to a redactor

    def part(self, where: str, content: Any, reasons: Mapping[str, str] | None = None) -> Part:
        """The mapping `content`; anything else is told and taken for an empty one."""
        if content is not None and not isinstance(content, Mapping):
            self.add(where, "it is no mapping")
        left = {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
        return Part(notes=self, where=where, left=left, reasons=reasons or {})


def environment_variable(value: Any) -> str | None:
    """The X of LiteLLM's spelling `os.environ/X`; None for any other value."""
    return value.removeprefix(_ENVIRONMENT) if is_text(value) and value.startswith(_ENVIRONMENT) else None


@attrs.define(kw_only=True)
class Part:
    """One mapping. Each reader takes its key out, and gives None (and a note) for a value that is of no use."""

    notes: Notes
    where: str
    left: dict[str, Any]
    reasons: Mapping[str, str]

    def note(self, key: str, why: str) -> None:
        self.notes.add(f"{self.where}.{key}" if self.where else key, why)

    def take(self, key: str) -> Any:
        return self.left.pop(key, None)

    def text(self, key: str) -> str | None:
        """A text that is no secret; `os.environ/X` is looked up now, since a file here cannot ask the environment."""
        value = self.take(key)
        if (variable := environment_variable(value)) is not None:
            found = self.notes.environ.get(variable, "").strip()
            if not found:
                self.note(key, f"{variable} is not set; set it and import again, its value is written then")
            return found or None
        if value is not None and not is_text(value):
            self.note(key, "it is no text")
            return None
        return None if value is None else str(value).strip()

    def whole(self, key: str, *, least: int = 1, most: int = 2**53) -> int | None:
        """A whole number, as a text too, which LiteLLM takes."""
        value = self.take(key)
        number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        sound = isinstance(number, int) and not isinstance(number, bool) and least <= number <= most
        if value is not None and not sound:
            self.note(key, f"it is no whole number from {least} to {most}")
        return number if sound else None

    def number(self, key: str, *, above: bool = True, most: float = math.inf) -> float | None:
        """A number above 0 (or from 0 on), as a text too: YAML 1.1 takes 1e-06 for one."""
        value = self.take(key)
        try:
            is_odd = isinstance(value, str) and (not value.isascii() or "_" in value)  # float() would take "1_0"
            number = math.nan if value is None or isinstance(value, bool) or is_odd else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        sound = (number > 0 if above else number >= 0) and number <= most and math.isfinite(number)
        if value is not None and not sound:
            self.note(key, "it is no number that could stand here")
        return number if sound else None

    def mapping(self, key: str, reasons: Mapping[str, str] | None = None) -> Part:
        where = f"{self.where}.{key}" if self.where else key
        return self.notes.part(where, self.take(key), reasons)

    def finish(self, act: Callable[[str], str] | None = None) -> None:
        """Tell of all that nobody took; a key without a value says nothing."""
        for key, value in self.left.items():
            if value is not None:
                self.note(key, self.reasons.get(key) or (act(key) if act else _NO_COUNTERPART))
        self.left.clear()
