"""What the revisions before 2026-07-28 demand of a server; `requirements` explains the table."""

from __future__ import annotations

from typing import Final

from tests.requirements import read_table

LEGACY: Final = read_table("""
page 2025-11-25/basic/index

legacy/jsonrpc (messages)
    Every message follows JSON-RPC 2.0, and one that does not is refused.
    = protocol/test_jsonrpc.py::test_a_request_that_is_not_json_rpc_2_is_invalid
    = protocol/test_jsonrpc.py::test_a_request_that_is_also_a_response_is_invalid
legacy/id (requests)
    A request has an id, a string or an integer and not null.
    = protocol/test_jsonrpc.py::test_an_id_that_is_neither_string_nor_integer_is_an_invalid_request
legacy/id-not-reused (requests)
    A requester uses an id once in a session.
    ~ the client's duty; an id that is answered or cancelled is accepted again, since real clients start anew at 0
legacy/id-echoed (responses)
    A response has the id of its request.
    = protocol/test_jsonrpc.py::test_an_id_comes_back_exactly_as_it_was
legacy/error-shape (error-responses)
    An error response has an error with an integer code and a message.
    = protocol/test_transcript.py::test_the_core_sends_only_error_codes_that_are_defined_for_the_revision
legacy/notification-unanswered (notifications)
    A notification has no id and is never responded to.
    = protocol/test_jsonrpc.py::test_a_notification_is_never_answered_not_even_when_it_is_wrong
legacy/schemas (json-schema-usage)
    Schemas are valid, and read as JSON Schema 2020-12 where they do not say otherwise.
    = features/test_application.py::test_each_schema_is_of_the_sort_that_breaks_no_client
legacy/meta (meta)
    A _meta key has a well-formed name and prefix, and nothing is assumed about reserved ones.
    = protocol/test_eras.py::test_meta_that_is_no_object_is_refused
legacy/icons (icons)
    Icons are treated as untrusted, and only of safe schemes.
    ~ the client's duty; the server offers no icons

page 2025-06-18/basic/index

legacy/result-or-error (responses)
    A response has a result or an error and never both.
    = protocol/test_transcript.py::test_every_message_out_is_a_response_or_a_notification_and_never_a_request

page 2025-11-25/basic/lifecycle

lifecycle/initialize-first (initialization)
    The initialize request opens the conversation, and the initialized notification ends its opening.
    ~ the client's duty; a request without them is served by the newest legacy revision
lifecycle/initialize-answered (initialization)
    An initialize is answered with version, capabilities and identity.
    = protocol/test_eras.py::test_an_initialize_gets_the_legacy_revision_it_asks_for
lifecycle/same-version (version-negotiation)
    A version that the server has is answered with the same.
    = protocol/test_eras.py::test_an_initialize_gets_the_legacy_revision_it_asks_for
lifecycle/other-version (version-negotiation)
    A version that it has not is answered with another that it has.
    = protocol/test_eras.py::test_an_initialize_for_another_version_gets_the_newest_legacy_revision
lifecycle/respect-version (operation)
    What follows keeps to the negotiated version.
    = protocol/test_eras.py::test_a_legacy_call_is_made_in_the_negotiated_revision
lifecycle/negotiated-capabilities (operation)
    Only what was negotiated is used.
    = protocol/test_dressing.py::test_what_is_declared_does_not_depend_on_what_is_offered_now
lifecycle/no-early-requests (initialization)
    Before the client has said that it is ready, the server sends it nothing but answers.
    = protocol/test_listens.py::test_a_legacy_client_is_told_of_changes_once_it_is_initialized

page 2025-11-25/basic/transports

legacy/utf-8 ()
    Messages are encoded in UTF-8.
    = protocol/test_lines.py::test_only_a_newline_ends_a_line
legacy/one-line-a-message (stdio)
    A message is one line without a newline in it, and nothing else goes to stdout.
    = protocol/test_lines.py::test_what_goes_out_is_one_ascii_line_whatever_the_text
legacy/one-message (stdio)
    A line is a single message: there are no batches, except in 2025-03-26.
    = protocol/test_batches.py::test_other_revisions_refuse_an_array
legacy/http-origin (security-warning)
    An Origin that is invalid is refused with 403.
    = transports/test_http.py::test_a_request_that_is_wrong
legacy/http-post (sending-messages-to-the-server)
    A request is answered with JSON or a stream, anything else with 202.
    = transports/test_http.py::test_what_is_said_at_once_is_json
    = transports/test_http.py::test_what_is_not_to_be_answered_is_accepted
legacy/http-get (listening-for-messages-from-the-server)
    A server that offers no stream of its own answers GET with 405.
    = transports/test_http.py::test_only_posts_are_served
legacy/http-session (session-management)
    A session's id is random and of visible ASCII; none is demanded here.
    = transports/test_http.py::test_an_opening_is_given_a_session_that_no_request_needs
legacy/http-version (protocol-version-header)
    Without the header 2025-03-26 is assumed, and an invalid one is refused with 400.
    = protocol/test_over_http.py::test_what_says_nothing_of_a_version_is_of_the_revision_before_the_header
    = protocol/test_over_http.py::test_what_does_not_agree_is_refused
legacy/http-disconnect (sending-messages-to-the-server)
    A client that goes away should not be taken to have cancelled its request.
    ~ it is: no stream can be resumed here, so nobody could get the answer, and somebody would pay for it
legacy/http-one-stream (multiple-connections)
    A message goes out on one stream alone.
    = transports/test_http.py::test_each_message_goes_out_on_the_stream_of_its_own_request

page 2025-11-25/basic/utilities/cancellation

cancellation/initialize (behavior-requirements)
    An initialize is not cancelled.
    = protocol/test_cancellation.py::test_an_initialize_cannot_be_cancelled
cancellation/legacy-nothing-more (behavior-requirements)
    A request that was cancelled should not be answered.
    = protocol/test_cancellation.py::test_a_cancelled_call_is_never_answered
cancellation/legacy-references (behavior-requirements)
    A cancellation names a request that went in the same direction and is believed to be in progress.
    ~ the client's duty; the server makes no requests, so it has none to cancel
cancellation/legacy-races (timing-considerations)
    A cancellation that comes too late does no harm.
    = protocol/test_cancellation.py::test_a_cancellation_of_what_is_not_in_flight_is_ignored

page 2025-11-25/basic/utilities/ping

ping/answered (behavior-requirements)
    A ping is answered at once, with an empty result.
    = protocol/test_eras.py::test_the_legacy_era_answers_ping_and_the_calls_that_have_no_effect
ping/not-sent (implementation-considerations)
    Pings should be sent now and then, at a rate that can be set, and their failures logged.
    ~ the server makes no requests; a silent WebSocket is asked by its own protocol, a stream has signs of life

page 2025-11-25/basic/utilities/progress

progress/legacy-increases (progress-flow)
    Progress is reported under a string or an integer, and grows.
    = protocol/test_progress.py::test_progress_only_ever_grows
    = protocol/test_progress.py::test_progress_goes_out_under_the_clients_token
progress/legacy-stops (implementation-notes)
    No progress follows the completion.
    = protocol/test_progress.py::test_no_progress_follows_the_answer

page 2025-11-25/basic/utilities/tasks

tasks/not-declared ()
    What a server with the tasks of this revision owes to those who use them.
    ~ no tasks capability is declared; those of the extension are in requirements_tasks
tasks/ignored (task-support-and-handling)
    A request for a task is served as an ordinary one where no tasks were declared.
    = protocol/test_tasks.py::test_a_legacy_call_that_asks_for_a_task_is_an_ordinary_one

page 2025-11-25/server/tools

tools/legacy-capability (capabilities)
    A server with tools declares the tools capability.
    = protocol/test_dressing.py::test_the_capabilities_of_each_legacy_revision
tools/legacy-schema (tool)
    An inputSchema is a JSON Schema object.
    = protocol/test_dressing.py::test_a_tool_in_each_revision
tools/legacy-structured (output-schema)
    A tool with an outputSchema answers what conforms to it.
    = features/test_list_models.py::test_the_list_is_structured_and_the_same_json_as_text
tools/legacy-security (security-considerations)
    Input is validated, access controlled, calls are limited, output is sanitised.
    = features/test_chat.py::test_a_wrong_argument_is_named_with_what_came_and_what_is_accepted
    = features/test_chat.py::test_the_canary_is_struck_from_every_shape_an_upstream_may_quote_it_in
    = protocol/test_calls.py::test_a_malformed_tool_call_or_an_unknown_tool_is_a_protocol_error
    = protocol/test_parking.py::test_past_the_waiting_room_a_call_is_refused_at_once_and_may_come_again
legacy/list-changed (list-changed-notification)
    A client is told when the tools, the prompts or the resources change.
    = protocol/test_listens.py::test_a_legacy_client_is_told_of_changes_once_it_is_initialized
    = protocol/test_listens.py::test_both_eras_are_told_each_in_its_way

page 2025-11-25/server/resources

resources/legacy-capability (capabilities)
    A server with resources declares the resources capability.
    = protocol/test_dressing.py::test_the_capabilities_of_each_legacy_revision
resources/legacy-not-found (error-handling)
    A resource that is not there should be the error -32002.
    = protocol/test_eras.py::test_a_missing_resource_has_a_code_of_its_own_in_each_era
resources/legacy-security (security-considerations)
    All URIs are validated, and binary data is encoded.
    = features/test_resources_prompts_completion.py::test_what_is_not_served_is_not_found
    = protocol/test_calls.py::test_a_resource_read_without_a_uri_is_refused

page 2025-11-25/server/prompts

prompts/legacy-capability (capabilities)
    A server with prompts declares the prompts capability.
    = protocol/test_dressing.py::test_the_capabilities_of_each_legacy_revision
prompts/legacy-media (image-content)
    Images and audio are base64 with their MIME type.
    = protocol/test_dressing.py::test_every_content_block_in_each_revision
prompts/legacy-validated (security)
    What goes into a prompt is validated.
    = protocol/test_calls.py::test_a_prompt_is_refused_for_what_is_wrong_with_it

page 2025-11-25/server/utilities/completion

completion/legacy-capability (capabilities)
    A server with completions declares the completions capability, from 2025-03-26 on.
    = protocol/test_dressing.py::test_the_capabilities_of_each_legacy_revision
completion/legacy-validated (security)
    What a completion is asked with is validated.
    = protocol/test_calls.py::test_a_malformed_completion_is_refused

page 2025-11-25/server/utilities/logging

legacy/logging-not-declared (capabilities)
    A server that sends log messages declares the logging capability.
    = protocol/test_dressing.py::test_logging_is_never_declared
    = protocol/test_transcript.py::test_log_messages_are_never_sent_on_the_wire
legacy/log-level (error-handling)
    A level of logging that does not exist is refused.
    = protocol/test_eras.py::test_a_log_level_that_is_none_is_refused

page 2025-03-26/basic/index

batches/received (batching)
    A server receives batches.
    = protocol/test_batches.py::test_a_batch_of_requests_is_answered_with_an_array
    = protocol/test_batches.py::test_the_array_waits_for_its_last_call_and_has_the_answers_in_the_order_they_came

page 2025-03-26/basic/lifecycle

batches/no-initialize (initialization)
    An initialize is no part of a batch.
    = protocol/test_batches.py::test_an_initialize_in_a_batch_is_refused_and_settles_nothing

page 2025-03-26/basic/transports

legacy/http-batches (sending-messages-to-the-server)
    All the requests of a batch are answered before its stream ends.
    = transports/test_http.py::test_a_batch_is_answered_by_an_array
    = transports/test_http.py::test_progress_of_a_batch_and_its_array
""")
