"""Finding a model by a part of its name."""

from __future__ import annotations

from collections.abc import Iterable

from openai_gateway import Model


def ranked(models: Iterable[Model], typed: str) -> list[Model]:
    """Those whose name holds `typed`, in any case: names that begin with it first, then the earlier the better.

    Without anything typed all, in the order of the list. Equal ranks keep that order too.
    """
    wanted = typed.casefold()
    places = ((model.id.casefold().find(wanted), model) for model in models)
    return [model for _, model in sorted(((at, one) for at, one in places if at >= 0), key=lambda pair: pair[0])]
