"""The command line of `openai-gateway`: the place where the process's own environment comes in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import attrs
import typer

import openai_gateway
from openai_gateway import config
from openai_gateway.routing.plan import ModelRow, Provider
from openai_gateway.routing.settings import Settings
from openai_gateway.secret import Redactor, Secret

app: Final = typer.Typer(
    help="An OpenAI-compatible gateway: it holds the credentials and routes each call to a provider.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show local variables
    add_completion=False,
)
_config: Final = typer.Typer(help="Look at the configuration.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(_config, name="config")

_File = Annotated[
    str | None, typer.Argument(help="The TOML file; without it, what the environment makes.", show_default=False)
]


_NOT_SHOWN: Final = {"name", "url_set_by", "key_set_by", "key_source"}  # the first is in the header


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"openai-gateway {openai_gateway.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version  # its callback has answered


@_config.command("check")
def check(file: _File = None) -> None:
    """Say whether the configuration is sound; exit status 2 where it is not."""
    settings = _load(file)
    for warning in settings.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if settings.table.missing:
        typer.echo(f"warning: {settings.table.missing}", err=True)
    rows, providers = len(settings.table.rows), len(settings.table.providers)
    typer.echo(f"The configuration is sound: {rows} model row(s), {providers} provider(s).")


@_config.command("show")
def show(file: _File = None) -> None:
    """Show the configuration as it takes effect, without any secret."""
    settings = _load(file)
    text = "\n\n".join(_sections(settings))
    typer.echo(Redactor(settings.secrets).redact(text))


def _load(file: str | None) -> Settings:
    return config.load(os.environ, config_path=file)  # noqa: TID251 - a composition root: here it comes in


def _sections(settings: Settings) -> Iterable[str]:
    for provider in settings.table.providers.values():
        source = provider.key_source
        leave_out = _NOT_SHOWN if source is None else {*_NOT_SHOWN, "api_key"}
        yield _section(f"[providers.{provider.name}]", _shown_of(provider, leave_out=leave_out))
        if source is not None:
            yield _section(f"[providers.{provider.name}.api_key]", source.written)
    for row in settings.table.rows:
        yield _section("[[models]]", _shown_of(row))
    yield _section("[timeouts]", attrs.asdict(settings.timeouts))
    yield _section("[retries]", attrs.asdict(settings.retries))
    yield _section("[breakers]", attrs.asdict(settings.breakers))
    yield _section("[cache]", attrs.asdict(settings.cache))
    yield f"# The default model is {settings.default_model}."


def _shown_of(value: Provider | ModelRow, leave_out: Iterable[str] = ()) -> Mapping[str, Any]:
    """The fields that differ from what they would be unsaid."""
    fields = attrs.fields_dict(type(value))
    shown = {name: getattr(value, name) for name in fields if name not in leave_out}
    return {name: item for name, item in shown.items() if item not in (None, "", (), {}, False)}


def _section(header: str, values: Mapping[str, Any]) -> str:
    return "\n".join((header, *(f"{name} = {_written(value)}" for name, value in values.items())))


def _written(value: Any) -> str:
    """TOML, but for a secret, which is shown by its name."""
    if isinstance(value, Secret):
        return f'"…"  # {value.name}'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = …" for name in value) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    if attrs.has(type(value)):
        fields = attrs.asdict(value)
        return "{ " + ", ".join(f"{name} = {item}" for name, item in fields.items() if item is not None) + " }"
    if isinstance(value, int):
        return str(value)
    return f"{value:g}" if isinstance(value, float) else f'"{value}"'
