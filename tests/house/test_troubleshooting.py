"""What docs/troubleshooting.md quotes is what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^- `([^`]+)` (?:or `([^`]+)` )?—", PAGE, flags=re.MULTILINE)
SAID = sorted({said for pair in QUOTED for said in pair if said})


def source() -> str:
    """All string literals, as far as one is written over several lines put together."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    return re.sub(r"\"\s*\n\s*f?\"", "", text)


SOURCE = source()


def test_there_is_something_to_look_for() -> None:
    assert len(SAID) > 12


@pytest.mark.parametrize("said", SAID)
def test_each_message_that_is_quoted_is_one(said: str) -> None:
    for part in filter(None, re.split(r"…| (?=is not set)|^OPENAI_API_KEY", said)):
        assert part.strip() in SOURCE, part
