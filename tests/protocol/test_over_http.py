"""What a POST's headers and body must say together: each way to be wrong, with its status and its code."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook import CAPABILITIES, LOG_LEVEL, VERSION, initialize, meta, modern, notification, request
from tests.protocol.offering import FULL as OFFER

from openai_gateway_mcp.protocol.events import Era
from openai_gateway_mcp.protocol.jsonrpc import Batch, Notification, Request, Response
from openai_gateway_mcp.protocol.model import Server, Tool
from openai_gateway_mcp.protocol.over_http import Posted, Refused, encoded, mirrored, mirrors, read_post, status_of

Json = Any
V = "2026-07-28"
MIRRORED = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "urgent": {"type": "boolean", "x-mcp-header": "Urgent"},
        "where": {"type": "object", "properties": {"city": {"type": "string", "x-mcp-header": "City"}}},
        "nothing": True,
    },
}
SERVER: Server = attrs.evolve(
    OFFER,
    tools=(*OFFER.tools, Tool(name="mirrors", title="M", description="M.", input_schema=MIRRORED)),
)


def post(body: Json, /, **fields: str | tuple[str, ...]) -> Posted:
    """As it came, with `Mcp_Method` standing for the header Mcp-Method."""
    named = {
        name.lower().replace("_", "-"): value if isinstance(value, tuple) else (value,)
        for name, value in fields.items()
    }
    return read_post(body if isinstance(body, bytes) else json.dumps(body).encode(), named, SERVER)


def refused(body: Json, /, **fields: str | tuple[str, ...]) -> tuple[int, int, Json, str]:
    """The status, and the error's code, id and words."""
    with pytest.raises(Refused) as caught:
        post(body, **fields)
    message = json.loads(caught.value.body)
    return caught.value.status, message["error"]["code"], message["id"], message["error"]["message"]


def head(method: str, name: str | None = None) -> dict[str, str]:
    named = {} if name is None else {"Mcp_Name": name}
    return {"Mcp_Protocol_Version": V, "Mcp_Method": method, **named}


def call(tool: str, **arguments: Json) -> Json:
    return modern(1, "tools/call", name=tool, arguments=arguments)


# --- the eras -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("legacy/http-version")
def test_what_says_nothing_of_a_version_is_of_the_revision_before_the_header() -> None:
    posted = post(request(1, "tools/list"))
    assert isinstance(posted.message, Request)
    assert (posted.era, posted.legacy.name) == (Era.LEGACY, "2025-03-26")


def test_the_header_tells_the_legacy_revision() -> None:
    assert post(request(1, "tools/list"), Mcp_Protocol_Version="2025-06-18").legacy.name == "2025-06-18"


def test_a_modern_request_whose_headers_agree() -> None:
    posted = post(modern(1, "tools/list"), **head("tools/list"))
    assert isinstance(posted.message, Request)
    assert (posted.message.method, posted.era, posted.legacy.name) == ("tools/list", Era.MODERN, "2025-11-25")


def test_an_opening_is_legacy_whatever_it_asks_for() -> None:
    assert post(initialize(1, "2099-01-01")).era is Era.LEGACY


def test_batches_notifications_and_answers_are_let_through_in_the_legacy_era() -> None:
    assert isinstance(post([request(1, "ping")]).message, Batch)
    assert isinstance(post(notification("notifications/initialized")).message, Notification)
    assert isinstance(post({"jsonrpc": "2.0", "id": 1, "result": {}}).message, Response)


def test_a_modern_notification_needs_no_method_in_its_head() -> None:
    note = notification("notifications/cancelled", requestId=1, _meta=meta())
    assert post(note, Mcp_Protocol_Version=V).era is Era.MODERN
    assert post(note, **head("notifications/cancelled")).era is Era.MODERN
    assert refused(note, **head("tools/list"))[:3] == (400, -32020, None)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_a_request_about_a_task_may_leave_out_its_name_but_say_no_other(method: str) -> None:
    asked = modern(1, method, taskId="t1", inputResponses={})
    assert post(asked, **head(method)).era is Era.MODERN
    assert post(asked, **head(method, "t1")).era is Era.MODERN
    assert refused(asked, **head(method, "t2"))[:3] == (400, -32020, 1)


# --- what is refused ------------------------------------------------------------------------------------------------

LISTED = modern(1, "tools/list")
BARE = request(1, "tools/list")


