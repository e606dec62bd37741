"""What the specification demands of a server, a row each, with the tests that prove it.

MODERN holds revision 2026-07-28; LEGACY, in `requirements_legacy`, what the older ones demand beside or instead of it;
TASKS, in `requirements_tasks`, what the extension does. `test_requirements` keeps rows and tests true to each other,
and the rows and the demands that `specification/census` counts, each both ways. A table reads:

    page <page below SPECIFICATION, or its whole address>
    <id> (<anchor of the page>)
        One sentence of our own words.
        = <test that proves it, below tests/>
        ~ why no test is needed: it is another's duty, or nothing of ours does it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urljoin

import attrs

SPECIFICATION: Final = "https://modelcontextprotocol.io/specification/"

_HEAD: Final = re.compile(r"(?P<id>[a-z/0-9-]+) \((?P<anchor>[a-z0-9-]*)\)")


@attrs.frozen
class Row:
    """One demand: either `tests` prove it, or `because` says why none is needed."""

    id: str
    link: str
    says: str
    tests: tuple[str, ...]
    because: str


def read_table(text: str) -> tuple[Row, ...]:
    """The rows of a table; ValueError for a line that fits nowhere."""
    return tuple(_rows(text))


def _rows(text: str) -> Iterator[Row]:
    page = ""
    for block in re.split(r"\n(?=\S)", text.strip()):
        head, *body = block.strip().splitlines()
        if head.startswith("page "):
            page = head.removeprefix("page ")
            continue
        match = _HEAD.fullmatch(head)
        if match is None:
            raise ValueError(f"neither a page nor a row: {head!r}")
        lines = [line.strip() for line in body]
        anchor = f"#{match['anchor']}" if match["anchor"] else ""
        yield Row(
            id=match["id"],
            link=urljoin(SPECIFICATION, page) + anchor,
            says=" ".join(line for line in lines if line[0] not in "=~"),
            tests=tuple(line.removeprefix("= ") for line in lines if line[0] == "="),
            because=" ".join(line.removeprefix("~ ") for line in lines if line[0] == "~"),
        )


IN_PLAIN_WORDS: Final = frozenset(
    {"completion/at-most-100", "legacy/one-message", "stdio/one-message", "versioning/eras-by-opening"}
)
"""Rows for what the specification says without MUST or SHOULD: its census has no demand for them."""


MODERN: Final = read_table("""
page 2026-07-28/basic/index

base/jsonrpc (messages)
    Every message follows JSON-RPC 2.0, and one that does not is refused.
    = protocol/test_jsonrpc.py::test_an_unreadable_line_is_a_parse_error_without_an_id_and_the_connection_goes_on
    = protocol/test_jsonrpc.py::test_a_value_that_is_no_object_is_an_invalid_request_without_an_id
    = protocol/test_jsonrpc.py::test_a_request_that_is_not_json_rpc_2_is_invalid
base/patterns (message-patterns)
    Base protocol, versioning and the message patterns are there in every implementation.
    = protocol/test_eras.py::test_a_modern_request_needs_no_opening
    = protocol/test_listens.py::test_a_listen_is_acknowledged_first_under_its_own_id
base/id-type (requests)
    A request has an id, a string or an integer.
    = protocol/test_jsonrpc.py::test_an_id_that_is_neither_string_nor_integer_is_an_invalid_request
base/id-not-null (requests)
    The id of a request is not null.
    = protocol/test_jsonrpc.py::test_an_id_that_is_neither_string_nor_integer_is_an_invalid_request
base/ids-unique (requests)
    An id that still waits for its response is not used for another request.
    = protocol/test_jsonrpc.py::test_an_id_in_flight_is_refused_and_the_first_call_goes_on
base/id-echoed (responses)
    A response, result or error, has the id of its request, and a request has one response.
    = protocol/test_jsonrpc.py::test_an_id_comes_back_exactly_as_it_was
    = protocol/test_end.py::test_a_call_cannot_be_answered_twice
base/response-shape (result-responses)
    A result response has a result.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request
base/result-type (result-responses)
    Every result says its resultType.
    = protocol/test_eras.py::test_modern_lists_are_complete_and_cacheable_and_name_the_server
    = protocol/test_dressing.py::test_every_modern_result_is_complete_and_no_legacy_one_says_so
base/result-types-known (resulttype)
    A resultType is one of the specification's or of an advertised extension's.
    = protocol/test_tasks.py::test_a_call_of_a_client_that_knows_tasks_may_be_answered_with_one
    = protocol/test_dressing.py::test_every_modern_result_is_complete_and_no_legacy_one_says_so
base/error-shape (error-responses)
    An error response has an error with an integer code and a message.
    = protocol/test_transcript.py::test_the_core_sends_only_error_codes_that_are_defined_for_the_revision
    = protocol/test_end.py::test_a_call_that_ends_without_an_answer_is_an_internal_error
    = protocol/test_end.py::test_a_fault_goes_out_with_its_code_message_and_data
