"""The command line of `openai-gateway`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import openai_gateway
from openai_gateway import __main__
from openai_gateway.cli import app

CANARY = "sk-canary-0123456789abcdefghij"
FILE = """
[providers.openai]
kind = "openai"
api_key = { env = "MY_KEY" }
headers = { x-team = "blue" }
proxy = "http://me:proxy-password-0123@proxy.example"
allow_insecure = true

[[models]]
name = "m"
provider = "openai"
fallbacks = ["n"]
tpm = 2_000_000
price = { input = 1, output = 2.5 }

[[models]]
name = "n"
provider = "openai"
"""


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, env=environ)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def written(directory: Path) -> str:
    path = directory / "gateway.toml"
    path.write_text(FILE)
    return str(path)


def test_the_version_is_shown() -> None:
    assert run("--version") == (0, f"openai-gateway {openai_gateway.__version__}\n")


def test_a_sound_configuration_is_said_to_be_sound(tmp_path: Path) -> None:
    assert run("config", "check", written(tmp_path), MY_KEY=CANARY) == (
        0,
        "The configuration is sound: 2 model rows, 1 provider.\n",
    )


def test_warnings_are_shown(tmp_path: Path) -> None:
    status, output = run("config", "check", written(tmp_path))

    assert status == 0
    assert "warning: MY_KEY is not set" in output


def test_the_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    status, output = run("config", "show", written(tmp_path), MY_KEY=CANARY)

    assert status == 0
    for part in (
        'base_url = "https://api.openai.com/v1"',
        'fallbacks = ["n"]',
        'headers = { x-team = "blue" }',
        'api_key = { env = "MY_KEY" }',
        'proxy = "http://me:redacted@proxy.example"',
        "first_byte = 30",
    ):
        assert part in output
    assert "allow_insecure = true" in output
    assert "tpm = 2000000" in output
    assert "[cache]\nenabled = false\nttl = 300\nmax_bytes = 67108864" in output
    assert "price = { input = 1, output = 2.5 }" in output
    for hidden in (CANARY, "proxy-password-0123", "set_by"):
        assert hidden not in output


def test_without_a_file_the_environments_rows_are_shown() -> None:
    status, output = run("config", "show")

    assert status == 0
    assert "[providers.echo]" in output
    assert "gpt-3.5-turbo" in output


def test_a_wrong_setting_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["openai-gateway", "config", "check"])
    monkeypatch.setenv("TIMEOUT", "soon")
    with pytest.raises(SystemExit) as caught:
        __main__.main()

    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith("openai-gateway: TIMEOUT is 'soon'; allowed is ")
    assert err.count("\n") == 1


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "openai_gateway", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("openai-gateway ")


def test_the_command_imports_typer_only_when_it_runs() -> None:
    code = "import sys, openai_gateway.__main__; print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_what_is_shown_as_json_is_the_same(tmp_path: Path) -> None:
    status, output = run("config", "show", written(tmp_path), "--json", MY_KEY=CANARY)

    found = json.loads(output)
    assert status == 0
    assert found["providers"]["openai"]["api_key"] == {"env": "MY_KEY"}
    assert [row["name"] for row in found["models"]] == ["m", "n"]
    assert found["default_model"] == "gpt-3.5-turbo"
    assert CANARY not in output


def test_a_provider_without_its_key_is_named(tmp_path: Path) -> None:
    status, output = run("config", "check", written(tmp_path))
    assert status == 0
    assert output.endswith("1 provider; 1 of them cannot be asked yet: openai.\n")

    status, output = run("config", "check", written(tmp_path), "--json")
    found = json.loads(output)
    assert (status, found["sound"], found["models"], found["providers"]) == (0, True, 2, 1)
    assert "MY_KEY is not set" in found["missing"]["openai"]
    assert found["warnings"] == [found["missing"]["openai"]]


def test_a_file_without_models_is_sound_and_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.touch()
    status, output = run("config", "check", str(path))
    assert status == 0
    assert "has no [[models]]" in output


def test_a_file_that_is_wrong_is_told_as_json_too(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[providres]\n")
    status, output = run("config", "check", str(path), "--json")

    found = json.loads(output)
    assert (status, found["sound"]) == (2, False)
    assert "line 1: unknown key 'providres'" in found["error"]


def test_a_key_in_the_wrong_place_is_not_quoted_by_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'[providers.p]\nkind = "{CANARY}"\n')
    monkeypatch.setattr(sys, "argv", ["openai-gateway", "config", "check", str(path)])
    with pytest.raises(SystemExit) as caught:
        __main__.main()

    _, err = capsys.readouterr()
    assert caught.value.code == 2
    assert CANARY not in err
    assert "line 2" in err
