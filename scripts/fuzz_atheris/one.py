"""One target in a process of its own, under libFuzzer: `one.py TARGET CORPUS -OPTION…`, as its own options are."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import atheris

with atheris.instrument_imports(include=["openai_gateway", "openai_gateway_mcp"]):
    from tests.guided.targets import TARGETS

    import openai_gateway.config
    import openai_gateway.routing
    import openai_gateway_mcp

    # What these import only when it is needed would come too late to be instrumented.
    for package in (openai_gateway.config, openai_gateway.routing, openai_gateway_mcp):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)

atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
atheris.Fuzz()
