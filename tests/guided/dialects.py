"""What providers send: each stream ends in one outcome, cuts change nothing, and no error shows a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from hypothesis import strategies as st

from openai_gateway.routing.assemble import failed_finish, finish_reasons, output_bytes, usage_of
from openai_gateway.routing.attempts import Cause, Failure
from openai_gateway.routing.calls import Chunk, Usage
from openai_gateway.routing.classify import classify_event, classify_response, error_in
from openai_gateway.routing.dialects import KINDS
from openai_gateway.routing.endpoints import CHAT, Endpoint, endpoint_of
from openai_gateway.routing.reading import Reading
from openai_gateway.wire.strict import JsonError, dumps, loads
from openai_gateway_mcp.fuzz.damage import SIZES, cut, mutated
from tests.gateway.routing.samples import KEY, REDACTOR
from tests.gateway.routing.samples import target as upstream
from tests.gateway_faults import test_mutations as sound
from tests.guided.target import Target, by_choices, examples

STATUSES = (400, 401, 403, 404, 413, 429, 503)
RESPONSES = endpoint_of("responses")
# A provider that quotes the key it was asked with.
QUOTED = {"error": {"message": f"Incorrect API key provided: {KEY}.", "type": "x", "code": KEY, "param": KEY}}
REFUSED = b"data: %b\n\n" % dumps(QUOTED)


@attrs.frozen
class Outcome:
    """How a stream ended, and what of it was passed on. `cause` None: well."""

    passed: Sequence[Chunk]
    cause: Cause | None
    usage: Usage | None
    finish_reason: str | None
    written: int
    malformed: int


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A kind, and a stream or a whole answer of it, changed in its JSON."""
    kind = draw(st.sampled_from(sorted(sound.DIALECTS)))
    events, whole = sound.DIALECTS[kind]
    if draw(st.booleans()):
        return kind, dumps(draw(sound.mutated(draw(st.sampled_from([whole, sound.ERROR, QUOTED])))))
    changed = [draw(sound.mutated(one)) if draw(st.booleans()) else one for one in events]
    return kind, sound._sse(changed, done=draw(st.booleans()))


BODIES = _bodies()
DAMAGED = BODIES.flatmap(lambda made: st.tuples(st.just(made[0]), mutated(st.just(made[1]))))
STREAMS = BODIES.map(lambda made: made[1])


def target(reading: Callable[..., Reading] = Reading) -> Target:
    def check(said: tuple[str, bytes], sizes: Sequence[int], endpoint: Endpoint) -> None:
        kind, data = said
        check_stream(reading, kind, data, sizes, endpoint)
        check_whole(reading, kind, data)
        check_refusal(kind, data)

    def of_bytes(data: bytes) -> None:
        for kind in ("openai", "anthropic"):  # the others' decoders are the first one's
            check((kind, data), [3, 1, 7, 60], CHAT)
        check_stream(reading, "openai", data, [40, 1], RESPONSES)

    return Target(
        name="dialects",
        of_bytes=of_bytes,
        of_choices=by_choices(
            check, said=BODIES | DAMAGED, sizes=SIZES, endpoint=st.sampled_from([CHAT, CHAT, CHAT, RESPONSES])
        ),
        sound=lambda: [REFUSED, dumps(QUOTED), b"data: [DONE]\n\n", *examples(STREAMS, 80)],
    )


def check_stream(
    reading: Callable[..., Reading], kind: str, data: bytes, sizes: Sequence[int], endpoint: Endpoint
) -> None:
    def read(pieces: Sequence[bytes]) -> Outcome:
        one = reading(
            target=upstream(kind=kind),
            redactor=REDACTOR,
            decode=KINDS[kind].events(),
            show_usage=False,
            endpoint=endpoint,
            before="",
        )
        passed: list[Chunk] = []
        for piece in (*filter(None, pieces), b""):
            passed += one.feed(piece)
            if one.done or one.failure is not None:
                break
        assert one.done is (one.failure is None), "a stream has no outcome, or two"
        return outcome(one, passed)

    whole = read([data])
    assert read(cut(data, sizes)) == whole


def outcome(one: Reading, passed: Sequence[Chunk]) -> Outcome:
    for chunk in passed:
        assert repr(loads(chunk.data)) == repr(chunk.json)
    if one.failure is not None:
        shows_no_key(one.failure)
        assert one.failure.after_content is bool(passed)
    cause = None if one.failure is None else one.failure.cause
    return Outcome(passed, cause, one.usage, one.finish_reason, one.written, one.malformed)


def check_whole(reading: Callable[..., Reading], kind: str, body: bytes) -> None:
    """An answer in one piece, read as the engine reads it; JsonError is the one refusal."""
    try:
        json = loads(KINDS[kind].answer(body))
    except JsonError:
        return
    if not isinstance(json, dict):
        return
    if error_in(json) is not None:
        shows_no_key(classify_event(json, target=upstream(kind=kind), redactor=REDACTOR))
    if isinstance(json.get("choices"), list) and failed_finish(finish_reasons(json)) is None:
        one = reading(target=upstream(kind=kind), redactor=REDACTOR, decode=KINDS[kind].events(), show_usage=True)
        for chunk in one.reframed(json):
            assert loads(chunk.data)["choices"] is not None
        usage = usage_of(json)
        assert usage is None or min(usage.input, usage.output, usage.cached_input, usage.reasoning) >= 0
        assert output_bytes(json) >= 0


def check_refusal(kind: str, body: bytes) -> None:
    status = STATUSES[len(body) % len(STATUSES)]
    headers = {"retry-after": body[:40].decode("latin-1"), "x-should-retry": body[:5].decode("latin-1")}
    failure = classify_response(
        status, headers, body, target=upstream(kind=kind), redactor=REDACTOR, wall=1_800_000_000.0
    )
    shows_no_key(failure)
    assert failure.retry_after is None or 0 <= failure.retry_after <= 86_400


def shows_no_key(failure: Failure) -> None:
    error: Any = failure.error
    assert KEY not in f"{error} {error.to_openai()}"
    dumps(error.to_openai())
