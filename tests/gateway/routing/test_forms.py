"""How a form is written: as the standard library's mail parser reads it, whatever its names hold."""

from __future__ import annotations

import email.policy
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_gateway.errors import GatewayError
from openai_gateway.routing.cache import cache_key
from openai_gateway.routing.dialects import dialect_of
from openai_gateway.routing.forms import FilePart, Form, Upload, form_of
from openai_gateway.routing.health import Breakers
from openai_gateway.routing.plan import RouteTable, plan
from openai_gateway.routing.token_bound import IMAGE, prompt_bound
from tests.gateway.routing.samples import call, provider, target


@attrs.frozen
class Held:
    """A content in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.data


def file(name: str = "file", filename: str = "a.wav", kind: str = "audio/wav", data: bytes = b"RIFF") -> FilePart:
    return FilePart(name=name, filename=filename, content_type=kind, content=Held(data))


def upload(*files: FilePart) -> Upload:
    return Upload(boundary="b0und4ry", files=files or (file(),))


def bytes_of(form: Form) -> bytes:
    return b"".join(
        one if isinstance(one, bytes) else one.data for one in form.segments if isinstance(one, bytes | Held)
    )


def parts_of(form: Form) -> list[tuple[Any, ...]]:
    written = bytes_of(form)
    assert form.size == len(written)
    head = f"content-type: {form.content_type}\r\n\r\n".encode()
    message = message_from_bytes(head + written, policy=email.policy.HTTP)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return [
        (
            part["content-disposition"].params["name"],
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


def test_fields_come_first_and_each_value_of_a_list_is_one() -> None:
    fields = {"model": "m", "words": ["a", "b"], "n": 2, "stream": True, "deep": {"x": [1]}, "none": None}
    assert parts_of(form_of(upload(file(), file("image[]", "b.png", "image/png", b"\r\n--")), fields)) == [
        ("model", None, "text/plain", b"m"),
        ("words", None, "text/plain", b"a"),
        ("words", None, "text/plain", b"b"),
        ("n", None, "text/plain", b"2"),
        ("stream", None, "text/plain", b"true"),
        ("deep", None, "text/plain", b'{"x":[1]}'),
        ("file", "a.wav", "audio/wav", b"RIFF"),
        ("image[]", "b.png", "image/png", b"\r\n--"),
    ]


@given(st.text(), st.text(), st.text())
def test_no_name_ends_its_line_or_its_quotes(name: str, filename: str, kind: str) -> None:
    written = bytes_of(form_of(upload(file(name, filename, kind)), {name: "x"}))
    field, sent = written.split(b"--b0und4ry\r\n")[1:]
    assert field.count(b"\r\n") == 3
    assert sent.count(b"\r\n") == 5
    assert field.split(b"\r\n")[0].count(b'"') == 2
    assert sent.split(b"\r\n")[0].count(b'"') == 4


@pytest.mark.parametrize(("said", "kind"), [
    ("audio/x-m4a", "audio/x-m4a"), ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
    ("a/b\r\nx: y", "application/octet-stream"), ("", "application/octet-stream"),
])  # fmt: skip
def test_a_media_type_that_is_none_is_not_passed_on(said: str, kind: str) -> None:
    assert b"Content-Type: %b\r\n" % kind.encode() in bytes_of(form_of(upload(file(kind=said)), {}))


@pytest.mark.parametrize(("kind", "url"), [
    ("openai", "https://up.example/v1"), ("azure", "https://up.example/openai/v1"),
])  # fmt: skip
def test_a_call_with_files_leaves_as_a_form(kind: str, url: str) -> None:
    asked = call(endpoint="audio/transcriptions", body={"model": "x", "stream": True}, upload=upload())
    there = target("a", "theirs", kind=kind, base_url=url, headers={"Content-Type": "application/json"})
    for stream in (False, True):
        request = dialect_of(kind).encode(asked, there, stream=stream)
        assert request.form is not None
        assert (request.body, request.size) == (b"", request.form.size)
        assert dict(request.headers)["content-type"] == "multipart/form-data; boundary=b0und4ry"
        assert dict(request.headers)["accept"] == ("text/event-stream" if stream else "*/*")
        fields = {part[0]: part[3] for part in parts_of(request.form)}
        assert fields == {"model": b"theirs", "file": b"RIFF", **({"stream": b"true"} if stream else {})}


def test_the_echo_model_takes_none() -> None:
    with pytest.raises(GatewayError, match="only chats"):
        dialect_of("echo").encode(call(upload=upload()), target("echo", "echo", kind="echo"), stream=False)


@pytest.mark.parametrize(("kind", "base", "url"), [
    ("openai", "https://up.example/v1", "https://up.example/v1/files/file-1"),
    ("azure", "https://up.example", "https://up.example/openai/files/file-1?api-version=2026"),
])  # fmt: skip
def test_a_call_for_a_provider_goes_there_without_a_model(kind: str, base: str, url: str) -> None:
    version = {"api_version": "2026"} if kind == "azure" else {}
    there = provider("a", kind=kind, base_url=base, **version)
    table = RouteTable(providers={"a": there})
    asked = call("", endpoint="files/file-1", body={}, provider="a", method="GET")
    (chosen,) = plan(asked, table, Breakers(), 0.0, lambda: 0.0)
    assert chosen.name == "a"
    request = dialect_of(kind).encode(asked, chosen, stream=False)
    assert (request.method, request.url, request.body) == ("GET", url, b"")
    assert "content-type" not in dict(request.headers)
    posted = dialect_of(kind).encode(attrs.evolve(asked, method="POST", body={"a": 1}), chosen, stream=False)
    assert (posted.method, posted.body) == ("POST", b'{"a":1}')
    assert asked.may_repeat
    assert not attrs.evolve(asked, method="DELETE").may_repeat
    with pytest.raises(GatewayError, match="no longer configured"):
        plan(asked, RouteTable(), Breakers(), 0.0, lambda: 0.0)


def test_files_count_as_what_they_may_hold() -> None:
    def bound(endpoint: str, data: bytes) -> int:
        empty = prompt_bound(call(endpoint=endpoint, body={}))
        return prompt_bound(call(endpoint=endpoint, body={}, upload=upload(file(data=data)))) - empty

    assert bound("images/edits", b"x") == IMAGE
    assert bound("audio/transcriptions", b"x" * 64_000) == 1000


def test_a_call_with_files_is_never_kept() -> None:
    asked = call(body={"temperature": 0})
    assert cache_key(asked, tenant="a", stream=False, opted=True) is not None
    assert cache_key(attrs.evolve(asked, upload=upload()), tenant="a", stream=False, opted=True) is None
