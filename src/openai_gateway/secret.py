"""A secret that does not show itself, and the redactor that strikes secrets out of texts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Never, final
from urllib.parse import quote, quote_plus

MARK: Final = "[redacted]"
SHORT: Final = 8  # a shorter secret is struck only where it stands as a word: "dev" must not eat "developer"
PREFIX: Final = 12  # upstreams quote keys cut off; a shorter beginning ("sk-proj-") tells nobody anything
MAX_LEARNED: Final = 1_000


@final
class Secret:
    """A credential; only `reveal()` gives it away. `name` is what may be shown: where it came from (OPENAI_API_KEY)."""

    __slots__ = ("_value", "name")

    def __init__(self, value: str, *, name: str) -> None:
        if not value:
            raise ValueError(f"{name} is empty")
        self._value = value
        self.name = name

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # noqa: PLC0415 - it loads OpenSSL, and every start imports this file

        return hmac.compare_digest(_octets(self._value), _octets(other._value))

    # By identity: a hash of the value would be a fast oracle for guesses. Equal secrets may hash apart, so sets and
    # dicts keyed by secrets merge nothing; nobody needs one.
    __hash__ = object.__hash__

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError(f"{self!r} can be neither pickled nor copied")


class Redactor:
    """Strikes out the secrets it knows, in every spelling in which they get quoted, and what has the shape of a key.

    A secret of 12 characters or more is also found when only a beginning of at least 12 of them is there; one shorter
    than 8 only where it stands as a whole word. Fast on ordinary text: it is searched, not parsed. One redactor may be
    shared by all that writes, in any thread: what it learns is struck everywhere from then on.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._given = frozenset(form for secret in secrets for form in _spellings(secret.reveal()))
        self._learned: dict[str, tuple[str, ...]] = {}  # a value's spellings, the last learned last
        self._long: tuple[str, ...] = ()
        self._short: tuple[tuple[str, re.Pattern[str]], ...] = ()
        self._know(self._given)

    def learn(self, secret: Secret) -> None:
        """Strike this one too, from now on. A key that is replaced stays known: an answer may still quote it.

        Of those that were learned the last 1,000 are kept (a token that is renewed each hour: six weeks of it), for
        each costs every later text a search.
        """
        value = secret.reveal()
        is_new = value not in self._learned
        self._learned[value] = self._learned.pop(value, ()) or tuple(_spellings(value))
        if is_new:
            if len(self._learned) > MAX_LEARNED:
                del self._learned[next(iter(self._learned))]
            self._know(self._given.union(*self._learned.values()))

    def _know(self, forms: Iterable[str]) -> None:
        # Whole tuples change hands: a log line in another thread meets the old ones or the new.
        spellings = sorted(forms)
        self._long = tuple(form for form in spellings if len(form) >= SHORT)
        self._short = tuple((form, _as_word(form)) for form in spellings if len(form) < SHORT)

    def redact(self, text: str) -> str:
        """`text` with a mark for each secret. Doing it twice changes nothing more."""
        for needle, pattern in self._short:
            if needle in text:
                text = pattern.sub(MARK, text)
        return _strike_shapes(self.strike_known(text))

    def strike_known(self, text: str) -> str:
        """`text` with a mark for each given secret of 8 characters or more, and for nothing else: for names.

        A model may be called xai-grok-2-latest, which has the shape of a key, and be served by "ollama" to whoever has
        the key "ollama".
        """
        begun = [form for form in self._long if form[:PREFIX] in text]
        return _cut(text, sorted(span for form in begun for span in _spans(text, form))) if begun else text

    def redact_json(self, value: Any) -> Any:
        """`redact` for each string in a JSON value, keys included, and for a number that is a secret."""
        return _each(value, self.redact)

    def strike_known_json(self, value: Any) -> Any:
        """`strike_known` for the same."""
        return _each(value, self.strike_known)


