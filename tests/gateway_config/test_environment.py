"""What the environment says, and how a wrong value of it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from openai_gateway import config
from openai_gateway.config import Overrides
from openai_gateway.errors import ConfigError
from openai_gateway.routing.settings import Settings

CANARY = "sk-canary-0123456789abcdefghij"
Table = Callable[[Mapping[str, str]], Settings]
TABLES: dict[str, Table] = {"remote": config.remote, "embedded": config.embedded, "load": config.load}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("TIMEOUT", "soon", "a number of seconds"),
        ("TIMEOUT", "0", "more than 0"),
        ("TIMEOUT", "-1", "more than 0"),
        ("TIMEOUT", "nan", "a number of seconds"),
        ("TIMEOUT", "inf", "at most 86400"),
        ("TIMEOUT", "1_0", "a number of seconds"),
        ("TIMEOUT", "\u0663", "a number of seconds"),
        ("MAX_RETRIES", "three", "a whole number from 0 to 20"),
        ("MAX_RETRIES", "-1", "a whole number"),
        ("MAX_RETRIES", "1.5", "a whole number"),
        ("MAX_RETRIES", "21", "from 0 to 20"),
        ("MAX_RETRIES", "٣", "a whole number"),
        ("MAX_RETRIES", "9" * 5000, "a whole number"),
    ],
)
def test_a_wrong_value_names_the_variable_the_value_and_what_is_allowed(
    table: str, name: str, value: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TABLES[table]({name: value})

    for part in (name, repr(value), allowed):
        assert part in str(caught.value)


@pytest.mark.parametrize("table", TABLES)
def test_timeout_is_the_first_byte_and_the_idle_clock(table: str) -> None:
    settings = TABLES[table]({"TIMEOUT": "2.5", "MAX_RETRIES": "0"})

    assert (settings.timeouts.first_byte, settings.timeouts.idle, settings.timeouts.total) == (2.5, 2.5, 600)
    assert settings.retries.max_retries == 0


def test_a_flag_wins_over_its_variable() -> None:
    environ = {"TIMEOUT": "7", "MAX_RETRIES": "7", "DEFAULT_MODEL": "seven"}
    settings = config.remote(environ, overrides=Overrides(timeout=2, max_retries=1, default_model="one"))

    assert (settings.timeouts.idle, settings.retries.max_retries, settings.default_model) == (2, 1, "one")


@pytest.mark.parametrize(
    "overrides", [Overrides(timeout=0), Overrides(max_retries=-1), Overrides(timeout=float("nan"))]
)
def test_a_wrong_flag_is_told_too(overrides: Overrides) -> None:
    with pytest.raises(ConfigError, match=r"--(timeout|max-retries) is"):
        config.remote({}, overrides=overrides)


def test_blank_variables_say_nothing() -> None:
    blank = {"TIMEOUT": " ", "MAX_RETRIES": "", "DEFAULT_MODEL": "", "GATEWAY_URL": "", "OPENAI_API_KEY": "", "A": ""}

    assert config.remote(blank) == config.remote({})
    assert config.embedded(blank) == config.embedded({})
    assert config.read_secret(blank, "A") is None


def test_the_default_model_is_said_to_be_set_only_where_it_is() -> None:
    assert (config.remote({}).default_model, config.remote({}).default_model_is_set) == ("gpt-3.5-turbo", False)
    settings = config.remote({"DEFAULT_MODEL": "m"})
    assert (settings.default_model, settings.default_model_is_set) == ("m", True)


@pytest.mark.parametrize(("value", "level"), [("", "info"), ("DEBUG", "debug"), ("warn", "warn")])
def test_the_log_level(value: str, level: str) -> None:
    assert config.log_level({"LOG_LEVEL": value}) == level


def test_a_wrong_log_level_is_told() -> None:
    with pytest.raises(ConfigError, match="LOG_LEVEL is 'loud'; allowed is one of debug, info, warn, error"):
        config.log_level({"LOG_LEVEL": "loud"})


# Secrets


@pytest.mark.parametrize("around", ["Bearer ", "bearer  ", "Authorization: Bearer "])
def test_a_key_pasted_with_its_header_is_told_and_not_shown(tmp_path: Path, around: str) -> None:
    pasted = f"{around}{CANARY}"
    in_file = {"GATEWAY_API_KEY_FILE": secret_file(tmp_path, pasted.encode())}
    for environ in ({"GATEWAY_API_KEY": pasted}, in_file):
        with pytest.raises(ConfigError, match=r'begins with "Bearer".*leave only the key') as caught:
            config.read_secret(environ, "GATEWAY_API_KEY")
        assert "GATEWAY_API_KEY" in str(caught.value)
        assert CANARY not in str(caught.value)


def test_a_key_may_begin_with_the_same_letters() -> None:
    secret = config.read_secret({"A": "bearer-of-news-0123"}, "A")
    assert secret is not None
    assert secret.reveal() == "bearer-of-news-0123"


def secret_file(directory: Path, content: bytes, mode: int = 0o600) -> str:
    path = directory / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    environ = {"GATEWAY_API_KEY_FILE": secret_file(tmp_path, f"{CANARY}\n".encode())}
    secret = config.read_secret(environ, "GATEWAY_API_KEY")

    assert secret is not None
    assert (secret.reveal(), secret.name) == (CANARY, "GATEWAY_API_KEY")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (CANARY.encode(), 0o644, "others can read"),
        (CANARY.encode(), 0o640, "mode 0640"),
        (b"", 0o600, "empty"),
        (b" \n", 0o600, "empty"),
        (f"{CANARY}\n{CANARY}".encode(), 0o600, "a character that no key has"),
        (CANARY.encode() + b"\xff", 0o600, "a character that no key has"),
        (b"k" * 70_000, 0o600, "too large"),
    ],
)
def test_a_key_file_that_is_of_no_use_is_told_without_its_content(
    tmp_path: Path, content: bytes, mode: int, said: str
) -> None:
    environ = {"GATEWAY_API_KEY_FILE": secret_file(tmp_path, content, mode)}
    with pytest.raises(ConfigError) as caught:
        config.read_secret(environ, "GATEWAY_API_KEY")

    assert said in str(caught.value)
    assert "GATEWAY_API_KEY_FILE" in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("path", ["/does/not/exist", "/"])
def test_a_key_file_that_cannot_be_read_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match="KEY_FILE names"):
        config.read_secret({"KEY_FILE": path}, "KEY")


def test_a_secret_and_its_file_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="KEY and KEY_FILE are both set"):
        config.read_secret({"KEY": CANARY, "KEY_FILE": "/x"}, "KEY")


@pytest.mark.parametrize("value", ["sk-“quoted”", "two\nlines", "nul\0"])
def test_a_key_that_no_header_can_carry_is_told_without_its_value(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.read_secret({"KEY": value}, "KEY")

    assert str(caught.value).startswith("KEY holds a character that no key has")
    assert value not in str(caught.value)


# The remote table


def test_a_remote_gateway_is_a_table_of_one_row() -> None:
    settings = config.remote({"GATEWAY_URL": "https://your-gateway.company.com", "GATEWAY_API_KEY": CANARY})

    ((row,), (provider,)) = settings.table.rows, settings.table.providers.values()
    assert (row.name, row.model, row.provider) == ("*", "*", provider.name)
    assert (provider.kind, provider.base_url) == ("openai", "https://your-gateway.company.com/v1")
    assert [secret.name for secret in settings.secrets] == ["GATEWAY_API_KEY"]
    assert CANARY not in repr(settings)


def test_the_url_may_come_as_a_flag() -> None:
    settings = config.remote({"GATEWAY_URL": "https://a.example"}, url="https://b.example")
    assert settings.table.providers["gateway"].base_url == "https://b.example/v1"

    with pytest.raises(ConfigError, match="The gateway's URL is 'nowhere'"):
        config.remote({}, url="nowhere")


def test_without_a_gateway_the_start_does_not_fail_and_the_table_says_what_to_set() -> None:
    table = config.remote({}).table

    assert table.rows == ()
    for word in ("GATEWAY_URL", "GATEWAY_API_KEY", "--embedded", "OPENAI_API_KEY"):
        assert word in table.missing


def test_the_proxy_and_the_certificates_of_the_environment_are_taken() -> None:
    environ = {
        "GATEWAY_URL": "https://far.example",
        "HTTPS_PROXY": "http://user:proxy-password-0123@proxy.example:3128",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }
    settings = config.remote(environ)
    provider = settings.table.providers["gateway"]

    assert (provider.proxy, provider.ca_bundle) == (environ["HTTPS_PROXY"], "/etc/ca.pem")
    assert [secret.reveal() for secret in settings.secrets] == ["proxy-password-0123"]
    assert "proxy-password" not in repr(settings)


def test_a_proxy_that_is_none_is_told_without_its_password() -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        config.remote({"GATEWAY_URL": "https://far.example", "HTTPS_PROXY": "gopher://me:secret@proxy.example"})

    assert "secret" not in str(caught.value)


# The embedded table


def rows_of(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [(row.name, row.provider, row.model) for row in config.embedded(environ).table.rows]


def test_without_any_key_the_echo_model_is_served() -> None:
    settings = config.embedded({})

    assert rows_of({}) == [("echo", "echo", "echo")]
    assert settings.table.providers["echo"].kind == "echo"


def test_all_keys_make_the_rows_in_their_order() -> None:
    environ = {
        "OPENAI_API_KEY": "o-key-00000",
        "AZURE_OPENAI_API_KEY": "a-key-00000",
        "AZURE_OPENAI_DEPLOYMENT": "my-deployment",
        "ANTHROPIC_API_KEY": "c-key-00000",
        "OPENROUTER_API_KEY": "r-key-00000",
    }
    settings = config.embedded(environ)

    assert rows_of(environ) == [
        ("openai/*", "openai", "*"),
        ("azure/*", "azure", "*"),
        ("anthropic/*", "anthropic", "*"),
        ("openrouter/*", "openrouter", "*"),
        ("claude-*", "anthropic", "claude-*"),
        ("my-deployment", "azure", "my-deployment"),
        ("*", "openai", "*"),
    ]
    assert {secret.name for secret in settings.secrets} == {name for name in environ if name.endswith("KEY")}
    assert settings.table.providers["openai"].base_url == "https://api.openai.com/v1"
    assert settings.table.providers["openrouter"].base_url == "https://openrouter.ai/api/v1"


def test_openrouter_takes_all_other_names_where_openai_is_not() -> None:
    assert rows_of({"OPENROUTER_API_KEY": "r"})[-1] == ("*", "openrouter", "*")


RESOURCE = {"AZURE_OPENAI_API_KEY": "some-key", "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com/"}


@pytest.mark.parametrize(
    ("more", "url", "version"),
    [
        ({}, "https://x.openai.azure.com/openai/v1", None),
        ({"OPENAI_API_VERSION": "preview"}, "https://x.openai.azure.com", "preview"),
        (
            {"AZURE_OPENAI_API_VERSION": "2024-10-21", "OPENAI_API_VERSION": "x"},
            "https://x.openai.azure.com",
            "2024-10-21",
        ),
    ],
)
def test_azure_has_the_surface_that_its_variables_say(more: dict[str, str], url: str, version: str | None) -> None:
    settings = config.embedded(RESOURCE | more)
    provider = settings.table.providers["azure"]

    assert (provider.kind, provider.base_url, provider.api_version, provider.missing) == ("azure", url, version, "")
    assert (provider.url_set_by, provider.key_set_by) == ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
    assert settings.warnings == ()


@pytest.mark.parametrize("unset", RESOURCE)
def test_what_azure_lacks_is_named(unset: str) -> None:
    settings = config.embedded({name: value for name, value in RESOURCE.items() if name != unset})

    assert settings.table.providers["azure"].missing.startswith(f"{unset} is not set")
    assert list(settings.warnings) == [settings.table.providers["azure"].missing]


def test_a_version_that_is_none_is_told_by_its_variable() -> None:
    with pytest.raises(ConfigError, match=r"^OPENAI_API_VERSION is '2024\?x'"):
        config.embedded(RESOURCE | {"OPENAI_API_VERSION": "2024?x"})


def test_a_key_of_anthropic_is_enough_for_its_rows() -> None:
    environ = {"ANTHROPIC_API_KEY": "some-key"}
    provider = config.embedded(environ).table.providers["anthropic"]

    assert rows_of(environ) == [("anthropic/*", "anthropic", "*"), ("claude-*", "anthropic", "claude-*")]
    assert (provider.kind, provider.base_url) == ("anthropic", "https://api.anthropic.com/v1")
    assert (provider.url_set_by, provider.key_set_by) == ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")
    moved = environ | {"ANTHROPIC_BASE_URL": "https://claude.example/v1/messages"}
    assert config.embedded(moved).table.providers["anthropic"].base_url == "https://claude.example/v1"


def test_an_address_of_anthropic_without_a_key_makes_no_row() -> None:
    assert rows_of({"ANTHROPIC_BASE_URL": "https://claude.example"}) == [("echo", "echo", "echo")]


def test_a_local_server_needs_no_key() -> None:
    settings = config.embedded({"OPENAI_BASE_URL": "http://localhost:11434"})
    provider = settings.table.providers["openai"]

    assert (provider.base_url, provider.api_key, provider.missing) == ("http://localhost:11434/v1", None, "")


def test_organization_and_project_are_taken() -> None:
    environ = {"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"}
    provider = config.embedded(environ).table.providers["openai"]

    assert (provider.organization, provider.project) == ("org-1", "proj-1")


@pytest.mark.parametrize("variable", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_what_no_header_can_carry_is_told(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable} holds a character that no header can carry"):
        config.embedded({"OPENAI_API_KEY": "k", variable: "örg"})


def test_embedded_wins_over_a_gateway_with_one_warning() -> None:
    settings = config.embedded({"GATEWAY_URL": "https://a.example"})

    assert len(settings.warnings) == 1
    assert "GATEWAY_URL" in settings.warnings[0]


@pytest.mark.parametrize(("value", "works"), [("true", True), ("1", True), ("no", False), ("", False)])
def test_plain_http_to_another_machine_must_be_allowed(value: str, works: bool) -> None:
    environ = {"OPENAI_BASE_URL": "http://far.example", "ALLOW_INSECURE": value}
    if works:
        assert config.embedded(environ).table.providers["openai"].allow_insecure
    else:
        with pytest.raises(ConfigError, match="ALLOW_INSECURE"):
            config.embedded(environ)


def test_a_switch_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="ALLOW_INSECURE is 'perhaps'; allowed is one of"):
        config.embedded({"OPENAI_BASE_URL": "https://far.example", "ALLOW_INSECURE": "perhaps"})


def test_the_start_imports_neither_the_http_client_nor_what_reads_files() -> None:
    import subprocess
    import sys

    code = (
        "import sys; before = set(sys.modules); "  # a coverage tool brings some of its own
        "from openai_gateway import config; config.remote({}); config.embedded({}); new = set(sys.modules) - before; "
        "print([name for name in ('httpx', 'trio', 'tomllib', 'cattrs', 'typer') if name in new])"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "name", "url", "key"),
    [
        (config.remote({"GATEWAY_URL": "https://g.example"}), "gateway", "GATEWAY_URL", "GATEWAY_API_KEY"),
        (config.remote({}, url="https://g.example"), "gateway", "the gateway's URL", "GATEWAY_API_KEY"),
        (config.embedded({"OPENAI_API_KEY": CANARY}), "openai", "OPENAI_BASE_URL", "OPENAI_API_KEY"),
        (config.embedded({"OPENROUTER_API_KEY": CANARY}), "openrouter", "", "OPENROUTER_API_KEY"),
    ],
)
def test_a_provider_knows_what_sets_its_address_and_its_key(settings: Settings, name: str, url: str, key: str) -> None:
    provider = settings.table.providers[name]
    assert (provider.url_set_by, provider.key_set_by) == (url, key)
