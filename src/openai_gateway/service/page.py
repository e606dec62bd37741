"""The page for people, written on the server: what was used, how the targets are, whom the gateway refused."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from importlib.resources import files
from typing import Any, Final

import attrs

from openai_gateway.routing.health import BreakerState
from openai_gateway.routing.ledger import Sum, dollars
from openai_gateway.routing.virtual_keys import VirtualKey

SPANS: Final = (1, 7, 30, 90)
"""Days that the page can show."""

_WIDTH, _HEIGHT, _FOOT = 1000, 160, 18  # of the chart, in units of its own

Cell = str | int | float
"""A number is set to the right, and sorted as one."""


@attrs.frozen(kw_only=True)
class Shown:
    """All that the page shows. `refused` are lines of the audit log, newest first."""

    days: int
    now: datetime
    by_day: Sequence[Sum]
    by_model: Sequence[Sum]
    by_key: Sequence[Sum]
    keys: Mapping[str, VirtualKey]
    spent: Mapping[str, int]
    health: Mapping[str, BreakerState]
    refused: Sequence[Mapping[str, Any]]
    in_work: int


def written(shown: Shown, nonce: str) -> bytes:
    """The page, in UTF-8. Its style and its script carry the nonce; nothing in it is loaded from anywhere."""
    return "".join(_page(shown, nonce)).encode("utf-8", "replace")


def policy(nonce: str) -> str:
    """The Content-Security-Policy of such a page."""
    return (
        f"default-src 'none'; img-src data:; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    )


def _page(shown: Shown, nonce: str) -> Iterable[str]:
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1"><title>openai-gateway</title>'
    yield '<link rel="icon" href="data:,">'
    yield f'<style nonce="{nonce}">{_asset("dashboard.css")}</style></head><body>'
    spans = "".join(
        f'<a href="?days={days}"{" aria-current=page" if days == shown.days else ""}>{_days(days)}</a>'
        for days in SPANS
    )
    yield f'<header><h1>openai-gateway</h1><nav aria-label="Time">{spans}</nav>'
    yield '<label><input type="checkbox" id="follow"> refresh every 10 s</label></header><main>'
    yield _facts(shown)
    yield f"<h2>Calls a day</h2>{_chart(shown)}"
    yield "<h2>Models</h2>" + _usage("Model", [(one.name, one) for one in shown.by_model])
    yield "<h2>Keys</h2>" + _usage("Key", [(_key(one.name, shown.keys), one) for one in shown.by_key])
    yield "<h2>Budgets</h2>" + _budgets(shown)
    yield "<h2>Targets</h2>" + _targets(shown.health)
    yield "<h2>Refused last</h2>" + _refused(shown.refused)
    yield f'<p class="note">{shown.now:%Y-%m-%d %H:%M:%S} UTC. Days are those of UTC.</p></main>'
    yield f'<script nonce="{nonce}">{_asset("dashboard.js")}</script></body></html>\n'


def _facts(shown: Shown) -> str:
    total = {name: sum(getattr(one, name) for one in shown.by_day) for name in ("calls", "failed", "money")}
    tokens = sum(one.input + one.output for one in shown.by_day)
    facts = (
        (f"{total['calls']:,}", "calls"),
        (f"{total['failed']:,}", "failed"),
        (f"{tokens:,}", "tokens"),
        (_money(total["money"]), "spent"),
        (f"{shown.in_work:,}", "in work now"),
    )
    return (
        '<ul class="facts">' + "".join(f"<li><b>{value}</b><span>{name}</span></li>" for value, name in facts) + "</ul>"
    )


def _chart(shown: Shown) -> str:
    """A bar a day, its failed part marked."""
    found = {one.name: one for one in shown.by_day}
    last = shown.now.date()
    days = [(last - timedelta(days=shown.days - 1 - at)).isoformat() for at in range(shown.days)]
    most = max((one.calls for one in shown.by_day), default=0) or 1
    step, high = _WIDTH / len(days), _HEIGHT - _FOOT
    bars: list[str] = []
    for at, day in enumerate(days):
        one = found.get(day)
        if one is None:
            continue
        tall, failed = high * one.calls / most, high * one.failed / most
        words = escape(f"{day}: {one.calls:,} calls, {one.failed:,} failed, {_money(one.money)}")
        place = f'x="{at * step + step * 0.1:.1f}" width="{step * 0.8:.1f}"'
        bars.append(
            f'<rect class="bar" {place} y="{high - tall:.1f}" height="{tall:.1f}"><title>{words}</title></rect>'
        )
        bars.append(f'<rect class="failed" {place} y="{high - failed:.1f}" height="{failed:.1f}"/>')
    foot = f'y="{_HEIGHT - 4}"'
    ends = f'<text x="0" {foot}>{days[0]}</text><text x="{_WIDTH}" {foot} text-anchor="end">{days[-1]}</text>'
    base = f'<line class="base" x1="0" x2="{_WIDTH}" y1="{high}" y2="{high}"/>'
    label = escape(f"Calls a day, at most {most:,}")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{base}{"".join(bars)}{ends}</svg>'


def _usage(what: str, rows: Sequence[tuple[str, Sum]]) -> str:
    heads = (what, "Calls", "Failed", "Input", "Cached", "Output", "Cost, $")
    ordered = sorted(rows, key=lambda row: (row[1].money, row[1].calls), reverse=True)
    return _table(
        heads,
        [
            (name or "(none)", one.calls, one.failed, one.input, one.cached_input, one.output, dollars(one.money))
            for name, one in ordered
        ],
    )


def _budgets(shown: Shown) -> str:
    limited = [key for key in shown.keys.values() if key.budget is not None and key.revoked is None]
    rows = [
        (_key(key.id, shown.keys), dollars(shown.spent.get(f"key {key.id}", 0)), dollars(key.budget or 0), key.period)
        for key in limited
    ]
    return _table(("Key", "Spent, $", "Budget, $", "Period"), rows)


def _targets(health: Mapping[str, BreakerState]) -> str:
    rows = [(name, state.value) for name, state in sorted(health.items())]
    return _table(("Target", "Breaker"), rows, bad={"open"})


def _refused(refused: Sequence[Mapping[str, Any]]) -> str:
    names = ("status", "code", "route", "actor", "peer")
    rows = [(_moment(one), *(str(one.get(name, "")) for name in names)) for one in refused]
    return _table(("When", "Status", "Why", "What", "Who", "From"), rows)


def _moment(entry: Mapping[str, Any]) -> str:
    return datetime.fromtimestamp(entry.get("time", 0), UTC).strftime("%Y-%m-%d %H:%M:%S")


def _table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, bad: Iterable[str] = ()) -> str:
    if not rows:
        return '<p class="note">None.</p>'
    numbers = [isinstance(cell, int | float) for cell in rows[0]]
    head = "".join(
        f'<th scope="col"{" class=number" if is_number else ""}>{escape(name)}</th>'
        for name, is_number in zip(heads, numbers, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(cell, bad) for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell, bad: Iterable[str]) -> str:
    if isinstance(cell, str):
        return f"<td{' class=bad' if cell in bad else ''}>{escape(cell)}</td>"
    text = f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4f}"
    return f'<td class="number" data-value="{cell}">{text}</td>'


def _key(id_: str, keys: Mapping[str, VirtualKey]) -> str:
    name = keys[id_].name if id_ in keys else ""
    return f"{name} ({id_})" if name else id_


def _money(money: int) -> str:
    return f"${dollars(money):,.2f}"


def _days(days: int) -> str:
    return "today" if days == 1 else f"{days} days"


@functools.cache
def _asset(name: str) -> str:
    return files("openai_gateway.service").joinpath(name).read_text(encoding="utf-8")


def since(now: datetime, days: int) -> int:
    """The first moment of the days that are shown, in Unix milliseconds."""
    first = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=days - 1)
    return round(first.timestamp() * 1000)
