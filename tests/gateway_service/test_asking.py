"""From a request to the call that it asks for: the parts that need no service around them."""

from __future__ import annotations

import re

import pytest

from openai_gateway.net.heads import Headers, Request
from openai_gateway.service.asking import request_id


def asked(*fields: tuple[bytes, bytes]) -> Request:
    return Request(method="POST", target="/v1/models", path="/v1/models", query="", headers=Headers(fields))


def test_each_request_has_an_id_of_its_own() -> None:
    ids = [request_id(asked()) for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch("req_[0-9a-f]{24}", one) for one in ids)


@pytest.mark.parametrize("given", [b"", b"two words", b"a" * 129, b"k\xe4se", b"a/b"])
def test_an_id_that_is_not_sane_is_replaced(given: bytes) -> None:
    assert re.fullmatch("req_[0-9a-f]{24}", request_id(asked((b"x-request-id", given))))


def test_the_callers_own_id_is_kept() -> None:
    assert request_id(asked((b"x-request-id", b"Mine_1.2-3"))) == "Mine_1.2-3"
