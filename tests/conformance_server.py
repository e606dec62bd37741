"""A server made from our protocol and transport rooms that has what the official conformance suite asks a server for.

The suite fixes the names, and the words that it looks for; `python -m tests.conformance_server http` prints the URL
that it serves at, `… stdio` serves standard input and output.
"""

from __future__ import annotations

import functools
import json
import logging
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import attrs
import trio

from openai_gateway.net.admission import Admission
from openai_gateway.net.listener import HttpServer
from openai_gateway_mcp.features.tasks import Job, Tasks
from openai_gateway_mcp.protocol.connection import Connection
from openai_gateway_mcp.protocol.dress import tool_result
from openai_gateway_mcp.protocol.errors import INTERNAL_ERROR, MISSING_CAPABILITY, Fault, ResourceNotFound
from openai_gateway_mcp.protocol.events import (
    CompletionAsked,
    PromptAsked,
    Remark,
    ResourceRead,
    TaskAsked,
    TasksWatched,
    TaskVerb,
    ToolCalled,
    Work,
)
from openai_gateway_mcp.protocol.model import (
    Audio,
    Block,
    CompletionResult,
    Embedded,
    ExtensionResult,
    Image,
    InputRequest,
    InputRequired,
    Prompt,
    PromptArgument,
    PromptMessage,
    PromptResult,
    Resource,
    ResourceBlob,
    ResourceResult,
    ResourceTemplate,
    ResourceText,
    Result,
    Role,
    Server,
    Task,
    TaskCreated,
    TaskShown,
    Text,
    Tool,
    ToolResult,
)
from openai_gateway_mcp.protocol.params import check_knows_tasks, knows_tasks
from openai_gateway_mcp.protocol.revisions import REVISIONS
from openai_gateway_mcp.protocol.rounds import Seal
from openai_gateway_mcp.transports import stdio
from openai_gateway_mcp.transports.callers import Caller, let_in_anybody
from openai_gateway_mcp.transports.calls import PROGRESS_INTERVAL, Handler, Reporter
from openai_gateway_mcp.transports.descriptors import claim
from openai_gateway_mcp.transports.http import Endpoint
from openai_gateway_mcp.transports.replies import refuse
from openai_gateway_mcp.transports.session import run_session
from openai_gateway_mcp.transports.streams import Stream

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SILENCE: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
SCHEMA: Final = {"type": "object", "properties": {}}


def says(text: str) -> ToolResult:
    return ToolResult(content=(Text(text),))


# --- tools ----------------------------------------------------------------------------------------------------------

ToolAnswer = Callable[[ToolCalled, Reporter], Awaitable[Result]]


def fixed(*blocks: Block, is_error: bool = False) -> ToolAnswer:
    async def answer(_asked: ToolCalled, _reporter: Reporter) -> Result:
        await trio.lowlevel.checkpoint()
        return ToolResult(content=blocks, is_error=is_error)

    return answer


async def with_progress(_asked: ToolCalled, reporter: Reporter) -> Result:
    for done in (0, 50, 100):
        reporter.progress(done, 100, f"{done} of 100")
        await trio.sleep(PROGRESS_INTERVAL * 1.1)
    return says("It is done.")


async def needs_sampling(asked: ToolCalled, _reporter: Reporter) -> Result:
    await trio.lowlevel.checkpoint()
    if "sampling" not in asked.call.capabilities:
        raise Fault(MISSING_CAPABILITY, "The client cannot be asked for a completion", _needs("sampling"))
    return says("The client could be asked for a completion.")


def _needs(capability: str) -> Mapping[str, Any]:
    return {"requiredCapabilities": {capability: {}}}


# --- questions ------------------------------------------------------------------------------------------------------


def form(message: str, name: str, kind: str = "string") -> InputRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return InputRequest(method="elicitation/create", params={"message": message, "requestedSchema": schema})


def completion(prompt: str) -> InputRequest:
    message = {"role": "user", "content": {"type": "text", "text": prompt}}
    return InputRequest(method="sampling/createMessage", params={"messages": [message], "maxTokens": 100})


