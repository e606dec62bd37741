"""One target in a process of its own, under libFuzzer: `one.py TARGET CORPUS -OPTION…`, as its own options are."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["openai_gateway", "openai_gateway_mcp"]):
    from tests.guided.targets import TARGETS

    target = TARGETS[sys.argv[1]]
    # What is imported only where it is needed is needed by one of these, and would go uninstrumented later.
    for seed in target.seeds(choices=20):
        target(seed)

atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
atheris.Fuzz()
