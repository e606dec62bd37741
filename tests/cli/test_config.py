"""Flags and environment become one frozen value, or an error that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from openai_gateway.errors import ConfigError
from openai_gateway_mcp.config import SETTINGS, load
from openai_gateway_mcp.said import Sort

CANARY = "sk-canary-0123456789abcdef0123456789"


def test_with_nothing_said_the_start_does_not_fail_and_the_table_says_what_to_set() -> None:
    settings = load({}, {})
    assert settings.features.gateway.table.rows == ()
    assert "GATEWAY_URL" in settings.features.gateway.table.missing
    assert (settings.features.soft_deadline, settings.features.rate_limit) == (55, 600)
    assert settings.features.tools == ("chat", "list_models", "compare_models")
    assert (settings.max_message_bytes, settings.max_in_flight) == (16 * 2**20, 256)
    assert (settings.drain, settings.log_level) == (0.5, "info")


def test_every_default_of_the_table_is_what_takes_effect_when_it_is_spelled_out() -> None:
    spelled = {row.name: row.default for row in SETTINGS if row.flag and row.default}
    shown = load({}, spelled)
    # Said or not makes one difference: a default model that somebody wrote down is not replaced.
    gateway = attrs.evolve(shown.features.gateway, default_model_is_set=False)
    assert attrs.evolve(shown, features=attrs.evolve(shown.features, gateway=gateway)) == load({}, {})


def test_the_gateway_is_normalised_and_its_key_does_not_show() -> None:
    settings = load({"GATEWAY_URL": "https://your-gateway.company.com", "GATEWAY_API_KEY": CANARY}, {})
    provider = settings.features.gateway.table.providers["gateway"]
    assert provider.base_url == "https://your-gateway.company.com/v1"
    assert provider.api_key is not None
    assert provider.api_key.reveal() == CANARY
    assert CANARY not in repr(settings)


def test_a_flag_wins_over_its_variable() -> None:
    environ = {"GATEWAY_URL": "https://a.example", "DEFAULT_MODEL": "a", "TIMEOUT": "1", "MAX_RETRIES": "1"}
    environ |= {"SOFT_DEADLINE": "5", "LOG_LEVEL": "debug", "MAX_IN_FLIGHT": "7", "RATE_LIMIT": "9"}
    flags = {"gateway_url": "https://b.example", "default_model": "b", "timeout": "2.5", "max_retries": "0"}
    flags |= {"soft_deadline": "0", "log_level": "ERROR", "max_in_flight": "8", "rate_limit": "0"}
    said, won = load(environ, {}), load(environ, flags)
    assert said.features.gateway.table.providers["gateway"].base_url == "https://a.example/v1"
    assert won.features.gateway.table.providers["gateway"].base_url == "https://b.example/v1"
    assert (said.features.gateway.default_model, won.features.gateway.default_model) == ("a", "b")
    assert (said.features.gateway.timeouts.first_byte, won.features.gateway.timeouts.idle) == (1, 2.5)
    assert (said.features.gateway.retries.max_retries, won.features.gateway.retries.max_retries) == (1, 0)
    assert (said.features.soft_deadline, won.features.soft_deadline) == (5, None)
    assert (said.log_level, won.log_level) == ("debug", "error")
    assert (said.max_in_flight, won.max_in_flight) == (7, 8)
    assert (said.features.rate_limit, won.features.rate_limit) == (9, 0)


def test_embedded_beside_a_gateway_url_wins_with_one_warning() -> None:
    settings = load({"GATEWAY_URL": "https://a.example"}, {"embedded": "true"})
    assert "gateway" not in settings.features.gateway.table.providers
    (warning,) = settings.warnings
    assert "GATEWAY_URL" in warning
    assert "--embedded" in warning


def test_a_configuration_file_is_embedded_too(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[providers.e]\nkind = "echo"\n[[models]]\nname = "m"\nprovider = "e"\n')
    for flags in ({"config": str(file)}, {"config": str(file), "embedded": "true"}):
        settings = load({}, flags)
        assert [row.name for row in settings.features.gateway.table.rows] == ["m"]


@pytest.mark.parametrize("other", ["embedded", "config"])
def test_a_gateway_url_flag_beside_the_other_table_is_refused(other: str) -> None:
    with pytest.raises(ConfigError, match=f"--gateway-url and --{other}"):
        load({}, {"gateway_url": "https://a.example", other: "x"})


def test_tools_are_chosen_by_name_in_the_tables_order() -> None:
    environ = {"ENABLED_TOOLS": " compare_models, chat ,", "DISABLED_TOOLS": "chat"}
    assert load({"ENABLED_TOOLS": environ["ENABLED_TOOLS"]}, {}).features.tools == ("chat", "compare_models")
    assert load(environ, {}).features.tools == ("compare_models",)
    assert load(environ, {"disabled_tools": "compare_models"}).features.tools == ("chat",)


def test_a_blank_variable_says_nothing_and_a_blank_flag_is_wrong() -> None:
    blank = {row.variable: "  " for row in SETTINGS if row.variable}
    assert load(blank, {}) == load({}, {})
    for row in SETTINGS:
        if row.flag and row.sort is not Sort.SWITCH:
            with pytest.raises(ConfigError, match=f"{row.flag} is empty"):
                load({}, {row.name: " "})


WRONG = [
    ("SOFT_DEADLINE", "soon", "a number of seconds from 0 to 86400"),
    ("SOFT_DEADLINE", "-1", "from 0 to 86400"),
    ("SOFT_DEADLINE", "nan", "from 0 to 86400"),
    ("SOFT_DEADLINE", "inf", "from 0 to 86400"),
    ("SOFT_DEADLINE", "1_0", "from 0 to 86400"),
    ("SOFT_DEADLINE", "٣", "from 0 to 86400"),
    ("DRAIN", "61", "from 0 to 60"),
    ("MAX_MESSAGE_BYTES", "10", "a whole number from 1024 to 1073741824"),
    ("MAX_MESSAGE_BYTES", "16MB", "a whole number"),
    ("MAX_IN_FLIGHT", "0", "a whole number from 1 to 10000"),
    ("MAX_IN_FLIGHT", "2.5", "a whole number"),
    ("MAX_IN_FLIGHT", "9" * 50, "a whole number"),
    ("LOG_LEVEL", "loud", "one of debug, info, warn, error"),
    ("ENABLED_TOOLS", "chat,embeds", "any of chat, list_models, compare_models"),
    ("DISABLED_TOOLS", "chats", "any of chat, list_models, compare_models"),
    ("TIMEOUT", "0", "seconds"),
    ("MAX_RETRIES", "21", "from 0 to 20"),
    ("GATEWAY_URL", "gateway", "a URL such as"),
]


@pytest.mark.parametrize(("variable", "value", "allowed"), WRONG)
def test_a_wrong_value_is_named_with_who_said_it_and_what_is_allowed(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({variable: value}, {})
    message = str(caught.value)
    assert variable in message
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["soft_deadline", "max_in_flight", "log_level", "enabled_tools", "timeout"])
def test_a_wrong_flag_is_named_as_the_flag(name: str) -> None:
    flag = next(str(row.flag) for row in SETTINGS if row.name == name)
    with pytest.raises(ConfigError, match=f"^{flag} "):
        load({}, {name: "x-x"})


def test_a_wrong_number_of_a_flag_is_refused_within_the_bounds_of_the_table() -> None:
    for name, value in (("timeout", "0"), ("max_retries", "21"), ("max_retries", "-1")):
        with pytest.raises(ConfigError, match="allowed is"):
            load({}, {name: value})


def test_no_setting_that_holds_a_key_has_a_flag() -> None:
    for row in SETTINGS:
        assert (row.sort is Sort.KEY) == ("KEY" in (row.variable or ""))
        if row.sort is Sort.KEY:
            assert row.flag is None


def test_names_variables_and_flags_of_the_table_belong_together_and_are_unique() -> None:
    for row in SETTINGS:
        if row.flag is not None:
            assert row.flag == "--" + row.name.replace("_", "-")
        if row.variable is not None:
            assert row.variable == row.name.upper()
        assert row.help.endswith(".") or row.help.endswith("off.")
    assert len({row.name for row in SETTINGS}) == len(SETTINGS)
