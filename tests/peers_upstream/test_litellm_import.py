"""LiteLLM itself is asked what its configuration means: where each prefix leads, and which models a file makes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import installed
from tests.gateway_config.test_litellm import PROXY
from tests.installed import LITELLM, ambient

from openai_gateway.config.addresses import base_url
from openai_gateway.config.litellm import convert
from openai_gateway.config.litellm.origins import ORIGINS

pytestmark = pytest.mark.peers

SECONDS = 120  # its import alone takes some

ASK = """
import json, sys
from litellm import Router, get_llm_provider
asked = json.load(sys.stdin)
found = {prefix: get_llm_provider(f"{prefix}/some/model") for prefix in asked["prefixes"]}
router = Router(model_list=asked["model_list"], **asked["router_settings"])
print("ANSWER", json.dumps({"found": found, "names": router.get_model_names()}))
"""

# Where LiteLLM speaks another protocol, or leaves the address to a later step, so that it names none here.
NAMES_NO_ADDRESS = {"openai", "text-completion-openai", "anthropic", "ollama_chat", "openrouter", "gemini", "zai"}

# Its beta address is one that speaks OpenAI's protocol too; deepseek's own documentation names /v1.
ANOTHER_ADDRESS = {"deepseek"}


@pytest.fixture(scope="module")
def answer() -> Any:
    """What LiteLLM says, with every variable that holds a key set to its own name."""
    python = installed.install_all([LITELLM])[LITELLM.name]
    if isinstance(python, str):
        installed.missing(LITELLM, python)
    content = yaml.safe_load(PROXY)
    asked = {name: content[name] for name in ("model_list", "router_settings")} | {"prefixes": list(ORIGINS)}
    keys = {origin.key: origin.key for origin in ORIGINS.values() if origin.key is not None}
    done = subprocess.run(
        [Path(python), "-c", ASK],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**ambient("PATH", "HOME"), **keys},
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("ANSWER "))
    return json.loads(line.removeprefix("ANSWER "))


@pytest.mark.parametrize("prefix", ORIGINS)
def test_a_prefix_leads_where_litellm_goes_with_it(answer: Any, prefix: str) -> None:
    model, provider, key, address = answer["found"][prefix]
    origin = ORIGINS[prefix]
    assert (model, provider) == ("some/model", prefix)
    if key is not None and not key.startswith(("fake", "dummy")):
        assert key == origin.key
    if address is None or prefix in ANOTHER_ADDRESS:
        assert prefix in NAMES_NO_ADDRESS | ANOTHER_ADDRESS or origin.base_url is None
    else:
        expected = address if origin.is_native else base_url(origin.base_url or "", "base_url")
        assert expected == address


def test_the_models_are_those_that_litellm_makes_of_the_same_file(answer: Any) -> None:
    document = convert(yaml.safe_load(PROXY), {}).document
    ours = {row["name"] for row in document["models"]}
    assert ours == {*answer["names"], "gpt-4", "quiet"} - {"bedrock-one"}
