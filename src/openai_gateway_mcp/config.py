"""Flags and environment → one frozen Settings; the only reader of the environment in this layer."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from openai_gateway import Settings as GatewaySettings
from openai_gateway import config as gateway_config
from openai_gateway.errors import ConfigError
from openai_gateway_mcp.features.settings import Settings as FeatureSettings
from openai_gateway_mcp.features.tools import TOOLS

Flags = Mapping[str, str]
"""What the command line said: name of a setting → its text ("true" for a switch)."""


class Sort(enum.Enum):
    """How a setting is written."""

    TEXT = "text"
    SWITCH = "switch"
    KEY = "key"
    SECONDS = "seconds"
    COUNT = "count"
    LEVEL = "level"
    TOOLS = "tools"


@attrs.frozen(kw_only=True)
class Setting:
    """A row: its names, what it is when nobody says, and its bounds (inclusive) if it is a number."""

    name: str
    variable: str | None
    flag: str | None
    sort: Sort
    default: str
    help: str
    low: float = 0
    high: float = math.inf


_DAY = 86_400.0

SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="gateway_url",
        variable="GATEWAY_URL",
        flag="--gateway-url",
        sort=Sort.TEXT,
        default="",
        help="Base URL of the OpenAI-compatible gateway, with or without /v1.",
    ),
    Setting(
        name="gateway_api_key",
        variable="GATEWAY_API_KEY",
        flag=None,
        sort=Sort.KEY,
        default="",
        help="The gateway's key; or GATEWAY_API_KEY_FILE, a file of mode 0600. No flag: others can read arguments.",
    ),
    Setting(
        name="embedded",
        variable=None,
        flag="--embedded",
        sort=Sort.SWITCH,
        default="",
        help="No remote gateway: route to the providers whose keys are set, or to the built-in echo model.",
    ),
    Setting(
        name="config",
        variable=None,
        flag="--config",
        sort=Sort.TEXT,
        default="",
        help="As --embedded, with the providers and models of this TOML file.",
    ),
    Setting(
        name="watch",
        variable=None,
        flag="--watch",
        sort=Sort.SWITCH,
        default="",
        help="Reload when the configuration file, or a key or certificate file it names, changes; SIGHUP always does.",
    ),
    Setting(
        name="default_model",
        variable="DEFAULT_MODEL",
        flag="--default-model",
        sort=Sort.TEXT,
        default="gpt-3.5-turbo",
        help="The model that answers when the caller names none; unset and not served: the first that is.",
    ),
    Setting(
        name="timeout",
        variable="TIMEOUT",
        flag="--timeout",
        sort=Sort.SECONDS,
        default="30",
        help="Seconds until the first byte of an answer, and between two.",
        low=0.001,
        high=_DAY,
    ),
    Setting(
        name="max_retries",
        variable="MAX_RETRIES",
        flag="--max-retries",
        sort=Sort.COUNT,
        default="3",
        help="Attempts after the first on one target.",
        high=20,
    ),
    Setting(
        name="soft_deadline",
        variable="SOFT_DEADLINE",
        flag="--soft-deadline",
        sort=Sort.SECONDS,
        default="55",
        help="Seconds until a tool returns what it has, with a notice; below the MCP client's own timeout. 0: off.",
        high=_DAY,
    ),
    Setting(
        name="rate_limit",
        variable="RATE_LIMIT",
        flag="--rate-limit",
        sort=Sort.COUNT,
        default="600",
        help="Tool calls that the whole server takes in a minute; one more is told how long to wait. 0: no limit.",
        high=1_000_000,
    ),
    Setting(
        name="enabled_tools",
        variable="ENABLED_TOOLS",
        flag="--enabled-tools",
        sort=Sort.TOOLS,
        default=",".join(name for name, tool in TOOLS.items() if tool.on_by_default),
        help="The tools that are offered, separated by commas.",
    ),
    Setting(
        name="disabled_tools",
        variable="DISABLED_TOOLS",
        flag="--disabled-tools",
        sort=Sort.TOOLS,
        default="",
        help="Tools to leave out.",
    ),
    Setting(
        name="max_message_bytes",
        variable="MAX_MESSAGE_BYTES",
        flag="--max-message-bytes",
        sort=Sort.COUNT,
        default="16777216",
        help="The longest message that is read; a longer one is dropped and answered with an error.",
        low=1024,
        high=2**30,
    ),
    Setting(
        name="max_in_flight",
        variable="MAX_IN_FLIGHT",
        flag="--max-in-flight",
        sort=Sort.COUNT,
        default="256",
        help="Calls that run at once; more wait their turn.",
        low=1,
        high=10_000,
    ),
    Setting(
        name="drain",
        variable="DRAIN",
        flag="--drain",
        sort=Sort.SECONDS,
        default="0.5",
        help="Seconds that calls may still take once the client has closed stdin.",
        high=60,
    ),
    Setting(
        name="log_level",
        variable="LOG_LEVEL",
        flag="--log-level",
        sort=Sort.LEVEL,
        default="info",
        help="What is written to stderr: debug, info, warn or error.",
    ),
)
_ROWS = {row.name: row for row in SETTINGS}

LEVELS = ("debug", "info", "warn", "error")


@attrs.frozen(kw_only=True)
class Settings:
    """All of a start. Seconds and bytes; `warnings` are for the log, each a sentence."""

    features: FeatureSettings
    max_message_bytes: int
    max_in_flight: int
    drain: float
    log_level: str
    watch: bool = False
    config_file: str | None = None
    warnings: tuple[str, ...] = ()


def read(flags: Flags) -> Settings:
    """The settings of this process. Raises ConfigError."""
    return load(os.environ, flags)  # noqa: TID251 - this is the one place


def key_store() -> Path:
    """The directory of the keys that `keys set` stores in files."""
    return Path(gateway_config.key_directory(os.environ))  # noqa: TID251 - as above


def load(environ: Mapping[str, str], flags: Flags) -> Settings:
    """Flags win over the environment. Raises ConfigError, which names the setting, what came and what is allowed."""
    said = _Said(environ, flags)
    gateway = _gateway(said)
    return Settings(
        features=FeatureSettings(
            gateway=gateway,
            soft_deadline=said.number("soft_deadline") or None,
            rate_limit=int(said.number("rate_limit")),
            tools=said.tools(),
        ),
        max_message_bytes=int(said.number("max_message_bytes")),
        max_in_flight=int(said.number("max_in_flight")),
        drain=said.number("drain"),
        log_level=said.level(),
        watch="watch" in flags,
        config_file=said.text("config") if "config" in flags else None,
        warnings=(*gateway.warnings, *_nothing_to_watch(gateway, flags)),
    )


def _gateway(said: _Said) -> GatewaySettings:
    """The two tables there can be: the remote gateway's one row, or the providers' rows."""
    flags, environ = said.flags, said.environ
    overrides = gateway_config.Overrides(
        default_model=said.text("default_model") if "default_model" in flags else None,
        timeout=said.number("timeout") if "timeout" in flags else None,
        max_retries=int(said.number("max_retries")) if "max_retries" in flags else None,
    )
    if "embedded" not in flags and "config" not in flags:
        url = said.text("gateway_url") if "gateway_url" in flags else None
        return gateway_config.remote(environ, url=url, overrides=overrides)
    if "gateway_url" in flags:
        other = "--embedded" if "embedded" in flags else "--config"
        raise ConfigError(f"--gateway-url and {other} exclude each other; give one of them.")
    path = said.text("config") if "config" in flags else None
    return gateway_config.embedded(environ, config_path=path, overrides=overrides)


def _nothing_to_watch(gateway: GatewaySettings, flags: Flags) -> tuple[str, ...]:
    if "watch" not in flags or gateway.files:
        return ()
    return ("--watch has nothing to watch: there is neither a --config nor a variable that names a key file.",)


class _Said:
    """What flags and environment say of each setting. A blank variable says nothing; a blank flag is wrong."""

    def __init__(self, environ: Mapping[str, str], flags: Flags) -> None:
        self.environ = environ
        self.flags = flags

    def text(self, name: str) -> str:
        row = _ROWS[name]
        if name in self.flags:
            if not (value := self.flags[name].strip()):
                raise ConfigError(f"{row.flag} is empty; leave it out, or give it a value.")
            return value
        return self._variable(row) or row.default

    def by(self, name: str) -> str:
        """Who said it, for an error: the flag or the variable."""
        row = _ROWS[name]
        return str(row.flag if name in self.flags else row.variable)

    def _variable(self, row: Setting) -> str:
        return self.environ.get(row.variable, "").strip() if row.variable else ""

    def number(self, name: str) -> float:
        row, raw = _ROWS[name], self.text(name)
        value = _whole(raw) if row.sort is Sort.COUNT else _decimal(raw)
        if not row.low <= value <= row.high:  # a NaN fails this too
            what = "a whole number" if row.sort is Sort.COUNT else "a number of seconds"
            raise ConfigError(f"{self.by(name)} is {raw!r}; allowed is {what} from {row.low:g} to {row.high:.0f}.")
        return value

    def level(self) -> str:
        raw = self.text("log_level")
        if raw.lower() not in LEVELS:
            raise ConfigError(f"{self.by('log_level')} is {raw!r}; allowed is one of {', '.join(LEVELS)}.")
        return raw.lower()

    def tools(self) -> tuple[str, ...]:
        """Those switched on, in the order of the table."""
        on, off = self._tool_names("enabled_tools"), self._tool_names("disabled_tools")
        return tuple(name for name in TOOLS if name in on and name not in off)

    def _tool_names(self, name: str) -> frozenset[str]:
        names = frozenset(one.strip() for one in self.text(name).split(",") if one.strip())
        if unknown := sorted(names - set(TOOLS)):
            raise ConfigError(f"{self.by(name)} has {unknown[0]!r}; allowed is any of {', '.join(TOOLS)}.")
        return names


def _whole(raw: str) -> float:
    # int() alone would take "1_0" and other scripts' digits; ten digits are more than any setting here needs.
    return int(raw) if raw.isascii() and raw.isdecimal() and len(raw) <= 10 else math.nan


def _decimal(raw: str) -> float:
    try:
        return float(raw) if raw.isascii() and "_" not in raw else math.nan
    except ValueError:
        return math.nan
