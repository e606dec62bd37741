"""The page on deployment says nothing that the program does not know."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command

from openai_gateway.cli import app
from openai_gateway.config import load_service
from openai_gateway.service.routes import ROUTES

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
COMPOSE, KUBERNETES = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
(UNIT,) = re.findall(r"```ini\n(.*?)```", PAGE, flags=re.DOTALL)
CONTAINER = KUBERNETES["spec"]["template"]["spec"]["containers"][0]


def commands() -> Iterator[list[str]]:
    """What is started, from behind the program's name."""
    yield COMPOSE["services"]["gateway"]["command"]
    yield CONTAINER["args"]
    for words in re.findall(r"openai-gateway ((?:keys|serve|audit) [^`\n]*)", PAGE):
        yield shlex.split(words)


def test_each_command_is_one_of_ours_with_flags_that_it_has() -> None:
    found = list(commands())
    assert len(found) >= 5
    for words in found:
        command: Any = get_command(app)
        for word in words:
            if word.startswith("-") or not hasattr(command, "commands"):
                break
            command = command.commands[word]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= flags, words


def test_the_probes_ask_for_what_is_there() -> None:
    paths = {route.template for route in ROUTES}
    assert {CONTAINER[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")} <= paths
    assert (
        re.findall(r"127\.0\.0\.1:4000(/\S+)\"", COMPOSE["services"]["gateway"]["healthcheck"]["test"][-1])[0] in paths
    )


def test_what_the_gateway_is_told_it_understands() -> None:
    environ = {"HOME": "/home/me"}
    for entry in CONTAINER["env"]:
        if entry["name"].startswith("GATEWAY_"):
            environ[entry["name"]] = entry.get("value", "a-secret-of-the-cluster")
    settings = load_service(environ)
    assert settings.store == "redis://valkey:6379"
    assert settings.store_password is not None
    assert settings.metrics_token is not None
    assert set(COMPOSE["services"]["gateway"]["environment"]) >= {"GATEWAY_STORE", "GATEWAY_STORE_PASSWORD_FILE"}


def test_there_is_time_to_drain() -> None:
    grace = load_service({"HOME": "/home/me"}).grace
    assert int(re.findall(r"TimeoutStopSec=(\d+)", UNIT)[0]) > grace
    assert int(COMPOSE["services"]["gateway"]["stop_grace_period"].removesuffix("s")) > grace
    assert KUBERNETES["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > grace + 5
