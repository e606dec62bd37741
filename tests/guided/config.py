"""A configuration is read or refused by ConfigError, and neither shows a key: of the environment, or of the file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from openai_gateway.config import load_service
from openai_gateway.errors import ConfigError
from openai_gateway_mcp.config import SETTINGS, load
from openai_gateway_mcp.fuzz.damage import NASTY, mutated, spoilt
from openai_gateway_mcp.said import Sort
from tests.gateway_config.test_file import FULL
from tests.guided.target import Target, by_choices, examples

OF_FILE = "sk-canary-of-the-file-0123456789"
OF_ENVIRONMENT = "sk-canary-of-the-environment-0123456789"
KEYS = {"OPENAI_API_KEY": OF_ENVIRONMENT, "GATEWAY_API_KEY": OF_ENVIRONMENT}

# --- a file: its secrets stand where secrets belong, all else may be anything ----------------------------------------

_KEY_SOURCES: list[Any] = [
    OF_FILE, f"Bearer {OF_FILE}", f"{OF_FILE}\n", {"env": "OPENAI_API_KEY"}, {"env": "NOBODY"}, {"file": "/nowhere"},
    {"command": ["op", "read"], "ttl": 1, "timeout": 2}, {"command": ["echo", OF_FILE]}, {"keyring": "openai"}, {},
]  # fmt: skip
_URLS = ["https://a.example", "http://127.0.0.1:1/v1", "http://a.example", f"https://user:{OF_FILE}@a.example", "a b"]
_PROXIES = ["http://proxy.example:3128", f"http://user:{OF_FILE}@proxy.example:3128", "proxy.example"]
_HEADERS: list[Any] = [
    {"authorization": OF_FILE}, {"X-Api-Key": f"{OF_FILE}\u00e9"}, {"x-team": "blue"}, {"host ": "x"}, {"te": "x"},
]  # fmt: skip
_OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "organization": st.just("org"),
    "project": st.just("p"),
    "api_version": st.sampled_from(["2024-10-21", "?"]),
    "ca_bundle": st.sampled_from(["system", "/nowhere", "~nobody-of-that-name/x"]),
    "client_cert": st.just("/nowhere"),
    "allow_insecure": st.booleans(),
    "transport": st.sampled_from(["native", "httpx", "x"]),
    "http2": st.booleans(),
}
_PROVIDERS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["openai", "openai", "azure", "anthropic", "echo", "opnai"])},
    optional={
        "base_url": st.sampled_from(_URLS),
        "api_key": st.sampled_from(_KEY_SOURCES),
        "proxy": st.sampled_from(_PROXIES),
        "headers": st.sampled_from(_HEADERS),
        **_OTHERS,
    },
)
_NUMBERS = st.sampled_from([1, 0, -1, 2, 1.5, 0.5, 10**6, 2**60])
_MODELS = st.fixed_dictionaries(
    {"name": st.sampled_from(["m", "n", "gpt-*", "**"]), "provider": st.sampled_from(["p", "q", "nobody"])},
    optional={
        "model": st.sampled_from(["m", "x-*"]),
        "fallbacks": st.sampled_from([["m"], ["none"], []]),
        "context_fallbacks": st.just(["n"]),
        "prefill": st.sampled_from([True, False, "vllm", "x"]),
        "price": st.sampled_from([{"input": 1, "output": 2.5}, {"input": 1}, {"input": 1, "output": 2, "x": 3}]),
        **dict.fromkeys(("weight", "order", "rpm", "tpm", "max_parallel", "max_output_tokens", "first_byte"), _NUMBERS),
    },
)
_PROMPTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["ask", "mine", "my own"]), "text": st.sampled_from(["Say {a}.", "Say {{a}}.", "{", "x"])},
    optional={"arguments": st.sampled_from([[{"name": "a"}], [{"name": "a", "required": True}], [{"name": "-"}], [7]])},
)


def _some_of(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), _NUMBERS | st.booleans(), max_size=3)


CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "providers": st.dictionaries(st.sampled_from(["p", "q", "a b", "p.q"]), _PROVIDERS, max_size=3),
        "models": st.lists(_MODELS, max_size=3),
        "prompts": st.lists(_PROMPTS, max_size=2),
        "timeouts": _some_of("connect", "first_byte", "idle", "total", "x"),
        "retries": _some_of("max_retries", "max_attempts"),
        "breakers": _some_of("rate", "window", "rest", "failures", "least"),
        "cache": _some_of("enabled", "ttl", "max_bytes"),
        "serve": _some_of("port", "workers", "host", "store", "max_body_bytes"),
    },
)


def written(content: Mapping[str, Any]) -> str:
    """TOML, with tables under headers of their own down to the second level: errors name the lines of those."""
    return "\n".join(_lines(content))


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{_name(name)} = {_value(value)}" for name, value in content.items() if not _has_headers(value))
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _table(f"[{_name(name)}]", {key: one for key, one in value.items() if not isinstance(one, dict)})
            for key, inner in value.items():
                if isinstance(inner, dict):
                    yield from _table(f"[{_name(name)}.{_name(key)}]", inner)
        elif _has_headers(value):
            for one in value:
                yield from _table(f"[[{_name(name)}]]", one)


def _table(header: str, content: Mapping[str, Any]) -> Iterator[str]:
    yield header
    yield from (f"{_name(name)} = {_value(value)}" for name, value in content.items())


def _has_headers(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
    )


def _name(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").isalnum() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, str) and value.startswith("RAW:"):
        return value.removeprefix("RAW:")
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_name(name)} = {_value(one)}' for name, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return '""' if value is None else json.dumps(value)


FILES = (CONTENTS | CONTENTS.flatmap(spoilt)).map(lambda content: written(content).encode("utf-8", "surrogatepass"))
# Cut off and no more: other damage could move a key to where a name belongs, which may be shown.
CUT_OFF = st.builds(lambda data, part: data[: int(part * len(data))], FILES, st.floats(0, 1))

# --- the environment -------------------------------------------------------------------------------------------------

_TEXTS = [value for value in NASTY if isinstance(value, str)] + [
    "1", "0", "-1", "1e3", "nan", "true", "no", "chat", "chat,embed", "debug", "https://a.example/v1", "/nowhere", "~",
    "wss://a.example/mcp", "https://a.example/mcp", "mcp", "openai", "http://proxy.example:1",
]  # fmt: skip
_SECRET_TEXTS = [
    f"https://user:{OF_ENVIRONMENT}@a.example", f"http://{OF_ENVIRONMENT}@a.example/mcp",
    f"https://a.example/?key={OF_ENVIRONMENT}", f"https://a.example/#{OF_ENVIRONMENT}",
    f"wss://user:{OF_ENVIRONMENT}@a.example/mcp",
]  # fmt: skip
_VARIABLES = [row.variable for row in SETTINGS if row.variable is not None and row.sort is not Sort.KEY]
_MORE_VARIABLES = [
    "OPENAI_BASE_URL", "ALLOW_INSECURE", "SSL_CERT_FILE", "HTTPS_PROXY", "NO_PROXY", "OPENAI_API_KEY_FILE",
    "GATEWAY_API_KEY_FILE",
]  # fmt: skip
_URL_VARIABLES = ["GATEWAY_URL", "OPENAI_BASE_URL", "HTTPS_PROXY"]
ENVIRONMENTS = st.builds(
    lambda plain, secret: {**plain, **secret},
    st.dictionaries(st.sampled_from(_VARIABLES + _MORE_VARIABLES), st.sampled_from(_TEXTS), max_size=4),
    st.dictionaries(st.sampled_from(_URL_VARIABLES), st.sampled_from(_SECRET_TEXTS), max_size=1),
)
_KEYS = st.sampled_from(
    [{}, KEYS, KEYS, {"GATEWAY_API_KEY": f"Bearer {OF_ENVIRONMENT}"}, {"OPENAI_API_KEY": f"{OF_ENVIRONMENT}\u00e9"}]
)
_FLAGS: list[dict[str, str]] = [{}, {"embedded": "true"}, {"mode": "mcp"}, {"mode": "openai"}, {"watch": "true"}]

# --- the law ---------------------------------------------------------------------------------------------------------

Read = Callable[[Mapping[str, str], Mapping[str, str]], Any]


def target(read: Read = load) -> Target:
    def check(
        content: bytes | None, environ: Mapping[str, str], keys: Mapping[str, str], flags: Mapping[str, str]
    ) -> None:
        environ = {**environ, **keys}
        if content is None:
            shows_no_key(lambda: read(environ, flags))
            return
        with tempfile.NamedTemporaryFile(suffix=".toml") as file:  # of mode 0600, so that a key may stand in it
            file.write(content)
            file.flush()
            shows_no_key(lambda: read(environ, {"config": file.name}))
            shows_no_key(lambda: load_service(environ, config_path=file.name))

    return Target(
        name="config",
        of_bytes=lambda data: check(data, {}, KEYS, {}),
        of_choices=by_choices(
            check,
            content=st.none() | FILES | CUT_OFF,
            environ=ENVIRONMENTS,
            keys=_KEYS,
            flags=st.sampled_from(_FLAGS),
        ),
        sound=lambda: [
            FULL.encode(),
            b"[cache]\nttl = " + b"9" * 400 + b"\n",  # once no float() could be made of it
            *(data.replace(OF_FILE.encode(), b"a-key") for data in examples(mutated(FILES), 80)),
        ],
    )


def shows_no_key(read: Callable[[], Any]) -> None:
    try:
        found = read()
    except ConfigError as error:
        words = f"{error} {error.__cause__}"
    else:
        words = repr(found)
    assert OF_FILE not in words
    assert OF_ENVIRONMENT not in words
