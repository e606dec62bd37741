"""Virtual keys: what has the shape of one, who may use what, and when one is dead."""

from __future__ import annotations

import fnmatch
import hashlib
import re

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.accounts import Account, Outcome
from openai_gateway.routing.calls import Usage
from openai_gateway.routing.globs import is_allowed
from openai_gateway.routing.ledger import Row, dollars, row_of
from openai_gateway.routing.limits import Limits
from openai_gateway.routing.virtual_keys import VirtualKey, digest_of, looks_like_a_key

SECRET = "ogw_" + "A" * 43
KEY = VirtualKey(id="key_1", digest=digest_of(SECRET), name="ci")


def test_a_key_has_one_shape_and_its_hash_has_not() -> None:
    assert looks_like_a_key(SECRET)
    assert not any(
        map(looks_like_a_key, ("", "ogw_", SECRET[:-1], SECRET + "A", digest_of(SECRET), f"{SECRET}\n", "sk-a"))
    )


def test_only_the_digest_of_a_key_is_kept_and_not_shown() -> None:
    assert KEY.digest == hashlib.sha256(SECRET.encode()).hexdigest()
    assert KEY.digest not in repr(KEY)


@given(st.text(), st.text())
def test_two_keys_never_share_a_digest(one: str, other: str) -> None:
    assert (digest_of(one) == digest_of(other)) == (one == other)


def test_a_key_without_limits_has_none_and_any_limit_counts_under_its_id() -> None:
    assert KEY.limits is None
    for field in ("rpm", "tpm", "max_parallel", "budget"):
        assert attrs.evolve(KEY, **{field: 7}).limits == Limits(key="key key_1", title="key ci", **{field: 7})  # type: ignore[arg-type]  # one of the numbers
    assert attrs.evolve(KEY, name="", rpm=1).limits == Limits(key="key key_1", title="key key_1", rpm=1)


@pytest.mark.parametrize(("expires", "revoked", "now", "dead"), [
    (None, None, 1e12, ""), (100, None, 99.9, ""), (100, None, 100, "expired"),
    (None, 5, 0, "revoked"), (1, 5, 9, "revoked"),
])  # fmt: skip
def test_a_key_that_is_revoked_or_expired_is_refused(
    expires: int | None, revoked: int | None, now: float, dead: str
) -> None:
    key = attrs.evolve(KEY, expires=expires, revoked=revoked)
    if not dead:
        key.refuse_if_dead(now)
        return
    with pytest.raises(GatewayError, match=dead) as caught:
        key.refuse_if_dead(now)
    assert caught.value.kind is Kind.AUTHENTICATION


@given(st.text("ab*[?]\n.", max_size=8), st.lists(st.text("ab*[?].", max_size=6), max_size=3))
@example("gpt-5", ["gpt-*"])
@example("a\nb", ["a*"])
def test_a_glob_is_what_the_shell_means_by_it_but_that_only_the_star_is_special(name: str, globs: list[str]) -> None:
    literal = [re.sub(r"([\[?])", r"[\1]", glob) for glob in globs]
    assert is_allowed(name, globs) == any(fnmatch.fnmatchcase(name, glob) for glob in literal)


def test_no_list_allows_all_and_an_empty_one_nothing() -> None:
    assert is_allowed("anything", None)
    assert not is_allowed("anything", ())


def test_a_row_of_the_ledger_says_what_a_call_used_and_nothing_of_what_it_said() -> None:
    account = Account(
        endpoint="chat/completions",
        model="m",
        tenant="key_1",
        outcome=Outcome.ANSWERED,
        asked=("a/m", "b/m"),
        usage=Usage(input=3, output=4, cached_input=1, reasoning=2, estimated=True),
        first_byte=0.25,
        elapsed=1.5,
    )
    assert row_of(account, id="req_1", at=7, money=11) == Row(
        id="req_1", at=7, key="key_1", endpoint="chat/completions", model="m", target="b/m", status=200, attempts=2,
        input=3, output=4, cached_input=1, reasoning=2, estimated=True, money=11, elapsed=1500, first_byte=250,
    )  # fmt: skip


@pytest.mark.parametrize(("outcome", "error", "status", "code"), [
    (Outcome.LEFT, None, 499, ""),
    (Outcome.FAILED, GatewayError(kind=Kind.QUOTA, message="spent"), 429, "insufficient_quota"),
    (Outcome.FAILED, GatewayError(kind=Kind.INVALID_REQUEST, message="no"), 400, "invalid_request_error"),
])  # fmt: skip
def test_a_row_of_a_call_that_failed_says_how(
    outcome: Outcome, error: GatewayError | None, status: int, code: str
) -> None:
    account = Account(endpoint="embeddings", model="m", tenant=None, outcome=outcome, error=error)
    row = row_of(account, id="r", at=0, money=0)
    assert (row.status, row.error, row.key, row.target, row.input, row.first_byte) == (status, code, "", "", 0, None)


def test_money_is_shown_in_dollars() -> None:
    assert dollars(1_500_000_000) == 1.5
