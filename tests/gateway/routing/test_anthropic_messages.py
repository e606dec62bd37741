"""OpenAI's messages as Anthropic's system prompt and turns of blocks, and an answer that goes back."""

from __future__ import annotations

import base64
import tracemalloc
from typing import Any

import pytest

from openai_gateway.errors import GatewayError
from openai_gateway.routing.dialects.anthropic_notes import Notes
from openai_gateway.routing.dialects.anthropic_parts import Place, blocks_of
from tests.gateway.routing.asking import SAID, USER, asked, refusal, turns

Json = Any

PDF = base64.b64encode(b"%PDF-1.7").decode()
PNG = base64.b64encode(b"\x89PNG").decode()
MARK = {"type": "ephemeral"}


def image(url: str, **more: Json) -> Json:
    return {"type": "image_url", "image_url": {"url": url}, **more}


def file(**members: Json) -> Json:
    return {"type": "file", "file": members}


def part(given: Json) -> Json:
    """The block that one part of a user's message becomes."""
    (turn,) = turns({"role": "user", "content": [given]})
    (block,) = turn["content"]
    return block


@pytest.mark.parametrize(
    ("given", "block"),
    [
        ({"type": "text", "text": "x"}, {"type": "text", "text": "x"}),
        (
            {"type": "text", "text": "x", "cache_control": MARK},
            {"type": "text", "text": "x", "cache_control": MARK},
        ),
        (
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "text", "text": "x", "cache_control": MARK},
        ),
        (
            image(f"data:image/png;base64,{PNG}"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        ),
        (
            image(f"DATA:image/JPG;x=y;BASE64,{PNG}", cache_control=MARK),
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG},
                "cache_control": MARK,
            },
        ),
        (
            image("https://a.example/x.png"),
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            {"type": "image_url", "image_url": "https://a.example/x.png"},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "auto"}},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        ),
        (
            file(file_data=f"data:application/pdf;base64,{PDF}", filename="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "title": "a.pdf",
            },
        ),
        (
            file(file_data=PDF),
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ),
        (
            file(file_data=base64.b64encode("é".encode()).decode(), filename="n.TXT"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}, "title": "n.TXT"},
        ),
        (
            file(file_data="data:text/plain;charset=utf-8;base64,eA=="),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        ),
        (file(file_id="file_011"), {"type": "document", "source": {"type": "file", "file_id": "file_011"}}),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
            {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
        ),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": []},
            {"type": "search_result", "source": "s", "title": "t", "content": []},
        ),
    ],
)
def test_a_part_becomes_its_block(given: Json, block: Json) -> None:
    assert part(given) == block


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (5, "messages[0].content"),
        ({}, "messages[0].content"),
        (["x"], "messages[0].content[0]"),
        ([{"type": "input_audio", "input_audio": {}}], "messages[0].content[0]"),
        ([{"type": "image_url"}], "messages[0].content[0].image_url"),
        ([image("data:image/png,raw")], "messages[0].content[0].image_url"),
        ([{"type": "file"}], "messages[0].content[0].file"),
        ([file(filename="x.pdf")], "messages[0].content[0].file"),
        ([file(file_data="data:application/zip;base64,eA==")], "messages[0].content[0].file"),
        ([file(file_data="eA==", filename="x.docx")], "messages[0].content[0].file"),
        ([file(file_data="not base64!", filename="x.txt")], "messages[0].content[0].file"),
        ([file(file_data="/w==", filename="x.txt")], "messages[0].content[0].file"),
    ],
)
def test_a_part_that_cannot_be_carried_is_refused_by_its_place(content: Json, param: str) -> None:
    assert refusal(messages=[{"role": "user", "content": content}]).param == param


def test_what_a_part_says_beside_is_named() -> None:
    given = {"type": "image_url", "image_url": {"url": "https://a.example", "detail": "low", "x": 1}, "y": 2}
    also = {"type": "file", "file": {"file_data": PDF, "z": 1}}
    body, warnings = asked(messages=({"role": "user", "content": [given, given, also], "name": "Ada"},))
    assert warnings == (
        "takes no messages[].name: left out",
        "takes no messages[].content[].image_url.detail: left out",
        "takes no messages[].content[].image_url.x: left out",
        "takes no messages[].content[].y: left out",
        "takes no messages[].content[].file.z: left out",
    )
    assert len(body["messages"][0]["content"]) == 3


