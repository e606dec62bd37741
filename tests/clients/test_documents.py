"""An entry goes into a client's file and out again: nothing else of it changes, whatever is in it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_gateway_mcp.clients.document import Entry, Format, has_entry, with_entries, without_entries
from openai_gateway_mcp.clients.text import Unreadable

Json = Any
BOM = b"\xef\xbb\xbf"
VALUE = {"command": "/opt/köln/bin/openai-gateway-mcp", "args": ["--embedded"], "env": {"K_FILE": "/home/ada/key"}}
SERVER = Entry(path=("mcpServers",), name="openai-gateway", value=VALUE)
INPUT = Entry(
    path=("inputs",),
    name="openai-gateway-key",
    value={"type": "promptString", "id": "openai-gateway-key"},
    in_array=True,
)
TOML_ENTRY = Entry(path=("mcp_servers",), name="openai-gateway", value=VALUE)
YAML_ENTRY = Entry(path=("extensions",), name="openai-gateway", value=VALUE)


def plain(text: str) -> Json:
    """JSON with comments, read by leaving out what is none: another way than the one that is tested."""
    strings: list[str] = []

    def hide(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            strings.append(match[0])
            return f"\0{len(strings) - 1}\0"
        return " "

    bare = re.sub(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*.*?\*/', hide, text, flags=re.DOTALL)
    bare = re.sub(r",(\s*[}\]])", r"\1", bare)
    return json.loads(re.sub("\0([0-9]+)\0", lambda match: strings[int(match[1])], bare))


def is_within(before: bytes, after: bytes) -> bool:
    """Whether every byte of the one is still in the other, in its order."""
    rest = iter(after)
    return all(byte in rest for byte in before)


# --- JSON -----------------------------------------------------------------------------------------------------------

NAMES = st.one_of(
    st.sampled_from(["mcpServers", "inputs", "openai-gateway", "a//b", 'q"uote', "{", "ключ"]), st.text(max_size=4)
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from([1.5, 1e300, "/* no */", "x,}"])
)
DATA = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
SERVERS = st.dictionaries(st.text(min_size=1, max_size=6), st.dictionaries(NAMES, LEAVES, max_size=2), max_size=3)
FILES = st.dictionaries(NAMES, DATA, max_size=4).flatmap(
    lambda others: st.one_of(
        st.just(others),
        SERVERS.map(lambda servers: {"mcpServers": servers, **{k: v for k, v in others.items() if k != "mcpServers"}}),
        SERVERS.map(lambda servers: {**{k: v for k, v in others.items() if k != "mcpServers"}, "mcpServers": servers}),
    )
)


@st.composite
def written(draw: st.DrawFn) -> tuple[Json, bytes]:
    """Data, and a file that says it in some way of writing."""
    data = draw(FILES)
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    unit = draw(st.sampled_from(["  ", "    ", "\t", " "]))
    style = draw(st.sampled_from(["lines", "flat", "wild"]))
    has_comments = draw(st.booleans())

    def gap(depth: int) -> str:
        if style == "flat":
            return draw(st.sampled_from(["", " "]))
        comments = ["", " // a {comment}", " /* , */"] if has_comments else [""]
        indent = unit * depth if style == "lines" else draw(st.sampled_from(["", " ", "\t\t"]))
        return draw(st.sampled_from(comments)) + newline + indent

    def write(value: Json, depth: int) -> str:
        if not isinstance(value, dict | list):
            return json.dumps(value, ensure_ascii=draw(st.booleans()))
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        if not value:
            return opening + draw(st.sampled_from(["", " ", newline])) + closing
        parts: Iterable[str]
        if isinstance(value, dict):
            parts = [
                f"{json.dumps(key)}:{draw(st.sampled_from(['', ' ']))}{write(one, depth + 1)}"
                for key, one in value.items()
            ]
        else:
            parts = [write(one, depth + 1) for one in value]
        inside = f",{gap(depth + 1)}".join(parts)
        trailing = "," if has_comments and draw(st.booleans()) else ""
        return f"{opening}{gap(depth + 1)}{inside}{trailing}{gap(depth)}{closing}"

    text = (
        draw(st.sampled_from(["", newline, " "])) + write(data, 0) + draw(st.sampled_from(["", newline, newline * 2]))
    )
    return data, draw(st.sampled_from([b"", BOM])) + text.encode()


def text_of(content: bytes) -> str:
    return content.removeprefix(BOM).decode()


def is_right(data: Json) -> bool:
    """Whether the places that an entry goes to are what they should be."""
    servers, inputs = data.get("mcpServers", {}), data.get("inputs", [])
    return isinstance(servers, dict) and isinstance(inputs, list)


@given(written(), st.booleans())
@settings(max_examples=200)
def test_everything_else_of_a_json_file_stays_byte_for_byte(file: tuple[Json, bytes], with_input: bool) -> None:
    data, before = file
    entries = [INPUT, SERVER] if with_input else [SERVER]
    if not is_right(data) or "openai-gateway" in data.get("mcpServers", {}):
        return
    after = with_entries(before, Format.JSON, entries)
    expected = data | {"mcpServers": data.get("mcpServers", {}) | {"openai-gateway": VALUE}}
    if with_input:
        expected["inputs"] = [*data.get("inputs", []), INPUT.value]
    assert plain(text_of(after)) == expected
    assert is_within(before, after)
    assert after.startswith(BOM) == before.startswith(BOM)
    assert b"\r" in after or b"\r" not in before
    assert has_entry(after, Format.JSON, SERVER)
    again = with_entries(after, Format.JSON, entries)
    assert again == after
    assert without_entries(after, Format.JSON, entries, before) == before
    assert plain(text_of(without_entries(after, Format.JSON, entries, b"{}"))) | {
        "mcpServers": 0,
        "inputs": 0,
    } == data | {
        "mcpServers": 0,
        "inputs": 0,
    }


@given(written(), st.data())
def test_a_broken_json_file_is_refused(file: tuple[Json, bytes], data: st.DataObject) -> None:
    _, content = file
    text = text_of(content).rstrip()
    broken = text[: data.draw(st.integers(0, len(text) - 1), label="cut")]
    if not broken.strip():
        return  # a blank file is an empty one
    try:
        plain(broken)
    except ValueError:
        with pytest.raises(Unreadable):
            with_entries(broken.encode(), Format.JSON, [SERVER])


def test_toml_with_a_number_of_too_many_digits_is_refused() -> None:
    with pytest.raises(Unreadable):
        with_entries(b"a = " + b"9" * 5000, Format.TOML, [TOML_ENTRY])


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'{"mcpServers": []}',
        b'{"mcpServers": null}',
        b'{"mcpServers": "x"}',
        b'{"mcpServers": {}, "mcpServers": {}}',
        b'{"mcpServers": {"openai-gateway": 1, "openai-gateway": 2}}',
        b"{'a': 1}",
        b"{a: 1}",
        b'{"a": 01}',
        b'{"a": .5}',
        b'{"a": 1} x',
        b'{"a": "\x01"}',
        b'{"a": "\\x"}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 5000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a" 1}',
        b'{"a": 1 "b": 2}',
        b'{"a": 1,,}',
        b"{,}",
        b"{/* }",
    ],
)
def test_what_is_not_certain_is_refused(content: bytes) -> None:
    with pytest.raises(Unreadable):
        with_entries(content, Format.JSON, [SERVER])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "m": {\n    "n": {\n      "a": 1\n    }\n  }\n}\n'),
        ("{}", '{\n  "m": {\n    "n": {\n      "a": 1\n    }\n  }\n}'),
        ('{"m": {"x": {}}}', '{"m": {"x": {}, "n": {"a": 1}}}'),
        (
            '{\n\t"m": {\n\t\t"x": 1 // one\n\t}\n}\n',
            '{\n\t"m": {\n\t\t"x": 1, // one\n\t\t"n": {\n\t\t\t"a": 1\n\t\t}\n\t}\n}\n',
        ),
        (
            '{\r\n  "m": {\r\n    "x": 1,\r\n  },\r\n}',
            '{\r\n  "m": {\r\n    "x": 1,\r\n    "n": {\r\n      "a": 1\r\n    },\r\n  },\r\n}',
        ),
        (
            '{\n  "m": {\n    "n": 2,\n    "x": 1\n  }\n}',
            '{\n  "m": {\n    "n": {\n      "a": 1\n    },\n    "x": 1\n  }\n}',
        ),
    ],
)
def test_an_entry_is_written_as_the_file_is(before: str, after: str) -> None:
    entry = Entry(path=("m",), name="n", value={"a": 1})
    assert with_entries(before.encode(), Format.JSON, [entry]).decode() == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"m": {"n": 1, "x": 2}}', '{"m": {"x": 2}}'),
        ('{"m": {"x": 2, "n": 1}}', '{"m": {"x": 2}}'),
        ('{"m": {"n": 1}}', '{"m": {}}'),
        ('{\n  "m": {\n    "n": 1,\n    "x": 2 // two\n  }\n}', '{\n  "m": {\n    "x": 2 // two\n  }\n}'),
        ('{\n  "m": {\n    "x": 2, // two\n    "n": 1\n  }\n}', '{\n  "m": {\n    "x": 2 // two\n  }\n}'),
        ('{"x": 1}', '{"x": 1}'),
        ("", ""),
    ],
)
def test_an_entry_is_taken_out_with_its_comma_and_its_lines(before: str, after: str) -> None:
    entry = Entry(path=("m",), name="n")
    assert without_entries(before.encode(), Format.JSON, [entry], b'{"another": "file"}').decode() == after


def test_what_a_person_changed_in_the_meantime_stays() -> None:
    before = b'{\n  "mcpServers": {\n    "a": {}\n  }\n}\n'
    changed = with_entries(before, Format.JSON, [SERVER]).replace(b'"a": {}', b'"b": {"c": 1} /* mine */')
    assert without_entries(changed, Format.JSON, [SERVER], before) == before.replace(
        b'"a": {}', b'"b": {"c": 1} /* mine */'
    )


def test_a_file_that_was_made_for_the_entry_is_empty_without_it() -> None:
    for form, entry in ((Format.JSON, SERVER), (Format.TOML, TOML_ENTRY), (Format.YAML, YAML_ENTRY)):
        after = with_entries(b"", form, [entry])
        assert without_entries(after, form, [entry], None) == b""
    noted = with_entries(b"", Format.JSON, [SERVER]).replace(b"{\n", b"{\n  // mine\n", 1)
    assert b"// mine" in without_entries(noted, Format.JSON, [SERVER], None)


# --- TOML and YAML --------------------------------------------------------------------------------------------------

TOML_PARTS = st.lists(
    st.sampled_from(
        [
            "# a comment",
            "",
            'model = "o4"',
            "[tools] # [mcp_servers.openai-gateway]",
            "web = true",
            "[mcp_servers.other]",
            'command = "x"',
            '[ mcp_servers . "quoted.name" ]',
            'text = """\n[no.header]\n"""',
            "[[list]]",
            "list = [\n  1, # [x]\n  2,\n]",
            "[mcp_servers.other.env]",
            'K = "v"',
            "[profiles.'openai-gateway']",
        ]
    ),
    max_size=10,
)


@given(TOML_PARTS, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\n"]), st.sampled_from([b"", BOM]))
@settings(max_examples=200)
def test_everything_else_of_a_toml_file_stays_byte_for_byte(
    parts: list[str], newline: str, end: str, bom: bytes
) -> None:
    text = (newline.join(parts) + end).replace("\r\n", "\n").replace("\n", newline)
    before = bom + text.encode()
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(Unreadable):
            with_entries(before, Format.TOML, [TOML_ENTRY])
        return
    after = with_entries(before, Format.TOML, [TOML_ENTRY])
    assert after.startswith(before)
    servers = {**data.get("mcp_servers", {}), "openai-gateway": VALUE}
    assert tomllib.loads(after.removeprefix(BOM).decode()) == {**data, "mcp_servers": servers}
    assert with_entries(after, Format.TOML, [TOML_ENTRY]) == after
    assert without_entries(after, Format.TOML, [TOML_ENTRY], before) == before


def test_a_toml_table_in_the_midst_of_others_is_taken_out_alone() -> None:
    ours = '[mcp_servers.openai-gateway]\ncommand = "old"\n\n[mcp_servers.openai-gateway.env]\nA = "b"\n'
    text = f"[a]\nx = 1\n\n{ours}\n# about b\n[b]\ny = 2\n"
    bare = without_entries(text.encode(), Format.TOML, [TOML_ENTRY], b"")
    assert bare.decode() == "[a]\nx = 1\n\n# about b\n[b]\ny = 2\n"


@pytest.mark.parametrize(
    "text",
    [
        'mcp_servers = { openai-gateway = { command = "x" } }\n',
        'mcp_servers.openai-gateway.command = "x"\n',
        '[mcp_servers]\nopenai-gateway.command = "x"\n',
        "[[mcp_servers]]\n",
        "mcp_servers = 1\n",
    ],
)
def test_toml_that_says_it_in_another_way_is_left_to_a_person(text: str) -> None:
    with pytest.raises(Unreadable):
        with_entries(text.encode(), Format.TOML, [TOML_ENTRY])


YAML_PARTS = st.lists(
    st.sampled_from(
        [
            "# a comment",
            "",
            "GOOSE_MODEL: o4",
            "extensions:\n  developer:\n    enabled: true\n    type: builtin",
            "extensions: # mine\n    # 1\n    memory:\n        text: |\n            openai-gateway:\n              x",
            "extensions:",
            "other:\n  openai-gateway: 1",
            "quoted: 'extensions:'",
        ]
    ),
    max_size=6,
)


@given(YAML_PARTS, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\n"]), st.sampled_from([b"", BOM]))
@settings(max_examples=200)
def test_everything_else_of_a_yaml_file_stays_byte_for_byte(
    parts: list[str], newline: str, end: str, bom: bytes
) -> None:
    text = (newline.join(parts) + end).replace("\r\n", "\n").replace("\n", newline)
    before = bom + text.encode()
    data = yaml.safe_load(text) or {}
    try:
        after = with_entries(before, Format.YAML, [YAML_ENTRY])
    except Unreadable:
        assert len(re.findall("^extensions:", text, re.MULTILINE)) > 1  # nobody knows which counts
        return
    extensions = {**(data.get("extensions") or {}), "openai-gateway": VALUE}
    assert yaml.safe_load(after.removeprefix(BOM).decode()) == {**data, "extensions": extensions}
    assert is_within(before, after)
    assert with_entries(after, Format.YAML, [YAML_ENTRY]) == after
    assert without_entries(after, Format.YAML, [YAML_ENTRY], before) == before


@pytest.mark.parametrize(
    "text", ["extensions: {a: {b: 1}}\n", "- a\n", "a: [\n", "a: &x 1\nextensions: *x\n", "extensions: 7\n"]
)
def test_yaml_that_says_it_in_another_way_is_left_to_a_person(text: str) -> None:
    with pytest.raises(Unreadable):
        with_entries(text.encode(), Format.YAML, [YAML_ENTRY])