base/legacy-codes (error-codes)
    No new code is taken from -32000 to -32019.
    = protocol/test_transcript.py::test_the_core_sends_only_error_codes_that_are_defined_for_the_revision
    = protocol/test_transcript.py::test_every_code_of_the_core_lies_in_a_range_that_allows_it
base/reserved-codes (error-codes)
    From -32020 to -32099 only the codes of the specification are sent, each for what it means.
    = protocol/test_transcript.py::test_the_core_sends_only_error_codes_that_are_defined_for_the_revision
    = protocol/test_transcript.py::test_every_code_of_the_core_lies_in_a_range_that_allows_it
base/retired-codes (error-codes)
    The codes that only older revisions had (-32002, -32042) are not sent in this one.
    = protocol/test_eras.py::test_a_missing_resource_has_a_code_of_its_own_in_each_era
base/notification-unanswered (notifications)
    A notification is never responded to.
    = protocol/test_jsonrpc.py::test_a_notification_is_never_answered_not_even_when_it_is_wrong
base/notification-no-id (notifications)
    A notification has no id.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request
base/stateless (statelessness)
    No earlier request on the connection tells anything about this one: its own _meta says all.
    = protocol/test_eras.py::test_a_modern_request_needs_no_opening
    = protocol/test_eras.py::test_both_eras_interleave_on_one_connection
base/explicit-state (statelessness)
    State that outlives a request is named by an identifier in each request.
    = features/test_chat.py::test_a_conversation_goes_on_by_its_handle
    = features/test_tasks.py::test_another_callers_task_and_one_that_has_expired_are_not_there
base/schema-dialect (schema-dialect)
    Schemas are read as JSON Schema 2020-12 where they do not say otherwise.
    ~ the server takes no schema from a client; its own are plain enough to mean the same in every dialect
base/schema-validated (implementation-requirements)
    A schema is validated by its dialect, and a dialect that is not known is refused with an error.
    ~ the server takes no schema from a client
base/schema-valid (schema-validation)
    A schema is valid in its dialect.
    = features/test_application.py::test_each_schema_is_of_the_sort_that_breaks_no_client
base/schema-refs (ref-resolution)
    A $ref to the network is not followed by default.
    ~ the server resolves no $ref, and its own schemas have none
base/meta-assumptions (meta)
    Nothing is assumed about the values of reserved _meta keys: they are checked.
    = protocol/test_eras.py::test_malformed_modern_meta_is_refused
    = protocol/test_eras.py::test_meta_that_is_no_object_is_refused
base/meta-keys (meta)
    A _meta key has a well-formed name and, where it is not reserved, a well-formed prefix that is not MCP's.
    ~ all of our own have one prefix, openai-gateway-mcp/, which is well-formed and not reserved
base/missing-meta (meta)
    A request without the required _meta fields is refused with -32602.
    = protocol/test_eras.py::test_malformed_modern_meta_is_refused
    = protocol/test_eras.py::test_modern_meta_without_capabilities_is_refused
    = protocol/test_eras.py::test_the_modern_methods_without_modern_meta_lack_their_params
base/missing-meta-http (meta)
    Over HTTP such a request, and one that lacks a capability, has the status 400.
    = protocol/test_over_http.py::test_what_does_not_agree_is_refused
    = transports/test_http.py::test_a_question_that_the_client_cannot_be_asked_is_400
base/capabilities (meta)
    What needs a capability that the client did not declare is refused with -32021, which names it.
    = protocol/test_rounds.py::test_nobody_is_asked_for_what_they_cannot_give
base/subscription-id (meta)
    What is sent on a subscription carries the subscription's id.
    = protocol/test_listens.py::test_a_listen_is_acknowledged_first_under_its_own_id
    = protocol/test_listens.py::test_each_listen_gets_what_it_asked_for_and_nothing_else
base/trace-context (meta)
    traceparent, tracestate and baggage have the formats of the W3C.
    ~ the server sends none
base/icons (icons)
    Icons are treated as untrusted, and only of safe schemes.
    ~ the client's duty; the server offers no icons
base/new-codes (error-codes)
    A new code for what the specification does not name lies outside the range that JSON-RPC reserves.
    = protocol/test_transcript.py::test_every_code_of_the_core_lies_in_a_range_that_allows_it
    = protocol/test_parking.py::test_the_error_for_overload_lies_outside_the_reserved_range
base/error-words (error-codes)
    The message of an error is one short sentence.
    = protocol/test_words.py::test_what_is_no_request
    = protocol/test_words.py::test_what_is_wrong_in_params
base/server-info (meta)
    Every result names the server.
    = protocol/test_eras.py::test_discovery_tells_versions_capabilities_and_identity
    = protocol/test_eras.py::test_modern_lists_are_complete_and_cacheable_and_name_the_server
base/client-info (meta)
    What a client says of itself changes nothing and is no ground for trust.
    = protocol/test_eras.py::test_what_a_client_says_of_itself_changes_nothing
    = protocol/test_eras.py::test_modern_meta_needs_no_client_info

