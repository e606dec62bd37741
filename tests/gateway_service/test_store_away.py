"""What a service does while its store cannot be asked: nothing for anybody, unless the operator has said otherwise."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.gateway_service.house import ANSWER, CHAT, house, http

OK = http(200, ANSWER)


@contextmanager
def away(path: Path) -> Iterator[None]:
    """As if the file were damaged, and mended again."""
    tables = ("uses", "keys", "ledger")

    def rename(before: str, after: str) -> None:
        with closing(sqlite3.connect(path / "gateway.db")) as direct, direct:
            for table in tables:
                direct.execute(f"ALTER TABLE {before}{table} RENAME TO {after}{table}")

    rename("", "gone_")
    yield
    rename("gone_", "")


async def test_nobody_is_let_through(tmp_path: Path) -> None:
    async with house(tmp_path, OK, OK) as here:
        key = await here.key(rpm=5)
        assert (await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)).status == 200
        with away(tmp_path):
            refused = await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)
            assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
            assert refused.headers["retry-after"] == "1"
        assert (await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)).status == 200
        assert len(here.asked) == 2


async def test_an_operator_may_say_that_known_keys_pass_without_limits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, *[OK] * 4, on_store_failure="allow") as here:
        key, other = await here.key(rpm=1), await here.key()
        assert (await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)).status == 200
        assert (await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)).status == 429
        with away(tmp_path):
            for _ in range(3):
                assert (await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)).status == 200
            unknown = await here.ask("POST", "/v1/chat/completions", key=other, body=CHAT)
            assert (unknown.status, unknown.error["code"]) == (503, "store_unavailable")
            assert (await here.ask("GET", "/health/readiness")).status == 200
        assert (await here.ask("POST", "/v1/chat/completions", key=key, body=CHAT)).status == 429
        await here.store.renew()
        rows = await here.store.rows(since=0, until=2**45, limit=10)
        assert [row.status for row in rows].count(200) == 4
    assert len([message for message in caplog.messages if "without any limit" in message]) == 1
