"""The endpoints of the OpenAI API that calls go to, a row a path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from openai_gateway.errors import GatewayError, Kind


@attrs.frozen(kw_only=True)
class Endpoint:
    """What matters of an endpoint on the way.

    `generates`: asking twice costs money and changes nothing; of any other a request that may have been carried out is
    not sent again by itself. `has_choices`: its answers hold `choices`, and its streams `stream_options`. The events of
    a stream without choices have types instead: `begins` are those that bring nothing yet, `ends` those after which
    nothing comes; where none is known, a stream that ends in peace has ended well. `may_be_bytes`: its whole answer may
    be no JSON, such as sound, and then passes as it is.
    """

    path: str
    generates: bool = True
    has_choices: bool = False
    begins: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()
    may_be_bytes: bool = False


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint(path="chat/completions", has_choices=True),
        Endpoint(path="completions", has_choices=True),
        Endpoint(
            path="responses",
            begins=frozenset({"response.created", "response.queued", "response.in_progress"}),
            ends=frozenset({"response.completed", "response.incomplete"}),
        ),
        Endpoint(path="embeddings"),
        Endpoint(path="images/generations", ends=frozenset({"image_generation.completed"})),
        Endpoint(path="images/edits", ends=frozenset({"image_edit.completed"})),
        Endpoint(path="audio/speech", ends=frozenset({"speech.audio.done"}), may_be_bytes=True),
        Endpoint(path="audio/transcriptions", ends=frozenset({"transcript.text.done"}), may_be_bytes=True),
        Endpoint(path="audio/translations", may_be_bytes=True),
        Endpoint(path="moderations"),
        Endpoint(path="rerank"),
        Endpoint(path="files", generates=False),
        Endpoint(path="batches", generates=False),
    )
}


CHAT: Final = ENDPOINTS["chat/completions"]


def endpoint_of(path: str) -> Endpoint:
    """The row of a path below the base URL. One that has none is taken for one that stores: nothing is sent twice."""
    return ENDPOINTS.get(path) or Endpoint(path=path, generates=False)


_SEGMENT: Final = r"(?!(?:\.|%2e){1,2}(?:/|\Z))(?:[A-Za-z0-9_.~-]|%(?!2f|5c|[01])[0-9a-f]{2})+"
_PATH: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.IGNORECASE | re.ASCII)


def path_of(endpoint: str) -> str:
    """The path below a base URL, if that is all that it is: no way out of there, no query, nothing a server on the way
    might decode into either. Raises GatewayError."""
    if _PATH.fullmatch(endpoint) is None:
        raise GatewayError(kind=Kind.INVALID_REQUEST, message=f"{endpoint[:100]!r} is no endpoint.")
    return endpoint
