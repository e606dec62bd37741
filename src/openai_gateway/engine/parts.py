"""A streamed call, one part after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Self

import trio

from openai_gateway.engine.cached import keep, key_of, parts_of, recall
from openai_gateway.engine.clocks import Broke
from openai_gateway.engine.journey import Attempt, Facts, Journey, Underway, request_id_of
from openai_gateway.engine.router import Router
from openai_gateway.engine.upstream import Exchange
from openai_gateway.engine.whole import facts_of
from openai_gateway.errors import GatewayError
from openai_gateway.routing.accounts import Outcome
from openai_gateway.routing.attempts import Failure, Try
from openai_gateway.routing.cache import Recording
from openai_gateway.routing.calls import Call, Chunk, Finished, Json, Part, Restarted, Usage
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.endpoints import endpoint_of
from openai_gateway.routing.prefill import Continuation, can_be_continued
from openai_gateway.routing.reading import Reading
from openai_gateway.routing.token_bound import choices_asked


class Parts:
    """Chunks as they come, and Finished at the end; a slow reader slows the upstream.

    An iterator and no generator, so that no cancel scope can be open while the caller has the turn. One task at a time
    may ask it. `aclose()` ends the exchange with the upstream at once; so does a wait for a part that is cancelled.
    """

    def __init__(self, router: Router, call: Call) -> None:
        self._router = router
        self._call = call
        self._journey: Journey | None = None
        self._ready: deque[Part] = deque()
        self._open: _Open | None = None
        self._failure: Failure | None = None
        self._head: Mapping[str, Json] = {}
        self._key: bytes | None = None
        self._recording: Recording | None = None
        self._over = False
        self._finished = False

    def __aiter__(self) -> Self:
        return self

    @property
    def underway(self) -> Underway:
        """How far the call is; for one that the cache answered, nobody was asked."""
        if self._journey is None:
            return Underway(target="", attempts=0, left=(), overhead=0.0)
        return self._journey.underway

    async def __anext__(self) -> Part:
        """The next part. Raises GatewayError where the call failed; after that, and after Finished, the end."""
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            try:
                await self._advance()
            except GatewayError as error:
                self._over = True
                if self._journey is not None:
                    self._journey.end(Outcome.FAILED, error)
                    await self._journey.aclose()
                raise
            except BaseException:  # Cancelled, and in a group where the client had a nursery open
                self._leave()
                raise
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Close what is open; no more is asked. After Finished the connection gets the moment it needs for reuse."""
        self._leave()
        current, self._open = self._open, None
        try:
            if current is not None:
                await self._close(current)
        finally:
            if self._journey is not None:
                await self._journey.aclose()

    async def _close(self, current: _Open) -> None:
        try:
            if self._finished:
                await current.attempt.answer.drain()
        finally:
            await current.attempt.aclose()

    def _leave(self) -> None:
        """The caller goes before the end. No await: what came is charged and the call has its record, come what may."""
        if self._over:
            return
        self._over = True
        self._ready.clear()
        if self._journey is not None:
            if self._open is not None:
                self._open.charge(self._journey)
            self._journey.end(Outcome.LEFT)

    async def _advance(self) -> None:
        if self._journey is None:
            if await self._recalled():
                return
            self._journey = await Journey.start(self._router, self._call, stream=True)
        if self._open is None:
            await self._attempt(self._journey)
        else:
            await self._read(self._journey, self._open)

    async def _recalled(self) -> bool:
        """Whether the cache has all of the stream; where it could have, what comes is recorded for the next time."""
        self._key = key_of(self._router, self._call, stream=True)
        entry = await recall(self._router, self._call, self._key)
        if entry is not None:
            self._ready.extend(parts_of(entry))
            self._over = True
        elif self._key is not None and self._router.cache is not None:
            self._recording = Recording(self._router.cache.largest)
        return self._over

    def _pass_on(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            self._ready.append(chunk)
            if self._recording is not None:
                self._recording.add(chunk)

    async def _attempt(self, journey: Journey) -> None:
        failure, self._failure = self._failure, None
        step = await journey.next_try(failure)
        if step.restart is not None:
            self._ready.append(Restarted(reason=step.restart))
            if self._recording is not None:
                self._recording.restart()
        attempt = await journey.open(step)
        if isinstance(attempt, Failure):
            self._failure = attempt
            return
        self._open = _Open(attempt, self._reading(step, journey))
        if not step.stream or _is_whole(attempt.answer):
            await self._reframe(journey, self._open)

    def _reading(self, step: Try, journey: Journey) -> Reading:
        spent = journey.spent or Usage()
        return Reading(
            target=step.target,
            redactor=self._router.redactor,
            decode=dialect_of(step.target.provider.kind).events(),
            show_usage=_wants_usage(self._call),
            endpoint=endpoint_of(self._call.endpoint),
            choices=choices_asked(self._call),
            before=step.continues if _is_continuable(journey) else None,
            continuation=Continuation(self._head, spent) if step.continues else None,
        )

    async def _read(self, journey: Journey, current: _Open) -> None:
        reading = current.reading
        try:
            with journey.waiting():
                data = await current.attempt.answer.read()
        except Broke as broke:
            if not reading.is_whole:
                await self._give_up(journey, current, reading.broke(broke.cause, broke.detail))
                return
            data = b""  # the whole answer is here; how its stream ends is nobody's loss
        self._pass_on(reading.feed(data))
        current.note_content(journey)
        if reading.failure is not None:
            await self._give_up(journey, current, reading.failure)
        elif reading.done:
            await self._finish(journey, current, current.facts())

    async def _reframe(self, journey: Journey, current: _Open) -> None:
        """A whole answer in the place of a stream, taken apart into chunks."""
        first_byte = trio.current_time()
        answer = await journey.whole(current.attempt)
        if isinstance(answer, Failure):
            await self._give_up(journey, current, answer)
            return
        _, json = answer
        self._pass_on(current.reading.reframed(json))
        await self._finish(journey, current, facts_of(json, current.attempt.answer, first_byte))

    async def _give_up(self, journey: Journey, current: _Open, failure: Failure) -> None:
        """This attempt is over; the parts that are ready still go out before anything follows from it."""
        self._failure, self._open = failure, None
        if failure.after_content:  # a head of which the caller has seen nothing is not that of its answer
            self._head = self._head or current.reading.head
        current.charge(journey)
        await current.attempt.aclose()

    async def _finish(self, journey: Journey, current: _Open, facts: Facts) -> None:
        """The call is settled and has its row before its last part is handed out: so nobody has all of an answer that
        is not accounted for."""
        served = journey.served(current.attempt, facts)
        await journey.close()
        self._ready.append(Finished(served=served))
        self._over = self._finished = True
        # An answer with a hole in it, or one that two models wrote, is good enough for now, and not for a repeat.
        if self._recording is not None and not facts.malformed and not served.continued:
            keep(self._router, self._key, self._recording.entry(served))


class _Open:
    """The attempt whose answer is being read."""

    def __init__(self, attempt: Attempt, reading: Reading) -> None:
        self.attempt = attempt
        self.reading = reading
        self._first_byte: float | None = None

    def note_content(self, journey: Journey) -> None:
        if self._first_byte is None and (self.reading.content or self.reading.passed_on):
            self._first_byte = trio.current_time()
            self.attempt.answer.content_came()
            if journey.first_byte is None or not self.attempt.step.continues:
                journey.first_byte = self._first_byte

    def charge(self, journey: Journey) -> None:
        """What came of an answer that broke off, or was left, is paid for."""
        if self.reading.written or self.reading.usage is not None:
            journey.spend(self.attempt, self.reading.usage, self.reading.written)

    def facts(self) -> Facts:
        reading = self.reading
        return Facts(
            model=reading.model,
            usage=reading.usage,
            finish_reason=reading.finish_reason,
            request_id=request_id_of(self.attempt.answer.headers),
            first_byte=trio.current_time() if self._first_byte is None else self._first_byte,
            written=reading.written,
            malformed=reading.malformed,
        )


def _is_continuable(journey: Journey) -> bool:
    return can_be_continued(journey.call) and any(target.row.prefill for target in journey.state.targets)


def _wants_usage(call: Call) -> bool:
    options = call.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _is_whole(answer: Exchange) -> bool:
    """Whether a server that was asked for a stream sends the answer in one piece all the same."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
