"""What a call and its attempts are charged with, as far as is known, and the call's row of the ledger."""

from __future__ import annotations

import time

import attrs

from openai_gateway.engine.store.hold import Hold
from openai_gateway.engine.store.tab import Tab
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.accounts import Account
from openai_gateway.routing.attempts import Try
from openai_gateway.routing.calls import Call
from openai_gateway.routing.estimate import estimated
from openai_gateway.routing.ledger import Row, row_of
from openai_gateway.routing.limits import Used
from openai_gateway.routing.money import money_bound, money_of
from openai_gateway.routing.plan import ModelRow, Target
from openai_gateway.routing.token_bound import MOST, output_bound, prompt_bound, token_bound


@attrs.frozen
class Charge:
    """What one attempt costs the limits that it falls under, as far as is known before its answer tells."""

    hold: Hold | None
    tab: Tab
    step: Try
    call: Call
    bound: Used

    def prompt(self) -> None:
        """The upstream has read the prompt; what it wrote is not known."""
        if self.call.provider is not None:
            self._used(0, 0)
        elif self.hold is not None:
            prompt = self._of_prompt()
            self._used(prompt.tokens, prompt.money)
        elif self.tab.has_limits:
            self.tab.owes_uncounted(self._of_prompt)

    def all(self) -> None:
        """It was sent, and nobody will hear what became of it."""
        if self.hold is not None:
            self.hold.sent()
        self.tab.owes(self.bound.tokens, self.bound.money)

    def nothing(self) -> None:
        """It was refused."""
        self._used(0, 0)

    def _of_prompt(self) -> Used:
        usage = estimated(self.call, 0)
        return Used(tokens=usage.input, money=money_of(usage, self.step.target.row.price))

    def _used(self, tokens: int, money: int) -> None:
        if self.hold is not None:
            self.hold.used(tokens)
        self.tab.owes(tokens, money)


def row_for(call: Call, account: Account, tab: Tab) -> Row | None:
    """The call's row; None for one that has no id, which nobody keeps a ledger of."""
    if not call.id:
        return None
    return row_of(account, id=call.id, at=round(time.time() * 1000), money=tab.total.money)


def bound_of(call: Call, row: ModelRow) -> Used | None:
    """The most that an attempt uses of its caller's limits; None where a budget asks for a bound, and there is none.

    Raises GatewayError as `token_bound`.
    """
    limits = call.limits
    if limits is None or call.provider is not None:  # what lies at a provider is asked for without a model
        return Used(tokens=0)
    if limits.budget is None:
        return Used(tokens=0 if limits.tpm is None else token_bound(call, row.max_output_tokens))
    output = output_bound(call, row.max_output_tokens)
    if row.price is None or output is None:
        return None
    prompt = prompt_bound(call)  # once, for both: it looks at all that was sent
    tokens = 0 if limits.tpm is None else min(prompt + output, MOST)  # which is the token_bound of a bounded answer
    return Used(tokens=tokens, money=money_bound(prompt, output, row.price))


def boundless(target: Target) -> GatewayError:
    """The error of a target that a caller with a budget cannot ask."""
    message = f"This key has a budget, and nothing says what a call of {target.row.name} may cost at most."
    hint = "Give max_tokens in the request; the operator can set max_output_tokens and a price for the model."
    return GatewayError(kind=Kind.INVALID_REQUEST, message=message, hint=hint)
