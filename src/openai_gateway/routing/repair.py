"""Parameters that a model may refuse, and how each is mended: the repair table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

MAX_REPAIRS: Final = 4


@attrs.frozen(kw_only=True)
class Repair:
    """One row. The parameter is renamed, or dropped where `rename` is None.

    `always`: also for a call without `repair`, because the router and not the caller wrote the parameter.
    """

    parameter: str
    rename: str | None = None
    always: bool = False
    effect: str = ""

    def warning(self, target_name: str) -> str:
        """What a caller reads in `Served.warnings`."""
        what = self.effect or (f"sent as {self.rename}" if self.rename else "left out")
        return f"{target_name} refuses {self.parameter}: {what}"


REPAIRS: Final[Mapping[str, Repair]] = {
    repair.parameter: repair
    for repair in (
        Repair(parameter="max_tokens", rename="max_completion_tokens"),
        Repair(parameter="temperature"),
        Repair(parameter="reasoning_effort"),
        Repair(parameter="top_p"),
        Repair(parameter="presence_penalty"),
        Repair(parameter="frequency_penalty"),
        Repair(parameter="stream_options", always=True, effect="left out, so the usage of this call is estimated"),
        Repair(parameter="stream", always=True, effect="asked for the whole answer instead"),
    )
}


def mend(body: Mapping[str, Any], repairs: Iterable[Repair]) -> dict[str, Any]:
    """`body` with the repairs done, key order kept. A rename never overwrites what the caller gave as the new name."""
    renames = {repair.parameter: repair.rename for repair in repairs}
    mended: dict[str, Any] = {}
    for name, value in body.items():
        new_name = renames.get(name, name)
        if new_name is not None and (new_name == name or new_name not in body):
            mended[new_name] = value
    return mended
