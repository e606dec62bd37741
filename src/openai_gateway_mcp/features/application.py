"""What is offered, and who answers what: a table from the core's events to the rooms beside this one."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from openai_gateway import GatewayError, __version__
from openai_gateway_mcp.features.answer import prefixed
from openai_gateway_mcp.features.completion import complete
from openai_gateway_mcp.features.door import Door
from openai_gateway_mcp.features.extensions import METHODS, answer_extension
from openai_gateway_mcp.features.failures import error_meta, explain
from openai_gateway_mcp.features.kept import Kept
from openai_gateway_mcp.features.prompts import fill_prompt
from openai_gateway_mcp.features.rate_limit import RateLimit
from openai_gateway_mcp.features.resources import RESOURCES, TEMPLATES, USAGE, read_resource
from openai_gateway_mcp.features.settings import Settings
from openai_gateway_mcp.features.tasks import Job, Tasks
from openai_gateway_mcp.features.tools import TOOLS
from openai_gateway_mcp.features.tools.spec import Context, WrongArgument, failure, read_arguments
from openai_gateway_mcp.protocol.dress import tool_result
from openai_gateway_mcp.protocol.errors import INVALID_PARAMS, Fault
from openai_gateway_mcp.protocol.events import (
    CompletionAsked,
    ExtensionCalled,
    PromptAsked,
    ResourceRead,
    TaskAsked,
    TasksWatched,
    TaskVerb,
    ToolCalled,
    Work,
)
from openai_gateway_mcp.protocol.model import ExtensionResult, Result, Server, TaskCreated, TaskShown, ToolResult
from openai_gateway_mcp.protocol.params import knows_tasks
from openai_gateway_mcp.protocol.revisions import REVISIONS
from openai_gateway_mcp.transports.calls import Reporter

_GRACE = 1.0
"""Seconds past the soft deadline for a tool to say by itself how far it got; the wait for the model list it cannot."""

# Codex and Claude Code cut at 2,048 characters.
INSTRUCTIONS = """\
This server asks other AI models, of any provider, through an OpenAI-compatible gateway.

- `chat` asks one model. Put everything the model needs into the prompt: it sees neither this conversation nor any file.
- `compare_models` asks several models the same question and shows their answers side by side.
- `list_models` tells which models there are. Use it before naming a model; without `model` the default one answers.

Every call spends tokens of the user's account; `list_models` costs nothing. Long answers come back partial after \
about a minute, with a notice that says so. An error says what failed and what to do next."""


def describe(settings: Settings) -> Server:
    """All that discovery and the lists show. It needs no key, no network and nothing slow to import."""
    return Server(
        name="openai-gateway-mcp",
        title="OpenAI Gateway",
        version=__version__,
        instructions=INSTRUCTIONS,
        tools=tuple(TOOLS[name].describe() for name in TOOLS if name in settings.tools),
        resources=(*RESOURCES, USAGE) if settings.embedded else RESOURCES,
        resource_templates=TEMPLATES,
        prompts=tuple(spec.prompt for spec in settings.prompts),
        extensions=METHODS,
        offers_tasks=settings.soft_deadline is not None,  # without one every call is waited for to its end
    )


