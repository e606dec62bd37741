"""LiteLLM's configuration as ours: what is carried over loads, and nothing else is lost in silence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway import Call, config
from openai_gateway.config import file
from openai_gateway.config.litellm import Imported, convert
from openai_gateway.config.litellm.origins import ORIGINS
from openai_gateway.config.litellm.yaml_file import read_yaml
from openai_gateway.config.writing import toml
from openai_gateway.errors import ConfigError
from openai_gateway.routing.health import Breakers
from openai_gateway.routing.plan import context_fallbacks, plan
from openai_gateway.routing.settings import Settings
from tests.gateway_config.test_cli import run

CANARY = "sk-canary-0123456789abcdefghij"
KNOWS_AZURE = "api_version" in file._PROVIDER_KEYS

PROXY = f"""
model_list:
  - model_name: gpt-4o
    litellm_params: &shared
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      organization: org-1
      rpm: 900
      tpm: 100_000
      max_parallel_requests: 8
      order: 1
      timeout: 300
      stream_timeout: 60
    model_info:
      input_cost_per_token: 1.5e-07
      output_cost_per_token: 0.0000006
      cache_read_input_token_cost: 7.5e-08
      mode: chat
  - model_name: gpt-4o
    litellm_params: {{<<: *shared, model: groq/llama-3.3-70b, api_key: os.environ/GROQ_API_KEY, organization: null}}
  - model_name: small
    litellm_params: {{model: gpt-4o-mini, api_key: {CANARY}}}
  - model_name: local
    litellm_params: {{model: ollama_chat/llama3.2, api_base: "http://localhost:11434/", temperature: 0.1}}
  - model_name: vllm
    litellm_params:
      model: hosted_vllm/facebook/opt-125m
      api_base: http://vllm.internal:8000
      extra_headers: {{x-team: blue, Authorization: {CANARY}}}
  - model_name: openai/*
    litellm_params: {{model: openai/*, api_key: os.environ/OPENAI_API_KEY}}
  - model_name: bedrock-one
    litellm_params: {{model: bedrock/anthropic.claude, aws_region_name: us-east-1}}
litellm_settings:
  drop_params: true
  num_retries: 2
  request_timeout: 60
  fallbacks: [{{gpt-4o: [local, bedrock-one]}}]
  context_window_fallbacks: [{{gpt-4o: [vllm]}}]
  default_fallbacks: [local]
router_settings:
  routing_strategy: simple-shuffle
  num_retries: 5
  model_group_alias: {{gpt-4: gpt-4o, quiet: {{model: small, hidden: true}}}}
general_settings: {{master_key: {CANARY}}}
environment_variables: {{LANGFUSE_KEY: {CANARY}}}
"""


def imported(text: str, tmp_path: Path, **environ: str) -> Imported:
    path = tmp_path / "litellm.yaml"
    path.write_text(text)
    content, _ = read_yaml(str(path))
    return convert(content, environ)


def of(entry: Mapping[str, Any], environ: Mapping[str, str] | None = None, **more: Any) -> Imported:
    """One deployment, of the parameters given."""
    return convert({"model_list": [{"model_name": "m", "litellm_params": entry}], **more}, environ or {})


def loaded(document: Mapping[str, Any], directory: Path, **environ: str) -> Settings:
    path = directory / "imported.toml"
    path.write_text(toml(document), encoding="utf-8")
    return config.load(environ, config_path=str(path))


def test_a_proxys_configuration_loads_and_plans(tmp_path: Path) -> None:
    found = imported(PROXY, tmp_path)
    settings = loaded(found.document, tmp_path, OPENAI_API_KEY="k1", GROQ_API_KEY="k2", OPENAI_3_API_KEY="k3")

    def targets(model: str) -> list[str]:
        call = Call(model=model, body={})
        return [target.name for target in plan(call, settings.table, Breakers(), 0.0, lambda: 0.0)]

    assert targets("gpt-4o") == ["openai/gpt-4o", "groq/llama-3.3-70b", "ollama_chat/llama3.2"]
    assert targets("gpt-4") == targets("gpt-4o")
    assert targets("quiet") == ["openai-2/gpt-4o-mini", "ollama_chat/llama3.2"]
    assert targets("openai/o3") == ["openai-3/o3", "ollama_chat/llama3.2"]
    assert targets("local") == ["ollama_chat/llama3.2"]
    call = Call(model="gpt-4o", body={})
    first = plan(call, settings.table, Breakers(), 0.0, lambda: 0.0)[:1]
    larger = context_fallbacks(first, settings.table, Breakers(), 0.0, lambda: 0.0)
    assert [target.name for target in larger["openai/gpt-4o"]] == ["hosted_vllm/facebook/opt-125m"]
    assert (settings.retries.max_retries, settings.timeouts.first_byte, settings.timeouts.idle) == (5, 60, 60)


def test_each_value_is_carried_over_as_it_is_meant_here(tmp_path: Path) -> None:
    document = imported(PROXY, tmp_path).document
    assert document["models"][0] == {
        "name": "gpt-4o",
        "provider": "openai",
        "weight": 900,
        "order": 1,
        "rpm": 900,
        "tpm": 100_000,
        "max_parallel": 8,
        "first_byte": 300,
        "price": {"input": 0.15, "output": 0.6, "cached_input": 0.075},
        "fallbacks": ["local"],
        "context_fallbacks": ["vllm"],
    }
    providers = document["providers"]
    assert providers["ollama_chat"] == {"kind": "openai", "base_url": "http://localhost:11434"}
    assert providers["hosted_vllm"] == {
        "kind": "openai",
        "base_url": "http://vllm.internal:8000/chat/completions",
        "allow_insecure": True,
        "headers": {"x-team": "blue"},
    }
    assert list(providers) == ["openai", "groq", "openai-2", "ollama_chat", "hosted_vllm", "openai-3"]


def test_what_is_not_carried_over_is_named_and_why(tmp_path: Path) -> None:
    notes = imported(PROXY, tmp_path).notes
    for where in (
        "model_list[0] (gpt-4o).litellm_params.stream_timeout - a row has one clock",
        "model_list[0] (gpt-4o).model_info.mode - it describes",
        "model_list[2] (small).litellm_params.api_key - a key that stands in the file is not copied; put it into the",
        "model_list[3] (local).litellm_params.temperature - ",
        "model_list[4] (vllm).litellm_params.api_base - plain http://",
        "model_list[4] (vllm).litellm_params.extra_headers.Authorization - a header that may hold a secret",
        "model_list[6] (bedrock-one).litellm_params.model - LiteLLM's provider 'bedrock' has no counterpart",
        "router_settings.model_group_alias.quiet - no model is hidden",
        "litellm_settings.num_retries - router_settings says it too, and wins",
        "litellm_settings.fallbacks.gpt-4o - no model that is taken over serves 'bedrock-one'",
        "litellm_settings.drop_params - ",
        "general_settings.master_key - ",
        "environment_variables.LANGFUSE_KEY - ",
    ):
        assert [note for note in notes if note.startswith(where)], (where, notes)


def test_no_key_is_written_or_shown(tmp_path: Path) -> None:
    found = imported(PROXY, tmp_path)
    assert CANARY not in toml(found.document) + "".join(found.notes)


# --- keys and addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ORIGINS)
def test_every_prefix_makes_a_provider_with_the_key_that_litellm_would_take(prefix: str, tmp_path: Path) -> None:
    entry = {"model": f"{prefix}/some/model", "api_base": "https://some.example/v1"}
    found = of(entry)
    (provider,) = found.document["providers"].values()
    assert provider["kind"] == ORIGINS[prefix].kind
    assert provider.get("api_key", {}).get("env") == ORIGINS[prefix].key
    assert found.document["models"] == [{"name": "m", "provider": prefix, "model": "some/model"}]
    assert found.notes == ()
    if not ORIGINS[prefix].base_url:
        return
    (provider,) = of({"model": f"{prefix}/m"}).document["providers"].values()
    assert provider["base_url"] == ORIGINS[prefix].base_url
    assert loaded(of({"model": f"{prefix}/m"}).document, tmp_path).table.providers[prefix].base_url


@pytest.mark.parametrize(
    ("model", "said", "provider", "upstream"),
    [
        ("gpt-5", None, "openai", "gpt-5"),
        ("claude-sonnet-4-5", None, "anthropic", "claude-sonnet-4-5"),
        ("meta/llama", "groq", "groq", "meta/llama"),
        ("groq/llama", "groq", "groq", "llama"),
        ("azure/o_series/my-o3", None, "azure", "my-o3"),
    ],
)
def test_the_provider_of_a_model_is_told_as_litellm_tells_it(
    model: str, said: str | None, provider: str, upstream: str
) -> None:
    found = of({"model": model, "custom_llm_provider": said, "api_base": "https://some.example"})
    assert found.document["models"] == [{"name": "m", "provider": provider, "model": upstream}]


@pytest.mark.parametrize("model", ["*", "some", "bedrock/x", "a/", "", 5, None])
def test_a_model_of_no_known_provider_is_left_out_and_told(model: Any) -> None:
    found = of({"model": model})
    assert found.document == {"providers": {}, "models": []}
    assert found.notes
    assert all(note.startswith("model_list[0] (m).litellm_params.model - ") for note in found.notes)


@pytest.mark.parametrize(
    ("api_base", "written"),
    [
        ("https://api.example/v1/", "https://api.example/v1"),
        ("https://api.example", "https://api.example/chat/completions"),
        ("https://api.example/openai/", "https://api.example/openai/chat/completions"),
        ("https://api.example/v1/chat/completions", "https://api.example/v1/chat/completions"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_an_address_is_asked_where_litellm_asks_it(api_base: str, written: str, tmp_path: Path) -> None:
    document = of({"model": "openai/m", "api_base": api_base}).document
    assert document["providers"]["openai"]["base_url"] == written
    url = loaded(document, tmp_path).table.providers["openai"].base_url
    assert f"{url}/chat/completions" == f"{api_base.rstrip('/').removesuffix('/chat/completions')}/chat/completions"


def test_the_address_that_a_server_listens_at_is_asked_on_this_machine() -> None:
    found = of({"model": "openai/m", "api_base": "http://0.0.0.0:4000/v1"})
    provider = {"kind": "openai", "base_url": "http://127.0.0.1:4000/v1", "api_key": {"env": "OPENAI_API_KEY"}}
    assert found.document["providers"]["openai"] == provider
    assert "so 127.0.0.1 is written" in found.notes[0]


def test_an_address_in_a_variable_is_looked_up_now() -> None:
    entry = {"model": "hosted_vllm/m", "api_base": "os.environ/VLLM"}
    there = of(entry, {"VLLM": "https://vllm.example/v1"})
    assert there.document["providers"]["hosted_vllm"]["base_url"] == "https://vllm.example/v1"
    inside = of(entry, environment_variables={"VLLM": "https://inside.example/v1"})
    assert inside.document["providers"]["hosted_vllm"]["base_url"] == "https://inside.example/v1"
    missing = of(entry)
    assert missing.document["models"] == []
    assert "VLLM is not set" in missing.notes[0]
    assert of({"model": "hosted_vllm/m"}, {"HOSTED_VLLM_API_BASE": "https://v.example/v1"}).document["models"]


@pytest.mark.parametrize("api_base", ["nowhere", "https://user:swordfish@x.example", "https://x.example/?a=b"])
def test_an_address_that_is_none_leaves_the_model_out(api_base: str) -> None:
    found = of({"model": "openai/m", "api_base": api_base})
    assert found.document["models"] == []
    assert "the model is left out" in found.notes[0]
    assert "swordfish" not in found.notes[0]


def test_a_server_without_an_address_is_left_out() -> None:
    (note,) = of({"model": "lm_studio/m"}).notes
    assert "api_base - it is not there (nor LM_STUDIO_API_BASE set)" in note


def test_literal_keys_get_variables_that_nothing_else_uses() -> None:
    def entry(key: str, model: str = "openai/m") -> dict[str, Any]:
        return {"model_name": model, "litellm_params": {"model": model, "api_key": key}}

    found = convert({"model_list": [entry("one"), entry("os.environ/OPENAI_API_KEY"), entry("two"), entry("one")]}, {})
    assert [table["api_key"] for table in found.document["providers"].values()] == [
        {"env": "OPENAI_API_KEY_2"},
        {"env": "OPENAI_API_KEY"},
        {"env": "OPENAI_3_API_KEY"},
    ]
    assert [row["provider"] for row in found.document["models"]] == ["openai", "openai-2", "openai-3", "openai"]


def test_a_literal_key_of_another_server_gets_no_variable_that_may_hold_a_known_providers_key() -> None:
    """Else the key that OPENAI_API_KEY holds for OpenAI would go to whoever listens at that address."""
    elsewhere = {"model": "openai/m", "api_base": "https://llm.example/v1", "api_key": CANARY}
    assert of(elsewhere).document["providers"]["openai"]["api_key"] == {"env": "OPENAI_API_KEY_2"}
    at_home = {"model": "openai/m", "api_base": "https://api.openai.com/v1", "api_key": CANARY}
    assert of(at_home).document["providers"]["openai"]["api_key"] == {"env": "OPENAI_API_KEY"}
    azure = {"model": "azure/m", "api_base": "https://x.openai.azure.com", "api_key": CANARY}
    assert of(azure).document["providers"]["azure"]["api_key"] == {"env": "AZURE_API_KEY"}


@pytest.mark.parametrize("said", ["none", "EMPTY", "sk-no-key-required"])
def test_a_word_that_only_stands_for_a_key_is_none(said: str) -> None:
    found = of({"model": "openai/m", "api_base": "http://127.0.0.1:8000/v1", "api_key": said})
    assert "api_key" not in found.document["providers"]["openai"]
    (note,) = found.notes
    assert "api_key - it only stands for one" in note


def test_azure_has_its_address_and_its_version(tmp_path: Path) -> None:
    entry = {"model": "azure/eu", "api_base": "https://eu.openai.azure.com/", "api_version": "2024-10-21"}
    found = of({**entry, "api_key": "os.environ/AZ"})
    assert found.document["providers"]["azure"] == {
        "kind": "azure",
        "base_url": "https://eu.openai.azure.com",
        "api_version": "2024-10-21",
        "api_key": {"env": "AZ"},
    }
    assert found.notes == ()
    if KNOWS_AZURE:
        assert loaded(found.document, tmp_path, AZ="k").table.providers["azure"].kind == "azure"


def test_what_only_azure_has_is_told_elsewhere() -> None:
    (note,) = of({"model": "openai/m", "api_version": "1"}).notes
    assert "api_version - only Azure" in note


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"x-team": " blue "}, {"x-team": "blue"}),
        ({"x-team": CANARY}, None),
        ({"x-api-key": "abc"}, None),
        ({"x-team": "os.environ/TEAM"}, None),
        ({"x team": "blue"}, None),
        ({"x-team": "blü"}, None),
        ({"x-team": 5}, None),
    ],
)
def test_a_header_is_taken_over_unless_it_may_be_a_secret(headers: dict[str, Any], kept: dict[str, str] | None) -> None:
    found = of({"model": "openai/m", "headers": headers})
    assert found.document["providers"]["openai"].get("headers") == kept
    assert len(found.notes) == (kept is None)


def test_credentials_that_deployments_share_are_put_into_each() -> None:
    credentials = [
        {"credential_name": "c", "credential_values": {"api_key": "os.environ/C", "api_base": "https://c.example/v1"}},
        {"credential_name": "d"},
    ]
    found = of({"model": "openai/m", "litellm_credential_name": "c"}, credential_list=credentials)
    assert found.document["providers"]["openai"]["api_key"] == {"env": "C"}
    assert [note.split(" - ")[0] for note in found.notes] == ["credential_list[1].credential_name"]
    unknown = of({"model": "openai/m", "litellm_credential_name": "x"})
    assert "litellm_credential_name" in unknown.notes[0]


# --- weights, fallbacks, times ------------------------------------------------------------------------------------


def group(*params: dict[str, Any], **more: Any) -> Imported:
    entries = [
        {"model_name": "m", "litellm_params": {"model": f"openai/{at}", **each}} for at, each in enumerate(params)
    ]
    return convert({"model_list": entries, **more}, {})


def test_a_group_shares_by_the_first_of_weight_rpm_and_tpm_that_it_says() -> None:
    by_rpm = group({"rpm": 6}, {"rpm": 900}).document["models"]
    assert [row["weight"] for row in by_rpm] == [6, 900]
    by_weight = group({"rpm": 6, "weight": 2}, {"rpm": 900, "weight": 1}).document["models"]
    assert [row["weight"] for row in by_weight] == [2, 1]
    assert all("weight" not in row for row in group({}, {}).document["models"])


def test_who_has_no_share_comes_last() -> None:
    found = group({"weight": 1, "order": 2}, {"weight": 0}, {})
    assert [row.get("order") for row in found.document["models"]] == [2, 3, 3]
    assert sum("share by weight" in note for note in found.notes) == 2


@pytest.mark.parametrize(
    ("settings", "times"),
    [
        ({"litellm_settings": {"request_timeout": 20}}, {"first_byte": 20, "idle": 20}),
        ({"router_settings": {"timeout": "20.5"}}, {"first_byte": 20.5, "idle": 20.5}),
        (
            {"litellm_settings": {"request_timeout": 20}, "router_settings": {"timeout": 90}},
            {"first_byte": 20, "idle": 20, "total": 90},
        ),
        ({"router_settings": {"timeout": 6000}}, {"first_byte": 6000, "idle": 6000, "total": 6000}),
        ({"router_settings": {"timeout": 1e9}}, None),
    ],
)
def test_the_times_are_those_of_an_attempt_and_of_the_call(
    settings: dict[str, Any], times: dict[str, float] | None, tmp_path: Path
) -> None:
    document = group({}, **settings).document
    assert document.get("timeouts") == times
    loaded(document, tmp_path)


def test_fallbacks_of_all_are_for_those_that_have_none() -> None:
    entries = [{"model_name": name, "litellm_params": {"model": f"openai/{name}"}} for name in "abc"]
    said = {"fallbacks": [{"a": ["b"]}, {"*": ["c"]}, {"z": ["a"]}, 5], "context_window_fallbacks": {"b": [{"x": 1}]}}
    found = convert({"model_list": entries, "router_settings": said}, {})
    assert [row.get("fallbacks") for row in found.document["models"]] == [["b"], ["c"], None]
    assert [note.split(" - ")[0] for note in found.notes] == [
        "router_settings.fallbacks.z",
        "router_settings.fallbacks",
        "router_settings.context_window_fallbacks.b",
    ]


def test_an_alias_of_nothing_is_told() -> None:
    said = {"model_group_alias": {"x": "nope", "m": "m", "*": "m", "y": ["m"], "z": "m"}}
    found = group({}, router_settings=said)
    assert [row["name"] for row in found.document["models"]] == ["m", "z"]
    assert len(found.notes) == 4


def test_an_alias_of_a_pattern_is_told() -> None:
    content = {
        "model_list": [{"model_name": "x/*", "litellm_params": {"model": "openai/*"}}],
        "router_settings": {"model_group_alias": {"a": "x/*"}},
    }
    (note,) = convert(content, {}).notes
    assert "stands for a pattern" in note


@pytest.mark.parametrize(
    ("said", "rpm"), [(60, 60), ("60", 60), (60.0, 60), (0, None), (-1, None), (0.5, None), (True, None)]
)
def test_a_whole_number_may_be_written_in_each_way_that_litellm_takes(said: Any, rpm: int | None) -> None:
    found = of({"model": "openai/m", "rpm": said})
    assert found.document["models"][0].get("rpm") == rpm
    assert len(found.notes) == (rpm is None)


@pytest.mark.parametrize("said", ["9" * 5_000, 10**400, "\u0661", "1_0", "nan", [1], {"a": 1}])
def test_what_is_no_number_is_told_and_left_out(said: Any) -> None:
    found = of({"model": "openai/m", "rpm": said, "timeout": said, "organization": "ö"})
    assert found.document["models"] == [{"name": "m", "provider": "openai"}]
    assert "organization" not in found.document["providers"]["openai"]
    assert len(found.notes) == 3


@pytest.mark.parametrize(("name", "model"), [("a*b*", "openai/m"), ("m", "openai/*"), ("a/*", "openai/*/*")])
def test_stars_that_a_row_cannot_have_leave_the_model_out(name: str, model: str) -> None:
    found = convert({"model_list": [{"model_name": name, "litellm_params": {"model": model}}]}, {})
    assert found.document["models"] == []
    assert "a row has one * in its name" in found.notes[0]


