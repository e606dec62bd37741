"""Flags and environment → one frozen Settings; the only reader of the environment in this layer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from openai_gateway import Settings as GatewaySettings
from openai_gateway import config as gateway_config
from openai_gateway.config import addresses, environment
from openai_gateway.errors import ConfigError
from openai_gateway.secret import Secret
from openai_gateway_mcp.features.prompts import PROMPTS, PromptSpec
from openai_gateway_mcp.features.settings import Settings as FeatureSettings
from openai_gateway_mcp.features.tools import MODEL_VARIABLES
from openai_gateway_mcp.said import Flags, Said, Setting, Sort

_DAY = 86_400.0

SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="gateway_url",
        variable="GATEWAY_URL",
        flag="--gateway-url",
        sort=Sort.TEXT,
        default="",
        help="Base URL of the OpenAI-compatible gateway, with or without /v1.",
        metavar="URL",
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
        name="mode",
        variable=None,
        flag="--mode",
        sort=Sort.TEXT,
        default="",
        help="What GATEWAY_URL speaks: openai, or mcp (openai-gateway-mcp http). Unset: mcp if wss: or ending in /mcp.",
        metavar="MODE",
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
        metavar="FILE",
    ),
    Setting(
        name="watch",
        variable=None,
        flag="--watch",
        sort=Sort.SWITCH,
        default="",
        help="Reload when the configuration file, or a key or certificate file it names, changes; SIGHUP always does.",
        serves=True,
    ),
    Setting(
        name="default_model",
        variable="DEFAULT_MODEL",
        flag="--default-model",
        sort=Sort.TEXT,
        default="gpt-3.5-turbo",
        help="The model that answers when the caller names none; unset and not served: the first that is.",
        metavar="MODEL",
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
        serves=True,
    ),
    Setting(
        name="rate_limit",
        variable="RATE_LIMIT",
        flag="--rate-limit",
        sort=Sort.COUNT,
        default="600",
        help="Tool calls that the whole server takes in a minute; one more is told how long to wait. 0: no limit.",
        high=1_000_000,
        serves=True,
    ),
    Setting(
        name="enabled_tools",
        variable="ENABLED_TOOLS",
        flag="--enabled-tools",
        sort=Sort.TOOLS,
        default=",".join(tool for tool, variable in MODEL_VARIABLES.items() if variable is None),
        help="The tools that are offered, separated by commas; those whose model is set below are too.",
        serves=True,
    ),
    Setting(
        name="disabled_tools",
        variable="DISABLED_TOOLS",
        flag="--disabled-tools",
        sort=Sort.TOOLS,
        default="",
        help="Tools to leave out.",
        serves=True,
    ),
    *(
        Setting(
            name=variable.lower(),
            variable=variable,
            flag=f"--{variable.lower().replace('_', '-')}",
            sort=Sort.TEXT,
            default="",
            help=f"The model of {tool}, which is offered then.",
            metavar="MODEL",
            serves=True,
        )
        for tool, variable in MODEL_VARIABLES.items()
        if variable is not None
    ),
    Setting(
        name="allowed_roots",
        variable="ALLOWED_ROOTS",
        flag="--allowed-roots",
        sort=Sort.TEXT,
        default="",
        help=f"Directories whose pictures and recordings tools may send; several with {os.pathsep!r} between them.",
        metavar="DIRECTORIES",
        serves=True,
    ),
    Setting(
        name="state",
        variable=None,
        flag="--state",
        sort=Sort.TEXT,
        default="",
        help="A file in which tasks and conversations outlive this process, which alone may use it.",
        metavar="FILE",
        serves=True,
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
        serves=True,
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
        serves=True,
    ),
    Setting(
        name="drain",
        variable="DRAIN",
        flag="--drain",
        sort=Sort.SECONDS,
        default="0.5",
        help="Seconds that calls may still take once the client has closed stdin.",
        high=60,
        serves=True,
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


if TYPE_CHECKING:
    from openai_gateway_mcp.http_config import HttpSettings


@attrs.frozen(kw_only=True)
class Relay:
    """A remote `openai-gateway-mcp` that answers in the place of this one; `key` is the bearer."""

    url: str
    key: Secret | None
    ca_bundle: str | None = None


@attrs.frozen(kw_only=True)
class Settings:
    """All of a start. Seconds and bytes; `warnings` are for the log, each a sentence."""

    features: FeatureSettings
    relay: Relay | None = None
    max_message_bytes: int
    max_in_flight: int
    drain: float
    log_level: str
    watch: bool = False
    config_file: str | None = None
    state: str | None = None
    warnings: tuple[str, ...] = ()


def read(flags: Flags) -> Settings:
    """The settings of this process. Raises ConfigError."""
    return load(os.environ, flags)  # noqa: TID251 - this is the one place


def is_completing() -> bool:
    """Whether a shell asks what could be typed next; typer answers that."""
    return "_OPENAI_GATEWAY_MCP_COMPLETE" in os.environ  # noqa: TID251 - as above


def read_http(flags: Flags) -> HttpSettings:
    """What `http` is told beside them. Raises ConfigError."""
    from openai_gateway_mcp.http_config import HTTP_SETTINGS, load_http  # noqa: PLC0415 - no start on stdio needs it

    return load_http(Said(os.environ, flags, HTTP_SETTINGS))  # noqa: TID251 - as above


def tokens_file(flags: Flags) -> str | None:
    """The file of tokens that `tokens` and `http` share, if one is named."""
    from openai_gateway_mcp.http_config import HTTP_SETTINGS  # noqa: PLC0415 - as above

    return Said(os.environ, flags, HTTP_SETTINGS).maybe("tokens")  # noqa: TID251 - as above


def key_store() -> Path:
    """The directory of the keys that `keys set` stores in files."""
    return Path(gateway_config.key_directory(os.environ))  # noqa: TID251 - as above


def load(environ: Mapping[str, str], flags: Flags) -> Settings:
    """Flags win over the environment. Raises ConfigError, which names the setting, what came and what is allowed."""
    said = Said(environ, flags, SETTINGS)
    relay = _relay(said)
    gateway = _gateway(said) if relay is None else _no_gateway(relay)
    return Settings(
        relay=relay,
        features=FeatureSettings(
            gateway=gateway,
            soft_deadline=said.number("soft_deadline") or None,
            rate_limit=int(said.number("rate_limit")),
            tools=_tools(said),
            tool_models=_tool_models(said),
            roots=_roots(said),
            prompts=_prompts(said),
            embedded="embedded" in said.flags or "config" in said.flags,
        ),
        max_message_bytes=int(said.number("max_message_bytes")),
        max_in_flight=int(said.number("max_in_flight")),
        drain=said.number("drain"),
        log_level=said.level(),
        watch="watch" in flags,
        config_file=said.text("config") if "config" in flags else None,
        state=said.maybe("state"),
        warnings=(*gateway.warnings, *_nothing_to_watch(gateway, flags)),
    )


def _gateway(said: Said) -> GatewaySettings:
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


_RELAY_MODES = ("openai", "mcp")


def _relay(said: Said) -> Relay | None:
    """The remote server, where GATEWAY_URL names one. Raises ConfigError."""
    mode = said.text("mode").lower()
    if mode and mode not in _RELAY_MODES:
        raise ConfigError(f"{said.by('mode')} is {said.text('mode')!r}; allowed is one of {', '.join(_RELAY_MODES)}.")
    url = said.maybe("gateway_url")
    is_own = "embedded" in said.flags or "config" in said.flags
    if is_own or mode == "openai" or url is None:
        return None
    is_websocket = url.lower().startswith(("ws:", "wss:"))
    if not (mode == "mcp" or is_websocket or url.rstrip("/").endswith("/mcp")):
        return None
    environ = said.environ
    allow_insecure = environment.switch(environ, "ALLOW_INSECURE")
    checked = addresses.endpoint_url(url, said.by("gateway_url"), allow_insecure=allow_insecure)
    if addresses.proxy_of(environ, checked.replace("ws", "http", 1) if is_websocket else checked) is not None:
        raise ConfigError(
            f"{checked} would be reached through a proxy, and a relay knows none: name the host in NO_PROXY, "
            "or use the gateway's own URL."
        )
    key = environment.read_secret(environ, "GATEWAY_API_KEY")
    return Relay(url=checked, key=key, ca_bundle=environment.text(environ, "SSL_CERT_FILE"))


def _no_gateway(relay: Relay) -> GatewaySettings:
    """For the commands that ask a gateway: there is none to ask."""
    settings = gateway_config.remote({})
    words = f"{relay.url} is an MCP server's: it serves MCP clients, and no gateway can be asked there."
    return attrs.evolve(settings, table=attrs.evolve(settings.table, missing=words), secrets=_secrets(relay))


def _secrets(relay: Relay) -> tuple[Secret, ...]:
    return () if relay.key is None else (relay.key,)


def _nothing_to_watch(gateway: GatewaySettings, flags: Flags) -> tuple[str, ...]:
    if "watch" not in flags or gateway.files:
        return ()
    return ("--watch has nothing to watch: there is neither a --config nor a variable that names a key file.",)


def _tools(said: Said) -> tuple[str, ...]:
    """Those switched on, in the order of the table."""
    on, off = (_tool_names(said, name) for name in ("enabled_tools", "disabled_tools"))
    with_model = _tool_models(said)
    return tuple(name for name in MODEL_VARIABLES if (name in on or name in with_model) and name not in off)


def _tool_models(said: Said) -> dict[str, str]:
    named = {tool: variable.lower() for tool, variable in MODEL_VARIABLES.items() if variable is not None}
    return {tool: model for tool, setting in named.items() if (model := said.maybe(setting)) is not None}


def _prompts(said: Said) -> tuple[PromptSpec, ...]:
    if "config" not in said.flags:
        return PROMPTS
    from openai_gateway_mcp.prompts_config import prompts_of  # noqa: PLC0415 - for those who have a file

    return prompts_of(said.text("config"))


def _roots(said: Said) -> tuple[str, ...]:
    """Raises ConfigError for what is no directory: a typing error is not to be found out at the first picture."""
    roots = [one.strip() for one in said.text("allowed_roots").split(os.pathsep) if one.strip()]
    for root in roots:
        if not Path(root).is_absolute() or not Path(root).is_dir():
            raise ConfigError(f"{said.by('allowed_roots')} has {root!r}; allowed are absolute paths of directories.")
    return tuple(roots)


def _tool_names(said: Said, name: str) -> frozenset[str]:
    names = said.names(name)
    if unknown := sorted(names - set(MODEL_VARIABLES)):
        raise ConfigError(f"{said.by(name)} has {unknown[0]!r}; allowed is any of {', '.join(MODEL_VARIABLES)}.")
    return names
