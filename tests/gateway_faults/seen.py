"""What a caller sees of a call and what the upstream saw of it, as one value that is compared with the table's."""

from __future__ import annotations

import enum
import math
from typing import Any

import attrs
import trio

from openai_gateway import (
    Account,
    Call,
    Chunk,
    Finished,
    Gateway,
    GatewayError,
    Kind,
    Outcome,
    Restarted,
    Served,
    Usage,
)
from tests.gateway_faults.upstream import FaultUpstream


class Way(enum.Enum):
    """How a call is made: as a stream; as a stream whose caller shows nothing before the end; in one piece."""

    STREAM = enum.auto()
    PATIENT = enum.auto()
    WHOLE = enum.auto()


@attrs.frozen(kw_only=True)
class Seen:
    """One call, told from both ends.

    `asked` are the requests as the upstream met them, "host@seconds" each, "(host)@seconds" for a dial that failed; the
    waits between attempts stand in it. `took` is in seconds. `usage` is the answer's, input and output tokens, and
    `charged` that of the whole call with its broken attempts: "1000+60", and "~1000+60" where some is estimated. `cost`
    is what that comes to in US dollars. Where `kind` is None the call ended well, and then only.
    """

    text: str
    asked: str
    took: float
    restarted: int = 0
    served: str | None = None
    usage: tuple[int, int] | None = None
    charged: str = ""
    cost: float | None = None
    warnings: tuple[str, ...] = ()
    kind: Kind | None = None
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None


@attrs.define
class Told:
    """What came out of the gateway so far."""

    text: str = ""
    restarted: int = 0
    served: Served | None = None
    error: GatewayError | None = None
    shown: list[str] = attrs.field(factory=list)
    parts: int = 0
    most: float = math.inf

    @property
    def enough(self) -> bool:
        """Whether the caller walks off now, after so many parts."""
        return self.parts >= self.most

    @property
    def attempts(self) -> int:
        """How often an upstream was asked, as the caller is told."""
        if self.served is not None:
            return self.served.attempts
        assert self.error is not None
        return self.error.attempts

    def take(self, part: Chunk | Restarted | Finished) -> None:
        assert self.served is None, "something came after the end"
        self.shown.append(repr(part))
        self.parts += 1
        if isinstance(part, Finished):
            self.served = part.served
        elif isinstance(part, Restarted):
            self.text, self.restarted = "", self.restarted + 1
        else:
            self.text += text_of(part.json)


def text_of(json: Any) -> str:
    """All text of a chunk or a whole answer, whatever else is in it, and whatever shape that has."""
    choices = json.get("choices") if isinstance(json.get("choices"), list) else []
    said = [choice.get("delta") or choice.get("message") for choice in choices if isinstance(choice, dict)]
    contents = [each.get("content") for each in said if isinstance(each, dict)]
    return "".join(content for content in contents if isinstance(content, str))


async def tell(gateway: Gateway, way: Way, call: Call, told: Told | None = None) -> Told:
    """Make the call and listen to its end; `told` has what came if that is cancelled."""
    told = Told() if told is None else told
    try:
        if way is Way.WHOLE:
            reply = await gateway.call(call)
            told.text, told.served = text_of(reply.json), reply.served
            told.shown.append(repr(reply))
        else:
            await _listen(gateway, attrs.evolve(call, whole=way is Way.PATIENT), told)
    except GatewayError as error:
        told.error = error
        told.shown += [repr(error), str(error), repr(error.to_openai())]
    return told


async def _listen(gateway: Gateway, call: Call, told: Told) -> None:
    async with gateway.stream(call) as parts:
        async for part in parts:
            told.take(part)
            if told.enough:
                break


def seen(told: Told, upstream: FaultUpstream, account: Account) -> Seen:
    """Both ends and the record in one value. A call that neither ended well nor failed, or did both, is none."""
    served, error = told.served, told.error
    assert (served is None) is not (error is None), told
    assert account.outcome is (Outcome.FAILED if served is None else Outcome.ANSWERED)
    return Seen(
        text=told.text,
        asked=" ".join(upstream.log),
        took=round(trio.current_time() - upstream.began, 6),
        restarted=told.restarted,
        served=None if served is None else served.target,
        usage=None if served is None or served.usage is None else (served.usage.input, served.usage.output),
        charged=charged(account.usage),
        cost=None if account.cost is None else round(account.cost, 12),
        warnings=() if served is None else served.warnings,
        kind=None if error is None else error.kind,
        status=None if error is None else error.status,
        code=None if error is None else error.code,
        retry_after=None if error is None else error.retry_after,
    )


def charged(usage: Usage | None) -> str:
    if usage is None:
        return ""
    return f"{'~' if usage.estimated else ''}{usage.input}+{usage.output}"