page 2026-07-28/basic/versioning

versioning/unsupported (protocol-version-negotiation)
    A version that is not implemented is refused with -32022 and the list of those that are.
    = protocol/test_eras.py::test_an_unsupported_version_is_answered_with_the_modern_ones
versioning/discover (protocol-version-negotiation)
    server/discover is implemented.
    = protocol/test_eras.py::test_discovery_tells_versions_capabilities_and_identity
versioning/extension-names (extension-negotiation)
    The identifier of an extension has a prefix and follows the rules for _meta keys.
    = protocol/test_tasks.py::test_discovery_tells_that_tasks_are_offered
versioning/extension-fallback (extension-negotiation)
    Where one side lacks an extension, the other keeps to the core protocol or refuses.
    = protocol/test_tasks.py::test_a_client_that_does_not_is_never
    = features/test_tasks.py::test_a_client_that_knows_no_tasks_gets_the_partial_answer
versioning/eras-by-opening (backward-compatibility-with-initialization-based-versions)
    A server of both eras goes by how each request comes: modern _meta, or an initialize before.
    = protocol/test_eras.py::test_both_eras_interleave_on_one_connection

page 2026-07-28/basic/patterns/index

patterns/no-server-requests ()
    A server makes no requests.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request

page 2026-07-28/basic/patterns/mrtr

mrtr/the-only-way-to-ask ()
    What a server wants of a client it says in a result, not in a request.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request
mrtr/only-three-methods (supported-requests)
    Only prompts/get, resources/read and tools/call may be answered with input_required.
    = protocol/test_dressing.py::test_every_modern_result_is_complete_and_no_legacy_one_says_so
    = protocol/test_rounds.py::test_a_handler_must_ask_for_something_where_questions_are_allowed
mrtr/unique-keys (server-requirements-basic-workflow)
    The keys of inputRequests are unique, and their values are requests that a server may make.
    = protocol/test_rounds.py::test_a_question_and_its_answer
mrtr/request-state (server-requirements-basic-workflow)
    A requestState that comes back is the client's to forge: it is authenticated, or refused.
    = protocol/test_rounds.py::test_a_changed_state_is_refused
    = protocol/test_rounds.py::test_a_state_is_good_for_one_caller_s_one_request
    = protocol/test_rounds.py::test_a_state_expires
mrtr/single-use (server-requirements-basic-workflow)
    A requestState that holds once is enforced by the server to hold once.
    ~ nothing of ours may be asked for only once
mrtr/not-empty (server-requirements-basic-workflow)
    An input_required result has inputRequests or requestState.
    = protocol/test_rounds.py::test_a_handler_must_ask_for_something_where_questions_are_allowed
mrtr/declared (server-requirements-basic-workflow)
    Nothing is asked that the client did not declare to support, and no answer to it is counted on.
    = protocol/test_rounds.py::test_nobody_is_asked_for_what_they_cannot_give
mrtr/replay (server-requirements-basic-workflow)
    A requestState says for whom, for which request and until when it holds.
    = protocol/test_rounds.py::test_a_state_is_good_for_one_caller_s_one_request
    = protocol/test_rounds.py::test_a_state_expires
mrtr/answers-validated (error-handling)
    Answers that have not the shape of answers are refused.
    = protocol/test_rounds.py::test_answers_must_be_objects

page 2026-07-28/basic/patterns/cancellation

cancellation/listen-teardown ()
    A subscription that the server ends is told so with notifications/cancelled.
    = protocol/test_listens.py::test_at_the_end_of_input_every_listen_gets_its_farewell
    = protocol/test_listens.py::test_when_we_close_every_listen_gets_its_farewell_and_the_calls_do_not
cancellation/server-sent (behavior-requirements)
    A server sends notifications/cancelled for a subscription and for nothing else.
    = protocol/test_listens.py::test_at_the_end_of_input_every_listen_gets_its_farewell
    = protocol/test_listens.py::test_when_we_close_every_listen_gets_its_farewell_and_the_calls_do_not
    = protocol/test_cancellation.py::test_a_cancelled_call_gets_no_cancellation_back
cancellation/races (timing-considerations)
    A cancellation that comes too late does no harm.
    = protocol/test_cancellation.py::test_a_cancellation_of_what_is_not_in_flight_is_ignored
    = protocol/test_cancellation.py::test_a_cancellation_that_comes_after_the_answer_is_ignored
cancellation/http (transport-specific-cancellation)
    Over HTTP a client that goes away has cancelled its request.
    = transports/test_http.py::test_who_leaves_cancels
cancellation/stops-work (behavior-requirements)
    The work for a request that was cancelled stops, and what it holds is let go.
    = transports/test_session_calls.py::test_a_cancelled_call_stops_at_once_and_is_never_answered
    = features/test_chat.py::test_cancelling_the_call_closes_the_upstream_stream
cancellation/reason (implementation-notes)
    The reason that a client gives is there to be logged.
    = protocol/test_cancellation.py::test_the_reason_is_handed_on_if_it_is_a_text
