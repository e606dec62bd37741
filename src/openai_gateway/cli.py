"""The command line of `openai-gateway`: the place where the process's own environment comes in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
import typer

import openai_gateway
from openai_gateway import config
from openai_gateway.administration import audit_app, keys_app, usage
from openai_gateway.config.file import key_sources
from openai_gateway.config.shown import document
from openai_gateway.config.writing import toml
from openai_gateway.errors import ConfigError
from openai_gateway.help_text import CommandsFirst
from openai_gateway.log import harmless
from openai_gateway.routing.settings import Settings
from openai_gateway.secret import Redactor
from openai_gateway.terminal import counted, print_table

if TYPE_CHECKING:
    from openai_gateway.detect import Found

_NAMED: Final = 5  # models that a line names

app: Final = typer.Typer(
    cls=CommandsFirst,
    help="""An OpenAI-compatible gateway: it holds the credentials and routes each call to a provider.

    With a provider's key in the environment (OPENAI_API_KEY), or with none for the built-in echo model, make a key for
    whoever calls, and serve:

    \b
      openai-gateway keys create --name me
      openai-gateway serve
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show local variables
)
_config: Final = typer.Typer(help="Look at the configuration.", no_args_is_help=True, rich_markup_mode=None)

_File = Annotated[
    str | None, typer.Argument(help="The TOML file; without it, what the environment makes.", show_default=False)
]


_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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


