"""The TOML file of providers, models, timeouts and retries, read into the values of the route table."""

from __future__ import annotations

import importlib.util
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from openai_gateway.config import environment
from openai_gateway.config.addresses import anthropic_url, azure_url, base_url, checked_api_version, checked_proxy
from openai_gateway.config.key_sources import Credential, read_key_source
from openai_gateway.config.providers import ANTHROPIC_URL, OPENAI_URL, environment_proxy, provider_secrets
from openai_gateway.config.service import read_serve
from openai_gateway.config.sources import files_of_content, files_of_environment, marks
from openai_gateway.config.toml import Document, Table, lines_of
from openai_gateway.errors import ConfigError
from openai_gateway.keystore.files import NO_PATH, reason, refuse_if_others_can_read
from openai_gateway.keystore.usable import is_header_value, usable_key
from openai_gateway.routing.dialects import KINDS
from openai_gateway.routing.plan import SYSTEM_STORE, TRANSPORTS, ModelRow, Price, Provider, matches
from openai_gateway.routing.prefill import Prefill
from openai_gateway.routing.settings import Breaking, Cache
from openai_gateway.secret import Secret
from openai_gateway.wire.nearest import did_you_mean

_MAX_FILE_BYTES: Final = 4 * 2**20
OTHERS: Final = ("prompts",)
"""Tables of whoever serves by this file and is no gateway; `other_tables` reads them, and nothing here does."""

_TOP_KEYS: Final = ("providers", "models", "timeouts", "retries", "breakers", "cache", "serve", *OTHERS)
_TIMEOUTS: Final = ("connect", "first_byte", "idle", "total")
_BREAKERS: Final = {"rate": (0.01, 1.0), "window": (1.0, 3600.0), "rest": (0.1, 3600.0)}
_BREAKER_COUNTS: Final = {"failures": (1, 1000), "least": (1, 1000)}
_RETRIES: Final = {"max_retries": (0, environment.MAX_RETRIES_ALLOWED), "max_attempts": (1, 100)}
_CACHE_KEYS: Final = tuple(attrs.fields_dict(Cache))
_LEAST_CACHE: Final = 2**20  # bytes; less holds hardly an answer
NO_KEYS: Final = frozenset({"name", "missing", "certificates", "url_set_by", "key_set_by", "key_source"})
"""Fields of a Provider that a file does not say."""

