"""Mutants of what mutmut leaves alone, by its own operators: tables, defaults of classes, properties.

mutmut compiles all mutants of a file into it and chooses one when a function is called, so that only what happens in
plain functions can be changed. This house decides by tables. Here each mutant is a file of its own, and a fresh pytest:
slower, and so it is not how all are done. `mutants_tables.py COPY [ROOM…]` writes COPY/tables.json; PYTHONPATH must be
`src`, so that pytest meets the sources beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from difflib import unified_diff
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import get_ignored_lines

CORE: Final = Path("src/openai_gateway_mcp/protocol")
AT_ONCE: Final = 2
PATIENCE: Final = 120  # seconds a mutant; what ends does so within twenty


class Changed(NamedTuple):
    """One mutant: its file, the whole text of it, and the lines that go and come."""

    path: Path
    text: str
    was: list[str]
    now: list[str]


class Outside(MutationVisitor):
    """Goes into decorated functions too, which mutmut passes by."""

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            return False
        return super()._skip_node_and_children(node)


def is_outside(mutation: Mutation) -> bool:
    function = mutation.contained_by_top_level_function
    return not isinstance(function, cst.FunctionDef) or bool(function.decorators)


def changes(path: Path) -> Iterator[Changed]:
    text = path.read_text()
    wrapper = MetadataWrapper(cst.parse_module(text))
    visitor = Outside(mutation_operators, get_ignored_lines(str(path), text, wrapper))
    module = wrapper.visit(visitor)
    for mutation in filter(is_outside, visitor.mutations):
        changed = module.deep_replace(mutation.original_node, mutation.mutated_node)
        if not isinstance(changed, cst.Module):
            raise TypeError(f"a mutant of {path} is no module")
        diff = list(unified_diff(text.split("\n"), changed.code.split("\n"), n=0, lineterm=""))[2:]
        was, now = ([line[1:] for line in diff if line.startswith(sign)] for sign in "-+")
        yield Changed(path, changed.code, was, now)


def status(house: Path, one: Changed, tests: list[str]) -> str:
    """How the tests end on a copy of the sources in which this one file is changed."""
    place = house / one.path
    kept = place.read_text()
    place.write_text(one.text)
    try:
        # -B: no byte code of one mutant is left for the next, which may be as long and as old.
        command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        ended = subprocess.run(command, cwd=house, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        place.write_text(kept)
    return "survived" if ended.returncode == 0 else "killed"


def main(copy: str, *rooms: str) -> None:
    os.chdir(copy)
    tests = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]["pytest_add_cli_args_test_selection"]
    paths = [path for path in sorted(CORE.glob("*.py")) if not rooms or path.stem in rooms]
    wanted = [one for path in paths for one in changes(path)]
    houses: SimpleQueue[Path] = SimpleQueue()
    for number in range(AT_ONCE):
        house = Path(f"house{number}").resolve()
        for name in ("src", "tests"):
            shutil.copytree(name, house / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("pyproject.toml", house)
        houses.put(house)

    def judge(one: Changed) -> str:
        house = houses.get()
        try:
            return status(house, one, tests)
        finally:
            houses.put(house)

    unchanged = Changed(paths[0], paths[0].read_text(), [], [])
    if judge(unchanged) != "survived":
        raise SystemExit("the tests fail before anything is changed")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        written = []
        for one, said in zip(wanted, pool.map(judge, wanted), strict=True):
            written.append({"room": one.path.stem, "was": one.was, "now": one.now, "status": said})
            Path("tables.json").write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