ROOTS: Final = InputRequest(method="roots/list")


@attrs.frozen(kw_only=True)
class Asking:
    """A tool that asks for some things at once, and answers when it has them all. `state` travels with the question."""

    requests: Mapping[str, InputRequest]
    answer: Callable[[Mapping[str, Any]], str]
    state: str | None = None

    async def __call__(self, asked: ToolCalled, _reporter: Reporter) -> Result:
        given = asked.call.input_responses
        if asked.call.state == self.state and self.requests.keys() <= given.keys():
            return says(self.answer(given))
        return InputRequired(requests=self.requests, state=self.state)


def filled_in(response: Mapping[str, Any], name: str) -> str:
    """What a person wrote into one field of a form."""
    content = response.get("content")
    return str(content.get(name)) if isinstance(content, dict) else "nothing"


def count_roots(response: Mapping[str, Any]) -> str:
    roots = response.get("roots")
    return f"{len(roots) if isinstance(roots, list) else 0} root(s)"


def text_of(response: Mapping[str, Any]) -> str:
    content = response.get("content")
    return str(content.get("text")) if isinstance(content, dict) else "nothing"


ROUNDS: Final = (form("What is your name?", "name"), form("Which colour do you like best?", "color"))


async def in_rounds(asked: ToolCalled, _reporter: Reporter) -> Result:
    """One question a round; the state holds what was answered so far."""
    await trio.lowlevel.checkpoint()
    answers = [] if asked.call.state is None else json.loads(asked.call.state)
    field = ("name", "color")[min(len(answers), 1)]
    response = asked.call.input_responses.get(f"step{len(answers) + 1}")
    if asked.call.state is not None and response is not None:
        answers.append(filled_in(response, field))
    if len(answers) == len(ROUNDS):
        return says(f"{answers[0]} likes {answers[1]} best.")
    step = len(answers)
    return InputRequired(requests={f"step{step + 1}": ROUNDS[step]}, state=json.dumps(answers))


async def what_it_can(asked: ToolCalled, _reporter: Reporter) -> Result:
    """Asks for no more than the client says it can be asked for."""
    await trio.lowlevel.checkpoint()
    could = {"elicitation": ("elicit_input", form("A value", "value")), "sampling": ("sample_input", completion("Hi"))}
    requests = dict(request for name, request in could.items() if name in asked.call.capabilities)
    if asked.call.input_responses or not requests:
        return says(f"The client gave {', '.join(asked.call.input_responses) or 'nothing'}.")
    return InputRequired(requests=requests, state="capabilities")


async def greet(asked: ToolCalled, _reporter: Reporter) -> Result:
    await trio.lowlevel.checkpoint()
    return says(f"Hello, {asked.arguments.get('name')}!")