cancellation/invalid-ignored (error-handling)
    A cancellation that names nothing in flight, or makes no sense, is ignored.
    = protocol/test_cancellation.py::test_a_cancellation_of_what_is_not_in_flight_is_ignored
    = protocol/test_jsonrpc.py::test_a_notification_is_never_answered_not_even_when_it_is_wrong

page 2026-07-28/basic/patterns/progress

progress/token-type (progress-flow)
    A progress token is a string or an integer.
    = protocol/test_progress.py::test_a_token_that_is_neither_string_nor_integer_is_refused
progress/token-unique (progress-flow)
    A progress token is not that of another active request.
    ~ the client's duty; two calls with one token are reported under it, each on its own
progress/increases (progress-flow)
    The value grows with every notification.
    = protocol/test_progress.py::test_progress_only_ever_grows
progress/active-token (behavior-requirements)
    Progress is reported only under the token of an active request.
    = protocol/test_progress.py::test_progress_goes_out_under_the_clients_token
    = protocol/test_progress.py::test_without_a_token_there_is_no_progress
progress/stops (implementation-notes)
    No progress follows the completion.
    = protocol/test_progress.py::test_no_progress_follows_the_answer
progress/message (progress-flow)
    The message of a report is there for people to read.
    = protocol/test_progress.py::test_a_message_goes_with_progress_from_2025_03_26_on
    = features/test_chat.py::test_progress_counts_characters_and_never_falls_though_a_lost_answer_begins_again
progress/limited (implementation-notes)
    Reports do not flood the client.
    = transports/test_session_progress.py::test_at_most_two_reports_go_out_in_a_second

page 2026-07-28/basic/patterns/subscriptions

subscriptions/only-requested (opening-a-stream)
    A subscription gets the kinds of notification that it asked for and no other.
    = protocol/test_listens.py::test_each_listen_gets_what_it_asked_for_and_nothing_else
subscriptions/acknowledged-first (acknowledgment)
    The acknowledgement is the first message of a subscription.
    = protocol/test_listens.py::test_a_listen_is_acknowledged_first_under_its_own_id
subscriptions/graceful (graceful-closure)
    A subscription that the server ends gets its result before the stream is closed.
    = protocol/test_listens.py::test_at_the_end_of_input_every_listen_gets_its_farewell
    = transports/test_http.py::test_a_subscription_is_told_and_ended_with_its_result

page 2026-07-28/basic/transports/index

transports/utf-8 (messages)
    Messages are encoded in UTF-8.
    = protocol/test_jsonrpc.py::test_an_unreadable_line_is_a_parse_error_without_an_id_and_the_connection_goes_on
    = protocol/test_lines.py::test_only_a_newline_ends_a_line
transports/directions (messages)
    A binding carries requests and notifications in, responses and notifications out.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request
    = protocol/test_jsonrpc.py::test_a_response_that_nobody_asked_for_is_ignored_with_a_debug_line
transports/custom (custom-transports)
    A transport of one's own keeps the messages, their patterns and the metadata of each request.
    ~ WebSocket comes with its own transport, on the same core
transports/custom-told (custom-transports)
    A transport of one's own has its opening, its framing and the ways of its cancellation written down.
    ~ docs/http.md has all three of the WebSocket, and transports/test_websocket.py holds the server to it
transports/custom-framing (custom-transports)
    What runs over a stream of bytes takes the framing of stdio.
    = transports/test_stdio.py::test_a_socket_pair_each_way_as_node_clients_give
    = transports/test_stdio.py::test_one_socket_for_both_ways

page 2026-07-28/basic/transports/stdio

stdio/one-line-a-message ()
    A message is one line without a newline in it.
    = protocol/test_lines.py::test_a_message_is_a_line_and_blank_lines_are_ignored
    = protocol/test_lines.py::test_what_goes_out_is_one_ascii_line_whatever_the_text
stdio/only-messages-out ()
    Nothing but messages goes to stdout.
    = protocol/test_lines.py::test_what_goes_out_is_one_ascii_line_whatever_the_text
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request
stdio/one-message ()
    A line is a single message: there are no batches.
    = protocol/test_batches.py::test_other_revisions_refuse_an_array
    = protocol/test_batches.py::test_an_array_before_any_initialize_is_refused
stdio/no-requests (receiving-messages)
    No request goes to stdout.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request
cancellation/nothing-more (cancellation)
    Nothing more is sent for a request that was cancelled.
    = protocol/test_cancellation.py::test_a_cancelled_call_is_never_answered
    = protocol/test_cancellation.py::test_a_cancelled_call_is_never_failed
    = protocol/test_cancellation.py::test_a_cancelled_call_reports_no_progress
    = protocol/test_listens.py::test_a_cancelled_listen_ends_without_a_word
    = transports/test_session_calls.py::test_a_cancelled_call_stops_at_once_and_is_never_answered
