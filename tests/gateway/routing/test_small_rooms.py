"""The small rooms of routing: cost, Retry-After, repairs, the default model, the values."""

from __future__ import annotations

from typing import Any

import pytest

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.calls import Call, Usage
from openai_gateway.routing.cost import cost
from openai_gateway.routing.default import DefaultModel, default_model
from openai_gateway.routing.plan import Price, RouteTable
from openai_gateway.routing.repair import REPAIRS, mend
from openai_gateway.routing.retry_after import retry_after, should_retry
from openai_gateway.routing.settings import Settings
from tests.gateway.routing.samples import KEY, provider, row, table, target

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("usage", "price", "dollars"),
    [
        (Usage(input=MILLION, output=2 * MILLION), Price(input=1.25, output=10), 21.25),
        (Usage(input=MILLION, cached_input=MILLION // 2), Price(input=2, output=0, cached_input=0.5), 1.25),
        (Usage(input=MILLION, cached_input=MILLION // 2), Price(input=2, output=0), 2.0),
        (Usage(input=1, cached_input=5), Price(input=MILLION, output=0, cached_input=0), 0.0),
        (None, Price(input=1, output=1), None),
        (Usage(input=1), None, None),
    ],
)
def test_a_call_costs_what_its_tokens_cost(usage: Usage | None, price: Price | None, dollars: float | None) -> None:
    assert cost(usage, price) == dollars


WALL = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:07 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 09:49:47 +0100"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 99999 08:49:37 GMT"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after": "1e300"}, 86_400.0),
        ({"retry-after-ms": "1e300"}, 86_400.0),
        ({"retry-after": "Sun, 06 Nov 2094 08:49:37 GMT"}, 86_400.0),
    ],
)
def test_retry_after_is_read_in_each_of_its_spellings(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, WALL) == seconds


@pytest.mark.parametrize(("said", "meant"), [("true", True), ("False ", False), ("perhaps", None), (None, None)])
def test_x_should_retry_is_read(said: str | None, meant: bool | None) -> None:
    assert should_retry({} if said is None else {"x-should-retry": said}) is meant


def test_mending_renames_and_drops_in_place() -> None:
    body = {"model": "m", "max_tokens": 5, "top_p": 1, "n": 1}
    mended = mend(body, [REPAIRS["max_tokens"], REPAIRS["top_p"], REPAIRS["temperature"]])
    assert list(mended.items()) == [("model", "m"), ("max_completion_tokens", 5), ("n", 1)]


def test_a_rename_does_not_overwrite_what_the_caller_said() -> None:
    assert mend({"max_completion_tokens": 1, "max_tokens": 2}, [REPAIRS["max_tokens"]]) == {"max_completion_tokens": 1}
    assert mend({"max_tokens": 2}, []) == {"max_tokens": 2}


ECHO = table(row("echo", "e"), providers=[provider("e", kind="echo")])


@pytest.mark.parametrize(
    ("routes", "settings", "listed", "chosen"),
    [
        (table(row("x")), {"default_model": "mine", "default_model_is_set": True}, ["x"], DefaultModel(model="mine")),
        (table(row("*")), {}, [], DefaultModel(model="gpt-3.5-turbo")),
        (table(row("x"), row("gpt-3.5-turbo")), {}, ["x"], DefaultModel(model="gpt-3.5-turbo")),
        (
            table(row("a/*"), row("x"), row("y")),
            {},
            [],
            DefaultModel(
                model="x", note="DEFAULT_MODEL is not set and gpt-3.5-turbo is not served here, so x was chosen."
            ),
        ),
        (
            table(row("a/*")),
            {},
            ["a/1", "a/2"],
            DefaultModel(
                model="a/1", note="DEFAULT_MODEL is not set and gpt-3.5-turbo is not served here, so a/1 was chosen."
            ),
        ),
        (
            table(row("a/*")),
            {},
            [],
            DefaultModel(model=None, note="No model is known: set DEFAULT_MODEL, or name one in the call."),
        ),
    ],
)
def test_the_default_model_is_the_one_set_or_the_usual_or_the_first(
    routes: RouteTable, settings: dict[str, Any], listed: list[str], chosen: DefaultModel
) -> None:
    assert default_model(Settings(table=routes, **settings), listed) == chosen


@pytest.mark.parametrize(("routes", "listed"), [(ECHO, []), (table(row("*")), ["echo"])])
def test_where_only_echo_is_served_echo_answers(routes: RouteTable, listed: list[str]) -> None:
    choice = default_model(Settings(table=routes), listed)
    assert choice.model == "echo"
    assert "built-in echo model" in choice.note


def test_an_empty_table_has_no_default() -> None:
    assert default_model(Settings(table=RouteTable())).model is None


def test_a_chat_call_is_made_in_one_line() -> None:
    made = Call.chat(model="m", messages=[{"role": "user", "content": "x"}], temperature=0.5)
    assert made == Call(model="m", body={"messages": [{"role": "user", "content": "x"}], "temperature": 0.5})


def test_a_target_is_named_by_provider_and_model_and_shows_no_key() -> None:
    from openai_gateway.secret import Secret

    one = target("a", "m", api_key=Secret(KEY, name="A_KEY"), headers={"x": KEY}, proxy=f"http://u:{KEY}@p")
    assert one.name == "a/m"
    assert KEY not in repr(one)


def test_an_error_takes_its_status_from_its_kind_and_its_body_beneath_its_own_words() -> None:
    error = GatewayError(
        kind=Kind.FIRST_BYTE_TIMEOUT, message="Slow.", hint="Wait.", body={"extra": 1, "code": "theirs"}
    )
    assert (error.status, error.type, error.code) == (504, "timeout_error", "first_byte_timeout")
    assert str(error) == "Slow. Wait."
    assert error.to_openai() == {
        "message": "Slow.",
        "type": "timeout_error",
        "param": None,
        "code": "first_byte_timeout",
        "extra": 1,
    }


def test_a_stream_without_its_options_says_plainly_that_the_usage_is_estimated() -> None:
    warning = REPAIRS["stream_options"].warning("a/m")
    assert warning == "a/m refuses stream_options: left out, so the usage of this call is estimated"