TOOLS: Final[Mapping[str, ToolAnswer]] = {
    "test_simple_text": fixed(Text("This is a simple text response for testing.")),
    "test_image_content": fixed(Image(data=PIXEL, mime_type="image/png")),
    "test_audio_content": fixed(Audio(data=SILENCE, mime_type="audio/wav")),
    "test_embedded_resource": fixed(
        Embedded(ResourceText(uri="test://embedded", text="An embedded resource.", mime_type="text/plain"))
    ),
    "test_multiple_content_types": fixed(
        Text("Of several kinds:"),
        Image(data=PIXEL, mime_type="image/png"),
        Embedded(ResourceText(uri="test://mixed", text='{"test": "data", "value": 123}')),
    ),
    "test_tool_with_progress": with_progress,
    "test_error_handling": fixed(Text("This tool intentionally returns an error for testing"), is_error=True),
    "test_missing_capability": needs_sampling,
    "test_streaming_elicitation": Asking(
        requests={"value": form("A value", "value")}, answer=lambda given: filled_in(given["value"], "value")
    ),
    "test_logging_tool": fixed(Text("Nothing is ever logged to a client.")),
    "json_schema_2020_12_tool": fixed(Text("Its schema is what is looked at.")),
    "test_custom_header": fixed(Text("The headers were those of the arguments.")),
    "test_input_required_result_elicitation": Asking(
        requests={"user_name": form("What is your name?", "name")},
        answer=lambda given: f"Hello, {filled_in(given['user_name'], 'name')}!",
    ),
    "test_input_required_result_sampling": Asking(
        requests={"sample_request": completion("What is the capital of France?")},
        answer=lambda given: f"The client's model says: {text_of(given['sample_request'])}",
    ),
    "test_input_required_result_list_roots": Asking(
        requests={"roots_request": ROOTS}, answer=lambda given: f"Found {count_roots(given['roots_request'])}"
    ),
    "test_input_required_result_request_state": Asking(
        requests={"confirm": form("Please confirm", "ok", "boolean")},
        answer=lambda _: "state-ok: it came back as it went",
        state="asked once",
    ),
    "test_input_required_result_multiple_inputs": Asking(
        requests={
            "user_name": form("What is your name?", "name"),
            "greeting": completion("Make a greeting"),
            "client_roots": ROOTS,
        },
        answer=lambda given: (
            f"{text_of(given['greeting'])} {filled_in(given['user_name'], 'name')} {count_roots(given['client_roots'])}"
        ),
        state="asked three things",
    ),
    "test_input_required_result_multi_round": in_rounds,
    "test_input_required_result_tampered_state": Asking(
        requests={"confirm": form("Please confirm", "ok", "boolean")},
        answer=lambda _: "integrity-ok: nobody changed the state",
        state="not to be changed",
    ),
    "test_input_required_result_capabilities": what_it_can,
    "greet": greet,
}


async def slow_compute(asked: ToolCalled, _job: Job) -> ToolResult:
    await trio.sleep(float(asked.arguments.get("seconds", 0)))
    return says("Computed.")


async def failing_job(_asked: ToolCalled, _job: Job) -> ToolResult:
    await trio.lowlevel.checkpoint()
    return ToolResult(content=(Text("This job always fails."),), is_error=True)


async def protocol_error_job(_asked: ToolCalled, _job: Job) -> ToolResult:
    await trio.lowlevel.checkpoint()
    raise Fault(INTERNAL_ERROR, "This job breaks the protocol.")


async def confirm_delete(asked: ToolCalled, job: Job) -> ToolResult:
    given = await job.ask({"confirm": form(f"Delete {asked.arguments.get('filename')}?", "confirm", "boolean")})
    return says(f"Confirmed: {given['confirm'].get('action')}")


async def multi_input(_asked: ToolCalled, job: Job) -> ToolResult:
    given = await job.ask({"first": form("Who?", "name"), "second": form("And who else?", "name")})
    return says(f"{filled_in(given['first'], 'name')} and {filled_in(given['second'], 'name')}")


async def greets_later(asked: ToolCalled, _job: Job) -> ToolResult:
    await trio.lowlevel.checkpoint()
    return says(f"Hello, {filled_in(asked.call.input_responses['user_name'], 'name')}!")


JOBS: Final[Mapping[str, Callable[[ToolCalled, Job], Awaitable[ToolResult]]]] = {
    "slow_compute": slow_compute,
    "failing_job": failing_job,
    "protocol_error_job": protocol_error_job,
    "confirm_delete": confirm_delete,
    "multi_input": multi_input,
    "test_tool_with_task": greets_later,
}
"""The tools that are tasks from their first moment on; but for the first, nothing for a client that knows none."""

SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
    "test_custom_header": {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "urgent": {"type": "boolean", "x-mcp-header": "Urgent"},
        },
    },
}


# --- prompts and resources ------------------------------------------------------------------------------------------


def _user(content: Block) -> PromptMessage:
    return PromptMessage(role=Role.USER, content=content)


def _plain_prompt(_asked: PromptAsked) -> Result:
    return PromptResult(description="", messages=(_user(Text("This is a simple prompt for testing.")),))


def _prompt_with_arguments(asked: PromptAsked) -> Result:
    text = f"Prompt with arguments: arg1='{asked.arguments['arg1']}', arg2='{asked.arguments['arg2']}'"
    return PromptResult(description="", messages=(_user(Text(text)),))


