"""What a target is: a property of any bytes, and the same of what strategies draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Final

import attrs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

DRAWN: Final = b"\0"
"""How an input begins whose other bytes are no data: they are the choices by which the strategies draw some."""

LENGTHS: Final = (256, 1024, 4096)
"""Of the choices that a run begins with; strategies that want more of them than there are give nothing."""


@attrs.frozen(kw_only=True)
class Target:
    """One thing that reads bytes. A call raises what is wrong with it, most often an AssertionError.

    `of_bytes` is told the input as it is, `of_choices` those of DRAWN. `sound` are inputs worth beginning with, and
    those that once showed a fault.
    """

    name: str
    of_bytes: Callable[[bytes], None]
    of_choices: Callable[[bytes], Any]
    sound: Callable[[], Iterable[bytes]]

    def __call__(self, data: bytes) -> None:
        if data.startswith(DRAWN):
            self.of_choices(data.removeprefix(DRAWN))
        else:
            self.of_bytes(data)

    def seeds(self, *, choices: int) -> Iterator[bytes]:
        """Inputs of both sorts, the same each time; `choices` of the second."""
        yield from self.sound()
        dice = Random(0)  # noqa: S311 - nobody is to be surprised
        for number in range(choices):
            yield DRAWN + dice.randbytes(LENGTHS[number % len(LENGTHS)])


def by_choices(check: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> Callable[[bytes], Any]:
    """`check` of what the strategies draw by the bytes that are given: so a fuzzer's coverage leads them."""

    @settings(database=None, deadline=None)
    @given(**strategies)
    def drawn(**values: Any) -> None:
        try:
            check(**values)
        except Exception as error:
            error.add_note(f"This was drawn: {values!r}")  # a file of choices says nothing to a person
            raise

    choose: Callable[[bytes], Any] = drawn.hypothesis.fuzz_one_input  # type: ignore[attr-defined] # given's own
    return choose


def examples(strategy: st.SearchStrategy[bytes], count: int = 40) -> list[bytes]:
    """Some of what the strategy draws, the same each time, none of it twice."""
    found: list[bytes] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(data: bytes) -> None:
        found.append(data)

    collect()
    return list(dict.fromkeys(found))