_PROVIDER_KEYS: Final = tuple(name for name in attrs.fields_dict(Provider) if name not in NO_KEYS)
_NOT_OF_KIND: Final[Mapping[str, frozenset[str]]] = {
    "openai": frozenset({"api_version"}),
    "azure": frozenset({"organization", "project"}),
    "anthropic": frozenset({"api_version", "organization", "project"}),
}
_DEFAULT_URLS: Final = {"openai": OPENAI_URL, "anthropic": ANTHROPIC_URL}
_MODEL_KEYS: Final = tuple(attrs.fields_dict(ModelRow))
_PRICE_KEYS: Final = tuple(attrs.fields_dict(Price))
_FRAMING: Final = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""They say where a request ends and what becomes of its connection; a second word on that smuggles requests."""

_SECRET_WORDS: Final = ("auth", "key", "token", "secret", "cookie", "password", "credential")


@attrs.define(kw_only=True)
class FileContent:
    """What one file says. `timeouts` and `retries` hold only what stands in it, for the precedence above it."""

    providers: dict[str, Provider] = attrs.field(factory=dict)
    rows: tuple[ModelRow, ...] = ()
    timeouts: dict[str, float] = attrs.field(factory=dict)
    retries: dict[str, int] = attrs.field(factory=dict)
    breakers: Breaking = attrs.field(factory=Breaking)
    cache: Cache = attrs.field(factory=Cache)
    serve: dict[str, Any] = attrs.field(factory=dict)
    secrets: list[Secret] = attrs.field(factory=list)
    files: dict[str, str | None] = attrs.field(factory=dict)
    warnings: list[str] = attrs.field(factory=list)


def read_file(path: str, environ: Mapping[str, str]) -> FileContent:
    """Read and check the whole file. Raises ConfigError, with the line where there is one."""
    files = marks([path])
    text, mode = _read(path)
    content = parsed(text, path)
    files |= marks([*files_of_content(content, environ), *files_of_environment(environ)])
    document = Document(name=path, lines=lines_of(text))
    reader = _Reader(top=Table(document=document, path=(), content=content), environ=environ, mode=mode)
    result = reader.read()
    result.files = files
    return result


def other_tables(path: str, name: str) -> tuple[Table, ...]:
    """The tables `[[name]]` of OTHERS, for whoever reads them. Raises ConfigError."""
    text, _ = _read(path)
    document = Document(name=path, lines=lines_of(text))
    return Table(document=document, path=(), content=parsed(text, path)).tables(name)


def key_sources(path: str) -> dict[str, Any]:
    """What stands behind each provider's `api_key`, by the provider's name; a literal key is left out.

    Of a file that was read before: nothing is checked here.
    """
    providers = parsed(_read(path)[0], path).get("providers", {})
    keys = {name: provider.get("api_key") for name, provider in providers.items()}
    return {name: source for name, source in keys.items() if isinstance(source, dict)}


def parsed(text: str, path: str) -> dict[str, Any]:
    """The TOML in `text`. Raises ConfigError, which quotes nothing of it."""
    try:
        content = tomllib.loads(text)
        place = next(_beyond_64_bits(content), None)
    except tomllib.TOMLDecodeError as error:
        message = _syntax_error(str(error), text, path)
    except RecursionError:
        message = f"{path} is no usable TOML: its lists or tables are nested too deep."
    except ValueError:  # Python's limit for the digits of an integer
        message = f"{path} is no usable TOML: it holds a number with too many digits."
    else:
        if place is None:
            return content
        document = Document(name=path, lines=lines_of(text))
        raise document.fault(place, "a whole number here has more than 64 bits, which TOML does not allow.")
    raise ConfigError(message)


def _beyond_64_bits(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where a number is that tomllib lets through, and neither float() nor repr() takes."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield place
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from _beyond_64_bits(member, (*place, key))


def _read(path: str) -> tuple[str, int]:
    try:
        with Path(path).expanduser().open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, *NO_PATH) as error:
        raise ConfigError(f"The configuration file {path!r} cannot be read: {reason(error)}.") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise ConfigError(f"The configuration file {path!r} is larger than {_MAX_FILE_BYTES >> 20} MiB.")
    try:
        return raw.decode("utf-8"), mode
    except UnicodeDecodeError as error:
        where = error.start
    raise ConfigError(f"The configuration file {path!r} is not UTF-8 at byte {where}.")


_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)

# How tomllib begins what it says in other words than a reader of the file would.
_TWICE: Final = (
    ("Cannot declare", "this table is there already"),
    ("Cannot overwrite", "this key is there already"),
    ("Cannot mutate", "this table is closed: it was written whole, or is there already"),
    ("Duplicate inline table key", "this key is there already"),
)


def is_secret_header(name: str) -> bool:
    """Whether a header's value is taken for a secret, by its name."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def _syntax_error(message: str, text: str, path: str) -> str:
    """tomllib's message, its place first, and cut before anything it quotes from the file, which may be a key."""
    match = _PLACE.fullmatch(message)
    what, line, column = match.groups() if match else (message, None, None)
    words = next((ours for begin, ours in _TWICE if what.startswith(begin)), None)
    said = words or what.split(":")[0].split("'")[0].rstrip() or "it cannot be read"
    where = f"line {line}, column {column}" if line else f"line {len(text.splitlines()) or 1}, at the end"
    return f"{path}, {where}: this is no TOML: {said}."