stdio/exit (shutdown)
    The end of its input ends the server promptly.
    = transports/test_session_end.py::test_an_idle_session_ends_at_once
    = transports/test_stdio.py::test_the_end_of_input_cancels_what_takes_too_long
    = transports/test_stdio.py::test_the_end_of_input_is_noticed_behind_answers_that_nobody_reads

page 2026-07-28/server/discover

discover/implemented ()
    server/discover is implemented.
    = protocol/test_eras.py::test_discovery_tells_versions_capabilities_and_identity
    = protocol/test_eras.py::test_the_modern_methods_without_modern_meta_lack_their_params

page 2026-07-28/server/tools

tools/capability (capabilities)
    A server with tools declares the tools capability.
    = protocol/test_eras.py::test_discovery_tells_versions_capabilities_and_identity
tools/list-answered (capabilities)
    tools/list is answered with the tools there are now.
    = protocol/test_dressing.py::test_a_tool_in_each_revision
    = protocol/test_listens.py::test_a_list_is_new_after_a_new_offer
tools/list-not-per-connection (capabilities)
    The tools differ neither between connections nor by what else was asked.
    = protocol/test_calls.py::test_a_list_is_the_same_each_time_and_for_everyone
tools/schema-object (tool)
    An inputSchema is a JSON Schema object.
    = protocol/test_dressing.py::test_a_tool_in_each_revision
tools/mcp-header (x-mcp-header)
    An x-mcp-header annotation is a unique header name on a reachable, primitive parameter.
    ~ no tool has one
tools/structured (output-schema)
    A tool with an outputSchema answers what conforms to it.
    = features/test_list_models.py::test_the_list_is_structured_and_the_same_json_as_text
tools/input-validated (security-considerations)
    All input to a tool is validated.
    = protocol/test_calls.py::test_a_malformed_tool_call_or_an_unknown_tool_is_a_protocol_error
    = features/test_chat.py::test_a_wrong_argument_is_named_with_what_came_and_what_is_accepted
tools/access-control (security-considerations)
    Who may call a tool is controlled.
    = features/test_guests.py::test_a_caller_sees_the_tools_that_are_its_own
    = transports/test_http.py::test_a_tool_that_is_out_of_reach_says_what_it_takes
tools/rate-limited (security-considerations)
    Calls of tools are limited.
    = protocol/test_parking.py::test_the_usual_limit_is_256_calls_at_once
    = protocol/test_parking.py::test_past_the_waiting_room_a_call_is_refused_at_once_and_may_come_again
tools/output-sanitised (security-considerations)
    What a tool puts out is sanitised.
    = features/test_chat.py::test_the_canary_is_struck_from_every_shape_an_upstream_may_quote_it_in
    = protocol/test_lines.py::test_what_goes_out_is_one_ascii_line_whatever_the_text
tools/order (capabilities)
    The tools are listed in the same order each time.
    = protocol/test_calls.py::test_a_list_is_the_same_each_time_and_for_everyone
tools/list-changed (list-changed-notification)
    Who asked for it is told when the tools change.
    = protocol/test_listens.py::test_a_change_of_everything_is_told_list_by_list
    = protocol/test_listens.py::test_each_listen_gets_what_it_asked_for_and_nothing_else
tools/names (tool-names)
    A tool's name is its own, of 1 to 128 characters, and letters, digits and a few signs alone.
    = features/test_application.py::test_each_tool_says_what_it_does_when_to_use_it_and_what_it_costs
    = features/test_application.py::test_the_table_is_keyed_by_the_tools_own_names
tools/failures (error-handling)
    What fails in a tool is told in its result, marked as an error, and not as an error of the protocol.
    = protocol/test_dressing.py::test_a_tools_failure_is_a_result_in_each_revision
    = features/test_chat.py::test_an_upstream_failure_is_a_text_that_says_what_why_and_what_next

page 2026-07-28/server/resources

resources/capability (capabilities)
    A server with resources declares the resources capability.
    = protocol/test_eras.py::test_discovery_tells_versions_capabilities_and_identity
resources/list-answered (capabilities)
    resources/list is answered with the resources there are now.
    = protocol/test_dressing.py::test_a_resource_in_each_revision
    = protocol/test_listens.py::test_a_list_is_new_after_a_new_offer
resources/list-not-per-connection (capabilities)
    The resources differ neither between connections nor by what else was asked.
    = protocol/test_calls.py::test_a_list_is_the_same_each_time_and_for_everyone
resources/custom-schemes (custom-uri-schemes)
    A URI scheme of one's own accords with RFC 3986.
    ~ the only one is openai:, letters alone
resources/not-found (error-handling)
    A resource that is not there is an error, -32602, and no empty list of contents.
    = protocol/test_eras.py::test_a_missing_resource_has_a_code_of_its_own_in_each_era
    = features/test_resources_prompts_completion.py::test_what_is_not_served_is_not_found
resources/uris-validated (security-considerations)
    All URIs are validated.
    = protocol/test_calls.py::test_a_resource_read_without_a_uri_is_refused
    = features/test_resources_prompts_completion.py::test_what_is_not_served_is_not_found
