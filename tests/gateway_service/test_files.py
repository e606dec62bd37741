"""Files and batches: they belong to the key that made them, and to all others there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openai_gateway.engine.store import Owned
from tests.gateway_service.forms import headers, parts_of, written
from tests.gateway_service.house import CHAT, Answered, House, house, http

FORM = written([("purpose", None, b"batch"), ("file", "calls.jsonl", b'{"custom_id": "1"}\n')])
BATCH = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


def file(id_: str = "file-1", **more: Any) -> dict[str, Any]:
    return {"id": id_, "object": "file", "bytes": 19, "filename": "calls.jsonl", "purpose": "batch", **more}


def batch(**more: Any) -> dict[str, Any]:
    return {"id": "batch-1", "object": "batch", "status": "in_progress", "errors": None, **BATCH, **more}


async def upload(here: House, key: str) -> Answered:
    return await here.ask("POST", "/v1/files", key=key, body=FORM, headers=headers())


async def test_a_file_is_its_makers_and_to_all_others_there_is_none(tmp_path: Path) -> None:
    answers = [
        http(200, file()),
        http(200, file()),
        http(200, b"{}\n{}\n"),
        http(200, {"id": "file-1", "deleted": True}),
    ]
    async with house(tmp_path, *answers) as here:
        mine, other = await here.key(), await here.key(role="admin")
        made = await upload(here, mine)
        assert (made.status, made.json) == (200, file())
        assert parts_of(here.asked[0]) == [
            ("purpose", None, b"batch"),
            ("file", "calls.jsonl", b'{"custom_id": "1"}\n'),
        ]
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            said = await here.ask(method, f"/v1/files/file-1{path}", key=other)
            assert (said.status, said.error["code"]) == (404, "not_found")
            unknown = await here.ask(method, f"/v1/files/file-2{path}", key=other)
            assert unknown.error["message"].replace("file-2", "file-1") == said.error["message"]
        assert len(here.asked) == 1
        assert (await here.ask("GET", "/v1/files/file-1", key=mine)).json == file()
        content = await here.ask("GET", "/v1/files/file-1/content", key=mine)
        assert (content.status, content.body) == (200, b"{}\n{}\n")
        assert (await here.ask("DELETE", "/v1/files/file-1", key=mine)).json["deleted"]
        assert (await here.ask("GET", "/v1/files/file-1", key=mine)).status == 404
        assert [one.split(b" HTTP")[0] for one in here.asked[1:]] == [
            b"GET /v1/files/file-1", b"GET /v1/files/file-1/content", b"DELETE /v1/files/file-1",
        ]  # fmt: skip
        rows = await here.store.rows(since=0, until=2**45, limit=10)
        assert [row.endpoint for row in rows] == ["files/file-1", "files/file-1/content", "files/file-1", "files"]
        assert {(row.status, row.target, row.model) for row in rows} == {(200, "up", "")}


async def test_a_list_has_what_the_key_owns_and_drops_what_has_ended(tmp_path: Path) -> None:
    gone = http(
        404, {"error": {"message": "No such file", "type": "invalid_request_error", "param": "id", "code": None}}
    )
    made = [http(200, file(f"file-{number}")) for number in range(3)]
    async with house(tmp_path, *made, http(200, file("file-0")), gone) as here:
        mine, other = await here.key(rpm=5), await here.key()
        assert [(await upload(here, key)).status for key in (mine, other, mine)] == [200, 200, 200]
        listed = await here.ask("GET", "/v1/files", key=mine)
        assert listed.status == 200
        assert len(listed.json["data"]) == 1
        assert listed.json["has_more"] is False
        assert sorted(one.split()[1] for one in here.asked[3:]) == [b"/v1/files/file-0", b"/v1/files/file-2"]
        assert len(await here.store.owned("file", "key_1")) == 1
        assert (await here.ask("GET", "/v1/files?purpose=vision", key=await here.key())).json["data"] == []
        assert (await here.ask("GET", "/v1/files?limit=x", key=other)).status == 400
        assert (await here.ask("GET", "/v1/files?api_base=x", key=other)).status == 400


async def test_a_list_is_given_in_pages(tmp_path: Path) -> None:
    async with house(tmp_path, *[http(200, file("any"))] * 9) as here:
        key = await here.key()
        for number in range(5):
            await here.store.own(Owned(id=f"file-{number}", kind="file", key="key_1", provider="up", made=number))

        async def asked(query: str) -> tuple[list[bytes], bool]:
            before = len(here.asked)
            said = await here.ask("GET", f"/v1/files?{query}", key=key)
            return sorted(one.split()[1][-1:] for one in here.asked[before:]), said.json["has_more"]

        assert await asked("limit=2") == ([b"3", b"4"], True)
        assert await asked("limit=2&after=file-3") == ([b"1", b"2"], True)
        assert await asked("limit=2&after=file-1") == ([b"0"], False)
        assert await asked("limit=2&order=asc") == ([b"0", b"1"], True)
        assert await asked("after=nothing") == ([], False)


async def test_a_batch_is_of_ones_own_files_and_what_it_makes_is_ones_own(tmp_path: Path) -> None:
    ended = batch(status="completed", output_file_id="file-9", error_file_id=None)
    answers = [
        http(200, file()),
        http(200, batch()),
        http(200, ended),
        http(200, b"out"),
        http(200, batch(status="cancelling")),
    ]
    async with house(tmp_path, *answers) as here:
        mine, other = await here.key(), await here.key()
        await upload(here, mine)
        for key, file_id in ((other, "file-1"), (mine, "file-7"), (mine, 3)):
            said = await here.ask("POST", "/v1/batches", key=key, body={**BATCH, "input_file_id": file_id})
            assert said.status == 404
        made = await here.ask("POST", "/v1/batches", key=mine, body=BATCH)
        assert (made.status, made.json) == (200, batch())
        assert json.loads(here.asked[1].partition(b"\r\n\r\n")[2]) == BATCH
        assert (await here.ask("GET", "/v1/batches/batch-1", key=other)).status == 404
        assert (await here.ask("GET", "/v1/files/file-9/content", key=mine)).status == 404
        assert (await here.ask("GET", "/v1/batches/batch-1", key=mine)).json == ended
        assert (await here.ask("GET", "/v1/files/file-9/content", key=mine)).body == b"out"
        assert (await here.ask("GET", "/v1/files/file-9/content", key=other)).status == 404
        assert (await here.ask("POST", "/v1/batches/batch-1/cancel", key=mine)).json["status"] == "cancelling"
        assert here.asked[-1].startswith(b"POST /v1/batches/batch-1/cancel HTTP/1.1\r\n")
        assert (await here.ask("GET", "/v1/batches", key=other)).json["data"] == []


@pytest.mark.parametrize("limits", [{"budget": 10**9}, {"tpm": 1000}, {"models": ("m",)}])
async def test_a_key_whose_use_is_counted_makes_no_batches(tmp_path: Path, limits: dict[str, Any]) -> None:
    async with house(tmp_path, http(200, file())) as here:
        key = await here.key(**limits)
        assert (await upload(here, key)).status == 200  # files alone cost nothing
        said = await here.ask("POST", "/v1/batches", key=key, body=BATCH)
        assert (said.status, said.error["code"]) == (403, "batches_not_counted")


async def test_a_batch_goes_to_no_endpoint_that_the_key_may_not_use(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, file())) as here:
        key = await here.key(endpoints=("files", "batches", "embeddings"))
        assert (await upload(here, key)).status == 200
        assert (await here.ask("POST", "/v1/batches", key=key, body=BATCH)).status == 403
        assert (await here.ask("GET", "/v1/files", key=await here.key(endpoints=("chat/*",)))).status == 403


def says(reference: Any) -> dict[str, Any]:
    return {**CHAT, "messages": [{"role": "user", "content": [reference]}]}


@pytest.mark.parametrize("reference", [
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "input_file", "file_id": "file-1"},
    {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}},
])  # fmt: skip
async def test_a_call_names_no_file_of_another_key(tmp_path: Path, reference: dict[str, Any]) -> None:
    answer = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    async with house(tmp_path, http(200, file()), http(200, answer), http(200, answer)) as here:
        mine, other = await here.key(), await here.key()
        await upload(here, mine)
        assert (await here.ask("POST", "/v1/chat/completions", key=mine, body=says(reference))).status == 200
        for body in (says(reference), json.dumps(says(reference)).replace("file_id", "file\\u005fid").encode()):
            said = await here.ask("POST", "/v1/chat/completions", key=other, body=body)
            assert (said.status, said.error["code"]) == (404, "not_found")
        assert len(here.asked) == 2


@pytest.mark.parametrize("id_", [{}, [], [{}], 1, None])
async def test_what_is_no_text_names_no_file(tmp_path: Path, id_: Any) -> None:
    async with house(tmp_path) as here:
        body = says({"type": "code_interpreter", "container": {"file_ids": [id_]}})
        said = await here.ask("POST", "/v1/chat/completions", key=await here.key(), body=body)
        assert (said.status, said.error["code"]) == (404, "not_found")
        assert not here.asked


async def test_a_download_that_breaks_off_is_cut_and_has_its_row(tmp_path: Path) -> None:
    cut = http(200, b"x" * 100).replace(b"content-length: 100", b"content-length: 200") + b""
    async with house(
        tmp_path, http(200, file()), cut.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    ) as here:
        key = await here.key()
        await upload(here, key)
        said = await here.ask("GET", "/v1/files/file-1/content", key=key)
        assert said.body.endswith(b"<cut>")
        assert (await here.store.rows(since=0, until=2**45, limit=1))[0].status == 502


async def test_a_file_is_a_form(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        said = await here.ask("POST", "/v1/files", key=await here.key(), body={"purpose": "batch"})
        assert said.status == 415


async def test_an_operator_says_where_files_go(tmp_path: Path) -> None:
    async with house(tmp_path, files="elsewhere") as here:
        said = await upload(here, await here.key())
        assert said.status == 503
        assert "keeps files" in said.error["message"]