def _prompt_with_resource(asked: PromptAsked) -> Result:
    resource = ResourceText(uri=asked.arguments["resourceUri"], text="What is embedded.", mime_type="text/plain")
    return PromptResult(description="", messages=(_user(Embedded(resource)), _user(Text("Look at the above."))))


def _prompt_with_image(_asked: PromptAsked) -> Result:
    image = Image(data=PIXEL, mime_type="image/png")
    return PromptResult(description="", messages=(_user(image), _user(Text("Look at the above."))))


def _prompt_that_asks(asked: PromptAsked) -> Result:
    given = asked.call.input_responses.get("user_context")
    if given is None:
        return InputRequired(requests={"user_context": form("In which context?", "context")})
    return PromptResult(description="", messages=(_user(Text(f"In context: {filled_in(given, 'context')}")),))


PROMPTS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[PromptAsked], Result]]]] = {
    "test_simple_prompt": ((), _plain_prompt),
    "test_prompt_with_arguments": (("arg1", "arg2"), _prompt_with_arguments),
    "test_prompt_with_embedded_resource": (("resourceUri",), _prompt_with_resource),
    "test_prompt_with_image": ((), _prompt_with_image),
    "test_input_required_result_prompt": ((), _prompt_that_asks),
}
RESOURCES: Final[Mapping[str, ResourceText | ResourceBlob]] = {
    "test://static-text": ResourceText(
        uri="test://static-text", text="This is the content of the static text resource.", mime_type="text/plain"
    ),
    "test://static-binary": ResourceBlob(uri="test://static-binary", blob=PIXEL, mime_type="image/png"),
    "test://watched-resource": ResourceText(uri="test://watched-resource", text="Watched.", mime_type="text/plain"),
}
TEMPLATE: Final = "test://template/{id}/data"


def _read(asked: ResourceRead) -> Result:
    if asked.uri in RESOURCES:
        return ResourceResult(contents=(RESOURCES[asked.uri],))
    head, _, tail = TEMPLATE.partition("{id}")
    if not (asked.uri.startswith(head) and asked.uri.endswith(tail)):
        raise ResourceNotFound(asked.uri)
    id_ = asked.uri.removeprefix(head).removesuffix(tail)
    text = json.dumps({"id": id_, "templateTest": True, "data": f"Data for ID: {id_}"})
    return ResourceResult(contents=(ResourceText(uri=asked.uri, text=text),))


# --- the server -----------------------------------------------------------------------------------------------------

SERVER: Final = Server(
    name="conformance",
    title="What the conformance suite asks for",
    version="1",
    instructions="Made for tests.",
    tools=tuple(
        Tool(name=name, title=name, description=f"The suite's {name}.", input_schema=SCHEMAS.get(name, SCHEMA))
        for name in (*TOOLS, *JOBS)
    ),
    offers_tasks=True,
    prompts=tuple(
        Prompt(
            name=name,
            title=name,
            description=f"The suite's {name}.",
            arguments=tuple(PromptArgument(name=one, description=one, required=True) for one in arguments),
        )
        for name, (arguments, _) in PROMPTS.items()
    ),
    resources=tuple(
        Resource(uri=uri, name=uri, title=uri, description="The suite's.", mime_type=contents.mime_type)
        for uri, contents in RESOURCES.items()
    ),
    resource_templates=(
        ResourceTemplate(
            uri_template=TEMPLATE, name="t", title="T", description="The suite's.", mime_type="application/json"
        ),
    ),
)


CHANGES: Final = ("test_trigger_tool_change", "test_trigger_prompt_change")


