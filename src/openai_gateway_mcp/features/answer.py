"""How an answer is shown to the client's model: its text, and in plain words whatever kept it from being whole."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from openai_gateway import Served

Json = Any

META_PREFIX = "openai-gateway-mcp/"
"""Our own prefix of `_meta` keys; MCP reserves those whose second label is `mcp` or `modelcontextprotocol`."""


class End(enum.Enum):
    """Why no more came."""

    FINISHED = "finished"
    SOFT_DEADLINE = "soft_deadline"
    SIZE = "size"


@attrs.frozen(kw_only=True)
class Answer:
    """What one model said. `waited_for` is the gateway's word on what the soft deadline interrupted, if it had one.

    `pictures` are URLs, `sound` bytes.
    """

    model: str
    end: End
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    pictures: tuple[str, ...] = attrs.field(default=(), repr=False)
    sound: bytes = attrs.field(default=b"", repr=False)
    finish_reason: str | None = None
    served: Served | None = None
    waited_for: str = ""


@attrs.frozen(kw_only=True)
class Shown:
    """The one text of an answer; `is_error` when there is nothing in it that a model said."""

    text: str
    is_error: bool = False


def show(answer: Answer, *, soft_deadline: float | None, max_characters: int, whole_at: str | None = None) -> Shown:
    """The text to return, at most `max_characters` of the model's own plus a notice of a line or two.

    `whole_at`: the URI under which all of a longer text can be read.
    """
    if answer.text.strip():  # a model that only reasoned often leaves the line breaks after it
        notice = _text_notice(answer, soft_deadline, max_characters)
        if whole_at is not None:
            notice = f"{_whole_notice(answer, max_characters, whole_at)} {notice}".rstrip()
        return _with_notice(answer.text, notice, max_characters)
    if answer.pictures or answer.sound:
        return Shown(text=f"[{answer.model} sent no text.]")
    if answer.refusal:
        return _with_notice(f"[{answer.model} refused to answer:]\n\n{answer.refusal}", "", max_characters)
    if answer.end is End.SOFT_DEADLINE:
        return Shown(text=_nothing_in_time(answer, soft_deadline), is_error=True)
    if answer.reasoning:
        labelled = f"[{answer.model} sent no answer, only this reasoning:]\n\n{answer.reasoning}"
        return _with_notice(labelled, _empty_notice(answer), max_characters)
    return Shown(text=f"{answer.model} sent no text. {_empty_notice(answer)}", is_error=True)


def served_meta(answer: Answer) -> dict[str, Json]:
    """The facts of an answer as `_meta`; times in milliseconds, cost in US dollars. What is not known is left out."""
    facts: dict[str, Json] = {"model": answer.model, "finish_reason": answer.finish_reason}
    if answer.end is not End.FINISHED:
        facts["cut_by"] = answer.end.value
    if answer.served is not None:
        facts |= facts_of(answer.served)
    return {name: value for name, value in facts.items() if value is not None}


def facts_of(served: Served) -> dict[str, Json]:
    """The same of a call that was served whole."""
    facts = {
        "model": served.model,
        "finish_reason": served.finish_reason,
        "usage": _usage(served),
        "request_id": served.request_id,
        "latency_ms": _milliseconds(served.elapsed),
        "first_byte_ms": None if served.first_byte is None else _milliseconds(served.first_byte),
        "cost": served.cost,
        "target": served.target,
        "attempts": served.attempts,
        "continued": served.continued or None,
        "cached": served.cached or None,
        "warnings": list(served.warnings) or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def prefixed(facts: Mapping[str, Json]) -> dict[str, Json]:
    return {META_PREFIX + name: value for name, value in facts.items()}


def _with_notice(text: str, notice: str, max_characters: int) -> Shown:
    if len(text) > max_characters:
        # Cut between characters only: a lone half of a surrogate pair cannot arise, Python counts code points.
        text = text[:max_characters]
        notice = notice or _size_notice(max_characters)
    return Shown(text=f"{text}\n\n[{notice}]" if notice else text)


def _text_notice(answer: Answer, soft_deadline: float | None, max_characters: int) -> str:
    if answer.end is End.SIZE:
        return _size_notice(max_characters)
    if answer.end is End.SOFT_DEADLINE:
        return (
            f"Partial answer: the soft deadline of {_seconds(soft_deadline)} came after {len(answer.text):,} "
            "characters. Ask for the rest, ask for less, or raise SOFT_DEADLINE (0 = off)."
        )
    return finish_notice(answer.finish_reason)


def finish_notice(finish_reason: str | None) -> str:
    """What to say of an answer with text that the model or the provider did not end of its own will; else ""."""
    return _FINISH_NOTICES.get(finish_reason or "", "")


_FINISH_NOTICES = {
    "length": 'The answer stops here: finish_reason "length". Raise max_tokens, or ask the model to go on.',
    "content_filter": "The answer stops here: the provider's content filter cut it. Rephrase, or ask another model.",
}


def _size_notice(max_characters: int) -> str:
    return (
        f"Cut at {max_characters:,} characters, the most that is returned; the rest was not read. "
        "Ask for a shorter answer, or for it in parts."
    )


def _whole_notice(answer: Answer, max_characters: int, uri: str) -> str:
    return (
        f"Cut at {max_characters:,} of {len(answer.text):,} characters; all that came is the resource {uri}, "
        "for an hour."
    )


def _empty_notice(answer: Answer) -> str:
    if answer.finish_reason == "length":
        spent = answer.served.usage.reasoning if answer.served and answer.served.usage else 0
        on_reasoning = f", with {spent:,} tokens spent on reasoning" if spent else ""
        return f'It ended with finish_reason "length"{on_reasoning}: raise max_tokens, or lower reasoning_effort.'
    if answer.finish_reason == "content_filter":
        return "The provider's content filter withheld the answer: rephrase, or ask another model."
    if answer.finish_reason == "tool_calls":
        return "It asked to call a tool, which `chat` does not offer: ask for an answer in words."
    reason = f'"{answer.finish_reason}"' if answer.finish_reason else "none"
    return f"The answer was empty (finish_reason {reason}): try again, or ask another model."


def _nothing_in_time(answer: Answer, soft_deadline: float | None) -> str:
    if answer.reasoning:
        doing = f"it was still reasoning ({len(answer.reasoning):,} characters so far)"
        mend = "Lower reasoning_effort, ask another model, or raise SOFT_DEADLINE (0 = off)"
    else:
        doing = answer.waited_for.rstrip(".") or "nothing had come from it yet (queued, loading, or thinking silently)"
        mend = "Try again, ask another model, or raise SOFT_DEADLINE (0 = off)"
    return (
        f"No answer from {answer.model} within the soft deadline of {_seconds(soft_deadline)}: {doing}. "
        f"{mend}; the MCP client's own timeout must be longer."
    )


def _usage(served: Served) -> dict[str, Json] | None:
    if served.usage is None:
        return None
    usage = attrs.asdict(served.usage)
    # A mark that is hardly ever there says more than one that always is.
    return usage if served.usage.estimated else {name: count for name, count in usage.items() if name != "estimated"}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _seconds(value: float | None) -> str:
    return f"{value or 0:g} s"