def test_a_price_of_one_direction_is_no_price() -> None:
    found = of({"model": "openai/m", "input_cost_per_token": 1e-6})
    assert "price" not in found.document["models"][0]
    assert "needs that of the output" in found.notes[0]


# --- whatever stands in the file ----------------------------------------------------------------------------------

WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("os.environ/NOWHERE"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
# Azure's version is no key of the file before its kind is built.
PREFIXES = st.sampled_from([prefix for prefix in ORIGINS if prefix != "azure"])
PARAMS = st.fixed_dictionaries(
    {"model": st.builds("{}/{}".format, PREFIXES, st.sampled_from(["a", "b", "*"])) | WILD},
    optional={
        "api_key": st.just(CANARY) | st.just("os.environ/K") | WILD,
        "api_base": st.sampled_from(["https://a.example", "http://b.example/v1", "os.environ/BASE"]) | WILD,
        "headers": st.dictionaries(st.sampled_from(["x-a", "authorization", "ü"]), st.just(CANARY) | WILD) | WILD,
        **dict.fromkeys(("organization", "weight", "order", "rpm", "tpm", "timeout", "max_parallel_requests"), WILD),
        **dict.fromkeys(("input_cost_per_token", "output_cost_per_token"), st.floats(0, 1) | WILD),
    },
)
NAMES = st.sampled_from(["a", "b", "x/*", "*"])
ENTRY = st.fixed_dictionaries(
    {"model_name": NAMES | WILD, "litellm_params": PARAMS | WILD}, optional={"model_info": WILD}
)
FALLBACKS = st.lists(st.dictionaries(NAMES, st.lists(NAMES) | WILD, max_size=2), max_size=3) | WILD
ROUTING = st.fixed_dictionaries(
    {},
    optional={
        "fallbacks": FALLBACKS,
        "context_window_fallbacks": FALLBACKS,
        "default_fallbacks": st.lists(NAMES) | WILD,
        "model_group_alias": st.dictionaries(NAMES | st.text(max_size=3), NAMES | WILD) | WILD,
        **dict.fromkeys(("num_retries", "timeout", "request_timeout", "routing_strategy"), WILD),
    },
)
CONTENT = st.fixed_dictionaries(
    {"model_list": st.lists(ENTRY | WILD, max_size=4) | WILD},
    optional={"router_settings": ROUTING | WILD, "litellm_settings": ROUTING | WILD, "credential_list": WILD},
)


@given(CONTENT)
def test_whatever_the_file_says_the_outcome_loads_and_holds_no_key(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    found = convert(content, {"BASE": "https://base.example/v1"})
    text = toml(found.document)
    assert CANARY not in text + "".join(found.notes)
    settings = loaded(found.document, tmp_path_factory.getbasetemp())
    assert len(settings.table.rows) == len(found.document["models"])


@given(
    st.sampled_from(
        [
            (),
            ("model_list", 0),
            ("model_list", 0, "litellm_params"),
            ("model_list", 0, "model_info"),
            ("router_settings",),
            ("litellm_settings",),
            ("general_settings",),
            ("environment_variables",),
        ]
    ),
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8).map("x_{}".format),
)
def test_a_key_that_nobody_knows_is_told_wherever_it_stands(path: tuple[str | int, ...], key: str) -> None:
    content: dict[str, Any] = {
        "model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m"}, "model_info": {}}],
        "router_settings": {},
        "litellm_settings": {},
        "general_settings": {},
        "environment_variables": {},
    }
    place: Any = content
    for step in path:
        place = place[step]
    place[key] = "value"
    (note,) = convert(content, {}).notes
    assert key in note.split(" - ")[0]