resources/binary-encoded (security-considerations)
    Binary data is encoded.
    ~ resources are text alone
resources/paths-sanitised (security-considerations)
    Paths of file: resources are sanitised.
    = features/test_resources_prompts_completion.py::test_what_is_not_served_is_not_found
resources/list-changed (list-changed-notification)
    Who asked for it is told when the resources change.
    = protocol/test_listens.py::test_a_change_of_everything_is_told_list_by_list
resources/internal-error (error-handling)
    What fails inside the server is -32603.
    = features/test_resources_prompts_completion.py::test_a_gateway_that_cannot_say_is_a_general_error_that_shows_no_key
    = transports/test_session_calls.py::test_a_crash_is_an_internal_error_and_tells_the_client_nothing
resources/access (security-considerations)
    A caller reads what it may read.
    = features/test_guests.py::test_a_caller_asks_the_models_that_are_its_own

page 2026-07-28/server/prompts

prompts/capability (capabilities)
    A server with prompts declares the prompts capability.
    = protocol/test_eras.py::test_discovery_tells_versions_capabilities_and_identity
prompts/list-answered (capabilities)
    prompts/list is answered with the prompts there are now.
    = protocol/test_dressing.py::test_a_prompt_in_each_revision
    = protocol/test_listens.py::test_a_list_is_new_after_a_new_offer
prompts/list-not-per-connection (capabilities)
    The prompts differ neither between connections nor by what else was asked.
    = protocol/test_calls.py::test_a_list_is_the_same_each_time_and_for_everyone
prompts/media-encoded (image-content)
    Images and audio are base64 with their MIME type.
    = protocol/test_dressing.py::test_every_content_block_in_each_revision
prompts/embedded (embedded-resources)
    An embedded resource has its URI, MIME type and text or blob.
    ~ no message embeds a resource
prompts/input-validated (security)
    What goes into a prompt is validated.
    = protocol/test_calls.py::test_a_prompt_is_refused_for_what_is_wrong_with_it
prompts/list-changed (list-changed-notification)
    Who asked for it is told when the prompts change.
    = protocol/test_listens.py::test_a_change_of_everything_is_told_list_by_list
prompts/errors (error-handling)
    An unknown prompt and a missing argument are -32602, what fails inside the server is -32603.
    = protocol/test_calls.py::test_a_prompt_is_refused_for_what_is_wrong_with_it
    = features/test_resources_prompts_completion.py::test_an_unknown_prompt_and_a_missing_argument_are_invalid_params
    = transports/test_session_calls.py::test_a_crash_is_an_internal_error_and_tells_the_client_nothing

page 2026-07-28/server/utilities/completion

completion/capability (capabilities)
    A server with completions declares the completions capability.
    = protocol/test_eras.py::test_discovery_tells_versions_capabilities_and_identity
completion/input-validated (security)
    What a completion is asked with is validated.
    = protocol/test_calls.py::test_a_malformed_completion_is_refused
completion/at-most-100 (completion-results)
    A completion has at most 100 values.
    = protocol/test_dressing.py::test_a_completion_has_at_most_100_values
completion/rate-limited (security)
    Completions are limited.
    = protocol/test_parking.py::test_past_the_waiting_room_a_call_is_refused_at_once_and_may_come_again
completion/no-disclosure (security)
    Completions tell nothing that the caller may not know.
    ~ model names are completed from the list that models/list shows the same caller
completion/errors (error-handling)
    What cannot be completed is -32602, what fails inside the server is -32603.
    = protocol/test_calls.py::test_a_malformed_completion_is_refused
    = features/test_resources_prompts_completion.py::test_what_is_unknown_cannot_be_completed
    = features/test_resources_prompts_completion.py::test_a_gateway_that_cannot_say_is_a_general_error_that_shows_no_key
completion/sorted (implementation-considerations)
    The best values come first, and not only what begins like that is found.
    = features/test_resources_prompts_completion.py::test_model_names_complete_prefix_first_and_empty_means_all

page 2026-07-28/server/utilities/caching

caching/hints (cacheable-results)
    Complete results of discovery, the lists and resources/read say how long and for whom they hold.
    = protocol/test_eras.py::test_modern_lists_are_complete_and_cacheable_and_name_the_server
    = protocol/test_dressing.py::test_a_resource_in_the_modern_era_says_how_long_and_for_whom_it_holds
caching/ttl (time-to-live-ttl-field)
    ttlMs is not negative.
    = protocol/test_eras.py::test_modern_lists_are_complete_and_cacheable_and_name_the_server
    = protocol/test_dressing.py::test_a_resource_in_the_modern_era_says_how_long_and_for_whom_it_holds
caching/scope-of-pages (interaction-with-pagination)
    All pages of a list have one cacheScope.
    = protocol/test_calls.py::test_every_list_is_whole_on_its_first_page
caching/public (security-considerations)
    What is public may be shown to anybody, so access is not guarded by cacheScope.
    ~ tools, prompts and templates are the same for everyone; what a key sees (models) is read as private