@app.command("serve")
def serve(
    *,
    config_file: Annotated[
        str | None,
        typer.Option("--config", help="The TOML file; without it, the keys in the environment.", metavar="FILE"),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="The address to listen on.  [default: 127.0.0.1]", metavar="ADDRESS"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="The port; 0 for any.  [default: 4000]", min=0, max=65535, metavar="PORT"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The directory of the store and the audit log.", metavar="DIRECTORY"),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="The address of a Redis or a Valkey that replicas share: redis://HOST:PORT.", metavar="URL"),
    ] = None,
    tls_certificate: Annotated[
        str | None,
        typer.Option(help="A PEM file: serve https with it.", metavar="FILE"),
    ] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its key, a PEM file.", metavar="FILE")] = None,
    client_ca: Annotated[
        str | None,
        typer.Option(help="A PEM file: let in only clients with a certificate of these authorities.", metavar="FILE"),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(help="Seconds that calls may still take at the end.  [default: 30]", min=0, metavar="SECONDS"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that serve side by side.  [default: 1]", min=1, max=64, metavar="N"),
    ] = None,
    worker: Annotated[str | None, typer.Option("--worker", hidden=True)] = None,
    dashboard: Annotated[
        bool | None, typer.Option("--dashboard", help="Show a page for people at /, to whoever has an admin's key.")
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Ask for no key. Only on an address of this machine alone.")
    ] = False,
) -> None:
    """Serve OpenAI's API over HTTP, to whoever has a key of it.

    `openai-gateway keys create` makes one. SIGTERM drains and ends it, SIGHUP reloads the configuration.
    """
    from openai_gateway.serving import Inherited, serve_until_stopped  # noqa: PLC0415 - the engine, for this command alone

    flags = {
        "host": host,
        "port": port,
        "data": data,
        "store": store,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "client_ca": client_ca,
        "grace": grace,
        "workers": workers,
        "dashboard": dashboard,
    }
    environ = os.environ  # noqa: TID251 - a composition root: here it comes in
    service = config.load_service(environ, config_path=config_file, flags=flags, no_auth=no_auth)
    serve_until_stopped(
        lambda: _load(config_file),
        service,
        log_level=config.log_level(environ),
        argv=sys.argv[1:],
        inherited=None if worker is None else Inherited.of(worker),
    )


app.add_typer(keys_app, name="keys")
app.command("usage")(usage)
app.add_typer(_config, name="config")
app.add_typer(audit_app, name="audit")


@_config.command("check")
def check(file: _File = None, *, as_json: _Json = False) -> None:
    """Say whether the configuration is sound. Exit status 2 where it is not."""
    try:
        settings = _load(file)
    except ConfigError as error:
        if not as_json:
            raise
        _print_json({"sound": False, "error": Redactor().redact(str(error))})
        raise typer.Exit(2) from None
    missing = {name: one.missing for name, one in settings.table.providers.items() if one.missing}
    warnings = [*settings.warnings, *([settings.table.missing] if settings.table.missing else [])]
    rows, providers = len(settings.table.rows), len(settings.table.providers)
    if as_json:
        found = {"sound": True, "models": rows, "providers": providers, "missing": missing, "warnings": warnings}
        _print_json(Redactor(settings.secrets).redact_json(found))
        return
    for warning in warnings:
        typer.echo(f"warning: {harmless(Redactor(settings.secrets).redact(warning))}", err=True)
    lacking = f"; {len(missing)} of them cannot be asked yet: {', '.join(missing)}" if missing else ""
    typer.echo(f"The configuration is sound: {counted(rows, 'model row')}, {counted(providers, 'provider')}{lacking}.")


@_config.command("show")
def show(file: _File = None, *, as_json: _Json = False) -> None:
    """Show the configuration as it takes effect. It is TOML that can be read back, without any secret."""
    settings = _load(file)
    shown = document(settings, None if file is None else key_sources(file))
    if as_json:
        _print_json({**shown, "default_model": settings.default_model})
        return
    typer.echo(f"{toml(shown)}\n# The default model is {harmless(settings.default_model)}.")


@_config.command("detect")
def detect(
    *,
    port: Annotated[
        list[int] | None,
        typer.Option(
            "--port", help="Look at this port, in the place of the usual ones.", min=1, max=65535, metavar="PORT"
        ),
    ] = None,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print only the configuration.")] = False,
    as_json: _Json = False,
) -> None:
    """Find the model servers that run on this machine. Ollama, LM Studio, vLLM, llama.cpp … are known.

    Prints what was found, and a configuration that serves it. Only this machine is asked. Exit status 1 for none.
    """
    import trio  # noqa: PLC0415 - for this command alone, as the engine is

    from openai_gateway import detect as detection  # noqa: PLC0415 - the same

    if as_toml and as_json:
        raise ConfigError("--toml and --json exclude each other; give one of them.")
    found = trio.run(detection.find, port or ())
    tried = port or sorted({server.port for server in detection.SERVERS})
    if as_json:
        _print_json({"found": [attrs.asdict(one) for one in found], "ports": tried})
    elif found:
        if not as_toml:
            _print_found(found)
        typer.echo(toml(detection.document(found)), nl=False)
    else:
        typer.echo(f"No model server answers on this machine. Tried: {', '.join(map(str, tried))}.", err=True)
    if not found:
        raise typer.Exit(1)


def _print_found(found: Sequence[Found]) -> None:
    print_table([("SERVER", "ADDRESS", "MODELS"), *(_found_row(one) for one in found)])
    typer.echo("\n# A configuration that serves them:\n")


def _found_row(found: Found) -> tuple[str, str, str]:
    title = found.title if found.is_sure else f"{found.title}?"
    named = f"{len(found.models)}: {', '.join(found.models[:_NAMED])}{', …' if len(found.models) > _NAMED else ''}"
    return title, found.base_url, "wants a key" if found.wants_key else named if found.models else "none"


@_config.command("import-litellm")
def import_litellm(
    file: Annotated[str, typer.Argument(help="The YAML file of LiteLLM's proxy.", show_default=False)],
) -> None:
    """Print LiteLLM's configuration as one of ours. What is not carried over is named on stderr.

    Exit status 1 where no model is. No key is copied.
    Values of the form os.environ/X that are no keys, such as addresses, are looked up now.
    """
    from openai_gateway.config.litellm import convert  # noqa: PLC0415 - for this command alone
    from openai_gateway.config.litellm.yaml_file import read_yaml  # noqa: PLC0415 - the same

    content, twice = read_yaml(file)
    imported = convert(content, os.environ)  # noqa: TID251 - a composition root: here it comes in
    notes = [harmless(Redactor().redact(line)) for line in (*twice, *imported.notes)]
    for line in notes:
        typer.echo(f"note: {line}", err=True)
    changed = counted(len(notes), "thing")
    typer.echo(f"# From {json.dumps(file)}, of LiteLLM; {changed} could not be taken over as in there.\n")
    typer.echo(toml(imported.document), nl=False)
    if not imported.document["models"]:
        typer.echo("No model could be taken over.", err=True)
        raise typer.Exit(1)


def _load(file: str | None) -> Settings:
    return config.load(os.environ, config_path=file)  # noqa: TID251 - a composition root: here it comes in


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
