"""What of an OpenAI request the Messages API has no place for: refused where the answer would change, else named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Json

_MOST: Final = 100  # warnings of one request; a member that nobody knows makes one, and there may be a million
_EMPTY: Final[tuple[Json, ...]] = (None, [], {}, "")


@attrs.frozen(kw_only=True)
class Notes:
    """The first 100 warnings of one request, in the order in which they arose, each once."""

    target: str
    _said: dict[str, None] = attrs.field(factory=dict, init=False)

    def left_out(self, what: str, why: str = "") -> None:
        """`what` is not sent: a hint that is merely lost."""
        self.warn(f"takes no {what}: left out" + (f" ({why})" if why else ""))

    def warn(self, text: str) -> None:
        """A sentence whose subject is the target."""
        if len(self._said) < _MOST:
            self._said[f"{self.target} {text}"] = None

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._said)

    def kept(
        self, given: Mapping[str, Json], known: frozenset[str], used: frozenset[str], where: str
    ) -> dict[str, Any]:
        """The members of `given` that the Messages API knows under the same name; all but the `used` others are named.

        A null is taken for what it means in OpenAI's requests: a member that is not there. What is empty is not missed:
        an OpenAI answer that goes back says `annotations` of nothing.
        """
        for name, value in given.items():
            if name not in known and name not in used and value not in _EMPTY:
                self.left_out(f"{where}.{name}")
        return {name: given[name] for name in given if name in known and given[name] is not None}


def refused(param: str, message: str) -> GatewayError:
    """The error for what cannot be carried and would change the answer."""
    return GatewayError(kind=Kind.INVALID_REQUEST, message=message, param=param)
