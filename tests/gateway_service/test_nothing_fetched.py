"""What a request names is passed on and never looked at: no address in it is asked, and nothing in it is run."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import openai_gateway
from tests.gateway_service.house import ANSWER, CHAT, house, http

SOURCE = Path(openai_gateway.__file__).parent
STARTS_PROCESSES = {"engine/key_command.py", "supervisor.py"}
"""A key's command, from the operator's file alone and without a shell; and the workers."""

FORBIDDEN = {"eval", "exec", "compile", "__import__"}


def parts(url: str) -> list[dict[str, Any]]:
    return [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
        {"type": "file", "file": {"file_data": url}},
    ]


@pytest.mark.parametrize("endpoint", ["chat/completions", "responses", "images/edits"])
async def test_no_address_of_a_request_is_asked(tmp_path: Path, endpoint: str) -> None:
    asked = 0
    came = trio.Event()

    async def count(_: trio.SocketStream) -> None:
        nonlocal asked
        asked += 1
        came.set()
        await trio.lowlevel.checkpoint()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/image.png"
    async with house(tmp_path, http(200, ANSWER)) as here, trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, count, [listener])
        body = {**CHAT, "messages": [{"role": "user", "content": parts(url)}], "image": url, "input": url}
        said = await here.ask("POST", f"/v1/{endpoint}", key=await here.key(), body=body)
        assert said.status == 200
        await trio.testing.wait_all_tasks_blocked(0.05)
        before = asked
        async with await trio.open_tcp_stream(*listener.socket.getsockname()):  # whoever does ask is counted
            await came.wait()
        nursery.cancel_scope.cancel()
    sent = json.loads(here.asked[0].partition(b"\r\n\r\n")[2])
    assert sent["messages"] == body["messages"]
    assert sent["image"] == url
    assert (before, asked) == (0, 1)


def test_nothing_is_evaluated_unpickled_or_started_but_what_the_operator_named() -> None:
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN, name
            imported = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [f"{node.module}.{alias.name}" for alias in node.names]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            roots = {one.partition(".")[0] for one in imported}
            assert not roots & {"pickle", "shelve", "marshal"}, name
            if name not in STARTS_PROCESSES:
                assert "subprocess" not in roots, name
                assert not (isinstance(node, ast.Attribute) and node.attr in {"open_process", "run_process"}), name
