"""A span a call, under the names of OpenTelemetry's conventions for generative AI; never a prompt or an answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import trio

from openai_gateway.errors import ConfigError, GatewayError
from openai_gateway.routing.calls import Call, Served
from openai_gateway.service.metrics import OPERATIONS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as TheirSpan

_LOG: Final = logging.getLogger(__name__)
_SENDS_IN: Final = 5.0  # seconds that the last spans may take to be sent
_LONGEST: Final = 200  # characters of what a caller says


class Span:
    """One call, and what stands around it: it ends with the block, failed where that raised.

    `traceparent` goes to the provider, so that its spans are below ours.
    """

    def __init__(self, traceparent: str | None, span: TheirSpan | None = None) -> None:
        self.traceparent = traceparent
        self._span = span

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._span is None:
            return
        try:
            if isinstance(error, GatewayError):
                self.failed(error.kind.code or error.kind.type, error.status)
            elif isinstance(error, trio.Cancelled):
                self.failed("left")
        finally:
            self._span.end()

    def answered(self, served: Served | None) -> None:
        """Who served it, and what it used."""
        if self._span is None or served is None:
            return
        said: dict[str, Any] = {
            "gen_ai.response.model": served.model,
            "openai_gateway.target": served.target,
            "openai_gateway.attempts": served.attempts,
            "openai_gateway.cached": served.cached,
        }
        if served.finish_reason:
            said["gen_ai.response.finish_reasons"] = (served.finish_reason,)
        if served.usage is not None:
            said["gen_ai.usage.input_tokens"] = served.usage.input
            said["gen_ai.usage.output_tokens"] = served.usage.output
        if served.first_byte is not None:
            said["gen_ai.response.time_to_first_chunk"] = served.first_byte
        self._span.set_attributes(said)

    def failed(self, error: str, status: int | None = None) -> None:
        """It ended otherwise: with this type of error, and this status."""
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra

        self._span.set_attribute("error.type", error)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        self._span.set_status(StatusCode.ERROR)


class Traces:
    """Makes spans, or with no `tracer` none: then a caller's traceparent passes as it is."""

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    def span(self, call: Call) -> Span:
        """For the block of a call: it begins now, below the caller's span, if it told of one."""
        if self._tracer is None:
            return Span(call.traceparent)
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - the same

        propagator = TraceContextTextMapPropagator()
        parent = propagator.extract({"traceparent": call.traceparent or ""})
        operation, model = OPERATIONS.get(call.endpoint, call.endpoint), call.model[:_LONGEST]
        said = {
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": model,
            "openai_gateway.request_id": call.id,
            "openai_gateway.key": call.tenant or "",
        }
        span = self._tracer.start_span(
            f"{operation} {model}".strip(), context=parent, kind=SpanKind.SERVER, attributes=said
        )
        return Span(_traceparent_of(span), span)


def _traceparent_of(span: TheirSpan) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


@asynccontextmanager
async def open_traces(endpoint: str, *, exporter: SpanExporter | None = None) -> AsyncIterator[Traces]:
    """Traces that are sent to an OTLP endpoint (http://HOST:4318) in a thread; none where there is no endpoint.

    Raises ConfigError where the extra is not installed.
    """
    if not endpoint and exporter is None:
        yield Traces()
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - the same
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same
    except ImportError:
        raise ConfigError("Traces need the extra traces: pip install 'openai-gateway-mcp[traces]'.") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "openai-gateway"}), shutdown_on_exit=False)
    sends = exporter or OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(sends))
    try:
        yield Traces(provider.get_tracer("openai-gateway"))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SENDS_IN) as scope:
            await trio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)
        if scope.cancelled_caught:
            _LOG.warning("The last spans could not be sent within %g s.", _SENDS_IN)
