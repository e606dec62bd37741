"""The page for people: who may see it, what stands on it, and that nothing in it runs but its own."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest

from openai_gateway.routing.ledger import Row
from tests.gateway_service.house import CHAT, House, house

EVIL = "</td><script>alert(1)</script>\"'&"
ROW = Row(id="r", key="key_1", endpoint="chat/completions", model="m", status=200, money=10**9, input=1000, output=234)


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


class Reader(HTMLParser):
    """All elements with their attributes, and the text of each table by the heading before it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._heading = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "tr":
            self.tables.setdefault(self._heading, []).append([])

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["h2"]:
            self._heading = data
        elif self._open[-1:] == ["td"]:
            self.tables[self._heading][-1].append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass


async def shown(here: House, query: str = "") -> Reader:
    said = await here.ask("GET", f"/{query}", headers=basic(await here.key(role="admin")))
    assert said.status == 200, said
    return Reader(said.body.decode())


async def test_it_is_there_for_admins_alone_and_only_where_the_operator_wants_it(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        admin = await here.key(role="admin")
        assert (await here.ask("GET", "/", key=admin)).status == 404
        assert (await here.ask("GET", "/")).status == 401
    async with house(tmp_path, dashboard=True) as here:
        admin, user = await here.key(id="a", role="admin"), await here.key(id="u")
        nobody = await here.ask("GET", "/")
        assert (nobody.status, nobody.headers["www-authenticate"].split()[0]) == (401, "Basic")
        assert (await here.ask("GET", "/", headers=basic(user))).status == 403
        assert (await here.ask("GET", "/", headers=basic("x"))).status == 401
        assert (await here.ask("GET", "/", headers={"authorization": "Basic !"})).status == 401
        assert (await here.ask("GET", "/", headers={"authorization": "Basic /w=="})).status == 401
        assert (await here.ask("GET", "/", key=admin)).status == 200
        assert (await here.ask("GET", "/?days=8", key=admin)).status == 400


async def test_a_password_opens_the_page_and_nothing_else(tmp_path: Path) -> None:
    """A browser sends it along unasked, also when another page makes it ask."""
    async with house(tmp_path, dashboard=True) as here:
        password = basic(await here.key(role="admin"))
        for method, target in (("GET", "/admin/keys"), ("POST", "/admin/keys"), ("GET", "/v1/models")):
            assert (await here.ask(method, target, headers=password)).status == 401


async def test_it_shows_what_was_used_and_who_was_refused(tmp_path: Path) -> None:
    async with house(tmp_path, dashboard=True) as here:
        user = await here.key(name="laptop", budget=5 * 10**9, rpm=0)
        for row in (ROW, ROW, attrs.evolve(ROW, model="n", status=502, money=0)):
            await here.store.conclude([], row)
        assert (await here.ask("POST", "/v1/chat/completions", key=user, body=CHAT)).status == 429
        await here.audit.flush()
        page = await shown(here)
    # The refused call has its row too.
    assert page.tables["Models"][1:] == [
        ["m", "3", "1", "2,000", "0", "468", "2.0000"],
        ["n", "1", "1", "1,000", "0", "234", "0.0000"],
    ]
    assert page.tables["Keys"][1][:3] == ["laptop (key_1)", "4", "2"]
    assert page.tables["Budgets"][1] == ["laptop (key_1)", "0.0000", "5.0000", "month"]
    assert page.tables["Targets"][1] == ["up/m", "closed"]
    assert page.tables["Refused last"][1][1:5] == ["429", "rate_limit_exceeded", "/v1/chat/completions", "key_1"]
    bars = [one for tag, one in page.elements if tag == "rect"]
    assert [bar["class"] for bar in bars] == ["bar", "failed"]
    assert float(bars[0]["height"] or 0) == 2 * float(bars[1]["height"] or 0) > 0


async def test_an_empty_one_says_so(tmp_path: Path) -> None:
    async with house(tmp_path, dashboard=True) as here:
        page = await shown(here, "?days=1")
    assert list(page.tables) == ["Targets"]


async def test_nothing_in_it_runs_or_is_loaded_but_its_own(tmp_path: Path) -> None:
    async with house(tmp_path, dashboard=True) as here:
        await here.key(id=f"key {EVIL}", name=EVIL, budget=1)
        await here.store.conclude([], attrs.evolve(ROW, model=EVIL, key=f"key {EVIL}"))
        here.audit.refused(actor=EVIL, status=403, code=EVIL, route=EVIL, peer=EVIL, id="x")
        await here.audit.flush()
        said = await here.ask("GET", "/", key=await here.key(role="admin"))
        again = await here.ask("GET", "/", key=await here.key(id="b", role="admin"))
    text = said.body.decode()
    policy = said.headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-([\w-]+)'", policy))
    assert nonce not in again.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert said.headers["cache-control"] == "no-store"
    page = Reader(text)
    assert [one.get("nonce") for tag, one in page.elements if tag in {"script", "style"}] == [nonce, nonce]
    assert not [one for _, one in page.elements for name in one if name.startswith("on") or name in {"style", "src"}]
    assert {(one["href"] or "")[:6] for _, one in page.elements if "href" in one} == {"?days=", "data:,"}
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)", "", text)
    assert "".join(page.tables["Models"][1][:5]).startswith(EVIL)


@pytest.mark.parametrize("damage", [b"", b"no json\n", b"[1]\n", b'{"event": "refused"}\n'])
async def test_a_log_that_cannot_be_read_is_none_of_its_troubles(tmp_path: Path, damage: bytes) -> None:
    async with house(tmp_path, dashboard=True) as here:
        if damage:
            (tmp_path / "audit.jsonl").write_bytes(damage)
        assert "Refused last" not in (await shown(here)).tables
