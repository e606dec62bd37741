"""How many tokens a call may use at most, told before anybody has counted them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call, Json

DEFAULT_OUTPUT: Final = 4096
"""Tokens of an answer where neither the caller nor the model's row bounds it. Some models write more: that is charged
when it is known."""
IMAGE: Final = 5000
"""Tokens of one image. An allowance, no bound: OpenAI's models by patches take up to 3,779 (1,536 of 2.46), gpt-4o-mini
and Qwen-VL may take several times this. What they took beyond it is charged when it is known."""

_SOUND: Final = 64
"""Bytes of sound that make a token at least: OpenAI counts 10 tokens a second, and Opus at 6 kbit/s has 750 bytes."""

_TEMPLATE: Final = 256  # what a chat template adds of its own: roles, a default system prompt
_TOOLS: Final = 1024  # the instructions that make a model call tools; Anthropic documents several hundred
MOST: Final = 2**53  # a store in another language may hold numbers as doubles
_CAPS: Final[Mapping[str, tuple[str, ...]]] = {
    "chat/completions": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
"""What bounds an answer, by endpoint. A member that no provider reads there bounds nothing: whoever sends it may want a
large answer for a small reservation."""

_SAMPLES: Final = ("n", "best_of")
_WITHOUT_OUTPUT: Final = frozenset({"embeddings", "moderations", "rerank"})
_IMAGE_PARTS: Final = ("image_url", "input_image")  # no set: a `type` may be a list
_NUMBER: Final = 24  # characters that the longest float takes
_OBJECTS: Final = (dict, Mapping)  # in this order: to ask an abstract class takes as long as all else about a member


def token_bound(call: Call, max_output: int | None = None) -> int:
    """An upper bound of all tokens of the call. `max_output` is the model row's; the caller's own cap goes before it.

    Raises GatewayError for a body that is nested without end.
    """
    return min(prompt_bound(call) + _output(call, max_output), MOST)


def output_bound(call: Call, max_output: int | None = None) -> int | None:
    """An upper bound of the tokens of all answers; None where neither the caller nor the row says one."""
    is_said = call.endpoint in _WITHOUT_OUTPUT or max_output is not None or _cap(call) is not None
    return min(_output(call, max_output), MOST) if is_said else None


def prompt_bound(call: Call) -> int:
    """The prompt is at most its bytes in UTF-8, as a token stands for one byte at least; an image has an allowance.

    With the bytes of what came it bounds an answer that broke off before it told its usage. Raises as `token_bound`.
    """
    try:
        prompt = _TEMPLATE + _bytes(call.body) + _of_files(call)
    except RecursionError:
        message = "The request is nested too deep."
        raise GatewayError(kind=Kind.INVALID_REQUEST, message=message) from None
    return prompt + _TOOLS if call.body.get("tools") or call.body.get("functions") else prompt


def _of_files(call: Call) -> int:
    """Of what is uploaded: images by the allowance for one, sound by its length at the thinnest that is ever sent."""
    if call.upload is None:
        return 0
    return sum(IMAGE if call.endpoint == "images/edits" else one.content.size // _SOUND for one in call.upload.files)


def _output(call: Call, max_output: int | None) -> int:
    if call.endpoint in _WITHOUT_OUTPUT:
        return 0
    cap = _cap(call)
    if cap is None:
        cap = DEFAULT_OUTPUT if max_output is None else max_output
    return cap * (_largest(call.body, _SAMPLES) or 1) * _prompts(call)


def _cap(call: Call) -> int | None:
    """The caller's own bound of one answer."""
    return _largest(call.body, _CAPS.get(call.endpoint, ()))


def choices_asked(call: Call) -> int:
    """How many choices the answer is to have."""
    return (_largest(call.body, ("n",)) or 1) * _prompts(call)


def _prompts(call: Call) -> int:
    """A completion may have several prompts, each with an answer of its own; a list of numbers is one, in tokens."""
    prompt = call.body.get("prompt") if call.endpoint == "completions" else None
    return max(1, sum(isinstance(one, str | list | tuple) for one in prompt)) if isinstance(prompt, list | tuple) else 1


def _largest(body: Mapping[str, Json], names: tuple[str, ...]) -> int | None:
    """The largest sound number among these members; what is no count is for the upstream to refuse."""
    largest = None
    for name in names:
        n = body.get(name)
        if isinstance(n, int) and not isinstance(n, bool) and n > (largest or 0):
            largest = n
    return largest


def _bytes(value: Any) -> int:
    """About the bytes of the JSON text, never fewer; nothing is written for it, so that a large body costs little."""
    if isinstance(value, str):
        return 4 + (len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass")))
    if isinstance(value, _OBJECTS):
        is_image = value.get("type") in _IMAGE_PARTS and "image_url" in value
        size = IMAGE if is_image else 2
        for key, item in value.items():  # no sum of a generator: each member would change frames twice more
            if not is_image or key != "image_url":
                size += _bytes(key) + _bytes(item)
        return size
    if isinstance(value, list | tuple):
        return 2 + sum(map(_bytes, value))
    if isinstance(value, int):
        return 6 + value.bit_length() // 3  # more than its digits, and than "false"
    return _NUMBER
