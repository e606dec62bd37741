"""A recorded session, read back and judged: every line by the schema oracle, and the session as a whole by JSON-RPC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs

from tests.schema_oracle import MODERN, SUBSCRIPTION, check

Json = Any

VERSION: Final = "io.modelcontextprotocol/protocolVersion"
NEWEST_LEGACY: Final = "2025-11-25"


@attrs.frozen(kw_only=True)
class Asked:
    method: str
    revision: str


@attrs.define(kw_only=True, eq=False)
class Session:
    """One process of the server, as `tee.py` saw it. `judge` raises AssertionError at the first line that is wrong."""

    rows: list[Json]
    judged: int = 0
    _revision: str = NEWEST_LEGACY
    _open: dict[Json, Asked] = attrs.field(factory=dict)
    _cancelled: set[Json] = attrs.field(factory=set)
    _progress: dict[Json, tuple[Json, float]] = attrs.field(factory=dict)

    @property
    def exit_code(self) -> int | None:
        """What the server returned, or minus the signal that ended it; None if the client killed the tee too."""
        code: int | None = self.rows[-1].get("exit")
        return code

    def client_lines(self) -> list[str]:
        return [row["line"] for row in self.rows if row.get("from") == "client"]

    def judge(self) -> None:
        for row in self.rows:
            if row.get("from") == "client":
                self._hear(json.loads(row["line"]))
            elif row.get("from") == "server":
                message = json.loads(row["line"])
                assert isinstance(message, dict), f"no client here sends a batch, and this is no message: {message}"
                self._judge(message)
                self.judged += 1
        left = {id_: asked.method for id_, asked in self._open.items() if id_ not in self._cancelled}
        assert not left, f"never answered: {left}"

    def _hear(self, message: Json) -> None:
        params = message.get("params") or {}
        if message.get("method") == "notifications/cancelled":
            self._cancelled.add(params["requestId"])
        elif "method" in message and "id" in message:
            meta = params.get("_meta") or {}
            revision = meta.get(VERSION, self._revision)
            if revision not in MODERN:  # a client's offer; what it gets is in the answer
                revision = self._revision
            self._open[message["id"]] = Asked(method=message["method"], revision=revision)
            if "progressToken" in meta:
                self._progress[meta["progressToken"]] = (message["id"], float("-inf"))

    def _judge(self, message: dict[str, Json]) -> None:
        if "method" in message:
            self._judge_notification(message)
            return
        if message.get("id") is None:
            check(self._revision, None, message)
            return
        id_ = message["id"]
        assert id_ in self._open, f"nobody asked, or it was answered before: {message}"
        assert id_ not in self._cancelled, f"answered after its cancellation: {message}"
        asked = self._open.pop(id_)
        if asked.method == "initialize" and "result" in message:
            self._revision = message["result"]["protocolVersion"]
            asked = attrs.evolve(asked, revision=self._revision)
        check(asked.revision, asked.method, message)

    def _judge_notification(self, message: dict[str, Json]) -> None:
        params = message.get("params") or {}
        revision = MODERN[-1] if SUBSCRIPTION in params.get("_meta", {}) else self._revision
        if message["method"] == "notifications/progress":
            id_, last = self._progress[params["progressToken"]]
            assert id_ in self._open, f"progress after the answer: {message}"
            assert id_ not in self._cancelled, f"progress after the cancellation: {message}"
            assert params["progress"] > last, f"progress must increase, was {last}: {message}"
            self._progress[params["progressToken"]] = (id_, params["progress"])
            revision = self._open[id_].revision
        check(revision, None, message)


def read_session(path: Path) -> Session:
    return Session(rows=[json.loads(row) for row in path.read_text().splitlines()])


def read_sessions(directory: Path) -> list[Session]:
    """All processes that were started, the longest session first: some clients start a short-lived twin."""
    sessions = [read_session(path) for path in directory.glob("*.jsonl")]
    return sorted(sessions, key=lambda session: len(session.rows), reverse=True)
