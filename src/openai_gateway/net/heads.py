"""What a request's head may look like: as little as HTTP/1.1 needs, for what two readers read differently smuggles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from openai_gateway.wire.http1 import LINE, MOST_DIGITS, TOKEN

# A value is one line of visible characters and blanks: no bare CR or LF, no NUL, no folded line, no blank before the
# colon. RFC 9112 lets a server mend some of these; every proxy that did so has had its CVE for it. The blanks around it
# are no part of the pattern: what can be read as the one or as the other is tried both ways, for each of them.
_HEAD: Final = re.compile(rb"(%b) ([!-~]+) HTTP/(1\.[01])\r\n((?:%b:%b\r\n)*)\r\n" % (TOKEN, TOKEN, LINE), re.DOTALL)
_FIELD: Final = re.compile(rb"([^:\r\n]+):([^\r]*)\r\n")
_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TARGET: Final = re.compile(r"(/(?!/)[A-Za-z0-9/._~!$&'()*+,;=:@%-]*)(?:\?([A-Za-z0-9/._~!$&'()*+,;=:@%?-]*))?")
_DOTS: Final = re.compile(r"/\.{1,2}(?:/|\Z)")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%(?:2[eE]|5[cC]|7[fF]|[01][0-9A-Fa-f])")
"""What is no escape, and escapes of what somebody on the way may decode into structure: `.`, `\\`, controls."""


class PeerError(Exception):
    """What the peer sent cannot be served; `status` says why in HTTP, `words` to a person. They quote nothing."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@attrs.frozen
class Headers:
    """The fields of a head in their order, names in small letters, values as latin-1 reads them."""

    raw: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False)
    _first: dict[str, str] = attrs.field(init=False, repr=False, eq=False)

    @_first.default
    def _first_of_each(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(self.raw)}

    def get(self, name: str) -> str | None:
        """The first field of that name."""
        return self._first.get(name)

    def all(self, name: str) -> tuple[str, ...]:
        if name not in self._first:
            return ()
        wanted = name.encode("latin-1")
        return tuple(value.decode("latin-1") for field, value in self.raw if field == wanted)

    def items(self) -> Iterator[tuple[str, str]]:
        return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw)


@attrs.frozen(kw_only=True)
class Request:
    """The head of a request. `target` is as it was sent, `path` and `query` its two parts, nothing in them decoded.

    `version` is 1.1 or 1.0, `peer` the client's address as the socket has it, `certificate` what `ssl.getpeercert` says
    of the one it showed.
    """

    method: str
    target: str = attrs.field(repr=False)
    path: str
    query: str = attrs.field(repr=False)
    headers: Headers
    version: str = "1.1"
    peer: str = ""
    is_tls: bool = False
    certificate: Mapping[str, Any] | None = attrs.field(default=None, repr=False)


def request_of(
    head: bytes, *, peer: str = "", is_tls: bool = False, certificate: Mapping[str, Any] | None = None
) -> Request:
    """The request of a head, which ends with its empty line. Raises PeerError for one that is not word for word what
    RFC 9112 writes, or whose lines do not go together.
    """
    sound = _HEAD.fullmatch(head)
    if sound is None:
        raise PeerError(400, "The head of the request is not sound.")
    method, target, version, lines = sound.groups()
    raw = tuple((name.lower(), value.strip(b" \t")) for name, value in _FIELD.findall(lines))
    _refuse_other_lengths(raw)
    headers = Headers(raw)
    _refuse_other_hosts(headers, version)
    text = target.decode("ascii")
    found = _TARGET.fullmatch(text)
    if found is None or _DOTS.search(found[1]) or _ESCAPE.search(found[1]):
        raise PeerError(400, "The target of the request is no plain path.")
    return Request(
        method=method.decode("ascii"),
        target=text,
        path=found[1],
        query=found[2] or "",
        headers=headers,
        version=version.decode("ascii"),
        peer=peer,
        is_tls=is_tls,
        certificate=certificate,
    )


def _refuse_other_lengths(raw: Iterable[tuple[bytes, bytes]]) -> None:
    """RFC 9112, 6.3: whoever believes the other length reads the next request at another place."""
    lengths = [(name, value) for name, value in raw if name in _LENGTHS]
    if len(lengths) > 1:
        raise PeerError(400, "The request says more than once how long its body is.")
    for name, value in lengths:
        is_length = name == b"content-length" and value.isdigit() and len(value) <= MOST_DIGITS
        if not is_length and (name, value.lower()) != (b"transfer-encoding", b"chunked"):
            raise PeerError(400, "The request says in a way that is not understood how long its body is.")


def _refuse_other_hosts(fields: Headers, version: bytes) -> None:
    hosts = fields.all("host")
    if len(hosts) > 1 or (not hosts and version == b"1.1"):
        raise PeerError(400, "The request must have one Host.")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise PeerError(400, "The Host of the request is none.")
