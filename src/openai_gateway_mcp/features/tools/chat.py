"""`chat`: one question to one model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import trio

from openai_gateway import Call, GatewayError
from openai_gateway_mcp.features.answer import Answer, prefixed, served_meta, show
from openai_gateway_mcp.features.asking import Pace, ask
from openai_gateway_mcp.features.default_model import choose, with_names
from openai_gateway_mcp.features.kept import A_MESSAGE, Parked, Thread
from openai_gateway_mcp.features.media import decoded, media_of
from openai_gateway_mcp.features.roots import FileRefused, read_within
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, WrongArgument, argument, traceparent
from openai_gateway_mcp.protocol.model import Audio, Block, Image, ResourceLink, Text, ToolResult

Json = Any
Object = Mapping[str, Any]

_NEW: Final = "new"
_MAX_READ: Final = 1_000_000
"""Characters of an answer that are read; those that the result has no place for are parked."""
_MAX_THREAD: Final = 2**20
"""Characters of JSON of a conversation that are sent again; the oldest turns are left out first."""
_MAX_PICTURE: Final = 20 * 2**20
_PICTURES: Final = "https:// URLs, data:image/ URLs, or paths of pictures in an allowed directory"


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
        default=None,
        rule=Rule(help="For prompt: https: or data: URLs, allowed paths.", or_one=True),
    )
    thread_id: str | None = argument(default=None, help='"new" starts a conversation; the id in its answer goes on.')


async def chat(args: ChatArgs, context: Context) -> ToolResult:
    """One text block first: clients that are given structured content show their model nothing else."""
    soft = context.settings.soft_deadline
    deadline = None if soft is None else trio.current_time() + soft
    thread = _thread(args, context)
    said = await _said(args, context)
    body = _body(args, said, thread)
    gateway = await context.door.gateway()
    asked = args.model or (None if thread is None else thread.model)
    choice = await choose(context.door, asked, context.settings)
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
        answer = await ask(gateway, call, pace=Pace(context.reporter), max_characters=max(limit, _MAX_READ))
    except GatewayError as error:
        raise await with_names(context.door, error, asked, context.settings) from error
    link = None
    if len(answer.text) > limit:
        link = context.kept.park(context.settings.tenant, Parked("answer.txt", answer.text, "text/plain"))
    shown = show(answer, soft_deadline=soft, max_characters=limit, whole_at=None if link is None else link.uri)
    facts = served_meta(answer) | ({"default_model_note": choice.note} if choice.note else {})
    text = shown.text
    if args.thread_id is not None and not shown.is_error:
        handle = _keep(args, said, answer, context)
        if handle is not None:
            await context.kept.save(context.settings.tenant, handle)
        text += f"\n\n[thread_id: {handle}]" if handle else "\n\n[This conversation is too long to go on with.]"
        facts |= {} if handle is None else {"thread_id": handle}
    blocks: list[Block] = [Text(text), *([] if link is None else [link]), *_made(answer)]
    return ToolResult(content=tuple(blocks), is_error=shown.is_error, meta=prefixed(facts))


def _made(answer: Answer) -> Iterator[Block]:
    """The pictures and the sound of the model's own making. What is only an address is not fetched."""
    for url in answer.pictures:
        data = decoded(url)
        media = None if data is None else media_of(data)
        if media is not None and media.mime_type.startswith("image/"):
            yield Image(data=media.base64, mime_type=media.mime_type)
        elif url.startswith(("https://", "http://")):
            yield ResourceLink(uri=url, name="picture")
    if (sound := media_of(answer.sound)) is not None:
        yield Audio(data=sound.base64, mime_type=sound.mime_type)


# --- conversations that go on ---------------------------------------------------------------------------------------


def _thread(args: ChatArgs, context: Context) -> Thread | None:
    """Where the conversation stands, None where none is gone on with. Raises WrongArgument."""
    if args.thread_id in {None, _NEW}:
        return None
    thread = context.kept.threads.get(context.settings.tenant, args.thread_id or "")
    if thread is None:
        raise WrongArgument.of(
            "thread_id",
            args.thread_id,
            f'"{_NEW}" for a new conversation, or the thread_id of an answer of the last hour',
        )
    return thread