class Changing:
    """What is served: to everybody the same, until one of the tools that change a list is called."""

    def __init__(self, start_soon: Callable[..., None]) -> None:
        changing = (Tool(name=name, title=name, description="Changes a list.", input_schema=SCHEMA) for name in CHANGES)
        self.server = attrs.evolve(SERVER, tools=(*SERVER.tools, *changing))
        self.tell: Callable[[], None] = lambda: None
        self._tasks = Tasks(start_soon)
        self._changes = 0

    def server_for(self, _caller: Caller) -> Server:
        return self.server

    def handler_for(self, _caller: Caller) -> Handler:
        return self.handle

    def missing_scope(self, _caller: Caller, _tool: str) -> str | None:
        return None

    async def handle(self, work: Work, reporter: Reporter) -> Result:
        match work:
            case ToolCalled():
                if work.name in CHANGES:
                    return self._change(work.name)
                return await (self._begin(work, reporter) if work.name in JOBS else TOOLS[work.name](work, reporter))
            case TaskAsked():
                return self._task(work)
            case TasksWatched():
                await self._tasks.watch("", work.task_ids, reporter.task)
                return ExtensionResult(value={})
            case PromptAsked():
                return PROMPTS[work.name][1](work)
            case ResourceRead():
                return _read(work)
            case CompletionAsked():
                return CompletionResult(values=("Paris", "Park"), total=2, has_more=False)
            case _:
                raise AssertionError(work)

    async def _begin(self, asked: ToolCalled, reporter: Reporter) -> Result:
        if asked.name == "slow_compute" and not knows_tasks(asked.call.capabilities):
            await trio.sleep(float(asked.arguments.get("seconds", 0)))
            return says("Computed.")
        check_knows_tasks(asked.call.capabilities)
        if asked.name == "test_tool_with_task" and not asked.call.input_responses:
            return InputRequired(requests={"user_name": form("What is your name?", "name")})

        async def run(job: Job) -> ToolResult:
            return await JOBS[asked.name](asked, job)

        def dressed(result: ToolResult) -> Mapping[str, Any]:
            return tool_result(result, REVISIONS[asked.call.revision])

        outcome = await self._tasks.run("", run, reporter, dressed, patience=0)
        return TaskCreated(outcome) if isinstance(outcome, Task) else outcome

    def _task(self, asked: TaskAsked) -> Result:
        task = self._tasks.get("", asked.task_id)
        match asked.verb:
            case TaskVerb.GET:
                return TaskShown(task)
            case TaskVerb.UPDATE:
                self._tasks.update("", asked.task_id, asked.responses)
            case TaskVerb.CANCEL:
                self._tasks.cancel("", asked.task_id)
        return ExtensionResult(value={})

    def _change(self, what: str) -> Result:
        self._changes += 1
        name = f"added_{self._changes}"
        if what == CHANGES[0]:
            tool = Tool(name=name, title=name, description="Added.", input_schema=SCHEMA)
            self.server = attrs.evolve(self.server, tools=(*self.server.tools, tool))
        else:
            prompt = Prompt(name=name, title=name, description="Added.")
            self.server = attrs.evolve(self.server, prompts=(*self.server.prompts, prompt))
        self.tell()
        return says("The list is another now.")


def seal() -> Seal:
    return Seal(secrets.token_bytes(32), now=time.time)


def note(remark: Remark) -> None:
    logging.getLogger("conformance").info("%s", remark.text)


async def serve_http() -> None:
    """On a free port of loopback, until it is ended."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        served = Changing(nursery.start_soon)
        endpoint = Endpoint(
            served,
            verify=let_in_anybody,
            admission=Admission.of(bound="127.0.0.1", hosts=(), origins=()),
            remark=note,
            seal=seal(),
        )
        served.tell = endpoint.offer
        sys.stdout.write(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/mcp\n")  # noqa: TID251 - no wire here
        sys.stdout.flush()  # noqa: TID251 - as above
        await HttpServer(endpoint.handle, refuse=refuse).serve(listeners)


async def converse(stream: Stream) -> None:
    async with trio.open_nursery() as nursery:
        served = Changing(nursery.start_soon)
        connection = Connection(served.server, seal=seal())
        served.tell = functools.partial(offer, connection, served)
        await run_session(stream, connection, served.handle, remark=note)
        nursery.cancel_scope.cancel()


def offer(connection: Connection, served: Changing) -> None:
    connection.offer(served.server)


if __name__ == "__main__":
    if sys.argv[1] == "http":
        trio.run(serve_http)
    else:
        say = functools.partial(logging.getLogger("conformance").error, "%s")
        sys.exit(stdio.run(claim(), converse, say=say))
