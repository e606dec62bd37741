"""Which source a key comes from, as the configuration says it; nothing is started or asked for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from openai_gateway import config
from openai_gateway.cli import app
from openai_gateway.config.environment import key_directory
from openai_gateway.errors import ConfigError
from openai_gateway.routing.key_source import KeyCommand, KeyFile, KeySource, StoredKey
from openai_gateway.routing.plan import Provider

CANARY = "sk-canary-0123456789abcdefghij"


def written(directory: Path, source: str) -> str:
    path = directory / "gateway.toml"
    path.write_text(f'[providers.p]\nkind = "openai"\napi_key = {source}\n[[models]]\nname = "m"\nprovider = "p"\n')
    return str(path)


def provider(directory: Path, source: str, **environ: str) -> Provider:
    return config.load(environ, config_path=written(directory, source)).table.providers["p"]


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(CANARY)
    path.chmod(0o600)
    return str(path)


COMMAND = KeyCommand(argv=("op", "read", "op://v/openai"), set_by="api_key of p")
STORED = StoredKey(entry="openai", directory="/c/openai-gateway/keys", set_by="api_key of p")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{ command = ["op", "read", "op://v/openai"] }', COMMAND),
        (
            '{ command = ["op"], timeout = 30, ttl = 60 }',
            KeyCommand(argv=("op",), set_by="api_key of p", timeout=30, ttl=60),
        ),
        ('{ keyring = "openai" }', STORED),
        (
            '{ keyring = "openai", ttl = 1.5 }',
            StoredKey(entry="openai", directory="/c/openai-gateway/keys", set_by="api_key of p", ttl=1.5),
        ),
    ],
)
def test_a_source_becomes_its_value_and_no_key(tmp_path: Path, source: str, expected: KeySource) -> None:
    found = provider(tmp_path, source, XDG_CONFIG_HOME="/c")

    assert found.key_source == expected
    assert found.api_key is None
    assert found.missing == ""


def test_a_command_is_not_run_when_the_configuration_is_read(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    code = f"open({str(mark)!r}, 'w')"
    source = f'{{ command = ["{sys.executable}", "-c", "{code}"] }}'

    assert isinstance(provider(tmp_path, source).key_source, KeyCommand)
    assert CliRunner().invoke(app, ["config", "check", written(tmp_path, source)]).exit_code == 0
    assert not mark.exists()


def test_a_file_is_read_at_once_and_can_be_read_again(tmp_path: Path, key_file: str) -> None:
    found = provider(tmp_path, f'{{ file = "{key_file}" }}')

    assert found.key_source == KeyFile(path=key_file, name="api_key of p", set_by="api_key of p")
    assert found.api_key is not None
    assert found.api_key.reveal() == CANARY


@pytest.mark.parametrize("variable", ["MY_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GATEWAY_API_KEY"])
def test_a_file_that_a_variable_names_can_be_read_again(tmp_path: Path, key_file: str, variable: str) -> None:
    environ = {f"{variable}_FILE": key_file, "GATEWAY_URL": "https://gateway.example"}
    tables = {
        "MY_KEY": lambda: config.load(environ, config_path=written(tmp_path, '{ env = "MY_KEY" }')),
        "GATEWAY_API_KEY": lambda: config.remote(environ),
    }
    settings = tables.get(variable, lambda: config.embedded(environ))()

    (found,) = settings.table.providers.values()
    assert found.key_source == KeyFile(path=key_file, name=variable, set_by=f"{variable}_FILE")
    assert [secret.name for secret in settings.secrets] == [variable]


def test_a_key_in_a_variable_has_no_source_to_be_read_again(tmp_path: Path) -> None:
    assert provider(tmp_path, '{ env = "MY_KEY" }', MY_KEY=CANARY).key_source is None
    assert config.remote({"GATEWAY_URL": "https://x.example"}).table.providers["gateway"].key_source is None


@pytest.mark.parametrize(
    ("environ", "platform", "directory"),
    [
        ({"XDG_CONFIG_HOME": "/c"}, "posix", "/c/openai-gateway/keys"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "posix", "/h/.config/openai-gateway/keys"),
        ({"APPDATA": "/c"}, "posix", "~/.config/openai-gateway/keys"),
        ({"APPDATA": "/c", "XDG_CONFIG_HOME": "/d"}, "nt", "/c/openai-gateway/keys"),
        ({}, "posix", "~/.config/openai-gateway/keys"),
    ],
)
def test_where_keys_are_stored_in_files(environ: Mapping[str, str], platform: str, directory: str) -> None:
    assert key_directory(environ, platform=platform) == str(Path(directory).expanduser())


def test_without_any_home_directory_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ConfigError, match="set XDG_CONFIG_HOME"):
        key_directory({})


@pytest.mark.parametrize(
    "source",
    [
        '{ command = ["op", "read", "op://v/openai"] }',
        '{ command = ["op"], timeout = 30, ttl = 60 }',
        '{ keyring = "openai" }',
    ],
)
def test_a_source_is_shown_as_it_was_written(tmp_path: Path, source: str) -> None:
    output = CliRunner().invoke(app, ["config", "show", written(tmp_path, source)]).output

    assert f"api_key = {source}\n" in output
    assert "key_source" not in output


def test_a_file_is_shown_and_not_what_it_holds(tmp_path: Path, key_file: str) -> None:
    output = CliRunner().invoke(app, ["config", "show", written(tmp_path, f'{{ file = "{key_file}" }}')]).output

    assert f'api_key = {{ file = "{key_file}" }}\n' in output
    assert CANARY not in output