def test_system_and_developer_messages_are_the_system_prompt() -> None:
    assert asked(messages=({"role": "system", "content": "Be kind."}, USER)) == ({"system": "Be kind."}, ())
    marked = {"type": "text", "text": "Long.", "cache_control": MARK}
    body, warnings = asked(
        messages=({"role": "system", "content": "Be kind."}, {"role": "developer", "content": [marked]}, USER),
        system="Own.",
    )
    assert body["system"] == [{"type": "text", "text": "Own."}, {"type": "text", "text": "Be kind."}, marked]
    assert warnings == ()
    own = [{"type": "text", "text": "Own."}]
    assert asked(messages=({"role": "system", "content": "x"}, USER), system=own)[0]["system"] == [
        *own,
        {"type": "text", "text": "x"},
    ]


def test_a_system_message_in_the_midst_goes_to_the_front_and_that_is_said() -> None:
    body, warnings = asked(messages=(USER, {"role": "system", "content": "Now in French."}, USER))
    assert body["system"] == "Now in French."
    assert body["messages"] == [{"role": "user", "content": [*SAID["content"], *SAID["content"]]}]
    assert warnings == ("takes a system prompt at the beginning alone: later system messages were moved there",)


def test_a_message_that_is_a_cache_mark_puts_it_on_its_last_block() -> None:
    (turn,) = turns({"role": "user", "content": "x", "cache_control": MARK})
    assert turn["content"] == [{"type": "text", "text": "x", "cache_control": MARK}]


def tool_call(arguments: Json, **more: Json) -> Json:
    return {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}, **more}


def test_a_tool_loop_becomes_blocks_in_turns() -> None:
    conversation = (
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [tool_call('{"city":"Paris"}'),
                                                                      {**tool_call(""), "id": "call:2"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
        {"role": "tool", "tool_call_id": "call:2", "content": [{"type": "text", "text": "Error: no city"}]},
        {"role": "user", "content": "And?"},
    )  # fmt: skip
    assert turns(*conversation)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "call_3a_2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "12 °C"},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_3a_2",
                    "content": [{"type": "text", "text": "Error: no city"}],
                },
                {"type": "text", "text": "And?"},
            ],
        },
    ]


THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
CALLED = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}, "caller": {"type": "direct"}}
SAYS_A, SAYS_B = ({"type": "text", "text": said} for said in ("a ", "b"))
CAME: list[dict[str, Json]] = [THINKING, SAYS_A, SEARCH, SAYS_B, THINKING, CALLED]


def answer(**fields: Json) -> Json:
    """An assistant message as it came in an answer whose blocks were CAME, put together from a stream."""
    return {
        "role": "assistant",
        "content": "a b",
        "refusal": None,
        "reasoning_content": "Hm.Hm.",
        "thinking_blocks": [{**THINKING, "index": 0}, {**THINKING, "index": 1}],
        "anthropic_blocks": [{**block, "index": at} for at, block in enumerate(CAME)],
        "tool_calls": [tool_call("{}", caller={"type": "direct"}, index=0)],
        **fields,
    }


@pytest.mark.parametrize("content", ["a b", [{"type": "text", "text": "a b"}]])
def test_an_answer_goes_back_to_the_letter(content: Json) -> None:
    result = {"role": "tool", "tool_call_id": "call_1", "content": None, "is_error": True, "cache_control": MARK}
    assert turns(USER, answer(content=content), result)[1:] == [
        {"role": "assistant", "content": CAME},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "call_1", "is_error": True, "cache_control": MARK}],
        },
    ]


@pytest.mark.parametrize(
    "changed",
    [{"content": "a c"}, {"content": None}, {"tool_calls": None}, {"tool_calls": [tool_call('{"city":"Rome"}')]}],
)
def test_an_answer_that_its_caller_changed_is_made_anew_from_what_it_says(changed: Json) -> None:
    body, warnings = asked(messages=(USER, answer(**changed), USER))
    blocks = body["messages"][1]["content"]
    assert warnings == ("takes no messages[].anthropic_blocks: left out (content or tool_calls say something else)",)
    assert blocks[:2] == [THINKING, THINKING]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert texts == ([changed["content"]] if changed.get("content") else [] if "content" in changed else ["a b"])
    assert [block for block in blocks if block["type"] == "server_tool_use"] == []


def test_thinking_alone_goes_back_before_all_else() -> None:
    message = answer(anthropic_blocks=None, tool_calls=None, content="a b ", cache_control=MARK)
    assert turns(USER, message, USER)[1]["content"] == [
        THINKING,
        THINKING,
        {"type": "text", "text": "a b ", "cache_control": MARK},
    ]


