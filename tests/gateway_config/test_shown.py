"""`config show`: what takes effect, as a file that would do the same."""

from __future__ import annotations

import enum
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway import config
from openai_gateway.config.file import key_sources
from openai_gateway.config.shown import document
from openai_gateway.config.writing import toml
from openai_gateway.routing.plan import ModelRow, Price, Provider, RouteTable
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.settings import Retries, Settings, Timeouts
from openai_gateway.secret import Secret
from tests.gateway_config.test_file import CANARY, FULL, OPENAI, load


def read_back(directory: Path, shown: str, **environ: str) -> Settings:
    path = directory / "shown.toml"
    path.write_text(shown, encoding="utf-8")
    path.chmod(0o600)
    return config.load(environ, config_path=str(path))


def test_a_full_file_reads_back_as_the_same(tmp_path: Path) -> None:
    settings = load(tmp_path, FULL, OPENAI_API_KEY=CANARY, HTTPS_PROXY="http://proxy.example")
    shown = toml(document(settings, key_sources(str(tmp_path / "gateway.toml"))))
    again = read_back(tmp_path, shown, OPENAI_API_KEY=CANARY)

    assert CANARY not in shown
    assert (again.table, again.timeouts, again.retries) == (settings.table, settings.timeouts, settings.retries)


def test_a_key_whose_variable_is_unset_keeps_its_source(tmp_path: Path) -> None:
    settings = load(tmp_path, f'{OPENAI}api_key = {{ env = "MY_KEY" }}\n')
    shown = document(settings, key_sources(str(tmp_path / "gateway.toml")))
    assert shown["providers"]["p"]["api_key"] == {"env": "MY_KEY"}


def test_what_the_environment_makes_reads_back_as_a_file_that_does_the_same(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": CANARY, "OPENROUTER_API_KEY": "other-key-000", "OPENAI_ORG_ID": "org-1"}
    settings = config.load(environ)
    again = read_back(tmp_path, toml(document(settings, None)), **environ)

    assert again.table.rows == settings.table.rows
    for name, provider in settings.table.providers.items():
        assert attrs.evolve(again.table.providers[name], url_set_by="", key_set_by="") == attrs.evolve(
            provider, url_set_by="", key_set_by=""
        )


def test_the_built_in_model_alone_reads_back(tmp_path: Path) -> None:
    settings = config.load({})
    assert read_back(tmp_path, toml(document(settings, None))).table == settings.table


def test_literal_secrets_are_marks_and_the_file_still_reads(tmp_path: Path) -> None:
    text = f'{OPENAI}api_key = "{CANARY}"\nheaders = {{ X-Auth-Token = "{CANARY}", x-team = "blue" }}\n'
    settings = load(tmp_path, text + 'proxy = "http://me:pass%2Fword@proxy.example"\n', mode=0o600)
    shown = toml(document(settings, key_sources(str(tmp_path / "gateway.toml"))))
    provider = read_back(tmp_path, shown).table.providers["p"]

    assert CANARY not in shown
    assert "pass" not in shown
    assert provider.headers == {"X-Auth-Token": "[redacted]", "x-team": "blue"}
    assert provider.proxy == "http://me:redacted@proxy.example"


def test_a_known_secret_is_struck_wherever_it_stands(tmp_path: Path) -> None:
    text = f'{OPENAI}api_key = {{ env = "MY_KEY" }}\norganization = "{CANARY}"\n'
    settings = load(tmp_path, text, MY_KEY=CANARY)
    assert CANARY not in toml(document(settings, key_sources(str(tmp_path / "gateway.toml"))))


def test_a_models_name_that_has_the_shape_of_a_key_is_shown() -> None:
    row = ModelRow(name="xai-grok-2-latest", provider="p", model="xai-grok-2-latest")
    settings = Settings(table=RouteTable(providers={"p": Provider(name="p", kind="echo")}, rows=(row,)))
    assert document(settings, {})["models"][0]["name"] == "xai-grok-2-latest"


class Way(enum.Enum):
    STRICT = "strict"


@attrs.frozen(kw_only=True)
class Later:
    """A part of the settings that is not thought of yet."""

    ttl: float = 60.0
    way: Way = Way.STRICT
    key: Secret = attrs.field(factory=lambda: Secret(CANARY, name="K"))
    nothing: str | None = None
    names: frozenset[str] = frozenset({"a"})


@attrs.frozen(kw_only=True)
class MoreSettings(Settings):
    later: Later = attrs.field(factory=Later)


def test_a_part_that_is_added_to_the_settings_is_shown_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_gateway.config.shown.Settings", MoreSettings)
    shown = document(MoreSettings(table=RouteTable()), {})
    assert shown["later"] == {"ttl": 60, "way": "strict", "key": "[redacted]", "names": ["a"]}


NAME = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=1, max_size=8).filter(
    lambda name: name == name.strip()
)
POSITIVE = st.floats(min_value=1e-3, max_value=1e4)
PRICE = st.builds(Price, input=POSITIVE, output=POSITIVE, cached_input=st.none() | POSITIVE)
ROWS = st.lists(
    st.builds(
        ModelRow,
        name=NAME,
        provider=st.just("p"),
        model=NAME,
        weight=POSITIVE,
        order=st.integers(0, 9),
        rpm=st.none() | st.integers(1, 10**6),
        prefill=st.none() | st.sampled_from(Prefill),
        first_byte=st.none() | POSITIVE,
        price=st.none() | PRICE,
    ),
    max_size=4,
)


@given(
    ROWS,
    st.builds(Timeouts, connect=POSITIVE, first_byte=POSITIVE, idle=POSITIVE, total=POSITIVE),
    st.builds(Retries, max_retries=st.integers(0, 20), max_attempts=st.integers(1, 100)),
)
def test_any_settings_read_back_as_themselves(
    tmp_path_factory: pytest.TempPathFactory, rows: list[ModelRow], timeouts: Timeouts, retries: Retries
) -> None:
    table = RouteTable(providers={"p": Provider(name="p", kind="echo")}, rows=tuple(rows))
    settings = Settings(table=table, timeouts=timeouts, retries=retries)
    again = read_back(tmp_path_factory.getbasetemp(), toml(document(settings, {})))
    assert (again.table.rows, again.timeouts, again.retries) == (table.rows, timeouts, retries)
