"""`chat`: one question to one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import trio

from openai_gateway import Call, GatewayError
from openai_gateway_mcp.features.answer import prefixed, served_meta, show
from openai_gateway_mcp.features.asking import Pace, ask
from openai_gateway_mcp.features.default_model import choose, with_names
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, WrongArgument, argument
from openai_gateway_mcp.protocol.model import Text, ToolResult

Json = Any
Object = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class ChatArgs:
    prompt: str | None = argument(default=None, rule=Rule(help="The question. Give this or messages.", min_length=1))
    messages: tuple[Object, ...] | None = argument(
        default=None, rule=Rule(help="A conversation, as OpenAI messages.", min_items=1)
    )
    model: str | None = argument(
        default=None, rule=Rule(help="A name from list_models; absent: the default model.", min_length=1)
    )
    system: str | None = argument(default=None, help="Instructions for the model.")
    max_tokens: int | None = argument(default=None, rule=Rule(help="Most tokens to generate.", minimum=1))
    temperature: float | None = argument(default=None, rule=Rule(minimum=0, maximum=2))
    reasoning_effort: str | None = argument(default=None, help="As the model knows it: low, medium, high…")
    json_schema: Mapping[str, Json] | None = argument(default=None, help="A JSON Schema the answer must follow.")
    images: tuple[str, ...] | None = argument(
        default=None, help="Pictures that go with prompt: https:// or data:image/ URLs."
    )


async def chat(args: ChatArgs, context: Context) -> ToolResult:
    """One text block: clients that are given structured content show their model nothing else."""
    soft = context.settings.soft_deadline
    deadline = None if soft is None else trio.current_time() + soft
    body = _body(args)
    gateway = await context.door.gateway()
    choice = await choose(context.door, args.model, context.settings)
    call = Call(
        model=choice.model,
        body=body,
        deadline=deadline,
        whole=True,
        repair=True,
        traceparent=traceparent(context.call.meta),
        tenant=context.settings.tenant,
        models=context.settings.models,
    )
    limit = context.settings.max_characters
    try:
        answer = await ask(gateway, call, pace=Pace(context.reporter), max_characters=limit)
    except GatewayError as error:
        raise await with_names(context.door, error, args.model, context.settings) from error
    shown = show(answer, soft_deadline=soft, max_characters=limit)
    facts = served_meta(answer) | ({"default_model_note": choice.note} if choice.note else {})
    return ToolResult(content=(Text(shown.text),), is_error=shown.is_error, meta=prefixed(facts))


def traceparent(meta: Mapping[str, Json]) -> str | None:
    """The W3C trace context that MCP lets a client put in `_meta`."""
    value = meta.get("traceparent")
    return value if isinstance(value, str) else None


def _body(args: ChatArgs) -> dict[str, Json]:
    """The request, with nothing in it that the caller did not say."""
    said = {
        "max_tokens": args.max_tokens,
        "temperature": args.temperature,
        "reasoning_effort": args.reasoning_effort,
        "response_format": None if args.json_schema is None else _response_format(args.json_schema),
    }
    return {"messages": _messages(args)} | {name: value for name, value in said.items() if value is not None}


def _response_format(schema: Object) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _messages(args: ChatArgs) -> list[Object]:
    system = [] if args.system is None else [{"role": "system", "content": args.system}]
    if (args.prompt is None) == (args.messages is None):
        which = "neither came" if args.prompt is None else "both came"
        raise WrongArgument(f"Wrong arguments `prompt` and `messages`: {which}. Accepted: exactly one of them.")
    if args.messages is None:
        return [*system, {"role": "user", "content": _content(args.prompt or "", args.images or ())}]
    if args.images:
        raise WrongArgument(
            "Wrong argument `images`: it goes with `prompt`. In `messages`, use image_url content parts."
        )
    for message in args.messages:
        if not isinstance(message.get("role"), str):
            raise WrongArgument.of("messages", message, 'objects that each have a "role", as OpenAI messages do')
    return [*system, *args.messages]


def _content(prompt: str, images: tuple[str, ...]) -> Json:
    if not images:
        return prompt
    for url in images:
        if not url.startswith(("https://", "data:image/")):
            raise WrongArgument.of("images", url, "https:// URLs and data:image/ URLs; no file is read")
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return [{"type": "text", "text": prompt}, *pictures]


CHAT = ToolSpec(
    name="chat",
    title="Ask a model",
    description=(
        "Ask another AI model and get its answer as text. Use it for a second opinion, for a task another model is "
        "better at, or when the user names a model. The model sees only what is sent here: no files, no conversation, "
        "so put all it needs into prompt. Costs the tokens of one request, billed to the configured key; long answers "
        "take up to a minute and then come back partial, with a notice."
    ),
    args=ChatArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=chat,
)