@pytest.mark.requirement("http/one-message")
@pytest.mark.requirement("http/version-header")
@pytest.mark.requirement("http/unsupported-version")
@pytest.mark.requirement("http/unknown-method")
@pytest.mark.requirement("http/standard-headers")
@pytest.mark.requirement("legacy/http-version")
@pytest.mark.requirement("base/missing-meta-http")
@pytest.mark.parametrize(
    ("body", "fields", "status", "code", "id_"),
    [
        (b"{", {}, 400, -32700, None),
        (b'\xff"', {}, 400, -32700, None),
        ([], {"Mcp_Protocol_Version": V}, 400, -32600, None),
        (1, {}, 400, -32600, None),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, {"Mcp_Protocol_Version": V}, 400, -32600, None),
        ({"jsonrpc": "1.0", "id": 7, "method": "ping"}, {}, 400, -32600, 7),
        (BARE, {"Mcp_Protocol_Version": "2031-01-01"}, 400, -32022, 1),
        (BARE, {"Mcp_Protocol_Version": ("2025-06-18", "2025-11-25")}, 400, -32020, 1),
        (BARE, head("tools/list"), 400, -32602, 1),
        (request(1, "tools/list", _meta=3), head("tools/list"), 400, -32602, 1),
        (request(1, "server/discover"), {}, 400, -32602, 1),
        (request(1, "subscriptions/listen"), {"Mcp_Protocol_Version": "2025-11-25"}, 400, -32602, 1),
        (LISTED, {}, 400, -32020, 1),
        (LISTED, {"Mcp_Method": "tools/list"}, 400, -32020, 1),
        (LISTED, {**head("tools/list"), "Mcp_Protocol_Version": "2025-11-25"}, 400, -32020, 1),
        (LISTED, {**head("tools/list"), "Mcp_Protocol_Version": (V, V)}, 400, -32020, 1),
        (LISTED, {"Mcp_Protocol_Version": V}, 400, -32020, 1),
        (LISTED, head("tools/call"), 400, -32020, 1),
        (LISTED, head("TOOLS/LIST"), 400, -32020, 1),
        (LISTED, {**head("tools/list"), "Mcp_Method": ("tools/list", "tools/list")}, 400, -32020, 1),
        (request(1, "tools/list", _meta={VERSION: V}), head("tools/list"), 400, -32602, 1),
        (request(1, "tools/list", _meta={VERSION: 3, CAPABILITIES: {}}), head("tools/list"), 400, -32602, 1),
        (modern(1, "tools/list", _meta=meta() | {LOG_LEVEL: "loud"}), head("tools/list"), 400, -32602, 1),
        (
            modern(1, "tools/list", _meta=meta("2031-01-01")),
            {"Mcp_Protocol_Version": "2031-01-01", "Mcp_Method": "tools/list"},
            400,
            -32022,
            1,
        ),
        (modern(1, "no/such"), head("no/such"), 404, -32601, 1),
        (modern(1, "ping"), head("ping"), 404, -32601, 1),
        (call("mirrors"), head("tools/call"), 400, -32020, 1),
        (call("mirrors"), head("tools/call", "other"), 400, -32020, 1),
        (call("mirrors"), head("tools/call", "=?base64?!!?="), 400, -32020, 1),
        (call("mirrors"), head("tools/call", "=?base64?/w==?="), 400, -32020, 1),
        (call("mirrors"), head("tools/call", "=?base64?bWly!cm9ycw==?="), 400, -32020, 1),
        (call("mirrors"), head("tools/call", "m\xefrrors"), 400, -32020, 1),
        (call("mirrors"), head("tools/call", "=?BASE64?bWlycm9ycw==?="), 400, -32020, 1),
        (modern(1, "resources/read", uri="a:b"), head("resources/read", "a:c"), 400, -32020, 1),
        (modern(1, "prompts/get", name="a"), head("prompts/get"), 400, -32020, 1),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_refused(
    body: Json, fields: dict[str, str | tuple[str, ...]], status: int, code: int, id_: Json
) -> None:
    assert refused(body, **fields)[:3] == (status, code, id_)


MIRRORED_CALL = call("mirrors", region="us")
FOR_MIRRORS = {"Mcp_Protocol_Version": V, "Mcp_Method": "tools/call", "Mcp_Name": "mirrors"}


@pytest.mark.parametrize(
    ("body", "fields", "words"),
    [
        (LISTED, {}, "MCP-Protocol-Version is missing"),
        (LISTED, {"Mcp_Protocol_Version": "2025-11-25"}, "MCP-Protocol-Version is not what _meta says"),
        (LISTED, {"Mcp_Protocol_Version": (V, V)}, "MCP-Protocol-Version comes more than once"),
        (LISTED, {"Mcp_Protocol_Version": V}, "Mcp-Method is missing"),
        (LISTED, head("tools/call"), "Mcp-Method is not what the body says"),
        (LISTED, head("l\xefst"), "Mcp-Method has characters that must be encoded"),
        (MIRRORED_CALL, head("tools/call"), "Mcp-Name is missing"),
        (MIRRORED_CALL, head("tools/call", "=?base64?/w==?="), "Mcp-Name has no Base64 of UTF-8 in its marks"),
        (MIRRORED_CALL, FOR_MIRRORS, "Mcp-Param-Region is missing"),
        (MIRRORED_CALL, FOR_MIRRORS | {"Mcp_Param_Region": "eu"}, "Mcp-Param-Region is not what the body says"),
        (
            MIRRORED_CALL,
            FOR_MIRRORS | {"Mcp_Param_Region": "us", "Mcp_Param_Count": "1"},
            "Mcp-Param-Count is of an argument that the body does not have",
        ),
    ],
)  # fmt: skip
def test_a_header_that_does_not_agree_is_named(
    body: Json, fields: dict[str, str | tuple[str, ...]], words: str
) -> None:
    assert refused(body, **fields)[3] == f"Header mismatch: {words}"


@pytest.mark.parametrize(
    ("body", "fields", "words"),
    [
        (1, {}, "Invalid Request: a message is a JSON object"),
        ([], {"Mcp_Protocol_Version": V}, "Invalid Request: the body must be a request or a notification"),
        (BARE, head("tools/list"), f"Invalid params: _meta must have {VERSION}, as the header has it"),
        (modern(1, "no/such"), head("no/such"), "Method not found: 'no/such'"),
    ],
)
def test_a_body_that_is_refused_is_told_why(body: Json, fields: dict[str, str], words: str) -> None:
    assert refused(body, **fields)[3] == words


@pytest.mark.requirement("http/unsupported-version")
def test_the_versions_that_there_are_come_with_the_refusal() -> None:
    with pytest.raises(Refused) as caught:
        post(BARE, Mcp_Protocol_Version="2031-01-01")
    assert json.loads(caught.value.body)["error"]["data"] == {"supported": [V], "requested": "2031-01-01"}


@pytest.mark.parametrize(
    ("method", "member"),
    [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("tasks/get", "taskId"),
        ("tasks/update", "taskId"),
        ("tasks/cancel", "taskId"),
    ],
)
def test_the_head_names_what_the_body_names(method: str, member: str) -> None:
    body = modern(1, method, **{member: "a"})
    assert post(body, **head(method, "a")).era is Era.MODERN
    assert refused(body, **head(method, "b"))[:2] == (400, -32020)


@pytest.mark.parametrize(
    ("method", "member"), [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")]
)
def test_a_head_without_a_name_is_refused(method: str, member: str) -> None:
    assert refused(modern(1, method, **{member: "a"}), **head(method))[:2] == (400, -32020)


def test_a_name_that_is_no_string_is_judged_where_params_are_read() -> None:
    assert post(modern(1, "tools/call", name=3), **head("tools/call")).era is Era.MODERN


# --- names and arguments in headers ---------------------------------------------------------------------------------


@pytest.mark.requirement("http/encoding")
@pytest.mark.parametrize("name", ["mirrors", "=?base64?bWlycm9ycw==?="])
def test_a_name_may_be_encoded(name: str) -> None:
    assert post(call("mirrors"), **head("tools/call", name)).era is Era.MODERN


@pytest.mark.requirement("http/encoding")
@given(st.text())
def test_what_is_encoded_reads_back(value: str) -> None:
    field = encoded(value)
    assert field.isascii()
    assert field == field.strip()
    posted = modern(1, "resources/read", uri=value)
    assert post(posted, **head("resources/read", field)).era is Era.MODERN


def test_only_what_needs_it_is_encoded() -> None:
    assert encoded("us-west1 a") == "us-west1 a"
    assert encoded("X-ray in X") == "X-ray in X"
    assert encoded("\ud800") == "=?base64?7aCA?="
    assert encoded(" padded ") == "=?base64?IHBhZGRlZCA=?="
    assert encoded("line1\nline2") == "=?base64?bGluZTEKbGluZTI=?="
    assert encoded("=?base64?literal?=") == "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="
    assert encoded("Hello, 世界") == "=?base64?SGVsbG8sIOS4lueVjA==?="
    assert encoded("a\tb") == f"=?base64?{base64.b64encode(b'a' + bytes([9]) + b'b').decode()}?="


def test_the_arguments_that_a_schema_mirrors() -> None:
    assert dict(mirrored(MIRRORED)) == {
        "Region": ("region",),
        "Count": ("count",),
        "Urgent": ("urgent",),
        "City": ("where", "city"),
    }


def test_a_property_that_says_nothing_hides_no_other() -> None:
    schema = {"properties": {"any": True, "region": {"x-mcp-header": "Region"}}}
    assert dict(mirrored(schema)) == {"Region": ("region",)}


ARGUMENTS: Json = {"region": "us", "count": 42, "urgent": True, "where": {"city": "Köln"}}
FIELDS = {
    "Mcp_Param_Region": "us",
    "Mcp_Param_Count": "42",
    "Mcp_Param_Urgent": "true",
    "Mcp_Param_City": encoded("Köln"),
}


def test_what_a_client_puts_into_headers_is_what_the_server_wants_to_see() -> None:
    wanted = tuple(mirrored(MIRRORED))
    assert mirrors(wanted, ARGUMENTS) == {
        "mcp-param-region": "us",
        "mcp-param-count": "42",
        "mcp-param-urgent": "true",
        "mcp-param-city": encoded("Köln"),
    }
    assert mirrors(wanted, {"region": ["us"], "urgent": False}) == {"mcp-param-urgent": "false"}
    assert mirrors(wanted, None) == {}


@pytest.mark.requirement("http/custom-headers")
@pytest.mark.parametrize("count", ["42", "42.0", "4.2e1", "4.2E1", "4200e-2"])
def test_numbers_are_compared_as_numbers(count: str) -> None:
    fields = {**head("tools/call", "mirrors"), **FIELDS, "Mcp_Param_Count": count}
    assert post(call("mirrors", **ARGUMENTS), **fields).era is Era.MODERN


def test_whole_numbers_are_compared_to_the_last_digit() -> None:
    body = call("mirrors", count=2**53 + 1)
    fields = head("tools/call", "mirrors")
    assert post(body, **fields, Mcp_Param_Count="9007199254740993").era is Era.MODERN
    assert refused(body, **fields, Mcp_Param_Count="9007199254740992")[:2] == (400, -32020)


@pytest.mark.requirement("http/omitted-headers")
def test_arguments_that_are_not_given_have_no_header() -> None:
    fields = head("tools/call", "mirrors")
    assert post(call("mirrors", region=None, where=3), **fields).era is Era.MODERN
    assert post(modern(1, "tools/call", name="mirrors", arguments=[]), **fields).era is Era.MODERN


@pytest.mark.requirement("http/custom-headers")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Mcp_Param_Region", "eu"),
        ("Mcp_Param_Region", ("us", "us")),
        ("Mcp_Param_Region", "us\x00"),
        ("Mcp_Param_Region", None),
        ("Mcp_Param_Count", "43"),
        ("Mcp_Param_Count", "forty-two"),
        ("Mcp_Param_Count", "0x2A"),
        ("Mcp_Param_Urgent", "True"),
        ("Mcp_Param_Urgent", "false"),
        ("Mcp_Param_City", "K"),
    ],
)
def test_a_header_that_is_not_what_the_argument_says(name: str, value: str | tuple[str, ...] | None) -> None:
    fields: dict[str, Any] = {**head("tools/call", "mirrors"), **FIELDS, name: value}
    if value is None:
        del fields[name]
    assert refused(call("mirrors", **ARGUMENTS), **fields)[:3] == (400, -32020, 1)