def _each(value: Any, strike: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return strike(value)
    if isinstance(value, Mapping):
        return {strike(key): _each(member, strike) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_each(item, strike) for item in value]
    if isinstance(value, int | float) and strike(repr(value)) != repr(value):
        return MARK
    return value


def _octets(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _spellings(value: str) -> Iterator[str]:
    """The secret as it may stand in a header, a JSON body, a URL, an HTML page or a Basic credential."""
    octets = _octets(value)
    yield value
    for ensure_ascii in (True, False):
        escaped = json.dumps(value, ensure_ascii=ensure_ascii)[1:-1]
        yield escaped
        yield escaped.replace("/", r"\/")
        yield json.dumps(escaped)[1:-1]
    for percent in (quote(octets, safe=""), quote(octets), quote_plus(octets)):
        yield percent
        yield re.sub("%..", lambda match: match.group().lower(), percent)
    yield value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    if len(octets) >= SHORT:
        yield from _in_base64(octets)


def _in_base64(octets: bytes) -> Iterator[str]:
    """The characters that are the same in the base64 of any text that holds `octets`, for each of the three offsets."""
    for offset, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(offset) + octets).decode("ascii")
        inner = encoded[first : (offset + len(octets)) * 8 // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _as_word(form: str) -> re.Pattern[str]:
    # In raw JSON or a URL the letter before the word may belong to an escape: \nKEY, \u00e9KEY, %20KEY.
    escape = r"(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})"
    before = rf"(?:(?<!\w)|{escape})" if re.match(r"\w", form) else ""
    after = r"(?!\w)" if re.match(r"\w", form[-1]) else ""
    return re.compile(before + re.escape(form) + after)


def _spans(text: str, form: str) -> Iterator[tuple[int, int]]:
    head = form[:PREFIX]
    at = text.find(head)
    while at >= 0:
        end = at + len(head)
        for expected, character in zip(form[PREFIX:], text[end : at + len(form)], strict=False):
            if expected != character:
                break
            end += 1
        yield at, end
        at = text.find(head, at + 1)


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    """Overlapping and touching spans become one mark, so that no piece of a secret stays between two."""
    pieces: list[str] = []
    kept = 0
    for begin, end in spans:
        if begin > kept or not pieces:
            pieces += text[kept:begin], MARK
        kept = max(kept, end)
    return "".join((*pieces, text[kept:]))


_WORD: Final = r"(?!\[redacted\])[^\s\"'`,;&<>\\]+"

# needle: a lower-case piece that must be there before the pattern is tried; a search for it costs next to nothing.
# pattern: compiled (and kept by `re`) when it is first needed, which at most starts none is. A group that is repeated
# takes 130 bytes each time unless it is possessive, and a text may have millions of characters.
_SHAPES: Final = (
    *(
        (prefix.lower(), rf"(?<![A-Za-z0-9]){prefix}(?:[A-Za-z0-9_*\-]|\.(?=[\w.*])|…){{8,}}+()")
        for prefix in ("sk-", "ogw_", "gsk_", "xai-", "hf_", "AIza", "pplx-", "nvapi-", "ghp_", "eyJ")
    ),
    # The words are what sentences about the scheme go on with ("using Bearer auth").
    (
        "bearer",
        rf"(?i)(\bbearer(?:[\s+]++|(?:%20)++)++)(?!(?:auth|authentication|token|tokens|scheme|header)\b){_WORD}",
    ),
    ("key", rf"(?i)(\bapi[-_ ]?key\\?[\"']?\s*[:=]\s*\\?[\"']?(?!\s)){_WORD}"),
    (
        "authorization",
        rf"(?i)(\bauthorization\\?[\"']?\s*[:=]\s*\\?[\"']?(?:basic\s+)?)(?!bearer\b|basic\b){_WORD}",
    ),
    ("@", r"((?<=:)//)[^/\s@\"'<>]+(?=@)()"),
)


def _strike_shapes(text: str) -> str:
    folded = text.lower()
    for needle, pattern in _SHAPES:
        if needle in folded:
            text = re.sub(pattern, lambda match: f"{match.group(1)}{MARK}", text)
    return text
