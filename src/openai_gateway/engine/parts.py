"""A streamed call, one part after the other."""

from __future__ import annotations

from collections import deque
from typing import Self

import trio

from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.router import Facts, Journey, Router, facts_of
from openai_gateway.engine.upstream import Exchange
from openai_gateway.errors import GatewayError
from openai_gateway.routing.assemble import as_chunks
from openai_gateway.routing.attempts import Failure, Try
from openai_gateway.routing.calls import Call, Chunk, Finished, Part, Restarted
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.reading import Reading, is_only_usage
from openai_gateway.wire.strict import dumps


class Parts:
    """Chunks as they come, and Finished at the end; a slow reader slows the upstream.

    An iterator and no generator, so that no cancel scope can be open while the caller has the turn. One task at a time
    may ask it. `aclose()` ends the exchange with the upstream at once.
    """

    def __init__(self, router: Router, call: Call) -> None:
        self._router = router
        self._call = call
        self._journey: Journey | None = None
        self._ready: deque[Part] = deque()
        self._open: _Open | None = None
        self._failure: Failure | None = None
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        """The next part. Raises GatewayError where the call failed; after that, and after Finished, the end."""
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            try:
                await self._advance()
            except GatewayError:
                self._over = True
                raise
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Close what is open; no more is asked. After Finished the connection gets the moment it needs for reuse."""
        finished, self._over = self._over, True
        current, self._open = self._open, None
        if current is None:
            return
        try:
            if finished:
                await current.answer.drain()
        finally:
            await current.answer.aclose()

    async def _advance(self) -> None:
        if self._journey is None:
            self._journey = self._router.begin(self._call, stream=True)
        if self._open is None:
            await self._attempt(self._journey)
        else:
            await self._read(self._journey, self._open)

    async def _attempt(self, journey: Journey) -> None:
        failure, self._failure = self._failure, None
        step = await journey.next_try(failure)
        if step.restart is not None:
            self._ready.append(Restarted(reason=step.restart))
        answer = await journey.open(step)
        if isinstance(answer, Failure):
            self._failure = answer
            return
        self._open = _Open(answer, self._reading(step), step)
        if not step.stream or _is_whole(answer):
            await self._reframe(journey, self._open)

    def _reading(self, step: Try) -> Reading:
        options = self._call.body.get("stream_options")
        return Reading(
            target=step.target,
            redactor=self._router.redactor,
            decode=dialect_of(step.target.provider.kind).events(),
            show_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )

    async def _read(self, journey: Journey, current: _Open) -> None:
        reading = current.reading
        try:
            data = await current.answer.read()
        except Broke as broke:
            await self._give_up(current, reading.broke(broke.cause, broke.detail))
            return
        self._ready.extend(reading.feed(data))
        current.note_content()
        if reading.failure is not None:
            await self._give_up(current, reading.failure)
        elif reading.done:
            self._finish(journey, current.step, current.facts())

    async def _reframe(self, journey: Journey, current: _Open) -> None:
        """A whole answer in the place of a stream, taken apart into chunks."""
        first_byte = trio.current_time()
        answer = await journey.whole(current.step.target, current.answer)
        if isinstance(answer, Failure):
            await self._give_up(current, answer)
            return
        _, json = answer
        chunks = [chunk for chunk in as_chunks(json) if current.reading.show_usage or not is_only_usage(chunk)]
        self._ready.extend(Chunk(data=dumps(chunk), json=chunk) for chunk in chunks)
        self._finish(journey, current.step, facts_of(json, current.answer, first_byte))

    async def _give_up(self, current: _Open, failure: Failure) -> None:
        """This attempt is over; the parts that are ready still go out before anything follows from it."""
        self._failure, self._open = failure, None
        await current.answer.aclose()

    def _finish(self, journey: Journey, step: Try, facts: Facts) -> None:
        self._ready.append(Finished(served=journey.served(step.target, facts)))
        self._over = True


class _Open:
    """The attempt whose answer is being read."""

    def __init__(self, answer: Exchange, reading: Reading, step: Try) -> None:
        self.answer = answer
        self.reading = reading
        self.step = step
        self._first_byte: float | None = None

    def note_content(self) -> None:
        if self._first_byte is None and (self.reading.content or self.reading.passed_on):
            self._first_byte = trio.current_time()
            self.answer.content_came()

    def facts(self) -> Facts:
        reading = self.reading
        return Facts(
            model=reading.model,
            usage=reading.usage,
            finish_reason=reading.finish_reason,
            request_id=self.answer.headers.get("x-request-id"),
            first_byte=trio.current_time() if self._first_byte is None else self._first_byte,
            malformed=reading.malformed,
        )


def _is_whole(answer: Exchange) -> bool:
    """Whether a server that was asked for a stream sends the answer in one piece all the same."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