@pytest.mark.requirement("http/custom-headers")
def test_a_header_of_an_argument_that_is_not_there() -> None:
    fields = {**head("tools/call", "mirrors"), "Mcp_Param_Region": "us"}
    assert refused(call("mirrors"), **fields)[:3] == (400, -32020, 1)


def test_a_value_of_another_kind_than_its_schema_is_no_header_s() -> None:
    fields = {**head("tools/call", "mirrors"), "Mcp_Param_Region": "us"}
    assert refused(call("mirrors", region=["us"]), **fields)[:2] == (400, -32020)


def test_a_header_of_no_argument_is_nobody_s() -> None:
    fields = {**head("tools/call", "mirrors"), "Mcp_Param_Other": "us"}
    assert post(call("mirrors"), **fields).era is Era.MODERN


def test_false_is_false() -> None:
    fields = {**head("tools/call", "mirrors"), "Mcp_Param_Urgent": "false"}
    assert post(call("mirrors", urgent=False), **fields).era is Era.MODERN


# --- statuses -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("http/unknown-method")
@pytest.mark.parametrize(
    ("code", "modern_status", "legacy_status"),
    [
        (-32601, 404, 200),
        (-32020, 400, 200),
        (-32021, 400, 200),
        (-32022, 400, 200),
        (-32602, 200, 200),
        (1008, 503, 503),
    ],
)
def test_the_status_of_an_error(code: int, modern_status: int, legacy_status: int) -> None:
    assert status_of(code, Era.MODERN) == modern_status
    assert status_of(code, Era.LEGACY) == legacy_status
