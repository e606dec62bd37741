"""`openai-gateway`, also as `python -m openai_gateway`."""

from __future__ import annotations

import sys

from openai_gateway.errors import ConfigError


def main() -> None:
    """Run the command line. A wrong setting ends it with one line on stderr and status 2."""
    from openai_gateway.cli import app  # noqa: PLC0415 - typer costs a sixth of a cold start

    try:
        app(prog_name="openai-gateway")
    except ConfigError as error:
        from openai_gateway.log import harmless  # noqa: PLC0415 - only where it is needed
        from openai_gateway.secret import Redactor  # noqa: PLC0415 - the same
        from openai_gateway.terminal import columns_of, folded  # noqa: PLC0415 - the same

        # It quotes a wrong value, and that may be a key that missed its place.
        said = harmless(Redactor().redact(f"openai-gateway: {error}"))
        sys.stderr.write(f"{folded(said, columns_of(sys.stderr), indent='  ')}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
