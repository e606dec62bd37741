"""The ways in which people point our server at an upstream: flags and environment."""

from __future__ import annotations

import attrs
from tests.peers_upstream.upstreams import Upstream


@attrs.frozen(kw_only=True)
class Way:
    """`path` is what the person writes after host and port."""

    name: str
    embedded: bool = False
    path: str = ""

    def flags(self) -> tuple[str, ...]:
        return ("--embedded",) if self.embedded else ()

    def env(self, upstream: Upstream, *, url: str = "", key: str = "", **more: str) -> dict[str, str]:
        """`url` and `key` take the place of the upstream's own."""
        url_name, key_name = (
            ("OPENAI_BASE_URL", "OPENAI_API_KEY") if self.embedded else ("GATEWAY_URL", "GATEWAY_API_KEY")
        )
        return {url_name: (url or upstream.url) + self.path, key_name: key or upstream.key, **more}


REMOTE = Way(name="remote")
EMBEDDED = Way(name="embedded", embedded=True, path="/v1")
WAYS = (
    REMOTE,
    Way(name="remote-slash", path="/"),
    Way(name="remote-v1", path="/v1"),
    Way(name="remote-v1-slash", path="/v1/"),
    EMBEDDED,
    Way(name="embedded-bare", embedded=True),
)
