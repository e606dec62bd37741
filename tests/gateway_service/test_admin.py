"""Admins: keys that are made, shown, ended and renewed, never beyond the rights of who does it; and what was used."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.routing.globs import is_allowed
from openai_gateway.routing.grants import excess
from openai_gateway.routing.money import NANO
from openai_gateway.routing.virtual_keys import VirtualKey
from tests.gateway_service.house import ANSWER, CHAT, house, http

ADMIN = VirtualKey(id="admin", digest="", role="admin")
GLOBS = st.none() | st.lists(st.text("ab*", max_size=3), max_size=2).map(tuple)
NAMES = [("".join(letters)) for size in range(5) for letters in itertools.product("abc", repeat=size)]


async def test_a_key_is_made_shown_once_and_works(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER)) as here:
        admin = await here.key(role="admin")
        body = {"name": "ci", "owner": "alice", "models": ["m"], "rpm": 5, "budget": 1.5, "period": "day"}
        said = await here.ask("POST", "/admin/keys", key=admin, body=body)
        made = said.json
        assert {name: made[name] for name in body} == body
        assert (await here.ask("POST", "/v1/chat/completions", key=made["key"], body=CHAT)).status == 200
        listed = (await here.ask("GET", "/admin/keys", key=admin)).json["data"]
        assert [one["id"] for one in listed] == ["key_1", made["id"]]
        assert listed[1]["spent"] == 0.02
        assert made["key"] not in str(listed)
        assert "digest" not in str(listed)
        renewed = (await here.ask("POST", f"/admin/keys/{made['id']}/rotate", key=admin)).json
        assert (await here.ask("GET", "/v1/models", key=made["key"])).status == 401
        assert (await here.ask("GET", "/v1/models", key=renewed["key"])).status == 200
        usage = (await here.ask("GET", "/admin/usage?by=key", key=admin)).json["data"]
        assert [(one["name"], one["calls"], one["money"]) for one in usage] == [(made["id"], 1, 0.02)]


@pytest.mark.parametrize(("body", "status", "param"), [
    ({"rpmm": 5}, 400, None), ({"rpm": "5"}, 400, None), ({"rpm": -1}, 400, "rpm"), ({"budget": -0.5}, 400, "budget"),
    ({"expires": 2**60}, 400, "expires"), ({"role": "root"}, 400, None), ({"models": "m"}, 400, None),
    ({"models": ["*"]}, 403, "models"), ({"rpm": 6, "models": ["x"]}, 403, "rpm"), ({}, 403, "models"),
])  # fmt: skip
async def test_a_wrong_body_or_more_than_ones_own_is_refused(
    tmp_path: Path, body: dict[str, Any], status: int, param: str | None
) -> None:
    async with house(tmp_path) as here:
        admin = await here.key(role="admin", models=("x*",), rpm=5)
        said = await here.ask("POST", "/admin/keys", key=admin, body=body)
        assert (said.status, said.error["param"]) == (status, param)
        assert len(await here.store.keys()) == 1


async def test_an_admin_sees_and_touches_no_key_with_more_rights(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        await here.key(role="admin")
        small = await here.key(role="admin", models=("x",))
        assert [one["id"] for one in (await here.ask("GET", "/admin/keys", key=small)).json["data"]] == ["key_2"]
        assert (await here.ask("DELETE", "/admin/keys/key_1", key=small)).status == 404
        assert (await here.ask("POST", "/admin/keys/key_1/rotate", key=small)).status == 404


@pytest.mark.parametrize("query", ["by=week", "since=x", "since=-1", "since=1&since=2", "rows=1", "until=" + "9" * 17])
async def test_a_wrong_query_is_refused(tmp_path: Path, query: str) -> None:
    async with house(tmp_path) as here:
        said = await here.ask("GET", f"/admin/usage?{query}", key=await here.key(role="admin"))
        assert said.status == 400


@given(GLOBS, GLOBS)
def test_names_within_the_grants_of_another_are_all_its_names(mine: Any, theirs: Any) -> None:
    key, creator = attrs.evolve(ADMIN, models=mine), attrs.evolve(ADMIN, models=theirs)
    if excess(key, creator) is None:
        assert all(is_allowed(name, theirs) for name in NAMES if is_allowed(name, mine))
    assert excess(creator, creator) is None


@given(
    st.none() | st.integers(0, 100), st.none() | st.integers(0, 100), st.sampled_from(["day", "month"]),
    st.sampled_from(["day", "month"]),
)  # fmt: skip
def test_a_budget_within_another_never_spends_more_in_a_day_or_a_month(
    mine: int | None, theirs: int | None, period: Any, other: Any
) -> None:
    key = attrs.evolve(ADMIN, budget=mine, period=period)
    creator = attrs.evolve(ADMIN, budget=theirs, period=other)
    if excess(key, creator) is None and theirs is not None:
        assert mine is not None
        a_month = mine * (31 if period == "day" else 1)
        assert a_month <= theirs * (31 if other == "day" else 1)
        assert mine <= theirs


@pytest.mark.parametrize("name", ["rpm", "tpm", "max_parallel", "expires"])
def test_a_number_within_another_is_no_larger_and_no_limit_is_the_largest(name: str) -> None:
    def key(number: int) -> VirtualKey:
        fields: dict[str, Any] = {name: number}
        return attrs.evolve(ADMIN, **fields)

    limited = key(5)
    assert excess(ADMIN, limited) == name
    assert excess(key(6), limited) == name
    assert excess(key(5), limited) is None
    assert excess(limited, ADMIN) is None


def test_only_an_admin_makes_admins() -> None:
    user = attrs.evolve(ADMIN, role="user")
    assert excess(ADMIN, user) == "role"
    assert excess(user, ADMIN) is None
    assert excess(attrs.evolve(ADMIN, budget=NANO), attrs.evolve(ADMIN, endpoints=("chat/*",))) == "endpoints"
