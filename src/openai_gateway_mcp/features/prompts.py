"""The prompts, a row each: what a person picks from a menu to have another model asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from openai_gateway_mcp.protocol.errors import INVALID_PARAMS, Fault
from openai_gateway_mcp.protocol.model import Prompt, PromptArgument, PromptMessage, PromptResult, Role, Text

MODEL = "model"
"""The argument that names a model, in every prompt that has one; what is typed there is completed."""

_MODEL = PromptArgument(name=MODEL, description="The model to ask; empty for the default one.")


@attrs.frozen(kw_only=True)
class PromptSpec:
    """`words` are filled in with the arguments: `{name}` is the value of the argument of that name.

    `unnamed` stands for a model that is not named.
    """

    prompt: Prompt
    words: str
    unnamed: str = ""


PROMPTS = (
    PromptSpec(
        prompt=Prompt(
            name="ask",
            title="Ask another model",
            description="Put a question to another model and show its answer.",
            arguments=(PromptArgument(name="question", description="What to ask.", required=True), _MODEL),
        ),
        words="Use the `chat` tool to ask {model} the question below, word for word, and show me its answer as it is."
        "\n\n{question}",
        unnamed="its default model",
    ),
    PromptSpec(
        prompt=Prompt(
            name="second_opinion",
            title="Second opinion",
            description="Have another model judge a text, then weigh what it says.",
            arguments=(PromptArgument(name="text", description="What to judge.", required=True), _MODEL),
        ),
        words="Use the `chat` tool to ask {model} for its honest opinion of the text below: what is right, what is "
        "wrong, what is missing. Send it the whole text. Then tell me where you agree with it and where not, and why."
        "\n\n{text}",
        unnamed="its default model",
    ),
)
"""Those that are always there; the configuration may bring others."""

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def places_in(words: str) -> tuple[str, ...]:
    """The arguments that the words have a place for."""
    return tuple(dict.fromkeys(_PLACE.findall(words)))


def fill_prompt(name: str, arguments: Mapping[str, str], specs: Sequence[PromptSpec] = PROMPTS) -> PromptResult:
    """One message in the user's voice. Raises Fault for a prompt that is not there and an argument that is missing."""
    spec = next((spec for spec in specs if spec.prompt.name == name), None)
    if spec is None:
        known = " and ".join(spec.prompt.name for spec in specs)
        raise Fault(INVALID_PARAMS, f"Unknown prompt: {name}. There are {known}.")
    values = {argument.name: arguments.get(argument.name, "") for argument in spec.prompt.arguments}
    for argument in spec.prompt.arguments:
        if argument.required and not values[argument.name]:
            raise Fault(INVALID_PARAMS, f"Prompt {name} needs the argument {argument.name}, not empty.")
    if spec.unnamed:
        values[MODEL] = f"the model `{values[MODEL]}`" if values[MODEL] else spec.unnamed
    # All at once, so that braces in a value stay what they are.
    text = _PLACE.sub(lambda match: values.get(match[1], match[0]), spec.words)
    return PromptResult(
        description=spec.prompt.description, messages=(PromptMessage(role=Role.USER, content=Text(text)),)
    )
