"""What a client says in a soak, a row a kind, and how each must end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import attrs

from openai_gateway_mcp.fuzz.judge import CAPABILITIES, VERSION

Json = Any
Message = dict[str, Json]
IsRight = Callable[[Message], bool]

META: Final = {VERSION: "2026-07-28", CAPABILITIES: {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
LABEL: Final = "[echo, the built-in test model] "
LEGACY: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MOST_BYTES: Final = 65_536  # of a line, as the server is told
UNREADABLE, INVALID, NO_METHOD, BAD_PARAMS, NO_VERSION = -32700, -32600, -32601, -32602, -32022


@attrs.frozen(kw_only=True)
class Asked:
    """Lines, the ids in them with what their one answer must be, and the codes of errors without an id.

    `may_be_silent`: the answer may be missing. `in_doubt`: the standards do not say what such a line is.
    """

    lines: tuple[bytes, ...]
    answers: tuple[tuple[int, IsRight], ...] = ()
    nameless: tuple[int, ...] = ()
    may_be_silent: bool = False
    in_doubt: bool = False


def line(message: Json) -> bytes:
    return json.dumps(message).encode()


def request(id_: int, method: str, **params: Json) -> bytes:
    return line({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})


def notification(method: str, **params: Json) -> bytes:
    return line({"jsonrpc": "2.0", "method": method, "params": params})


# --- what an answer must be -------------------------------------------------------------------------------------------


def has(member: str) -> IsRight:
    return lambda message: member in message.get("result", {})


def fails(*codes: int) -> IsRight:
    return lambda message: message.get("error", {}).get("code") in codes


def is_empty(message: Message) -> bool:
    return bool(message.get("result") == {})


def says(text: str) -> IsRight:
    """A tool's result that is no error, and begins so."""
    return lambda message: (
        message.get("result", {}).get("isError") is False and message["result"]["content"][0]["text"].startswith(text)
    )


def is_tool_error(message: Message) -> bool:
    return message.get("result", {}).get("isError") is True


def is_partial_or_task(message: Message) -> bool:
    """What a call that outlasts the soft deadline comes back with: a task, or what there is of the answer."""
    return "taskId" in message.get("result", {}) or says("Hello")(message)


# --- the kinds --------------------------------------------------------------------------------------------------------

Kind = Callable[[int, str], Asked]
"""Takes an id that is free, and a text that is new each time."""


def _asks(method: str, is_right: IsRight, **params: Json) -> Kind:
    return lambda id_, _: Asked(lines=(request(id_, method, **params),), answers=((id_, is_right),))


def _modern(method: str, is_right: IsRight, **params: Json) -> Kind:
    return _asks(method, is_right, _meta=META, **params)


def _chats(*, meta: Json = None, times: int = 1) -> Kind:
    def asked(id_: int, text: str) -> Asked:
        prompt = text * times
        arguments = {"prompt": prompt, "model": "echo"}
        more = {} if meta is None else {"_meta": {**meta, "progressToken": id_}}
        sent = request(id_, "tools/call", name="chat", arguments=arguments, **more)
        return Asked(lines=(sent,), answers=((id_, says(LABEL + prompt)),))

    return asked


def _thread(id_: int, text: str) -> Asked:
    arguments = {"prompt": text, "model": "echo", "thread_id": "new"}
    return Asked(
        lines=(request(id_, "tools/call", name="chat", arguments=arguments),), answers=((id_, says(LABEL + text)),)
    )


def _slow(meta: Json) -> Kind:
    def asked(id_: int, text: str) -> Asked:
        arguments = {"prompt": text, "model": "slow"}
        sent = request(id_, "tools/call", name="chat", arguments=arguments, _meta={**meta, "progressToken": id_})
        return Asked(lines=(sent,), answers=((id_, is_partial_or_task),))

    return asked


def _cancelled(model: str, meta: Json) -> Kind:
    """An answer may have crossed the cancellation."""

    def asked(id_: int, text: str) -> Asked:
        arguments = {"prompt": text, "model": model}
        lines = (
            request(id_, "tools/call", name="chat", arguments=arguments, _meta=meta),
            notification("notifications/cancelled", requestId=id_),
        )
        return Asked(lines=lines, answers=((id_, has("content")),), may_be_silent=True)

    return asked


def _listens(id_: int, _: str) -> Asked:
    lines = (
        request(id_, "subscriptions/listen", notifications={"toolsListChanged": True}, _meta=META),
        notification("notifications/cancelled", requestId=id_),
    )
    return Asked(lines=lines, answers=((id_, has("_meta")),), may_be_silent=True)


def _says(*lines: bytes) -> Kind:
    return lambda _, __: Asked(lines=lines)


def _nameless(sent: bytes, code: int, *, in_doubt: bool = False) -> Kind:
    return lambda _, __: Asked(lines=(sent,), nameless=(code,), in_doubt=in_doubt)