page 2026-07-28/server/utilities/pagination

pagination/invalid-cursor (error-handling)
    A cursor that was never given out should be refused with -32602.
    = protocol/test_calls.py::test_a_cursor_that_was_never_given_out_is_refused
pagination/stable (implementation-guidelines)
    A cursor keeps its meaning: none is ever given out, since every list is whole on its first page.
    = protocol/test_calls.py::test_every_list_is_whole_on_its_first_page

page 2026-07-28/server/utilities/logging

logging/not-declared (capabilities)
    A server that sends log messages declares the logging capability.
    = protocol/test_dressing.py::test_logging_is_never_declared
logging/not-without-level (per-request-log-level)
    No log message is sent for a request that did not ask for any, nor on a subscription.
    = protocol/test_transcript.py::test_log_messages_are_never_sent_on_the_wire
logging/level-unknown (error-handling)
    A request for log messages of a level that does not exist is refused with -32602.
    = protocol/test_eras.py::test_a_request_for_log_messages_of_no_level_is_refused

page 2026-07-28/basic/transports/streamable-http

http/origin (security-amp-endpoint)
    An Origin that is present and invalid is refused with 403.
    = transports/test_http.py::test_a_request_that_is_wrong
    = transports/test_http.py::test_origins_and_hosts_that_are_allowed
http/loopback (security-amp-endpoint)
    A server that runs locally binds to localhost alone, and others ask who calls.
    = cli/test_http.py::test_it_serves_until_it_is_asked_to_stop
    = cli/test_http.py::test_nobody_serves_the_network_by_accident
http/notification-202 (sending-messages)
    A notification that is accepted is answered with 202 and no body.
    = transports/test_http.py::test_what_is_not_to_be_answered_is_accepted
http/one-message (sending-messages)
    A body is one request or one notification.
    = protocol/test_over_http.py::test_what_does_not_agree_is_refused
http/json-or-events (sending-messages)
    A request is answered with one JSON object or with a stream of events.
    = transports/test_http.py::test_what_is_said_at_once_is_json
    = transports/test_http.py::test_progress_comes_before_the_answer
http/no-requests-on-streams (receiving-messages)
    No request of the server's stands on a stream.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request
http/response-ends-the-stream (receiving-messages)
    The response ends the stream.
    = transports/test_http.py::test_progress_comes_before_the_answer
http/accel (receiving-messages)
    A stream says X-Accel-Buffering: no.
    = transports/test_http.py::test_a_client_that_takes_events_alone_gets_them
http/disconnect (cancellation)
    A client that closes the stream has cancelled its request, and no more is sent for it.
    = transports/test_http.py::test_who_leaves_cancels
http/version-header (protocol-version-header)
    A version in the header that is not the one of _meta is refused with 400 and -32020.
    = protocol/test_over_http.py::test_what_does_not_agree_is_refused
http/unsupported-version (protocol-version-header)
    A version that is not served is refused with 400 and -32022, with those that are.
    = protocol/test_over_http.py::test_what_does_not_agree_is_refused
    = protocol/test_over_http.py::test_the_versions_that_there_are_come_with_the_refusal
http/unknown-method (protocol-version-header)
    A method that is not served is refused with 404 and -32601.
    = protocol/test_over_http.py::test_what_does_not_agree_is_refused
    = protocol/test_over_http.py::test_the_status_of_an_error
http/standard-headers (standard-request-headers)
    Mcp-Method, and Mcp-Name where it is due, are there and say what the body says.
    = protocol/test_over_http.py::test_what_does_not_agree_is_refused
http/encoding (value-encoding)
    A value between the Base64 marks is decoded before it is compared.
    = protocol/test_over_http.py::test_a_name_may_be_encoded
    = protocol/test_over_http.py::test_what_is_encoded_reads_back
http/custom-headers (server-behavior-for-custom-headers)
    Mcp-Param headers that a tool asks for say what the arguments say, numbers compared as numbers.
    = protocol/test_over_http.py::test_numbers_are_compared_as_numbers
    = protocol/test_over_http.py::test_a_header_that_is_not_what_the_argument_says
    = protocol/test_over_http.py::test_a_header_of_an_argument_that_is_not_there
http/header-names (case-sensitivity)
    Names of headers are compared without regard to case.
    = transports/test_http.py::test_a_modern_call
http/get-delete (earlier-streamable-http-revisions)
    GET and DELETE are answered with 405.
    = transports/test_http.py::test_only_posts_are_served
http/endpoint ()
    One path serves MCP, and takes POST.
    = transports/test_http.py::test_the_one_line_of_curl_is_answered_with_json
    = transports/test_http.py::test_other_paths_say_where_it_is
http/notification-refused (sending-messages)
    A notification that cannot be accepted is answered with an HTTP error.
    = transports/test_http.py::test_a_notification_that_is_wrong_has_an_http_error
http/own-notifications (receiving-messages)
    The notifications on a stream are about its request.
    = transports/test_http.py::test_each_message_goes_out_on_the_stream_of_its_own_request
    = transports/test_http.py::test_a_subscription_is_told_and_ended_with_its_result