def _keep(args: ChatArgs, said: Sequence[Object], answer: Answer, context: Context) -> str | None:
    """The handle of the conversation with this turn; None where it is too long to be kept.

    What stands there now counts, not what stood there when the model was asked: another turn may have ended meanwhile.
    """
    owner, threads = context.settings.tenant, context.kept.threads
    handle = None if args.thread_id == _NEW else args.thread_id
    before = None if handle is None else threads.get(owner, handle)
    earlier = () if before is None else before.messages
    messages = [*earlier, *said, {"role": "assistant", "content": answer.text}]
    kept, size = _latest(messages)
    system = args.system if args.system is not None or before is None else before.system
    thread = Thread(model=answer.model, system=system, messages=tuple(kept))
    return threads.put(owner, thread, size + len(kept) * A_MESSAGE, handle)


def _latest(messages: Sequence[Object]) -> tuple[Sequence[Object], int]:
    """Those of the last turns that may be kept, the first of which is a question, and their characters of JSON."""
    sizes = [len(json.dumps(message)) for message in messages]
    # One pass and no sum at each step: a caller may send a million messages in one call.
    start, size, last = 0, sum(sizes), len(messages) - 1
    while size > _MAX_THREAD and start < last:
        size -= sizes[start]
        start += 1
        while start < last and messages[start].get("role") != "user":
            size -= sizes[start]
            start += 1
    return messages[start:], size


# --- the request ----------------------------------------------------------------------------------------------------


def _body(args: ChatArgs, said: Sequence[Object], thread: Thread | None) -> dict[str, Json]:
    """The request, with nothing in it that the caller did not say."""
    system = args.system if args.system is not None or thread is None else thread.system
    first: list[Object] = [] if system is None else [{"role": "system", "content": system}]
    earlier = () if thread is None else thread.messages
    others = {
        "max_tokens": args.max_tokens,
        "temperature": args.temperature,
        "reasoning_effort": args.reasoning_effort,
        "response_format": None if args.json_schema is None else _response_format(args.json_schema),
    }
    known = {name: value for name, value in others.items() if value is not None}
    return {"messages": [*first, *earlier, *said]} | known


def _response_format(schema: Object) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


async def _said(args: ChatArgs, context: Context) -> list[Object]:
    """The messages of this call alone. Raises WrongArgument."""
    if (args.prompt is None) == (args.messages is None):
        which = "neither came" if args.prompt is None else "both came"
        raise WrongArgument(f"Wrong arguments `prompt` and `messages`: {which}. Accepted: exactly one of them.")
    if args.messages is None:
        await trio.lowlevel.checkpoint()
        return [{"role": "user", "content": await _content(args.prompt or "", args.images or (), context)}]
    if args.images:
        raise WrongArgument(
            "Wrong argument `images`: it goes with `prompt`. In `messages`, use image_url content parts."
        )
    for message in args.messages:
        if not isinstance(message.get("role"), str):
            raise WrongArgument.of("messages", message, 'objects that each have a "role", as OpenAI messages do')
    await trio.lowlevel.checkpoint()
    return list(args.messages)


async def _content(prompt: str, images: tuple[str, ...], context: Context) -> Json:
    if not images:
        return prompt  # noqa: ASYNC910 - its caller has passed one
    pictures = [{"type": "image_url", "image_url": {"url": await _picture(one, context)}} for one in images]
    return [{"type": "text", "text": prompt}, *pictures]


async def _picture(said: str, context: Context) -> str:
    """The URL of a picture, for a file a data: one. What an https:// URL leads to is the provider's to fetch."""
    if said.startswith(("https://", "data:image/")):
        await trio.lowlevel.checkpoint()
        return said
    try:
        _, data = await trio.to_thread.run_sync(read_within, said, context.settings.roots, _MAX_PICTURE)
    except FileRefused as refused:
        raise WrongArgument.of("images", said, f"{_PICTURES}; as a path: {refused}") from None
    media = media_of(data)
    if media is None or not media.mime_type.startswith("image/"):
        raise WrongArgument.of("images", said, "a file that is a PNG, JPEG, GIF or WebP picture")
    return media.data_url


TOOL = ToolSpec(
    name="chat",
    title="Ask a model",
    description=(
        "Ask another AI model and get its answer as text. Use it for a second opinion, or when the user names a model. "
        "The model sees only what is sent here: put all it needs into prompt. Costs the tokens of one request; after "
        "a minute an answer comes back partial, with a notice."
    ),
    args=ChatArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=chat,
)
