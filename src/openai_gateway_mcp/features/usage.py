"""What the calls of this process used, by caller and model: for `openai://usage`. A gateway's own ledger knows more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:  # no start needs it
    from openai_gateway import Account

Json = Any

_MOST: Final = 4_096  # callers, and models of each; a caller makes up names as it likes


@attrs.define
class _Used:
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


class UsageBook:
    """Since the start of the process; costs in US dollars, where a price is known."""

    def __init__(self) -> None:
        self._used: OrderedDict[str | None, OrderedDict[str, _Used]] = OrderedDict()

    def note(self, account: Account) -> None:
        """One call, at its end. What was left or failed may have cost something too."""
        models = self._used.setdefault(account.tenant, OrderedDict())
        used = models.setdefault(account.model, _Used())
        used.calls += 1
        used.failed += account.error is not None
        if account.usage is not None:
            used.input_tokens += account.usage.input
            used.output_tokens += account.usage.output
        if account.cost is not None:
            used.cost = (used.cost or 0.0) + account.cost
        self._used.move_to_end(account.tenant)
        models.move_to_end(account.model)
        _forget_oldest(self._used)
        _forget_oldest(models)

    def shown(self, tenant: str) -> Mapping[str, Json]:
        """Of one caller."""
        models = self._used.get(tenant, OrderedDict[str, _Used]())
        rows = {model: attrs.asdict(used, filter=lambda _, value: value is not None) for model, used in models.items()}
        return {"models": dict(sorted(rows.items()))}


def _forget_oldest(kept: OrderedDict[Any, Any]) -> None:
    if len(kept) > _MOST:
        kept.popitem(last=False)
