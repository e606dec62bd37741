"""Every route with every kind of key: what is expected is made from the table, so that a new row needs its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_gateway.routing.virtual_keys import digest_of
from openai_gateway.service.openapi import description
from openai_gateway.service.routes import ROUTES, Does, NoMatch, Route, Who, match
from tests.gateway_service.house import ANSWER, CHAT, House, house, http, request

KEYS = ("none", "bad", "hash", "expired", "revoked", "user", "admin")
REFUSED = dict.fromkeys(("none", "bad", "hash", "expired", "revoked"), 401)

ALLOWED = {
    Does.GENERATE: 200, Does.LIST_MODELS: 200, Does.SHOW_MODEL: 404, Does.LIVENESS: 200, Does.READINESS: 200,
    Does.METRICS: 200, Does.OPENAPI: 200, Does.CREATE_KEY: 201, Does.LIST_KEYS: 200, Does.REVOKE_KEY: 404,
    Does.ROTATE_KEY: 404, Does.USAGE: 200, Does.CREATE_FILE: 415, Does.LIST_FILES: 200, Does.SHOW_FILE: 404,
    Does.DELETE_FILE: 404, Does.FILE_CONTENT: 404, Does.CREATE_BATCH: 404, Does.LIST_BATCHES: 200, Does.SHOW_BATCH: 404,
    Does.CANCEL_BATCH: 404, Does.DASHBOARD: 200,
}  # fmt: skip
"""What whoever may come gets; the ids that are asked for are nobody's."""


def expected(route: Route) -> dict[str, int]:
    well = ALLOWED[route.does]
    match route.who:
        case Who.NOBODY | Who.METRICS:  # in memory, which is this machine, and without a token
            return dict.fromkeys(KEYS, well)
        case Who.KEY:
            return {**REFUSED, "user": well, "admin": well}
        case Who.ADMIN | Who.PAGE:
            return {**REFUSED, "user": 403, "admin": well}


def body_of(route: Route) -> object:
    if route.does is Does.GENERATE:
        return {**CHAT, "input": "Hi"}
    return {} if route.does in {Does.CREATE_KEY, Does.CREATE_FILE, Does.CREATE_BATCH} else None


async def secret_of(here: House, kind: str) -> str | None:
    match kind:
        case "none":
            return None
        case "bad":
            return "ogw_" + "x" * 43
        case "hash":
            return digest_of(await here.key())
        case "expired":
            return await here.key(expires=1)
        case "revoked":
            return await here.key(revoked=1)
        case _:
            return await here.key(role=kind)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.template}")
async def test_a_route_is_for_whom_its_row_says(route: Route, tmp_path: Path) -> None:
    target = route.template.replace("{id...}", "no/such").replace("{id}", "no-such")
    async with house(tmp_path, *[http(200, ANSWER)] * 2, dashboard=True) as here:
        for kind, status in expected(route).items():
            key = await secret_of(here, kind)
            said = await here.ask(route.method, target, key=key, body=body_of(route))
            assert (kind, said.status) == (kind, status), said
            if status == 401:
                assert said.headers["www-authenticate"].split()[0] == ("Basic" if route.who is Who.PAGE else "Bearer")
            if route.method == "GET" and status < 400:
                assert (await here.ask("HEAD", target, key=key)).status == status


