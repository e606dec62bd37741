"""LiteLLM's router_settings and litellm_settings: retries, timeouts, fallbacks and aliases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from openai_gateway.config.environment import MAX_RETRIES_ALLOWED, MAX_SECONDS
from openai_gateway.config.litellm.models import MOST_ROWS, Row
from openai_gateway.config.litellm.parts import Part
from openai_gateway.config.writing import is_text
from openai_gateway.routing.plan import matches
from openai_gateway.routing.settings import Timeouts

_BREAKER: Final = "when a target that fails is left alone is the gateway's own affair"
_CALLBACK: Final = "there are no callbacks"
_CACHE: Final = "the cache is set up in a way of its own here"

REASONS: Final = {
    "content_policy_fallbacks": "content that one provider refused is not asked of another",
    "allowed_fails": _BREAKER,
    "allowed_fails_policy": _BREAKER,
    "cooldown_time": _BREAKER,
    "disable_cooldowns": _BREAKER,
    "enable_pre_call_checks": "a prompt that is too long goes to context_fallbacks",
    "retry_policy": "what is retried is fixed, by the table of docs/spec/gateway.md",
    "model_group_retry_policy": "what is retried is fixed, by the table of docs/spec/gateway.md",
    "retry_after": "the waits between attempts grow by themselves, and obey the provider's Retry-After",
    "drop_params": "a parameter that a provider refuses is mended or left out by itself",
    "modify_params": "a parameter that a provider refuses is mended or left out by itself",
    "cache": _CACHE,
    "cache_params": _CACHE,
    "cache_responses": _CACHE,
    "set_verbose": "LOG_LEVEL says what is logged",
    "json_logs": "LOG_LEVEL says what is logged",
    **dict.fromkeys(("callbacks", "success_callback", "failure_callback", "service_callback"), _CALLBACK),
}

_SHUFFLE: Final = "simple-shuffle"
_MOST_FALLBACKS: Final = 100  # of one model; each row gets them all
_LISTS: Final = (("fallbacks", "fallbacks"), ("context_window_fallbacks", "context_fallbacks"))


@attrs.define(kw_only=True)
class Routing:
    """The two parts that say the same kind of things; what the router's says wins."""

    router: Part
    litellm: Part
    rows: list[Row]

    def retries(self) -> dict[str, int]:
        value = self._first("num_retries", lambda part: part.whole("num_retries", least=0, most=MAX_RETRIES_ALLOWED))
        return {} if value is None else {"max_retries": value}

    def timeouts(self) -> dict[str, float]:
        """LiteLLM's request_timeout is of one attempt; the router's timeout too, but for the whole call beside it."""
        attempt = self.litellm.number("request_timeout", most=MAX_SECONDS)
        router = self.router.number("timeout", most=MAX_SECONDS)
        total = None if attempt is None else router
        silence = router if attempt is None else attempt
        if silence is None:
            return {}
        if total is None and silence > Timeouts().total:
            total = silence
        return {"first_byte": silence, "idle": silence} | ({} if total is None else {"total": total})

    def strategy(self) -> None:
        value = self.router.take("routing_strategy")
        if value not in (None, _SHUFFLE):
            self.router.note("routing_strategy", "rows share by their weights, as in simple-shuffle")

    def aliases(self) -> None:
        """Each alias is a group with the rows of what it stands for."""
        part = self.router.mapping("model_group_alias")
        groups = {row.group for row in self.rows}
        for alias, meant in part.left.items():
            name = meant.get("model") if isinstance(meant, Mapping) else meant
            if isinstance(meant, Mapping) and meant.get("hidden"):
                part.note(alias, "no model is hidden from the list; the alias itself is taken over")
            known = [row for row in self.rows if row.group == name]
            if not known or alias in groups or "*" in alias or not is_text(alias):
                part.note(alias, "it stands for no model that is taken over, or is the name of one")
            elif any("*" in row.values["model"] for row in known):
                part.note(alias, "it stands for a pattern, of which one name says too little")
            elif len(self.rows) + len(known) > MOST_ROWS:
                part.note(alias, f"with it there would be more than {MOST_ROWS:,} rows")
            else:
                self.rows += [attrs.evolve(row, values={**row.values, "name": alias.strip()}) for row in known]

    def fallbacks(self) -> None:
        for theirs, ours in _LISTS:
            part = self.router if self.router.left.get(theirs) is not None else self.litellm
            said = part.take(theirs)
            self._overridden(theirs)
            for group, names in self._read(said, part, theirs):
                self._set(group, ours, names, part, theirs)
        part = self.router if self.router.left.get("default_fallbacks") is not None else self.litellm
        default = part.take("default_fallbacks")
        self._overridden("default_fallbacks")
        if default is not None:
            self._set("*", "fallbacks", default, part, "default_fallbacks")

    def _first(self, key: str, read: Any) -> Any:
        part = self.router if self.router.left.get(key) is not None else self.litellm
        value = read(part)
        self._overridden(key)
        return value

    def _overridden(self, key: str) -> None:
        if self.litellm.take(key) is not None:
            self.litellm.note(key, "router_settings says it too, and wins")

    def _read(self, said: Any, part: Part, key: str) -> Iterator[tuple[str, Any]]:
        """The pairs of a list of mappings, each from a model_name to names."""
        for item in said if isinstance(said, list) else [said] * (said is not None):
            if isinstance(item, Mapping):
                yield from ((str(group), names) for group, names in item.items())
            else:
                part.note(key, "it is no list of mappings")

    def _set(self, group: str, ours: str, names: Any, part: Part, key: str) -> None:
        """Give each row of the group its fallbacks; `*` is every group that has none of its own."""
        where = key if group == "*" or key == "default_fallbacks" else f"{key}.{group}"
        served = self._served(names, part, where)
        if group == "*":
            meant = [row for row in self.rows if ours not in row.values]
        else:
            meant = [row for row in self.rows if row.group == group]
        if not meant and group != "*":
            part.note(where, "there is no such model")
        for row in meant:
            found = [name for name in served if name not in (row.group, row.values["name"])]
            if found:
                row.values[ours] = found

    def _served(self, names: Any, part: Part, where: str) -> Sequence[str]:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            part.note(where, "a fallback is a list of names; what else a fallback may change is not taken over")
            names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        if len(names) > _MOST_FALLBACKS:
            part.note(where, f"of {len(names):,} fallbacks the first {_MOST_FALLBACKS} are taken")
            names = names[:_MOST_FALLBACKS]
        served = [name for name in names if any(matches(row.values["name"], name) is not None for row in self.rows)]
        for name in names:
            if name not in served:
                part.note(where, f"no model that is taken over serves {name!r}")
        return served
