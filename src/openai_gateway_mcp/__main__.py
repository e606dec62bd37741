"""`openai-gateway-mcp`, also as `python -m openai_gateway_mcp`: serves stdio, or hands over to the command line."""

from __future__ import annotations

import functools
import gc
import sys

from openai_gateway_mcp.transports.signals import Hangup, exit_at_once, leave


def main() -> None:
    """Run this process. A wrong setting ends it with one line on stderr and status 2."""
    # Imports make many objects and little garbage: collecting costs a start 4 to 6 %. serve and cli turn it on again.
    gc.disable()
    exit_at_once()
    hangup = Hangup()
    hangup.watch()
    sys.exit(_run(sys.argv[1:], hangup))


def _run(argv: list[str], hangup: Hangup) -> int:
    # Imported after the signals are taken care of: an impatient Ctrl-C during the imports leaves no traceback.
    from openai_gateway.errors import ConfigError  # noqa: PLC0415 - see above
    from openai_gateway.secret import Redactor  # noqa: PLC0415 - see above
    from openai_gateway_mcp.config import is_completing, read  # noqa: PLC0415 - see above
    from openai_gateway_mcp.quick import maybe_flags, refuse_keys  # noqa: PLC0415 - see above
    from openai_gateway_mcp.serve import say, serve  # noqa: PLC0415 - see above
    from openai_gateway_mcp.transports.descriptors import claim  # noqa: PLC0415 - see above

    try:
        refuse_keys(argv)
        flags = None if is_completing() else maybe_flags(argv)
        if flags is not None:
            reread = functools.partial(read, flags)
            leave(serve(reread(), claim(), reread, hangup))
        from openai_gateway_mcp.cli import run  # noqa: PLC0415 - typer costs a sixth of a cold start

        hangup.release()
        return run(argv)
    except ConfigError as error:
        say(Redactor().redact(str(error)))  # it quotes a wrong value, and that may be a key that missed its variable
        return 2


if __name__ == "__main__":
    main()
