"""`compare_models`: the same question to several models, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from openai_gateway import Call, GatewayError
from openai_gateway_mcp.features.answer import Shown, prefixed, served_meta, show
from openai_gateway_mcp.features.asking import Pace, ask
from openai_gateway_mcp.features.failures import error_meta, explain
from openai_gateway_mcp.features.tools.spec import Context, Rule, ToolSpec, argument, traceparent
from openai_gateway_mcp.protocol.model import Text, ToolResult

if TYPE_CHECKING:
    from openai_gateway import Gateway  # importing it loads the engine

Json = Any


@attrs.frozen(kw_only=True)
class CompareArgs:
    prompt: str = argument(rule=Rule(help="The question for all of them.", min_length=1))
    models: tuple[str, ...] = argument(rule=Rule(help="Names from list_models.", min_items=2, max_items=8))
    system: str | None = argument(default=None, help="Instructions for each model.")
    max_tokens: int | None = argument(default=None, rule=Rule(help="Most tokens each may generate.", minimum=1))


@attrs.frozen(kw_only=True)
class _Section:
    shown: Shown
    facts: dict[str, Json]


async def compare_models(args: CompareArgs, context: Context) -> ToolResult:
    """One text, a section a model in the order asked for. It is an error only when no model answered."""
    soft = context.settings.soft_deadline
    deadline = None if soft is None else trio.current_time() + soft
    body = _body(args)
    gateway = await context.door.gateway()
    pace = Pace(context.reporter)
    sections: dict[int, _Section] = {}

    async def fill(place: int, call: Call) -> None:
        sections[place] = await _section(gateway, call, pace, context, len(args.models))

    first = Call(
        model=args.models[0],
        body=body,
        deadline=deadline,
        whole=True,
        repair=True,
        traceparent=traceparent(context.call.meta),
        tenant=context.settings.tenant,
        models=context.settings.models,
    )
    async with trio.open_nursery() as nursery:
        for place, model in enumerate(args.models):
            nursery.start_soon(fill, place, attrs.evolve(first, model=model))
    in_order = [sections[place] for place in range(len(args.models))]
    text = "\n\n".join(f"## {model}\n\n{one.shown.text}" for model, one in zip(args.models, in_order, strict=True))
    return ToolResult(
        content=(Text(text),),
        is_error=all(one.shown.is_error for one in in_order),
        meta=prefixed({"models": [one.facts for one in in_order]}),
    )


async def _section(gateway: Gateway, call: Call, pace: Pace, context: Context, shares: int) -> _Section:
    limit = context.settings.max_characters // shares
    try:
        answer = await ask(gateway, call, pace=pace, max_characters=limit)
    except GatewayError as error:
        facts = {"model": call.model} | error_meta(error)
        return _Section(shown=Shown(text=explain(error, asked=call.model), is_error=True), facts=facts)
    shown = show(answer, soft_deadline=context.settings.soft_deadline, max_characters=limit)
    return _Section(shown=shown, facts=served_meta(answer))


def _body(args: CompareArgs) -> dict[str, Json]:
    system = [] if args.system is None else [{"role": "system", "content": args.system}]
    body: dict[str, Json] = {"messages": [*system, {"role": "user", "content": args.prompt}]}
    return body if args.max_tokens is None else body | {"max_tokens": args.max_tokens}


TOOL = ToolSpec(
    name="compare_models",
    title="Compare models",
    description=(
        "Ask 2 to 8 models the same question and get their answers side by side, a section each. Use it for several "
        "opinions, or to choose a model. Costs one request for each model."
    ),
    args=CompareArgs,
    annotations={"readOnlyHint": True, "openWorldHint": True},
    handler=compare_models,
)
