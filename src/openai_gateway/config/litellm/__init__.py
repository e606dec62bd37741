"""LiteLLM's proxy configuration made into ours: what has a counterpart is carried over, all else is told by name.

Facts: https://docs.litellm.ai/docs/proxy/config_settings, and LiteLLM 1.106 itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_gateway.config.litellm.models import rows
from openai_gateway.config.litellm.parts import Notes
from openai_gateway.config.litellm.providers import Providers
from openai_gateway.config.litellm.routing import REASONS, Routing

__all__ = ["Imported", "convert"]

_KEYS: Final = "who may call, with which key, is not said in this file"
_GENERAL: Final = {
    **dict.fromkeys(("master_key", "database_url", "store_model_in_db", "litellm_key_header_name"), _KEYS),
    "completion_model": "DEFAULT_MODEL is asked where a caller names none",
}
_TOP: Final = {
    "include": "other files are not read; import each of them, or the whole in one file",
    "guardrails": "there are no guardrails",
    "mcp_servers": "this is a gateway to models, not to MCP servers",
}


@attrs.frozen(kw_only=True)
class Imported:
    """A document for config.writing, and a line for each thing that is not in it, or not as it was."""

    document: Mapping[str, Any]
    notes: tuple[str, ...]


def convert(content: Mapping[str, Any], environ: Mapping[str, str]) -> Imported:
    """The parsed YAML as a configuration of ours. No key is in it: only the names of variables that hold one.

    `environ` is asked for addresses and versions of the form `os.environ/X`, which a file of ours cannot ask for.
    """
    notes = Notes(environ=environ)
    top = notes.part("", content, _TOP)
    variables = top.mapping("environment_variables")
    known = {name: value for name, value in variables.left.items() if isinstance(value, str)}
    notes.environ = {**known, **environ}
    credentials = _credentials(top.take("credential_list"), notes)
    providers = Providers(notes=notes)
    made = rows(_with_credentials(top.take("model_list"), credentials), providers, notes)
    routing = Routing(
        router=top.mapping("router_settings", REASONS), litellm=top.mapping("litellm_settings", REASONS), rows=made
    )
    routing.strategy()
    routing.aliases()
    routing.fallbacks()
    document: dict[str, Any] = {"providers": providers.finish(), "models": [_written(row.values) for row in made]}
    document |= {
        name: part for name, part in (("timeouts", routing.timeouts()), ("retries", routing.retries())) if part
    }
    for part in (routing.router, routing.litellm, top.mapping("general_settings", _GENERAL)):
        part.finish()
    variables.finish(lambda _: "variables are set where the server is started, so its value is not copied")
    top.finish()
    return Imported(document=_tidy(document), notes=tuple(notes.lines))


def _credentials(entries: Any, notes: Notes) -> dict[str, Mapping[str, Any]]:
    """credential_list, by name: parameters that deployments share."""
    found = {}
    for at, entry in enumerate(entries if isinstance(entries, list) else []):
        part = notes.part(f"credential_list[{at}]", entry, {"credential_info": "it describes and changes no call"})
        name, values = part.text("credential_name"), part.take("credential_values")
        if name is not None and isinstance(values, Mapping):
            found[name] = values
        else:
            part.note("credential_name", "without a name and values it is left out")
        part.finish()
    return found


def _with_credentials(entries: Any, credentials: Mapping[str, Mapping[str, Any]]) -> Any:
    """The model_list, each litellm_credential_name replaced by the parameters it stands for."""
    return [_filled(entry, credentials) for entry in entries] if isinstance(entries, list) else entries


def _filled(entry: Any, credentials: Mapping[str, Mapping[str, Any]]) -> Any:
    params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping):
        return entry
    name = params.get("litellm_credential_name")
    if not isinstance(name, str) or name not in credentials:
        return entry
    own = {key: value for key, value in params.items() if key != "litellm_credential_name"}
    return {**entry, "litellm_params": {**credentials[name], **own}}


def _written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing: no value, and a model of the row's own name."""
    unsaid = {"model"} if values["model"] == values["name"] else set()
    return {key: value for key, value in values.items() if value is not None and key not in unsaid}


def _tidy(value: Any) -> Any:
    """30 for 30.0, which says the same."""
    if isinstance(value, Mapping):
        return {key: _tidy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
