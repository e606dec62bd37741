"""LiteLLM's model_list as our rows."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from openai_gateway.config.environment import MAX_SECONDS
from openai_gateway.config.litellm.origins import split
from openai_gateway.config.litellm.parts import Notes, Part
from openai_gateway.config.litellm.providers import Providers

_DESCRIPTION: Final = "it describes the model and changes no call"
_RETRIES: Final = "retries are counted for all models alike, in [retries]"
_REPAIRED: Final = "a parameter that a provider refuses is mended or left out by itself"
_PER_CALL: Final = "a parameter for every call cannot be set here; callers send their own"

_PARAMS: Final = {
    "stream_timeout": "a row has one clock, first_byte, for whole and for streamed answers",
    "max_retries": _RETRIES,
    "num_retries": _RETRIES,
    "drop_params": _REPAIRED,
    "additional_drop_params": _REPAIRED,
    "azure_ad_token": "Azure is asked with an api_key",
    "mock_response": "there are no mock answers; the kind echo is the built-in test model",
    **dict.fromkeys(("temperature", "max_tokens", "top_p", "seed", "reasoning_effort", "thinking"), _PER_CALL),
}
_INFO: Final = dict.fromkeys(
    ("id", "mode", "base_model", "db_model", "created_at", "updated_at", "max_tokens", "max_input_tokens"), _DESCRIPTION
)

# Price of a token there → price of a million of them here.
_PRICES: Final = (
    ("input_cost_per_token", "input"),
    ("output_cost_per_token", "output"),
    ("cache_read_input_token_cost", "cached_input"),
)


MOST_ROWS: Final = 10_000
"""Of one configuration, aliases included: a few lines of YAML can say a list of a million entries, or a million aliases
of it."""
_MOST_DOLLARS: Final = 1e6  # of one token: more is a mistake, and a million times that no number


@attrs.define(kw_only=True)
class Row:
    """One row to be. `group` is LiteLLM's model_name, which fallbacks speak of; an alias is another name for it."""

    group: str
    values: dict[str, Any]
    params: Part


def rows(entries: Any, providers: Providers, notes: Notes) -> list[Row]:
    """The rows of a model_list; entries that cannot be one are told."""
    if entries is not None and not isinstance(entries, list):
        notes.add("model_list", "it is no list")
        return []
    entries = entries or []
    if len(entries) > MOST_ROWS:
        notes.add("model_list", f"it has {len(entries):,} entries, of which the first {MOST_ROWS:,} are taken")
    found = [_row(at, entry, providers, notes) for at, entry in enumerate(entries[:MOST_ROWS])]
    made = [row for row in found if row is not None]
    groups: dict[str, list[Row]] = {}
    for row in made:
        groups.setdefault(row.group, []).append(row)
    for group in groups.values():
        _share(group)
    return made


def _row(at: int, entry: Any, providers: Providers, notes: Notes) -> Row | None:
    part = notes.part(f"model_list[{at}]", entry)
    name = part.text("model_name")
    where = part.where if name is None else f"{part.where} ({name})"
    params = notes.part(f"{where}.litellm_params", part.take("litellm_params"), _PARAMS)
    info = notes.part(f"{where}.model_info", part.take("model_info"), _INFO)
    part.where = where
    row = None if name is None else _of(name, params, info, providers)
    if row is None:
        if name is None:
            part.note("model_name", "without it the entry is left out")
        return None  # a note says why, and what else it holds goes with it
    part.finish()
    params.finish()
    info.finish(lambda key: _DESCRIPTION if key.startswith("supports_") else "there is nothing like it here")
    return row


def _of(name: str, params: Part, info: Part, providers: Providers) -> Row | None:
    asked = params.text("model")
    if asked is None:
        params.note("model", "it is not there, so the entry is left out")
        return None
    where = split(asked, params.text("custom_llm_provider"))
    if where is None or not where[1]:
        why = "stands for every provider that LiteLLM knows" if asked == "*" else "belongs to no provider it names"
        params.note("model", f"{asked!r} {why}, so it is left out; a row here has one provider")
        return None
    prefix, model = where
    if name.count("*") > 1 or model.count("*") > name.count("*"):
        params.note("model", f"{asked!r} for {name!r}: a row has one * in its name, and one in its model only then")
        return None
    provider = providers.of(prefix, params)
    if provider is None:
        return None
    model = model.removeprefix("o_series/").removeprefix("gpt5_series/") if prefix == "azure" else model
    values = {"name": name, "provider": provider, "model": model, **_limits(params), "price": _price(params, info)}
    return Row(group=name, values=values, params=params)


def _limits(params: Part) -> dict[str, Any]:
    return {
        "weight": params.number("weight", above=False),
        "order": params.whole("order", least=0),
        "rpm": params.whole("rpm"),
        "tpm": params.whole("tpm"),
        "max_parallel": params.whole("max_parallel_requests"),
        "first_byte": _seconds(params),
    }


def _seconds(params: Part) -> float | None:
    """`timeout`, and `request_timeout` where there is none: both bound how long one attempt may be silent."""
    for key in ("timeout", "request_timeout"):
        if params.left.get(key) is not None:
            return params.number(key, most=MAX_SECONDS)
    return None


def _price(params: Part, info: Part) -> dict[str, float] | None:
    """From model_info, or from litellm_params, which wins."""
    found = {}
    for theirs, ours in _PRICES:
        values = [part.number(theirs, above=False, most=_MOST_DOLLARS) for part in (params, info)]
        value = next((value for value in values if value is not None), None)
        if value is not None:
            found[ours] = float(Decimal(repr(value)) * 1_000_000)  # 1.5e-07 is 0.15, and not 0.15000000000000002
    if found and not {"input", "output"} <= found.keys():
        info.note("input_cost_per_token", "a price needs that of the output beside that of the input")
        return None
    return found or None


def _share(group: Sequence[Row]) -> None:
    """LiteLLM shares by weight, else by rpm, else by tpm: by the first that any of the group says.

    Who has no share of it gets calls only while none of the others can; here that is what a later `order` says.
    """
    key = next((key for key in ("weight", "rpm", "tpm") if any(row.values[key] for row in group)), None)
    last = max((row.values["order"] or 1 for row in group), default=1)
    for row in group:
        share = row.values[key] if key else None
        row.values["weight"] = share or None
        if key and not share:
            row.values["order"] = last + 1
            row.params.note("weight", f"others of the group share by {key} and this one has none: it comes after them")
