"""What the kept inputs reach of the floors that decide: `reached.py CACHE TARGET…` runs them all under coverage.py.

A process of its own: what an import runs counts too, as it does in every report of coverage.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Final

import coverage

ROOMS: Final = (
    "openai_gateway_mcp/protocol/",
    "openai_gateway/wire/",
    "openai_gateway/routing/dialects/",
    "openai_gateway/routing/reading.py",
    "openai_gateway/routing/assemble.py",
    "openai_gateway/routing/classify.py",
    "openai_gateway/routing/error_words.py",
    "openai_gateway/routing/retry_after.py",
    "openai_gateway/routing/",
    "openai_gateway/secret.py",
    "openai_gateway/errors.py",
    "openai_gateway/config/",
    "openai_gateway_mcp/config.py",
    "openai_gateway_mcp/said.py",
    "openai_gateway_mcp/prompts_config.py",
    "openai_gateway/net/heads.py",
)
"""A file belongs to the first that it lies in. What is left of routing decides over values, and reads no bytes."""

COUNTED: Final = ("covered_lines", "num_statements", "covered_branches", "num_branches")


def main(cache: str, *names: str) -> None:
    measured = coverage.Coverage(
        config_file=False, branch=True, source_pkgs=["openai_gateway", "openai_gateway_mcp"], data_file=None
    )
    for pattern in tomllib.loads(Path("pyproject.toml").read_text())["tool"]["coverage"]["report"]["exclude_also"]:
        measured.exclude(pattern)
    with measured.collect():
        from tests.guided.targets import TARGETS  # noqa: PLC0415 - under coverage

        for name in names:
            for path in sorted(Path(cache, name, "corpus").iterdir()):
                TARGETS[name](path.read_bytes())

    rooms: dict[str, Counter[str]] = {room: Counter() for room in ROOMS}
    for path, summary in summaries(measured).items():
        room = next((room for room in ROOMS if path.partition("src/")[2].startswith(room)), None)
        if room is not None:
            rooms[room].update({name: summary[name] for name in COUNTED})
    print(f"{'reached of':<40} {'lines':>16} {'branches':>16}")
    for room, counts in rooms.items():
        print(f"{room:<40} {share(counts, *COUNTED[:2]):>16} {share(counts, *COUNTED[2:]):>16}")


def summaries(measured: coverage.Coverage) -> dict[str, dict[str, int]]:
    """By the path of each file."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        measured.json_report(outfile=report.name)
        return {path: one["summary"] for path, one in json.load(report)["files"].items()}


def share(counts: Counter[str], part: str, whole: str) -> str:
    return f"{counts[part]}/{counts[whole]} {counts[part] / (counts[whole] or 1):4.0%}"


if __name__ == "__main__":
    main(*sys.argv[1:])
