"""The prompts, a row each: what a person picks from a menu to have another model asked."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from openai_gateway_mcp.protocol.errors import INVALID_PARAMS, Fault
from openai_gateway_mcp.protocol.model import Prompt, PromptArgument, PromptMessage, PromptResult, Role, Text

_MODEL = PromptArgument(name="model", description="The model to ask; empty for the default one.")


@attrs.frozen(kw_only=True)
class _PromptSpec:
    """`subject` is the argument that must be given; `words` is filled with it and with the model's name."""

    prompt: Prompt
    subject: str
    words: str


_SPECS = (
    _PromptSpec(
        prompt=Prompt(
            name="ask",
            title="Ask another model",
            description="Put a question to another model and show its answer.",
            arguments=(PromptArgument(name="question", description="What to ask.", required=True), _MODEL),
        ),
        subject="question",
        words="Use the `chat` tool to ask {model} the question below, word for word, and show me its answer as it is."
        "\n\n{subject}",
    ),
    _PromptSpec(
        prompt=Prompt(
            name="second_opinion",
            title="Second opinion",
            description="Have another model judge a text, then weigh what it says.",
            arguments=(PromptArgument(name="text", description="What to judge.", required=True), _MODEL),
        ),
        subject="text",
        words="Use the `chat` tool to ask {model} for its honest opinion of the text below: what is right, what is "
        "wrong, what is missing. Send it the whole text. Then tell me where you agree with it and where not, and why."
        "\n\n{subject}",
    ),
)
_BY_NAME = {spec.prompt.name: spec for spec in _SPECS}

PROMPTS = tuple(spec.prompt for spec in _SPECS)


def fill_prompt(name: str, arguments: Mapping[str, str]) -> PromptResult:
    """One message in the user's voice. Raises Fault for a prompt that is not there and an argument that is missing."""
    spec = _BY_NAME.get(name)
    if spec is None:
        raise Fault(INVALID_PARAMS, f"Unknown prompt: {name}. There are {' and '.join(_BY_NAME)}.")
    subject = arguments.get(spec.subject, "")
    if not subject:
        raise Fault(INVALID_PARAMS, f"Prompt {name} needs the argument {spec.subject}, not empty.")
    named = arguments.get("model", "")
    model = f"the model `{named}`" if named else "its default model"
    # Replaced one after the other and the subject last, so that braces in it stay what they are.
    text = spec.words.replace("{model}", model).replace("{subject}", subject)
    return PromptResult(
        description=spec.prompt.description, messages=(PromptMessage(role=Role.USER, content=Text(text)),)
    )