http/omitted-headers (server-behavior-for-custom-headers)
    An argument that is null or not there has no header.
    = protocol/test_over_http.py::test_arguments_that_are_not_given_have_no_header

page 2026-07-28/basic/authorization/index

oauth/conforms (protocol-requirements)
    Over HTTP the server can ask for access tokens as MCP has it, over stdio the environment has its credentials.
    = cli/test_http.py::test_access_tokens_of_an_authorization_server
    = cli/test_process.py::test_a_whole_conversation_with_the_echo_model
oauth/custom-transport (protocol-requirements)
    A transport of one's own is guarded as its protocol should be.
    = transports/test_websocket.py::test_an_upgrade_that_is_refused
    = transports/test_websocket.py::test_who_says_nothing_is_turned_away_before_the_upgrade
oauth/challenge-scope (scope-selection-strategy)
    The challenge names the scopes that it takes, and they are the same each time.
    = access/test_oauth.py::test_the_document_and_the_challenge_that_leads_to_it
    = cli/test_http.py::test_access_tokens_of_an_authorization_server
oauth/canonical-uri (canonical-server-uri)
    The URI of a server is understood whatever the case of scheme and host.
    = access/test_oauth.py::test_the_case_of_scheme_and_host_means_nothing
oauth/no-last-slash (canonical-server-uri)
    The URI of a server has no slash at its end where that means nothing.
    ~ the operator sets it, the document shows it as it is set, and a client asks with what the document shows
oauth/token-validated (token-handling)
    An access token is validated: signature, issuer and times.
    = access/test_oauth.py::test_a_token_that_does_not_hold
    = access/test_oauth.py::test_each_kind_of_signature
oauth/audience (token-handling)
    A token that was not issued for this server is refused.
    = access/test_oauth.py::test_a_token_that_does_not_hold
    = access/test_oauth.py::test_one_of_several_audiences_is_enough
oauth/refused-with-401 (token-handling)
    A token that is invalid or has expired gets 401 and the error of RFC 6750.
    = access/test_oauth.py::test_a_token_that_does_not_hold
    = access/test_tokens.py::test_an_expired_one_says_so
    = cli/test_http.py::test_access_tokens_of_an_authorization_server
oauth/no-passthrough (token-handling)
    The token of a client goes no further than the door.
    = access/test_oauth.py::test_nothing_of_a_token_goes_on_with_its_caller
oauth/no-offline-access (refresh-tokens)
    offline_access stands neither in the challenge nor in the document.
    = access/test_oauth.py::test_the_document_and_the_challenge_that_leads_to_it
oauth/statuses (error-handling)
    Who has no token gets 401, whose token does not reach gets 403.
    = cli/test_http.py::test_access_tokens_of_an_authorization_server
oauth/insufficient-scope (runtime-insufficient-scope-errors)
    A token that does not reach gets 403 and a challenge with all the scopes that this call takes.
    = transports/test_http.py::test_a_tool_that_is_out_of_reach_says_what_it_takes
    = cli/test_http.py::test_access_tokens_of_an_authorization_server
oauth/scope-hierarchy (step-up-authorization-flow)
    A broader scope is enough where a narrower one is asked for.
    = access/test_oauth.py::test_scopes_are_tools_and_models
    = features/test_guests.py::test_a_caller_sees_the_tools_that_are_its_own

page 2026-07-28/basic/authorization/authorization-server-discovery

oauth/metadata (authorization-server-location)
    The document of RFC 9728 is served, and names an authorization server.
    = access/test_oauth.py::test_the_document_and_the_challenge_that_leads_to_it
    = cli/test_http.py::test_access_tokens_of_an_authorization_server
oauth/metadata-found (protected-resource-metadata-discovery-requirements)
    The document is where the challenge says, and at its well-known paths.
    = access/test_oauth.py::test_the_document_and_the_challenge_that_leads_to_it
    = cli/test_http.py::test_access_tokens_of_an_authorization_server

page 2026-07-28/basic/authorization/security-considerations

oauth/best-practices ()
    What OAuth 2.1 counts as good practice is kept.
    ~ what of it speaks to a resource server is in the rows on tokens, their audience, their storage and TLS
oauth/token-storage (token-theft)
    A token is kept so that who reads the file has not got it.
    = access/test_tokens.py::test_a_token_is_written_as_its_hash_alone
oauth/communication (communication-security)
    Tokens, keys and metadata go over TLS: a URL is https unless it is of this machine, and certificates are checked.
    = access/test_oauth.py::test_settings_of_it_that_are_wrong
    = access/test_oauth.py::test_where_nothing_is_fetched_from
    = cli/test_http.py::test_over_tls_a_client_is_its_certificate
    = gateway_net/test_tls.py::test_names_and_certificates_are_always_verified
oauth/proxy-consent (confused-deputy-problem)
    A server that stands before another's authorization server asks for consent.
    ~ ours stands before none
""")