class Application:
    """Answers every call of a connection through one door."""

    def __init__(
        self,
        settings: Settings,
        door: Door,
        *,
        rate_limit: RateLimit | None = None,
        kept: Kept | None = None,
        tasks: Tasks | None = None,
    ) -> None:
        """`kept` and `tasks` are shared by the applications of all callers."""
        self._settings = settings
        self._door = door
        self._kept = kept or Kept()
        self._tasks = tasks or Tasks(door.start_soon)
        self._rate_limit = rate_limit or RateLimit(settings.rate_limit)
        self._answers: dict[type[Any], Callable[[Any, Reporter], Awaitable[Result]]] = {
            ToolCalled: self._call_tool,
            ResourceRead: self._read_resource,
            PromptAsked: self._fill_prompt,
            CompletionAsked: self._complete,
            ExtensionCalled: self._answer_extension,
            TaskAsked: self._answer_task,
            TasksWatched: self._watch_tasks,
        }

    def with_settings(self, settings: Settings) -> Application:
        """The same caller's, under other settings: what it used of its limit stays used."""
        return Application(settings, self._door, rate_limit=self._rate_limit, kept=self._kept, tasks=self._tasks)

    def renew(self, settings: Settings) -> None:
        """Answer what comes from now on under other settings, as a reload brings them."""
        self._settings = settings

    async def handle(self, work: Work, reporter: Reporter) -> Result:
        """The result of one call. Raises Fault or ResourceNotFound for what is to be a JSON-RPC error."""
        return await self._answers[type(work)](work, reporter)

    async def _call_tool(self, asked: ToolCalled, reporter: Reporter) -> ToolResult | TaskCreated:
        """For a client that takes a task for an answer, one that takes longer than the soft deadline becomes one."""
        soft = self._settings.soft_deadline
        owner = self._settings.tenant
        if soft is None or not knows_tasks(asked.call.capabilities) or not self._tasks.has_room(owner):
            return await self._run_tool(asked, reporter, self._settings)
        endless = attrs.evolve(self._settings, soft_deadline=None)

        async def run(job: Job) -> ToolResult:
            return await self._run_tool(asked, job, endless)

        def dressed(result: ToolResult) -> Mapping[str, Any]:
            return tool_result(result, REVISIONS[asked.call.revision])

        outcome = await self._tasks.run(owner, run, reporter, dressed, patience=soft)
        return outcome if isinstance(outcome, ToolResult) else TaskCreated(outcome)

    async def _run_tool(self, asked: ToolCalled, reporter: Reporter, settings: Settings) -> ToolResult:
        """What goes wrong upstream or in the arguments is a result to read; an unknown tool is a JSON-RPC error."""
        if asked.name not in settings.tools:
            raise Fault(INVALID_PARAMS, f"Unknown tool: {asked.name}. There are {', '.join(settings.tools)}.")
        tool = TOOLS[asked.name]
        context = Context(door=self._door, settings=settings, kept=self._kept, call=asked.call, reporter=reporter)
        soft = settings.soft_deadline
        with trio.CancelScope(deadline=math.inf if soft is None else trio.current_time() + soft + _GRACE):
            try:
                self._rate_limit.admit()
                return await tool.handler(read_arguments(tool.args, asked.arguments), context)
            except WrongArgument as error:
                return failure(str(error))
            except GatewayError as error:
                return failure(explain(error, asked=asked.name), prefixed(error_meta(error)))
        return failure(
            f"{asked.name} failed: the gateway's model list did not come within the soft deadline of {soft:g} s. "
            "Try again, or name a model; `openai-gateway-mcp doctor` finds the cause."
        )

    async def _answer_task(self, asked: TaskAsked, _reporter: Reporter) -> Result:
        await trio.lowlevel.checkpoint()
        owner = self._settings.tenant
        task = self._tasks.get(owner, asked.task_id)
        if asked.verb is TaskVerb.GET:
            return TaskShown(task)
        if asked.verb is TaskVerb.CANCEL:
            self._tasks.cancel(owner, asked.task_id)
        else:
            self._tasks.update(owner, asked.task_id, asked.responses)
        return ExtensionResult(value={})

    async def _watch_tasks(self, asked: TasksWatched, reporter: Reporter) -> Result:
        await self._tasks.watch(self._settings.tenant, asked.task_ids, reporter.task)
        return ExtensionResult(value={})

    async def _read_resource(self, asked: ResourceRead, _reporter: Reporter) -> Result:
        return await read_resource(asked.uri, self._door, self._settings, self._kept)

    async def _fill_prompt(self, asked: PromptAsked, _reporter: Reporter) -> Result:
        return fill_prompt(asked.name, asked.arguments, self._settings.prompts)

    async def _complete(self, asked: CompletionAsked, _reporter: Reporter) -> Result:
        return await complete(asked, self._door, self._settings)

    async def _answer_extension(self, asked: ExtensionCalled, _reporter: Reporter) -> Result:
        return await answer_extension(asked, self._door, self._rate_limit, self._settings)
