"""Secrets do not show themselves, and no spelling of one gets through the redactor."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import re
import traceback
import tracemalloc
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_gateway.secret import MARK, MAX_LEARNED, Redactor, Secret

KEY = 'canary-AbCd+/="x\\Zyxw0123456789'


def redactor(*values: str) -> Redactor:
    return Redactor(Secret(value, name="K") for value in values)


def test_a_secret_shows_only_its_name() -> None:
    secret = Secret(KEY, name="OPENAI_API_KEY")
    assert {repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret} == {"Secret(OPENAI_API_KEY)"}  # noqa: UP031 - each way to print is the test
    assert f"{secret:>24}" == "  Secret(OPENAI_API_KEY)"
    assert secret.reveal() == KEY
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("text", [
    "bearer" + " " * 1_000_000,
    "bearer" + "%20+" * 250_000,
    "sk-" + "a" * 1_000_000,
    "sk-" + "a." * 500_000,
])  # fmt: skip
def test_what_looks_like_a_key_takes_no_more_room_than_it_has(text: str) -> None:
    """A pattern that remembers each step takes 130 bytes for a character, and a caller may send 32 million of them."""
    redact = redactor().redact
    redact("bearer abcdefghijkl sk-abcdefghijkl")  # so that its patterns are compiled
    tracemalloc.start()
    try:
        redact(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(text)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_secret_is_neither_copied_nor_pickled(copied: object) -> None:
    assert callable(copied)
    with pytest.raises(TypeError, match="neither pickled nor copied") as caught:
        copied(Secret(KEY, name="K"))
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_secrets_are_equal_by_value_and_hashed_by_identity() -> None:
    one, same, other = Secret("a", name="X"), Secret("a", name="Y"), Secret("\udce9", name="X")
    assert one == same
    assert one != other
    assert one != "a"
    assert hash(one) == object.__hash__(one)


def test_an_empty_secret_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY is empty"):
        Secret("", name="OPENAI_API_KEY")


@pytest.mark.parametrize(
    "spelt",
    [
        KEY,
        json.dumps(KEY)[1:-1],
        json.dumps(KEY)[1:-1].replace("/", r"\/"),
        json.dumps(json.dumps(KEY))[3:-3],
        quote(KEY, safe=""),
        quote(KEY),
        re.sub("%..", lambda found: found.group().lower(), quote(KEY, safe="")),
        KEY.replace('"', "&quot;"),
        KEY[:12],
    ],
)
def test_a_secret_is_struck_in_every_spelling(spelt: str) -> None:
    struck = redactor(KEY).redact(f"upstream says: {spelt} is wrong")
    assert struck == f"upstream says: {MARK} is wrong"


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_text_that_holds_the_secret_is_struck(before: str, after: str, encode: object) -> None:
    assert callable(encode)
    encoded = encode((before + KEY + after).encode()).decode()
    struck = redactor(KEY).redact(encoded)
    assert MARK in struck
    kept = struck.replace(MARK, "")
    assert len(kept) <= len(base64.b64encode((before + after).encode())) + 6  # only what the neighbours share


def test_characters_of_regular_expressions_mean_nothing() -> None:
    assert redactor("a.b*c(d[e").redact("a.b*c(d[e aXb*c(d[e") == f"{MARK} aXb*c(d[e"


def test_a_short_secret_is_struck_only_as_a_word() -> None:
    text = redactor("dev", "+x+").redact(r'dev developer "dev" \ndev %20dev \u00e9dev mydev a+x+b')
    assert text == rf'{MARK} developer "{MARK}" \n{MARK} %20{MARK} \u00e9{MARK} mydev a{MARK}b'


def test_overlapping_secrets_leave_nothing_between_them() -> None:
    assert redactor("abcdefgh1234", "1234ijklmnop").redact("xabcdefgh1234ijklmnopx") == f"x{MARK}x"
    assert redactor("abababababababX").redact("ababababababababX.") == f"{MARK}."


def test_two_secrets_side_by_side_become_one_mark() -> None:
    assert redactor("firstsecret", "othersecret").redact("firstsecretothersecret") == MARK


@pytest.mark.parametrize(
    ("text", "struck"),
    [
        ("Incorrect API key provided: sk-abcd***wxyz.", f"Incorrect API key provided: {MARK}."),
        ("sk-ant-api03-AAAA and ogw_0123456789", f"{MARK} and {MARK}"),
        ("sk-...abcdefgh", MARK),
        ("task-oriented-words and sk-learn", "task-oriented-words and sk-learn"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MARK}"),
        ("using Bearer auth (see there)", "using Bearer auth (see there)"),
        ("authorization: abc", f"authorization: {MARK}"),
        ("Authorization: Basic dTpw", f"Authorization: Basic {MARK}"),
        ("api-key: abc, more", f"api-key: {MARK}, more"),
        ('{"api_key": "abc"}', f'{{"api_key": "{MARK}"}}'),
        (r"{\"x-api-key\": \"abc\"}", rf"{{\"x-api-key\": \"{MARK}\"}}"),
        ("?apikey=abc&x=1", f"?apikey={MARK}&x=1"),
        ("https://user:pw@host/x or a@b", f"https://{MARK}@host/x or a@b"),
        ("nothing to see", "nothing to see"),
    ],
)
def test_what_has_the_shape_of_a_key_is_struck(text: str, struck: str) -> None:
    assert Redactor().redact(text) == struck
    assert Redactor().redact(struck) == struck


def test_json_is_struck_in_members_keys_items_and_numbers() -> None:
    value = {"k": [KEY, 1, None, True, 0.5], f"x {KEY}": {"deep": f"<{KEY}>"}, "n": 12345678, "t": (KEY,)}
    assert redactor(KEY, "12345678").redact_json(value) == {
        "k": [MARK, 1, None, True, 0.5],
        f"x {MARK}": {"deep": f"<{MARK}>"},
        "n": MARK,
        "t": [MARK],
    }


_SECRETS = st.text(min_size=8, max_size=40).filter(lambda text: text not in MARK)


@given(secret=_SECRETS, before=st.text(max_size=20), after=st.text(max_size=20))
@example(secret="aaaaaaaaaaaaa", before="a", after="aa")
def test_no_planted_canary_gets_through(secret: str, before: str, after: str) -> None:
    text = before + secret + after
    one = redactor(secret)
    struck = one.redact(text)
    assert secret not in struck.replace(MARK, "\0")
    in_json = one.redact(json.dumps({"error": text}))
    assert json.dumps(secret)[1:-1] not in in_json.replace(MARK, "\0")
    assert secret not in str(one.redact_json({"error": [text]})["error"][0]).replace(MARK, "\0")


def test_in_names_only_the_known_secrets_are_struck_and_no_short_ones() -> None:
    one = redactor(KEY, "ollama")
    names = {"id": "xai-grok-2-latest", "owned_by": "ollama", f"x {KEY}": [f"by {KEY}", KEY[:12], 7]}
    assert one.strike_known_json(names) == {
        "id": "xai-grok-2-latest",
        "owned_by": "ollama",
        f"x {MARK}": [f"by {MARK}", MARK, 7],
    }


def test_what_is_learned_is_struck_from_then_on_and_what_it_replaces_too() -> None:
    one = redactor("first-secret-00")
    assert one.redact("then late-secret-000") == "then late-secret-000"
    for value in ("late-secret-000", "dev", "late-secret-000"):
        one.learn(Secret(value, name="K"))
    assert one.redact("first-secret-00, late-secret-000, dev, developer") == f"{MARK}, {MARK}, {MARK}, developer"


def test_of_what_is_learned_the_last_thousand_are_kept_and_what_is_in_use_stays() -> None:
    one = redactor("given-secret-0")
    for number in range(MAX_LEARNED + 10):
        one.learn(Secret(f"secret-number-{number:05}", name="K"))
        one.learn(Secret("in-use-all-the-time", name="K"))
    known = ("given-secret-0", "in-use-all-the-time", "secret-number-01009", "secret-number-00011")
    assert {one.redact(value) for value in known} == {MARK}
    # Struck as far as it begins like those that are known.
    assert one.redact("secret-number-00001").startswith(MARK)
    assert one.redact("secret-number-00001") != MARK
