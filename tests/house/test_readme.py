"""What people read stays true: the README's settings are those of config.py, the file's keys those of its reader."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from tests.gateway_service.process import environment

from openai_gateway.config import file
from openai_gateway.config.service import SERVE_KEYS
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway.service.routes import ROUTES
from openai_gateway_mcp.config import SETTINGS
from openai_gateway_mcp.http_config import HTTP_SETTINGS
from openai_gateway_mcp.said import Setting

README = Path(__file__).parents[2] / "README.md"

HEAD = "| environment | flag | default | what it does |\n| --- | --- | --- | --- |"


def row(setting: Setting) -> str:
    def code(text: str | None) -> str:
        return f"`{text}`" if text else ""

    cells = (code(setting.variable), code(setting.flag), code(setting.default), setting.help)
    return "| " + " | ".join(cells) + " |"


def test_the_table_of_settings_is_the_one_the_program_reads() -> None:
    table = "\n".join([HEAD, *(row(setting) for setting in SETTINGS)])
    assert table in README.read_text(encoding="utf-8"), f"README.md should have this table:\n{table}"


def test_the_two_commands_name_what_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    for script in ("run", "test", "check", "fix", "fuzz", "bench", "conformance"):
        assert f"scripts/{script}" in text
        assert (README.parent / "scripts" / script).stat().st_mode & 0o111


RECORDED = re.findall(
    r"^\$ echo '(.+)' \| scripts/run --embedded\n(.+)$", README.read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(("asked", "answered"), RECORDED, ids=["chat", "models"])
def test_the_recorded_session_is_what_comes(asked: str, answered: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "openai_gateway_mcp", "--embedded"],
        input=asked + "\n",
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *begins, ends = re.escape(answered).split("…")
    assert re.fullmatch(".*".join([*begins, ends]), done.stdout.strip()), done.stdout


def test_the_configuration_page_names_the_keys_that_the_file_may_hold() -> None:
    text = (README.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|", text, flags=re.MULTILINE)
    named = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    tables = file._TIMEOUTS, file._RETRIES, file._BREAKERS, file._BREAKER_COUNTS, file._CACHE_KEYS
    assert named == {*file._PROVIDER_KEYS, *file._MODEL_KEYS, *(key for table in tables for key in table)}


def test_the_service_page_names_its_settings_with_their_flags_and_defaults() -> None:
    text = (README.parent / "docs" / "service.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:`(--[\w-]+)`)? *\| ([^|]*) \|", text, flags=re.MULTILINE)
    assert {key for key, _, _ in rows} == set(SERVE_KEYS)
    defaults = {field.name: field.default for field in attrs.fields(ServiceSettings)}
    for key, flag, default in rows:
        assert not flag or flag == f"--{key.replace('_', '-')}"
        if re.fullmatch(r"`[^`]*`", default):
            assert default.strip("`") == str(defaults[key]).removesuffix(".0").lower()


def test_the_service_page_names_every_route() -> None:
    text = (README.parent / "docs" / "service.md").read_text(encoding="utf-8")
    for route in ROUTES:
        assert f"{route.template.replace('...', '')}`" in text, route.template


def test_the_page_of_http_has_the_table_that_the_program_reads() -> None:
    table = "\n".join([HEAD, *(row(setting) for setting in HTTP_SETTINGS)])
    text = (README.parent / "docs" / "http.md").read_text(encoding="utf-8")
    assert table in text, f"docs/http.md should have this table:\n{table}"
