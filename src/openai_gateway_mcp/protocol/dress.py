"""Our values as the JSON of one revision: what an older revision does not know is left out for it."""

from __future__ import annotations

import functools
from typing import Any, Final, assert_never

from openai_gateway.wire.strict import dumps
from openai_gateway_mcp.protocol.events import Era
from openai_gateway_mcp.protocol.model import (
    Answered,
    Audio,
    Block,
    CacheScope,
    CompletionResult,
    Contents,
    Embedded,
    ExtensionResult,
    Image,
    Prompt,
    PromptResult,
    Resource,
    ResourceLink,
    ResourceResult,
    ResourceTemplate,
    ResourceText,
    Server,
    Task,
    TaskCreated,
    TaskShown,
    Text,
    Tool,
    ToolResult,
)
from openai_gateway_mcp.protocol.params import TASKS_EXTENSION
from openai_gateway_mcp.protocol.revisions import MODERN, Revision

Object = dict[str, Any]
_SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
MAX_COMPLETIONS: Final = 100  # of one answer, by the specification


# --- what the server offers -----------------------------------------------------------------------------------------


def initialize_result(server: Server, revision: Revision) -> Object:
    """The answer to `initialize`, in the revision it settles on."""
    return {
        "protocolVersion": revision.name,
        "capabilities": capabilities(revision),
        "serverInfo": server_info(server, revision),
        "instructions": server.instructions,
    }


def discover_result(server: Server, revision: Revision) -> Object:
    """The answer to `server/discover`: modern revisions only, the legacy ones are reached by `initialize`."""
    return complete(
        {
            "supportedVersions": list(MODERN),
            "capabilities": capabilities(revision) | _extensions(server),
            "instructions": server.instructions,
            **_cacheable(server.ttl_ms, server.cache_scope),
        },
        server,
        revision,
    )


def capabilities(revision: Revision) -> Object:
    """What is declared does not depend on what is offered now: an empty list may be filled later, and is announced.

    Logging is never declared: it is deprecated, and we never send notifications/message.
    """
    lists: Object = {name: {"listChanged": True} for name in ("tools", "prompts", "resources")}
    return {**lists, "completions": {}} if revision.hints else lists


def _extensions(server: Server) -> Object:
    return {"extensions": {TASKS_EXTENSION: {}}} if server.offers_tasks else {}


def server_info(server: Server, revision: Revision) -> Object:
    """Name and version of this software."""
    info = {"name": server.name, "version": server.version}
    return {**info, "title": server.title} if revision.titles else info


@functools.lru_cache(maxsize=128)
def list_bytes(method: str, server: Server, revision: Revision) -> bytes:
    """`list_result`, encoded once for all the connections that show the same server."""
    return dumps(list_result(method, server, revision))


def list_result(method: str, server: Server, revision: Revision) -> Object:
    """The answer to one of the four list methods: always whole, on one page."""
    match method:
        case "tools/list":
            lists: Object = {"tools": [_tool(tool, revision) for tool in server.tools]}
        case "prompts/list":
            lists = {"prompts": [_prompt(prompt, revision) for prompt in server.prompts]}
        case "resources/list":
            lists = {"resources": [_resource(resource, revision) for resource in server.resources]}
        case _:
            lists = {"resourceTemplates": [_template(template, revision) for template in server.resource_templates]}
    if revision.era is Era.MODERN:
        lists |= _cacheable(server.ttl_ms, server.cache_scope)
    return complete(lists, server, revision)


