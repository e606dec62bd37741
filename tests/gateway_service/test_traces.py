"""A span a call: below its caller's, above the provider's, and without a word of what was said."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import openai
import pytest
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from openai_gateway.service.traces import open_traces
from tests.gateway_service.house import ANSWER, CHAT, delta, house, http, request, sse
from tests.gateway_service.process import configuration, made_key, served
from tests.gateway_service.test_workers import SAY
from tests.peers.fake_upstream import running

PATH = "/v1/chat/completions"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def passed_on(request: bytes) -> str:
    (line,) = [one for one in request.split(b"\r\n") if one.startswith(b"traceparent: ")]
    return line.decode().removeprefix("traceparent: ")


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_it_says_what_was_asked_for_and_who_served_it(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    stream = sse(delta("Hel"), delta(None, "stop"))
    async with (
        open_traces("", exporter=exporter) as traces,
        house(tmp_path, http(200, ANSWER), stream, traces=traces) as here,
    ):
        key = await here.key()
        named = {"traceparent": PARENT, "x-request-id": "mine-1"}
        assert (await here.ask("POST", PATH, key=key, body=CHAT, headers=named)).status == 200
        assert (await here.ask("POST", PATH, key=key, body={**CHAT, "stream": True})).status == 200
    whole, streamed = exporter.get_finished_spans()
    assert (whole.name, whole.kind.name, whole.status.status_code.name) == ("chat m", "SERVER", "UNSET")
    assert attributes(whole) == {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.response.model": "m-2026",
        "gen_ai.response.finish_reasons": ("stop",), "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.time_to_first_chunk": attributes(whole)["gen_ai.response.time_to_first_chunk"],
        "openai_gateway.request_id": "mine-1", "openai_gateway.key": "key_1", "openai_gateway.target": "up/m",
        "openai_gateway.attempts": 1, "openai_gateway.cached": False,
    }  # fmt: skip
    assert whole.parent is not None
    assert f"{whole.parent.trace_id:032x}-{whole.parent.span_id:016x}" in PARENT
    assert passed_on(here.asked[0]) == f"00-{whole.context.trace_id:032x}-{whole.context.span_id:016x}-01"
    assert streamed.parent is None
    assert attributes(streamed)["openai_gateway.target"] == "up/m"


async def test_it_says_how_a_call_failed(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    async with (
        open_traces("", exporter=exporter) as traces,
        house(tmp_path, None, traces=traces) as here,
    ):
        key = await here.key()
        async with here.connection() as leaving:
            await leaving.send_all(request("POST", PATH, key=key, body=CHAT))
            await here.came.wait()
        with trio.fail_after(10):
            await here.left.wait()
        here.script.append(http(500, {}))
        assert (await here.ask("POST", PATH, key=key, body=CHAT)).status == 502
        assert (await here.ask("POST", PATH, key=key, body={**CHAT, "model": "x"})).status == 404
    left, broke, unknown = exporter.get_finished_spans()
    assert [span.status.status_code.name for span in (broke, unknown, left)] == ["ERROR"] * 3
    assert attributes(broke)["error.type"] == "upstream_error"
    assert attributes(unknown)["http.response.status_code"] == 404
    assert attributes(left)["error.type"] == "left"


async def test_without_an_endpoint_a_callers_own_passes_as_it_is(tmp_path: Path) -> None:
    async with house(tmp_path, http(200, ANSWER)) as here:
        await here.ask("POST", PATH, key=await here.key(), body=CHAT, headers={"traceparent": PARENT})
        assert passed_on(here.asked[0]) == PARENT


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP endpoint, and what it was sent."""
    came: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                came.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_service_sends_its_spans_before_it_ends(tmp_path: Path) -> None:
    with running() as upstream, collector() as (endpoint, came):
        config = configuration(tmp_path / "gateway.toml", upstream.url)
        with served(tmp_path, "--config", str(config), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as service:
            with openai.OpenAI(base_url=f"{service.url}/v1", api_key=made_key(tmp_path)) as ai:
                ai.chat.completions.create(model="echo", messages=SAY)
            assert service.stop() == 0
    sent = [resource for one in came for resource in one.resource_spans]
    assert [span.name for one in sent for scope in one.scope_spans for span in scope.spans] == ["chat echo"]
    assert ("service.name", "openai-gateway") in {
        (attribute.key, attribute.value.string_value) for one in sent for attribute in one.resource.attributes
    }
    assert "Hello!" not in str(came)