@attrs.define(kw_only=True)
class _Reader:
    top: Table
    environ: Mapping[str, str]
    mode: int
    result: FileContent = attrs.field(factory=FileContent)

    def read(self) -> FileContent:
        self.top.only(_TOP_KEYS)
        self._providers()
        self.result.rows = tuple(self._row(table) for table in self.top.tables("models"))
        self._fallbacks()
        self._twins()
        self._timeouts()
        self._retries()
        self._breakers()
        self._cache()
        self.result.serve = read_serve(self.top.table("serve"))
        return self.result

    def _providers(self) -> None:
        providers = self.top.table("providers")
        for name, table in () if providers is None else providers.children():
            self.result.providers[name] = self._provider(name, table)

    def _provider(self, name: str, table: Table) -> Provider:
        table.only(_PROVIDER_KEYS)
        kind = table.required("kind")
        if kind not in KINDS:
            allowed = ", ".join(KINDS)
            hint = did_you_mean(kind, KINDS)
            message = f"kind {kind!r} in {table.title} is unknown; allowed is one of {allowed}. {hint}"
            raise table.fault("kind", message.rstrip())
        if kind == "echo":
            return Provider(name=name, kind=kind)
        for key in sorted(_NOT_OF_KIND[kind] & table.content.keys()):
            raise table.fault(key, f"{key} in {table.title} is nothing that a provider of kind {kind!r} takes.")
        return self._remote(name, kind, table)

    def _url(self, kind: str, version: str | None, table: Table) -> str:
        insecure = table.flag("allow_insecure")
        normal: Mapping[str, Callable[[str, str], str]] = {
            "openai": lambda raw, by: base_url(raw, by, allow_insecure=insecure),
            "azure": lambda raw, by: azure_url(raw, by, api_version=version, allow_insecure=insecure),
            "anthropic": lambda raw, by: anthropic_url(raw, by, allow_insecure=insecure),
        }
        if kind not in _DEFAULT_URLS:
            table.required("base_url")
        return self._checked(table, "base_url", normal[kind]) or _DEFAULT_URLS[kind]

    def _remote(self, name: str, kind: str, table: Table) -> Provider:
        version = self._checked(table, "api_version", checked_api_version)
        url = self._url(kind, version, table)
        proxy = self._checked(table, "proxy", checked_proxy) or environment_proxy(self.environ, url)
        credential = self._key(name, table)
        headers = self._headers(table)
        transport, http2 = _transport(table, proxy)
        provider = Provider(
            name=name,
            kind=kind,
            base_url=url,
            api_key=credential.key,
            key_source=credential.source,
            headers=headers,
            organization=self._checked(table, "organization", environment.usable_header),
            project=self._checked(table, "project", environment.usable_header),
            proxy=proxy,
            ca_bundle=self._authorities(table) or environment.text(self.environ, "SSL_CERT_FILE"),
            client_cert=self._existing(table, "client_cert"),
            allow_insecure=table.flag("allow_insecure"),
            api_version=version,
            transport=transport,
            http2=http2,
            missing=credential.missing,
            url_set_by=f"base_url of {name}",
            key_set_by=f"api_key of {name}",
        )
        self.result.secrets += provider_secrets(provider)
        return provider

    def _checked(self, table: Table, key: str, check: Callable[[str, str], str]) -> str | None:
        """The text through a check that knows no lines."""
        raw = table.text(key)
        if raw is None:
            return None
        try:
            return check(raw, f"{key} in {table.title}")
        except ConfigError as error:
            message = str(error)
        raise table.fault(key, message)

    def _authorities(self, table: Table) -> str | None:
        return SYSTEM_STORE if table.text("ca_bundle") == SYSTEM_STORE else self._existing(table, "ca_bundle")

    def _existing(self, table: Table, key: str) -> str | None:
        name = table.text(key)
        path = None if name is None else os.path.expanduser(name)  # noqa: PTH111 - Path's raises for an unknown user
        if path is not None and not os.path.isfile(path):  # noqa: PTH113 - the same, for a NUL
            raise table.fault(key, f"{key} in {table.title} names {name!r}, which is no file.")
        return path

    def _headers(self, table: Table) -> dict[str, str]:
        headers = table.table("headers")
        if headers is None:
            return {}
        names = list(headers.content)
        for name in names:
            value = headers.text(name)
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                raise headers.fault(name, f"{name!r} in {headers.title} is no header name.")
            if name.lower() in _FRAMING:
                raise headers.fault(name, f"{name!r} in {headers.title} is the connection's own affair; leave it out.")
            if value is None or not is_header_value(value):
                raise headers.fault(name, f"{name!r} in {headers.title} holds a character that no header can carry.")
            if is_secret_header(name):
                self._literal(headers, name)
                self.result.secrets.append(Secret(value, name=f"{table.title} {name}"))
        return {name: headers.required(name) for name in names}

    def _key(self, provider: str, table: Table) -> Credential:
        if isinstance(table.content.get("api_key"), str):
            self._literal(table, "api_key")
            value = self._checked(table, "api_key", usable_key) or ""
            return Credential(key=Secret(value, name=f"api_key of {provider}"))
        source = table.table("api_key")
        return Credential() if source is None else read_key_source(source, self.environ, provider)

    def _literal(self, table: Table, key: str) -> None:
        """A literal secret works, with a warning, and only in a file that nobody else can read."""
        try:
            refuse_if_others_can_read(self.mode, table.document.name, f"{key} in {table.title}")
        except ConfigError:
            raise table.fault(
                key,
                f"{key} in {table.title} is a literal secret in a file that others can read: name a source such as"
                f" {{ env = … }} or {{ file = … }} instead, or chmod 600 {table.document.name}",
            ) from None
        line = table.document.line((*table.path, key))
        self.result.warnings.append(
            f"{table.document.name}, line {line}: {key} in {table.title} is a literal secret; a source such as"
            " { env = … }, { file = … } or { keyring = … } keeps it out of backups and version control."
        )

    def _row(self, table: Table) -> ModelRow:
        table.only(_MODEL_KEYS)
        name, provider = table.required("name"), table.required("provider")
        model = table.text("model") or name
        if provider not in self.result.providers:
            hint = did_you_mean(provider, self.result.providers)
            said = f"provider {provider!r} of model {name!r} has no [providers] table. {hint}"
            raise table.fault("provider", said.rstrip())
        if name.count("*") > 1 or model.count("*") > name.count("*"):
            raise table.fault(
                "name", f"model {name!r} → {model!r}: one * at most, and one in `model` needs one in `name`."
            )
        weight = table.number("weight", above=True)
        return ModelRow(
            name=name,
            provider=provider,
            model=model,
            weight=1 if weight is None else weight,
            order=_or(table.integer("order"), 1),
            rpm=table.integer("rpm", least=1),
            tpm=table.integer("tpm", least=1),
            max_parallel=table.integer("max_parallel", least=1),
            prefill=_prefill(table),
            max_output_tokens=table.integer("max_output_tokens", least=1),
            first_byte=table.number("first_byte", above=True, most=environment.MAX_SECONDS),
            fallbacks=table.texts("fallbacks"),
            context_fallbacks=table.texts("context_fallbacks"),
            price=_price(table.table("price")),
        )

    def _fallbacks(self) -> None:
        for at, row in enumerate(self.result.rows):
            for key in ("fallbacks", "context_fallbacks"):
                for name in getattr(row, key):
                    if not any(matches(other.name, name) is not None for other in self.result.rows):
                        hint = did_you_mean(name, [other.name for other in self.result.rows])
                        message = f"model {row.name!r} falls back to {name!r}, which no [[models]] row serves. {hint}"
                        raise self.top.document.fault(("models", at, key), f"{key}: {message}".rstrip())

    def _twins(self) -> None:
        """A call goes to each target once, so of two rows of one group with the same target the later does nothing."""
        first: dict[tuple[str, str, str], int] = {}
        for at, row in enumerate(self.result.rows):
            earlier = first.setdefault((row.name, row.provider, row.model), at)
            if earlier != at:
                document = self.top.document
                line, other = (document.line(("models", index)) for index in (at, earlier))
                self.result.warnings.append(
                    f"{document.name}, line {line}: the model {row.name!r} has the target {row.provider}/{row.model}"
                    f" already, from line {other}; a call goes to each target once."
                )

    def _timeouts(self) -> None:
        table = self.top.table("timeouts")
        if table is not None:
            table.only(_TIMEOUTS)
            found = {key: table.number(key, above=True, most=environment.MAX_SECONDS) for key in table.content}
            self.result.timeouts = {key: value for key, value in found.items() if value is not None}

    def _retries(self) -> None:
        table = self.top.table("retries")
        if table is not None:
            table.only(_RETRIES)
            found = {key: table.integer(key, least=_RETRIES[key][0], most=_RETRIES[key][1]) for key in table.content}
            self.result.retries = {key: value for key, value in found.items() if value is not None}

    def _breakers(self) -> None:
        table = self.top.table("breakers")
        if table is None:
            return
        table.only((*_BREAKERS, *_BREAKER_COUNTS))
        said: dict[str, Any] = {key: table.number(key, least=low, most=high) for key, (low, high) in _BREAKERS.items()}
        said |= {key: table.integer(key, least=low, most=high) for key, (low, high) in _BREAKER_COUNTS.items()}
        said = {key: value for key, value in said.items() if value is not None}
        self.result.breakers = attrs.evolve(self.result.breakers, **said)

    def _cache(self) -> None:
        table = self.top.table("cache")
        if table is not None:
            table.only(_CACHE_KEYS)
            default = Cache()
            ttl = table.number("ttl", above=True, most=environment.MAX_SECONDS)
            self.result.cache = Cache(
                enabled=table.flag("enabled"),
                ttl=default.ttl if ttl is None else ttl,
                max_bytes=_or(table.integer("max_bytes", least=_LEAST_CACHE), default.max_bytes),
            )