def test_what_an_assistant_said_beside_is_named() -> None:
    function = {"name": "weather", "arguments": "{}", "thought": "x"}
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        "refusal": "c",
        "reasoning_content": "unsigned",
        "annotations": [{"type": "url_citation"}],
        "tool_calls": [{**tool_call("{}"), "extra_content": {"x": 1}, "function": function}],
    }
    body, warnings = asked(messages=(USER, message, USER))
    assert [block["text"] for block in body["messages"][1]["content"][:-1]] == ["a", "b", "c"]
    assert warnings == (
        "takes no messages[].annotations: left out",
        "takes no messages[].tool_calls[].extra_content: left out",
        "takes no messages[].tool_calls[].function.thought: left out",
        "takes no messages[].reasoning_content: left out (only thinking_blocks hold the signature it needs)",
    )


def test_texts_of_nothing_are_dropped_beside_others_and_empty_turns_vanish() -> None:
    blank = {"role": "assistant", "content": " \n"}
    assert turns(USER, blank, {"role": "user", "content": [{"type": "text", "text": ""}, *SAID["content"]]}) == [
        {"role": "user", "content": [*SAID["content"], *SAID["content"]]}
    ]
    assert turns({"role": "user", "content": ""}) == [{"role": "user", "content": [{"type": "text", "text": ""}]}]
    assert turns({"role": "user", "content": None}) == []


def test_a_last_assistant_message_is_continued_and_loses_white_space_at_its_end() -> None:
    assert turns(USER, {"role": "assistant", "content": "The answer is"})[1]["content"][0]["text"] == "The answer is"
    body, warnings = asked(messages=(USER, {"role": "assistant", "content": "The answer is \n"}))
    assert body["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "The answer is"}]}
    assert warnings == ("takes no white space at the end of a last assistant message: it was cut off there",)
    called = turns(USER, {"role": "assistant", "content": "x ", "tool_calls": [tool_call("{}")]})
    assert called[1]["content"][0]["text"] == "x "


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ("x", "messages"),
        ([5], "messages[0]"),
        ([{"role": "function", "name": "f", "content": "x"}], "messages[0].role"),
        ([{"role": ["user"]}], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "tool", "tool_call_id": "x", "content": 5}], "messages[0].content"),
        ([{"role": "assistant", "function_call": {}}], "messages[0].function_call"),
        ([{"role": "assistant", "audio": {"id": "x"}}], "messages[0].audio"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "messages[0].tool_calls[0]"),
        ([{"role": "assistant", "tool_calls": [{"id": "x", "type": "custom"}]}], "messages[0].tool_calls[0].function"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "messages[0].tool_calls[0].id"),
        ([{"role": "assistant", "tool_calls": [tool_call("{")]}], "messages[0].tool_calls[0].function.arguments"),
        ([{"role": "assistant", "tool_calls": [tool_call("[]")]}], "messages[0].tool_calls[0].function.arguments"),
        ([{"role": "assistant", "tool_calls": [tool_call(7)]}], "messages[0].tool_calls[0].function.arguments"),
        ([{"role": "assistant", "thinking_blocks": [5]}], "messages[0].thinking_blocks[0]"),
        ([{"role": "assistant", "anthropic_blocks": {}}], "messages[0].anthropic_blocks"),
    ],
)
def test_a_message_that_cannot_be_carried_is_refused_by_its_place(messages: Json, param: str) -> None:
    error = refusal(messages=messages)
    assert error.param == param
    assert error.message.startswith(param)


def test_arguments_that_are_an_object_already_are_taken() -> None:
    (_, turn) = turns(USER, {"role": "assistant", "tool_calls": [tool_call({"a": 1})]})
    assert turn["content"][0]["input"] == {"a": 1}
    (_, turn) = turns(USER, {"role": "assistant", "tool_calls": [tool_call(None)]})
    assert turn["content"][0]["input"] == {}


def test_a_data_url_of_parameters_alone_takes_no_more_room_than_it_has() -> None:
    """A pattern that remembers each takes 150 bytes for a semicolon, and a caller may send 32 million of them."""
    url = "data:" + ";" * 1_000_000
    place = Place(param="p", notes=Notes(target="t"))
    tracemalloc.start()
    try:
        with pytest.raises(GatewayError, match="no data URL"):
            blocks_of([{"type": "image_url", "image_url": {"url": url}}], place)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(url)


def test_of_members_that_nobody_knows_a_hundred_are_named() -> None:
    notes = Notes(target="t")
    notes.kept({f"x{number}": 1 for number in range(10_000)}, frozenset(), frozenset(), "messages[]")
    assert len(notes.warnings) == 100
