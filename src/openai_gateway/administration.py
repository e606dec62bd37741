"""`openai-gateway keys` and `usage`: what an operator does with the store of a service."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import attrs
import trio
import typer

from openai_gateway import config
from openai_gateway.engine.store import By, ServiceStore
from openai_gateway.engine.store.opening import open_store
from openai_gateway.errors import ConfigError, GatewayError
from openai_gateway.routing.ledger import Sum, dollars
from openai_gateway.routing.limits import Period
from openai_gateway.routing.service_settings import ServiceSettings
from openai_gateway.routing.virtual_keys import VirtualKey
from openai_gateway.service.admin import KeyRequest, new_key, new_secret, revoked, rotated, shown_key
from openai_gateway.service.audit import open_audit, verify
from openai_gateway.terminal import columns_of, counted, print_table, stdout

T = TypeVar("T")

audit_app: Final = typer.Typer(help="Look at the audit log.", no_args_is_help=True, rich_markup_mode=None)
keys_app: Final = typer.Typer(
    help="Create, list, revoke and rotate the keys that callers show.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_UNITS: Final = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_BAR: Final = 30  # characters of the longest bar
_SHORTEST_BAR: Final = 8  # a longest bar of less says nothing

_Config = Annotated[str | None, typer.Option("--config", help="The TOML file of the service.", metavar="FILE")]
_Data = Annotated[str | None, typer.Option("--data", help="The directory of the store.", metavar="DIRECTORY")]
_Store = Annotated[
    str | None,
    typer.Option(help="The address of the Redis or Valkey that is the store.", metavar="URL"),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Key = Annotated[str, typer.Argument(help="The key's id, or its name where no other has it.", show_default=False)]


@keys_app.command("create")
def create(
    *,
    name: Annotated[str, typer.Option(help="What people call it.", metavar="NAME")] = "",
    owner: Annotated[str, typer.Option(help="Whose it is.", metavar="NAME")] = "",
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model it may use, * for any characters; again for more. Default: all.", metavar="MODEL"),
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="An endpoint it may use, such as chat/completions. Default: all.", metavar="ENDPOINT"),
    ] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute, at most.", min=0, metavar="N")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens a minute, at most.", min=0, metavar="N")] = None,
    max_parallel: Annotated[int | None, typer.Option(help="Calls at once, at most.", min=0, metavar="N")] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="US dollars that it may spend a period.", min=0, metavar="DOLLARS"),
    ] = None,
    per: Annotated[str, typer.Option(help="The period of the budget, of UTC.", metavar="day|month")] = "month",
    expires: Annotated[
        str | None,
        typer.Option(help="When it ends: 30d, 12h, 2w or 2027-01-31.", metavar="WHEN"),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may also use the admin routes.")] = False,
    as_json: _Json = False,
    config_file: _Config = None,
    data: _Data = None,
    store: _Store = None,
) -> None:
    """Make a key. It is printed on stdout, now and never again; the rest goes to stderr."""
    now = int(time.time())
    asked = KeyRequest(
        name=name,
        owner=owner,
        models=tuple(model) if model else None,
        endpoints=tuple(endpoint) if endpoint else None,
        rpm=rpm,
        tpm=tpm,
        max_parallel=max_parallel,
        budget=budget,
        period=_period(per),
        expires=None if expires is None else _moment(expires, now),
        role="admin" if admin else "user",
    )
    key, secret = _new_key(asked, now)
    _with_store(_Where(config_file, data, store), lambda opened: opened.put_key(key))
    _note(_Where(config_file, data, store), "key.created", key=key.id, name=key.name, role=key.role)
    _print_secret(key, secret, as_json=as_json)


@keys_app.command("list")
def list_(*, as_json: _Json = False, config_file: _Config = None, data: _Data = None, store: _Store = None) -> None:
    """Show all keys, with what is spent of their budgets."""

    async def read(store: ServiceStore) -> list[tuple[VirtualKey, int]]:
        found = await store.keys()
        spent = await store.spent([key.limits for key in found if key.limits is not None])
        return [(key, spent.get(f"key {key.id}", 0)) for key in found]

    found = _with_store(_Where(config_file, data, store), read)
    if as_json:
        typer.echo(json.dumps([{**shown_key(key), "spent": dollars(spent)} for key, spent in found], indent=2))
        return
    rows: list[tuple[str, ...]] = [("ID", "NAME", "OWNER", "ROLE", "MODELS", "LIMITS", "SPENT", "STATE")]
    rows += [_line(key, spent, time.time()) for key, spent in found]
    print_table(rows)


@keys_app.command("revoke")
def revoke(key: _Key, *, config_file: _Config = None, data: _Data = None, store: _Store = None) -> None:
    """End a key. The service refuses it from the next second on."""

    async def work(store: ServiceStore) -> VirtualKey:
        found = revoked(_chosen(key, await store.keys()), now=int(time.time()))
        await store.put_key(found)
        return found

    ended = _with_store(_Where(config_file, data, store), work)
    _note(_Where(config_file, data, store), "key.revoked", key=ended.id)
    typer.echo(f"The key {ended.id} is revoked.", err=True)


@keys_app.command("rotate")
def rotate(
    key: _Key, *, as_json: _Json = False, config_file: _Config = None, data: _Data = None, store: _Store = None
) -> None:
    """Give a key a new secret, with the same rights and limits. The old one is refused from the next second on."""
    secret = new_secret()

    async def work(store: ServiceStore) -> VirtualKey:
        found = rotated(_chosen(key, await store.keys()), secret)
        await store.put_key(found)
        return found

    renewed = _with_store(_Where(config_file, data, store), work)
    _note(_Where(config_file, data, store), "key.rotated", key=renewed.id)
    _print_secret(renewed, secret, as_json=as_json)


@audit_app.command("verify")
def verify_audit(
    file: Annotated[str | None, typer.Argument(help="The log; without it, the service's.", show_default=False)] = None,
    *,
    expect: Annotated[
        str | None,
        typer.Option(help="The hash that the last line must have, noted earlier.", metavar="HASH"),
    ] = None,
    config_file: _Config = None,
    data: _Data = None,
) -> None:
    """Say whether every line of the audit log is as it was written. Exit status 1 where one is not.

    Lines cut off at its end leave no trace in it: note the hash of the last line elsewhere, and give it as --expect.
    """
    path = Path(file) if file is not None else Path(_Where(config_file, data).settings().data) / "audit.jsonl"
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as log:
            verdict = verify(log)
    except OSError as error:
        raise ConfigError(f"The audit log {path} cannot be read: {error.strerror or error}.") from None
    wrong = verdict.wrong or ("its last line is another" if expect not in {None, verdict.last} else "")
    if wrong:
        typer.echo(f"The audit log is not sound: {wrong}. {counted(verdict.lines, 'line')} before it: sound.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{counted(verdict.lines, 'line')}, all sound. The last has the hash {verdict.last}.")


def usage(
    *,
    by: Annotated[str, typer.Option(help="What to sum by.", metavar="day|model|key")] = "day",
    since: Annotated[
        str,
        typer.Option(help="From when: 7d, 12h, or 2026-11-01. Whole days, of UTC.", metavar="WHEN"),
    ] = "30d",
    key: Annotated[str | None, typer.Option(help="Only this key: its id.", metavar="ID")] = None,
    as_json: _Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    config_file: _Config = None,
    data: _Data = None,
    store: _Store = None,
) -> None:
    """Show what was used and what it cost, as a table with bars."""
    now = int(time.time())
    begin = _moment(since, now, past=True) * 1000
    grouped = _by(by)
    where = _Where(config_file, data, store)
    found = _with_store(where, lambda opened: opened.sums(grouped, since=begin, until=(now + 1) * 1000, key=key))
    if as_json:
        typer.echo(json.dumps([{**attrs.asdict(one), "money": dollars(one.money)} for one in found], indent=2))
    elif as_csv:
        typer.echo("\n".join(_csv(found)))
    elif found:
        print_table(_usage_lines(grouped, found, columns_of(stdout())))
    else:
        typer.echo(f"No call since {datetime.fromtimestamp(begin / 1000, UTC):%Y-%m-%d}.", err=True)


def _usage_lines(by: By, found: tuple[Sum, ...], columns: int | None) -> list[tuple[str, ...]]:
    """Bars have what room the numbers leave; where that is next to none, there are none."""
    lines: list[tuple[str, ...]] = [(by.upper(), "CALLS", "FAILED", "TOKENS IN", "TOKENS OUT", "COST")]
    for one in found:
        numbers = (f"{one.calls:,}", f"{one.failed:,}", f"{one.input:,}", f"{one.output:,}")
        lines.append((one.name or "(none)", *numbers, f"${dollars(one.money):,.4f}"))
    taken = sum(max(len(line[column]) for line in lines) + 2 for column in range(len(lines[0])))
    longest = _BAR if columns is None else min(_BAR, columns - taken)
    if longest < _SHORTEST_BAR:
        return lines
    most = max(one.money or one.calls for one in found) or 1
    bars = ("█" * max(1, round(longest * (one.money or one.calls) / most)) for one in found)
    return [(*line, bar) for line, bar in zip(lines, ("", *bars), strict=True)]


def _csv(found: tuple[Sum, ...]) -> list[str]:
    names = [field.name for field in attrs.fields(Sum)]
    return [",".join(names), *(",".join(_cell(getattr(one, name)) for name in names) for one in found)]


def _cell(value: str | int) -> str:
    """RFC 4180; a text that a spreadsheet would take for a formula is told that it is none."""
    if isinstance(value, int):
        return str(value)
    text = f"'{value}" if value[:1] in {"=", "+", "-", "@"} else value
    return '"' + text.replace('"', '""') + '"'


def _line(key: VirtualKey, spent: int, now: float) -> tuple[str, ...]:
    limits = (("rpm", key.rpm), ("tpm", key.tpm), ("max_parallel", key.max_parallel))
    said = [f"{name} {most:,}" for name, most in limits if most is not None]
    if key.budget is not None:
        said.append(f"${dollars(key.budget):,.2f} a {key.period}")
    state = "revoked" if key.revoked is not None else "good"
    if key.revoked is None and key.expires is not None:
        state = "expired" if now >= key.expires else f"until {datetime.fromtimestamp(key.expires, UTC):%Y-%m-%d}"
    money = f"${dollars(spent):,.4f}" if key.budget is not None else ""
    models = "all" if key.models is None else " ".join(key.models)
    return key.id, key.name, key.owner, key.role, models, ", ".join(said), money, state


def _print_secret(key: VirtualKey, secret: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**shown_key(key), "key": secret}, indent=2))
        return
    typer.echo(f"The key {key.id}, shown once:", err=True)
    typer.echo(secret)


def _chosen(wanted: str, found: tuple[VirtualKey, ...]) -> VirtualKey:
    chosen = [key for key in found if key.id == wanted] or [key for key in found if key.name == wanted]
    if len(chosen) != 1:
        what = "no key" if not chosen else "more than one key"
        raise ConfigError(f"There is {what} with this id or name; `openai-gateway keys list` shows them.")
    return chosen[0]


def _moment(text: str, now: int, *, past: bool = False) -> int:
    """Seconds of Unix time: a day, or a span from now (into the past, with `past`)."""
    span = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    if span is not None:
        seconds = int(span[1]) * _UNITS[span[2]]
        return now - seconds if past else now + seconds
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{text!r} is no time; write 12h, 30d, 2w, or a day such as 2027-01-31.") from None
    return int(day.timestamp())


def _period(text: str) -> Period:
    periods: dict[str, Literal["day", "month"]] = {"day": "day", "month": "month"}
    if text not in periods:
        raise ConfigError("--per is day or month.")
    return periods[text]


def _by(text: str) -> By:
    ways: dict[str, By] = {"day": "day", "model": "model", "key": "key"}
    if text not in ways:
        raise ConfigError("--by is day, model or key.")
    return ways[text]


@attrs.frozen
class _Where:
    """What the flags say of where a service keeps what it knows."""

    config_file: str | None
    data: str | None
    store: str | None = None

    def settings(self) -> ServiceSettings:
        environ = os.environ  # noqa: TID251 - a composition root: here it comes in
        flags = {"data": self.data, "store": self.store}
        return config.load_service(environ, config_path=self.config_file, flags=flags)


def _with_store(where: _Where, work: Callable[[ServiceStore], Awaitable[T]]) -> T:
    """Do this with the store of the service. Raises ConfigError where it cannot be used."""

    async def run() -> T:
        async with open_store(where.settings()) as store:
            return await work(store)

    try:
        return trio.run(run)
    except GatewayError as error:
        raise ConfigError(str(error)) from None


def _note(where: _Where, event: str, **facts: str) -> None:
    """Whoever may write the store's file is the operator; by name where the system knows one."""

    async def write() -> None:
        async with open_audit(str(Path(where.settings().data) / "audit.jsonl")) as audit:
            await audit.note(event, actor=f"cli:{getattr(os, 'getuid', lambda: '-')()}", **facts)

    try:
        trio.run(write)
    except GatewayError as error:
        raise ConfigError(str(error)) from None


def _new_key(asked: KeyRequest, now: int) -> tuple[VirtualKey, str]:
    try:
        return new_key(asked, now=now)
    except GatewayError as error:
        raise ConfigError(str(error)) from None