def _prefill(table: Table) -> Prefill | None:
    """`true` is the usual way to go on from a message; two families of servers want to be told in their own way."""
    value = table.content.get("prefill", False)
    if isinstance(value, bool):
        return Prefill.MESSAGE if value else None
    ways = {way.value: way for way in Prefill}
    if value not in ways:
        raise table.wrong("prefill", f"true, false or one of {', '.join(ways)}")
    return ways[value]


def _transport(table: Table, proxy: str | None) -> tuple[str | None, bool]:
    """`transport` and `http2`, where they go together, with the proxy, and with what is installed."""
    transport, http2 = table.text("transport"), table.flag("http2")
    if transport not in (None, *TRANSPORTS):
        allowed = " or ".join(TRANSPORTS)
        raise table.fault("transport", f"transport {transport!r} in {table.title} is unknown; allowed is {allowed}.")
    if transport == "native" and (http2 or proxy is not None):
        what = "speaks no HTTP/2" if http2 else "goes through no proxy, and there is one"
        raise table.fault("transport", f"transport 'native' in {table.title} {what}; leave it out, or say 'httpx'.")
    if http2 and importlib.util.find_spec("h2") is None:
        raise table.fault(
            "http2", f"http2 in {table.title} needs the extra `http2`: pip install 'openai-gateway-mcp[http2]'."
        )
    return transport, http2


def _price(table: Table | None) -> Price | None:
    if table is None:
        return None
    table.only(_PRICE_KEYS)
    input_price, output_price = table.number("input"), table.number("output")
    if input_price is None or output_price is None:
        raise table.document.fault(table.path, "a price needs `input` and `output`, in dollars per million tokens.")
    return Price(input=input_price, output=output_price, cached_input=table.number("cached_input"))


def _or(value: Any, default: int) -> int:
    return default if value is None else int(value)