async def test_a_path_that_is_not_there_is_no_business_of_whoever_has_no_key(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        for target in ("/nothing", "/v1/chat/completions/x", "/admin", "/admin/keys/a/b", "/v1/models/"):
            assert (await here.ask("GET", target)).status == 401
            assert (await here.ask("GET", target, key=await here.key())).status in {404, 405}


async def test_metrics_are_for_their_token_where_there_is_one(tmp_path: Path) -> None:
    from openai_gateway.secret import Secret

    token = "metrics-token-0123456789"
    async with house(tmp_path, metrics_token=Secret(token, name="TOKEN")) as here:
        assert (await here.ask("GET", "/metrics")).status == 401
        assert (await here.ask("GET", "/metrics", key=await here.key(role="admin"))).status == 401
        assert (await here.ask("GET", "/metrics", key=token)).status == 200


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-real-ip"])
async def test_metrics_without_a_token_are_not_for_whom_a_proxy_of_this_machine_speaks(
    tmp_path: Path, name: str
) -> None:
    async with house(tmp_path) as here:
        said = await here.ask("GET", "/metrics", headers={name: "203.0.113.7"})
        assert (said.status, said.error["code"]) == (403, "metrics_not_allowed")


async def test_two_keys_that_differ_are_none_and_other_headers_will_do(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        one, other = await here.key(), await here.key()
        for name in ("api-key", "x-api-key"):
            assert (await here.ask("GET", "/v1/models", headers={name: one})).status == 200
            assert (await here.ask("GET", "/v1/models", key=one, headers={name: one})).status == 200
            assert (await here.ask("GET", "/v1/models", key=one, headers={name: other})).status == 401
        assert (await here.ask("GET", "/v1/models", headers={"authorization": f"Basic {one}"})).status == 401


async def test_a_revoked_key_is_refused_at_once_where_it_was_revoked(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        admin, user = await here.key(role="admin"), await here.key()
        assert (await here.ask("GET", "/v1/models", key=user)).status == 200
        assert (await here.ask("DELETE", "/admin/keys/key_2", key=admin)).json["revoked"] is not None
        assert (await here.ask("GET", "/v1/models", key=user)).status == 401


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200) | st.sampled_from([b"'\"--", b"\x80\xff", b"a" * 60_000, b"ogw_' OR 1=1", b"ogw_\xc3\xa4"])
)
async def test_whatever_is_presented_as_a_key_is_refused(tmp_path_factory: pytest.TempPathFactory, key: bytes) -> None:
    async with house(tmp_path_factory.mktemp("house")) as here:
        plain = request("GET", "/v1/models")[:-2]
        said = await here.raw(plain + b"Authorization: Bearer " + key + b"\r\n\r\n")
        assert int(said.split()[1]) in {400, 401, 431}


IDS = st.sampled_from(["", "a", "a/b", "a/rotate", "rotate", "keys", "completions", "a/rotate/rotate"])
PATHS = st.builds(
    lambda template, id_, more: re.sub(r"\{id(\.\.\.)?\}", id_, template) + more,
    st.sampled_from(sorted({route.template for route in ROUTES})),
    IDS,
    st.sampled_from(["", "/", "/x", "x"]),
)


@settings(max_examples=500)
@given(st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD"]), PATHS)
def test_what_matches_is_what_the_templates_say_as_patterns(method: str, path: str) -> None:
    found = match(method, path)
    fitting = [route for route in ROUTES if pattern_of(route).fullmatch(path)]
    exact = [route for route in fitting if "{" not in route.template]
    wanted = {route.method: route for route in reversed(exact or fitting)}
    if "GET" in wanted:
        wanted["HEAD"] = wanted["GET"]
    if isinstance(found, NoMatch):
        assert method not in wanted
        assert found.allowed == tuple(sorted(wanted))
    else:
        assert found.route == wanted[method]
        (id_,) = pattern_of(found.route).fullmatch(path).groups() or ("",)  # type: ignore[union-attr]  # it matches
        assert found.id == id_


def pattern_of(route: Route) -> re.Pattern[str]:
    return re.compile(re.escape(route.template).replace(r"\{id\.\.\.\}", "(.+)").replace(r"\{id\}", "([^/]+)"))


def test_the_description_names_every_route_and_nothing_else() -> None:
    said = {(method.upper(), path) for path, operations in description()["paths"].items() for method in operations}
    assert said == {(route.method, route.template.replace("...", "")) for route in ROUTES}
    for route in ROUTES:
        operation = description()["paths"][route.template.replace("...", "")][route.method.lower()]
        assert ("security" in operation) == (route.who is not Who.NOBODY)
