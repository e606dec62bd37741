"""Which model answers where nobody named one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from openai_gateway.routing.plan import RouteTable, matches
from openai_gateway.routing.settings import Settings

ECHO: Final = "echo"


@attrs.frozen(kw_only=True)
class DefaultModel:
    """`model` None: there is none to choose. `note` is for the answer's `_meta`, "" where nothing is to be said."""

    model: str | None
    note: str = ""


def default_model(settings: Settings, listed: Sequence[str] = ()) -> DefaultModel:
    """The model of a call that names none. `listed` are the known ids of the model list, as far as it was fetched.

    DEFAULT_MODEL if it is set; `echo` where nothing else is served; else `settings.default_model` if the table has a
    row for it (a wildcard is one); else the first listed model, or the first row that names one.
    """
    wanted = settings.default_model
    if settings.default_model_is_set:
        return DefaultModel(model=wanted)
    if _serves_only_echo(settings.table, listed):
        return DefaultModel(model=ECHO, note="Only the built-in echo model is served: it repeats what it was told.")
    if any(matches(row.name, wanted) is not None for row in settings.table.rows):
        return DefaultModel(model=wanted)
    names = (*listed, *(row.name for row in settings.table.rows if "*" not in row.name))
    if not names:
        return DefaultModel(model=None, note="No model is known: set DEFAULT_MODEL, or name one in the call.")
    note = f"DEFAULT_MODEL is not set and {wanted} is not served here, so {names[0]} was chosen."
    return DefaultModel(model=names[0], note=note)


def _serves_only_echo(table: RouteTable, listed: Sequence[str]) -> bool:
    if listed:
        return set(listed) == {ECHO}
    return bool(table.rows) and all(table.providers[row.provider].kind == ECHO for row in table.rows)
