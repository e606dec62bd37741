"""Answers kept for an exact repeat of their call: which calls, under which key, which answers, and for how long."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from openai_gateway.routing.assemble import finish_reasons
from openai_gateway.routing.calls import Call, Chunk, Json, Served
from openai_gateway.routing.settings import Cache
from openai_gateway.wire.strict import dumps

# The Responses API stores what it answers and refers back to it; all else makes things or reads files.
_ENDPOINTS: Final = frozenset({"chat/completions", "completions", "embeddings"})
_ROUTERS_OWN: Final = frozenset({"model", "stream"})  # the call itself says both
_DO_MORE: Final = ("tools", "functions", "web_search_options", "plugins", "audio")
_ENDED_BY_ITSELF: Final = frozenset({"stop", "tool_calls", "function_call"})

_LARGEST_PART: Final = 8  # no entry may drive out more than this part of all others
_ENTRY: Final = 512  # bytes: what Python takes for an entry beside its content, and for a piece of it
_PIECE: Final = 64


def cache_key(call: Call, *, tenant: str, stream: bool, opted: bool | None = None) -> bytes | None:
    """Where the answer of this very call is kept; None for a call that is always asked anew.

    `tenant` is who may see the answer, `opted` the caller's own word. Unless it is True, a call is kept only if its
    answer is meant to be the same each time and does nothing by being given: temperature 0, one sample, no tools. One
    that the provider is to store is always asked.

    Two calls share a key only if the same bytes go upstream for them and come back in the same form, but for the order
    of the members of the body and of a message. Deeper the order stays (a model fills a schema in the order in which it
    is written), 1 and 1.0 differ as they do on the wire, and `user` and its kin count: they tell people apart.
    """
    if not _may_be_kept(call, opted=opted):
        return None
    try:
        body = dumps(_canonical(call.body, stream=stream))
    except (TypeError, ValueError, RecursionError):  # it is no JSON: the router will say so
        return None
    form = b"%d%d" % (stream, call.repair)
    # Surrogates pass as they are: in JSON two halves would read as the one character that they make up.
    texts = (text.encode("utf-8", "surrogatepass") for text in (tenant, call.endpoint, call.model))
    return _digest((*texts, form, body))


def _may_be_kept(call: Call, *, opted: bool | None) -> bool:
    if opted is False or call.upload is not None or call.endpoint not in _ENDPOINTS or call.body.get("store"):
        return False
    return opted is True or _is_the_same_each_time(call.body)


def _is_the_same_each_time(body: Mapping[str, Json]) -> bool:
    temperature, samples = body.get("temperature"), body.get("n")
    cold = isinstance(temperature, int | float) and not isinstance(temperature, bool) and temperature == 0
    one = samples is None or (samples == 1 and samples is not True)
    return cold and one and not any(body.get(name) for name in _DO_MORE)


def _canonical(body: Mapping[str, Json], *, stream: bool) -> dict[str, Json]:
    left_out = _ROUTERS_OWN if stream else _ROUTERS_OWN | {"stream_options"}
    canonical = {name: body[name] for name in sorted(body) if name not in left_out}
    messages = canonical.get("messages")
    if isinstance(messages, list):
        canonical["messages"] = [_sorted(one) if isinstance(one, Mapping) else one for one in messages]
    return canonical


def _sorted(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in sorted(message)}


def _digest(parts: Iterable[bytes]) -> bytes:
    """Each part with its length before it, so that none can run over into the next."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


@attrs.frozen(kw_only=True)
class Entry:
    """One answer as its caller saw it: the whole body, or the `data` of each event of a stream but `[DONE]`.

    It is bytes, so that whoever gets it reads them anew and nobody can change what the next one gets.
    """

    pieces: tuple[bytes, ...] = attrs.field(repr=False)
    served: Served

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return _ENTRY + sum(len(piece) + _PIECE for piece in self.pieces)


def whole_entry(body: bytes, json: Mapping[str, Json], served: Served) -> Entry | None:
    """A whole answer as an entry; None where it is not to be kept.

    Kept is what the model itself brought to its end. After "length" or "content_filter" people ask again in the hope of
    more, and what a filter or a server's own bound cuts may differ the next time.
    """
    reasons = [reason for _, reason in finish_reasons(json)]
    sound = all(reason in _ENDED_BY_ITSELF for reason in reasons) if reasons else bool(json.get("data"))
    return Entry(pieces=(body,), served=served) if sound else None


@attrs.define
class Recording:
    """A stream as it goes by, to be kept if it ends well. Past `most` bytes it is let go."""

    most: int
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _reasons: dict[int, str | None] = attrs.field(factory=dict, init=False)

    def add(self, chunk: Chunk) -> None:
        """A chunk that went to the caller."""
        self._bytes += len(chunk.data) + _PIECE
        if self._bytes > self.most:
            self._pieces.clear()
            return
        self._pieces.append(chunk.data)
        for index, reason in finish_reasons(chunk.json):
            self._reasons[index] = reason or self._reasons.get(index)

    def restart(self) -> None:
        """What went by is void."""
        self._pieces, self._bytes, self._reasons = [], 0, {}

    def entry(self, served: Served) -> Entry | None:
        """After the end of a stream that ended well; by the rule of `whole_entry`."""
        sound = self._pieces and self._reasons and _ENDED_BY_ITSELF.issuperset(self._reasons.values())
        return Entry(pieces=tuple(self._pieces), served=served) if sound else None


@attrs.define
class AnswerCache:
    """Entries of `settings.max_bytes` together, each for `settings.ttl` seconds, however often it is asked for.

    Where there is no room, what was not asked for longest goes first. `now` is in seconds and never goes back.
    """

    settings: Cache
    _entries: OrderedDict[bytes, tuple[float, Entry]] = attrs.field(factory=OrderedDict, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes

    @property
    def largest(self) -> int:
        """Bytes of the largest entry that is kept, for `Recording`."""
        return self.settings.max_bytes // _LARGEST_PART

    def get(self, key: bytes, now: float) -> Entry | None:
        """What is kept there and still good."""
        until, entry = self._entries.get(key, (0.0, None))
        if entry is None:
            return None
        if now >= until:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Entry, now: float) -> None:
        """Keep it, in place of what was there; not if it is larger than `largest`."""
        self._drop(key)
        if entry.size > self.largest:
            return
        self._entries[key] = now + self.settings.ttl, entry
        self._bytes += entry.size
        while self._bytes > self.settings.max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: bytes) -> None:
        if key in self._entries:
            self._bytes -= self._entries.pop(key)[1].size