def _tool(tool: Tool, revision: Revision) -> Object:
    shape: Object = {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
    if revision.hints and tool.annotations is not None:
        shape["annotations"] = tool.annotations
    if revision.titles:
        shape["title"] = tool.title
        if tool.output_schema is not None:
            shape["outputSchema"] = tool.output_schema
        if tool.meta is not None:
            shape["_meta"] = tool.meta
    return shape


def _titled(shape: Object, title: str, revision: Revision) -> Object:
    return {**shape, "title": title} if revision.titles else shape


def _resource(resource: Resource, revision: Revision) -> Object:
    shape = {
        "uri": resource.uri,
        "name": resource.name,
        "description": resource.description,
        "mimeType": resource.mime_type,
    }
    return _titled(shape, resource.title, revision)


def _template(template: ResourceTemplate, revision: Revision) -> Object:
    shape = {
        "uriTemplate": template.uri_template,
        "name": template.name,
        "description": template.description,
        "mimeType": template.mime_type,
    }
    return _titled(shape, template.title, revision)


def _prompt(prompt: Prompt, revision: Revision) -> Object:
    arguments = [
        {"name": argument.name, "description": argument.description, "required": argument.required}
        for argument in prompt.arguments
    ]
    shape = {"name": prompt.name, "description": prompt.description, "arguments": arguments}
    return _titled(shape, prompt.title, revision)


# --- what it answers ------------------------------------------------------------------------------------------------


def dress(result: Answered, server: Server, revision: Revision) -> Object:
    """A handler's result as the `result` member of a response."""
    match result:
        case ToolResult():
            shape = tool_result(result, revision)
        case ResourceResult():
            shape = _resource_result(result, revision)
        case PromptResult():
            shape = _prompt_result(result, revision)
        case CompletionResult():
            shape = _completion_result(result)
        case ExtensionResult():
            shape = dict(result.value)
        case TaskShown(task):
            shape = task_shape(task, server, revision)
        case _ as never:
            assert_never(never)
    return complete(shape, server, revision)


def task_created(created: TaskCreated, server: Server, revision: Revision) -> Object:
    """What a call is answered with that goes on as a task."""
    later = {"result", "error", "inputRequests"}  # which tasks/get shows
    shape = {name: value for name, value in task_shape(created.task, server, revision).items() if name not in later}
    return complete(shape, server, revision, result_type="task")


def task_shape(task: Task, server: Server, revision: Revision) -> Object:
    """All that is known of a task. Its result is exactly what the call would have been answered with."""
    shape: Object = {
        "taskId": task.id,
        "status": task.status.value,
        "createdAt": task.created,
        "lastUpdatedAt": task.updated,
        "ttlMs": task.ttl_ms,
        "pollIntervalMs": task.poll_ms,
    }
    if task.message:
        shape["statusMessage"] = task.message
    if task.result is not None:
        shape["result"] = complete(dict(task.result), server, revision)
    if task.error is not None:
        shape["error"] = task.error
    if task.requests:
        shape["inputRequests"] = {
            name: {"method": request.method, "params": dict(request.params)} for name, request in task.requests.items()
        }
    return shape


def complete(shape: Object, server: Server, revision: Revision, *, result_type: str = "complete") -> Object:
    """What every result of the revision carries beside its own members."""
    if revision.era is Era.LEGACY:
        return shape
    own = shape.get("_meta")  # an extension's result may be made from somebody else's JSON
    meta = {**(own if isinstance(own, dict) else {}), _SERVER_INFO: server_info(server, revision)}
    return {**shape, "resultType": result_type, "_meta": meta}


def _cacheable(ttl_ms: int, scope: CacheScope) -> Object:
    return {"ttlMs": ttl_ms, "cacheScope": scope.value}


def tool_result(result: ToolResult, revision: Revision) -> Object:
    """A tool's result, as a task holds it."""
    shape: Object = {"content": [_block(block, revision) for block in result.content], "isError": result.is_error}
    if result.structured is not None and revision.titles:
        shape["structuredContent"] = result.structured
    if result.meta:
        shape["_meta"] = dict(result.meta)
    return shape


def _block(block: Block, revision: Revision) -> Object:
    match block:
        case Text(text):
            return {"type": "text", "text": text}
        case Image():
            return {"type": "image", "data": block.data, "mimeType": block.mime_type}
        case Audio():
            if not revision.hints:
                return _block(
                    Text(f"[audio ({block.mime_type}) left out: {revision.name} has no audio content]"), revision
                )
            return {"type": "audio", "data": block.data, "mimeType": block.mime_type}
        case ResourceLink():
            if not revision.titles:
                return _block(Text(f"[{block.name}: read the resource {block.uri}]"), revision)
            link: Object = {"type": "resource_link", "uri": block.uri, "name": block.name}
            return link | _present(description=block.description, mimeType=block.mime_type)
        case Embedded(resource):
            return {"type": "resource", "resource": _contents(resource)}
        case _ as never:
            assert_never(never)


def _contents(contents: Contents) -> Object:
    shape: Object = {"uri": contents.uri, "mimeType": contents.mime_type}
    return shape | ({"text": contents.text} if isinstance(contents, ResourceText) else {"blob": contents.blob})


def _present(**members: str) -> Object:
    return {name: value for name, value in members.items() if value}


def _resource_result(result: ResourceResult, revision: Revision) -> Object:
    contents = [_contents(one) for one in result.contents]
    if revision.era is Era.LEGACY:
        return {"contents": contents}
    return {"contents": contents, **_cacheable(result.ttl_ms, result.cache_scope)}


def _prompt_result(result: PromptResult, revision: Revision) -> Object:
    messages = [
        {"role": message.role.value, "content": _block(message.content, revision)} for message in result.messages
    ]
    return {"description": result.description, "messages": messages}


def _completion_result(result: CompletionResult) -> Object:
    values = list(result.values[:MAX_COMPLETIONS])
    has_more = result.has_more or len(values) < len(result.values)
    return {"completion": {"values": values, "total": result.total, "hasMore": has_more}}