# --- the YAML, and the command ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", ", line 1, column 6: this is no YAML: expected ',' or ']', but got '<stream end>'."),
        (f'"a" {CANARY}', ", line 1, column 5: this is no YAML: expected '<document start>', but found '<scalar>'."),
        ("a: b: c", ", line 1, column 5: this is no YAML: mapping values are not allowed here"),
        (f"a: !{CANARY} b", ", line 1, column 4: this is no YAML: could not determine a constructor for the tag"),
        ("\x01", "a character that YAML does not allow"),
        ("a: 2001-99-99", "a date or a number that cannot be"),
        ("a: !!int ''", "a date or a number that cannot be"),
        ("a: !!bool x", "a date or a number that cannot be"),
        ("a: !!timestamp x", "a date or a number that cannot be"),
        ("[" * 5000, "nested too deep"),
        ("- a", "holds no mapping"),
        ("", "holds no mapping"),
        ("{[]: 1}", "this is no YAML: found unhashable key"),
    ],
)
def test_what_is_no_yaml_is_told_without_quoting_it(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(str(path))
    assert said in str(caught.value)
    assert CANARY not in str(caught.value)


MERGED_TWICE = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))


@pytest.mark.parametrize(("text", "said"), [
    (MERGED_TWICE, "with its merge keys (<<) resolved it has more than 1,048,576 keys"),
    (f"x: 1{':1' * 1_000_000}", "it has a number of more than 1,000 characters"),
    (f"x: 1{':1' * 1_000_000}.5", "it has a number of more than 1,000 characters"),
    (f"x: 0x{'f' * 4_000}", "it has a number of more than 1,000 characters"),
    (f"x: 1{':1' * 400}.5", "it holds a date or a number that cannot be"),
], ids=["merged", "base 60", "base 60 with a point", "hexadecimal", "no float"])  # fmt: skip
def test_what_would_take_hours_to_read_is_told(text: str, said: str, tmp_path: Path) -> None:
    """The merged keys double with each line, and a number of base 60 takes quadratic time."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(str(path))
    assert said in str(caught.value)


def test_what_a_few_lines_multiply_has_an_end() -> None:
    """In YAML an entry can be said again by a word, so that these lists can have a million each."""
    entry = {"model_name": "m", "litellm_params": {"model": "openai/m"}}
    aliases = {f"a{number}": "m" for number in range(5)}
    router = {"model_group_alias": aliases, "default_fallbacks": [f"a{number}" for number in range(2)] * 100}
    made = convert({"model_list": [entry] * 4_000, "router_settings": router}, {})
    assert len(made.document["models"]) == 8_000
    assert max(len(row.get("fallbacks", ())) for row in made.document["models"]) <= 100
    assert sum("more than 10,000 rows" in note for note in made.notes) == 4
    assert any("of 200 fallbacks the first 100 are taken" in note for note in made.notes)
    many = convert({"model_list": [entry] * 12_000}, {})
    assert len(many.document["models"]) == 10_000
    assert any("it has 12,000 entries, of which the first 10,000 are taken" in note for note in many.notes)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_yaml(str(tmp_path / "none"))
    (tmp_path / "x").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 3"):
        read_yaml(str(tmp_path / "x"))
    (tmp_path / "x").write_bytes(b"#" * (4 * 2**20 + 1))
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        read_yaml(str(tmp_path / "x"))


def test_a_key_that_stands_twice_is_told_and_a_merge_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("x: &x {a: 1}\ny: {<<: *x, a: 2}\nz: {<<: *x, b: 1, b: 2}\n")
    content, twice = read_yaml(str(path))
    assert content["y"] == {"a": 2}
    assert twice == ("line 3: the key 'b' is there already; this later one counts.",)


def test_the_command_prints_the_file_and_says_the_rest_to_stderr(tmp_path: Path) -> None:
    path = tmp_path / "litellm.yaml"
    path.write_text(PROXY)
    done = subprocess.run(
        [sys.executable, "-m", "openai_gateway", "config", "import-litellm", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f'# From "{path}", of LiteLLM; ')
    assert CANARY not in done.stdout + done.stderr
    assert "[redacted]" not in done.stderr
    assert all(line.startswith("note: ") for line in done.stderr.splitlines())
    (tmp_path / "ours.toml").write_text(done.stdout)
    assert run("config", "check", str(tmp_path / "ours.toml"))[0] == 0


def test_the_command_says_where_nothing_could_be_taken_over(tmp_path: Path) -> None:
    (tmp_path / "litellm.yaml").write_text("model_list: [{model_name: m, litellm_params: {model: bedrock/m}}]")
    code, said = run("config", "import-litellm", str(tmp_path / "litellm.yaml"))
    assert code == 1
    assert "has no counterpart here" in said
    assert said.endswith("No model could be taken over.\n")


def test_without_its_extra_it_says_which_one_is_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"pip install 'openai-gateway-mcp\[litellm\]'"):
        read_yaml(str(tmp_path / "c.yaml"))
