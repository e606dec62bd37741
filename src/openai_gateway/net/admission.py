"""Who may come in at all: the Host and the Origin of a request."""

from __future__ import annotations

import functools
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import attrs

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.net.heads import Request

_LOOPBACK_NAMES: Final = frozenset({"localhost"})


def is_loopback(host: str) -> bool:
    """Whether it is a name or an address of this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK_NAMES


@attrs.frozen(kw_only=True)
class Admission:
    """Host and Origin: a page of another origin reaches a server on this machine through the visitor's own browser.

    `hosts` are the names that a Host may have; empty for any. `origins` are those whose pages may call.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    only_loopback: bool = False

    @classmethod
    def of(cls, *, bound: str, hosts: Collection[str], origins: Collection[str]) -> Admission:
        """Of a server that is bound to an address: on loopback only the names of loopback are its own."""
        return cls(
            hosts=frozenset(host.lower() for host in hosts),
            origins=frozenset(origin.lower() for origin in origins),
            only_loopback=is_loopback(bound),
        )

    def check(self, request: Request) -> None:
        """Raises GatewayError (403)."""
        name, is_local = _read(request.headers.get("host") or "")
        is_ours = is_local if self.only_loopback else not self.hosts
        if not is_ours and name.lower() not in self.hosts:
            raise _forbidden("The Host of the request is none of this server's.", "host_not_allowed")
        for origin in request.headers.all("origin"):
            if origin.lower() not in self.origins and not self._is_own(origin, request):
                raise _forbidden("Pages of this origin may not call this server.", "origin_not_allowed")

    def _is_own(self, origin: str, request: Request) -> bool:
        """Whether a page is this server's own. Only a Host that was checked against a list of names can say so."""
        scheme = "https" if request.is_tls else "http"
        is_checked = self.only_loopback or bool(self.hosts)
        return is_checked and origin.lower() == f"{scheme}://{request.headers.get('host') or ''}".lower()


@functools.lru_cache(maxsize=256)  # clients say the same few
def _read(host: str) -> tuple[str, bool]:
    """The name in a Host, and whether it is one of this machine alone."""
    name = urlsplit(f"//{host}").hostname or ""
    return name, is_loopback(name)


def _forbidden(message: str, code: str) -> GatewayError:
    return GatewayError(kind=Kind.PERMISSION, code=code, message=message)