KINDS: Final[tuple[tuple[int, Kind], ...]] = (
    # of the legacy era, whichever revision was agreed upon
    (8, _asks("ping", is_empty)),
    (4, _asks("tools/list", has("tools"))),
    (3, _asks("prompts/list", has("prompts"))),
    (3, _asks("resources/list", has("resources"))),
    (2, _asks("resources/templates/list", has("resourceTemplates"))),
    (2, _asks("logging/setLevel", is_empty, level="debug")),
    (1, _asks("resources/subscribe", is_empty, uri="openai://models")),
    (3, _asks("resources/read", has("contents"), uri="openai://models")),
    (2, _asks("resources/read", has("contents"), uri="openai://models/echo")),
    (2, _asks("resources/read", fails(-32002), uri="openai://models/nothing")),
    (3, _asks("prompts/get", has("messages"), name="ask", arguments={"question": "Why?"})),
    (2, _asks("prompts/get", fails(BAD_PARAMS), name="nothing")),
    (2, _asks("completion/complete", has("completion"), ref={"type": "ref/prompt", "name": "ask"},
              argument={"name": "model", "value": "e"})),
    (2, _asks("models/list", has("models"))),
    (12, _chats()),
    (6, _chats(meta={})),  # with progress
    (1, _chats(times=20)),  # of some 500 bytes
    (2, _asks("tools/call", has("content"), name="list_models", arguments={})),
    (2, _asks("tools/call", says("## echo"), name="compare_models",
              arguments={"prompt": "Hi", "models": ["echo", "echo2"]})),
    (2, _asks("tools/call", is_tool_error, name="chat", arguments={})),
    (2, _asks("tools/call", fails(BAD_PARAMS), name="nothing", arguments={})),
    (2, _asks("tools/call", fails(BAD_PARAMS))),
    (2, _asks("tools/list", fails(BAD_PARAMS), cursor="nothing")),
    (3, _asks("nothing/at_all", fails(NO_METHOD))),
    (4, _cancelled("echo", {})),
    # of the modern one, between them
    (4, _modern("server/discover", has("supportedVersions"))),
    (4, _modern("tools/list", has("tools"))),
    (2, _modern("prompts/list", has("prompts"))),
    (2, _modern("resources/read", has("contents"), uri="openai://models")),
    (2, _modern("prompts/get", has("messages"), name="second_opinion", arguments={"text": "So it is."})),
    (6, _chats(meta=META)),
    (3, _cancelled("echo", META)),
    (2, _modern("ping", fails(NO_METHOD))),
    (2, _modern("tasks/get", fails(BAD_PARAMS), taskId="nothing")),
    (2, _modern("tasks/cancel", fails(BAD_PARAMS), taskId="nothing")),
    (2, _listens),
    (1, _asks("tools/list", fails(NO_VERSION), _meta={**META, VERSION: "1999-01-01"})),
    (1, _asks("tools/list", fails(BAD_PARAMS), _meta={VERSION: "2026-07-28"})),
    # what is never answered
    (3, _says(notification("notifications/nothing"), notification("tools/list"))),
    (2, _says(notification("notifications/cancelled", requestId="nothing"), notification("notifications/cancelled"))),
    (1, _says(line({"jsonrpc": "2.0", "id": "nobody asked", "result": {}}), b"  \t\r")),
    # what is no request
    (3, _nameless(b"{nope", UNREADABLE)),
    (1, _nameless(b"[" * 5_000, UNREADABLE, in_doubt=True)),
    (1, _nameless(b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', UNREADABLE, in_doubt=True)),
    (1, _nameless(b"x" * (MOST_BYTES + 1), UNREADABLE)),
    (1, _nameless(b"7", INVALID)),
    (1, _nameless(b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID)),
)  # fmt: skip

SLOW: Final[tuple[Kind, ...]] = (
    *(_slow({}),) * 6, *(_slow(META),) * 6, *(_cancelled("slow", {}),) * 3, *(_cancelled("slow", META),) * 3, _thread,
)  # fmt: skip
"""Those of a round that waits for them."""


def follow_up(message: Message, id_: int) -> Asked | None:
    """What an answer leads to: a task is asked after or cancelled, a conversation goes on."""
    result = message.get("result", {})
    if "taskId" in result:
        method = "tasks/get" if id_ % 2 else "tasks/cancel"
        return _modern(method, has("resultType"), taskId=result["taskId"])(id_, "")
    thread = result.get("_meta", {}).get("openai-gateway-mcp/thread_id")
    if thread is None or id_ % 2:
        return None
    arguments = {"prompt": "And then?", "thread_id": thread}
    sent = request(id_, "tools/call", name="chat", arguments=arguments)
    return Asked(lines=(sent,), answers=((id_, says(LABEL + "And then?")),))
