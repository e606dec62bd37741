"""The README stays true: its table of settings is the table in config.py."""

from __future__ import annotations

from pathlib import Path

from openai_gateway_mcp.config import SETTINGS, Setting

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
    for script in ("run", "test", "check", "fix", "fuzz", "bench"):
        assert f"scripts/{script}" in text
        assert (README.parent / "scripts" / script).stat().st_mode & 0o111
