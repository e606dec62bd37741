"""Which model answers when the caller names none, and what to say when there is no such model."""

from __future__ import annotations

import attrs

from openai_gateway import GatewayError, Kind, default_model
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.settings import Settings

_NAMED = 10  # models named in an error; more is noise


@attrs.frozen(kw_only=True)
class Choice:
    """The model to ask. `note` says how it was chosen, where that is not what somebody wrote down; else it is empty."""

    model: str
    note: str = ""


async def choose(door: Door, asked: str | None, settings: Settings) -> Choice:
    """`asked`, else the gateway's default. The network is asked only where the table itself names no model."""
    if asked is not None:
        return Choice(model=asked)
    known = (await door.gateway()).known_models() or ()
    found = default_model(door.settings, [model.id for model in settings.permitted(known)])
    if found.model is None and door.settings.table.rows:
        found = default_model(door.settings, [model.id for model in settings.permitted(await door.models())])
    # Where nothing is configured the call itself says what is missing, better than we could here.
    return Choice(model=found.model or door.settings.default_model, note=found.note)


async def with_names(door: Door, error: GatewayError, asked: str | None, caller: Settings) -> GatewayError:
    """For a default nobody set and the gateway does not have: the same error, saying so and naming what there is."""
    settings = door.settings
    if error.kind is not Kind.MODEL_NOT_FOUND or asked is not None or settings.default_model_is_set:
        return error
    try:
        names = [model.id for model in caller.permitted(await door.models())]
    except GatewayError:
        names = []
    there_is = f" Served are: {', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''}." if names else ""
    hint = (
        f"No model was named and DEFAULT_MODEL is not set, so {settings.default_model} was asked: "
        f"pass `model`, or set DEFAULT_MODEL.{there_is}"
    )
    return attrs.evolve(error, hint=hint)
