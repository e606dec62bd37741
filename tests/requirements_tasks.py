"""What the tasks extension demands of a server; `requirements` explains the table."""

from __future__ import annotations

from typing import Final

from tests.requirements import read_table

TASKS: Final = read_table("""
page https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md

tasks/only-declared (capability-negotiation)
    A client that has not declared the extension on this very request is never answered with a task.
    = protocol/test_tasks.py::test_a_client_that_does_not_is_never
    = features/test_tasks.py::test_a_client_that_knows_no_tasks_gets_the_partial_answer
tasks/never-needed (capability-negotiation)
    What cannot be served without a task is refused with -32021 to who has not declared it.
    ~ everything can: a client without tasks gets what there is at the soft deadline
tasks/result-type (polymorphic-results)
    The resultType of a new task is "task", and of nothing else.
    = protocol/test_tasks.py::test_a_call_of_a_client_that_knows_tasks_may_be_answered_with_one
    = protocol/test_dressing.py::test_every_modern_result_is_complete_and_no_legacy_one_says_so
tasks/durable (task-creation)
    Once a client is told of a task, tasks/get finds it.
    = features/test_tasks.py::test_what_takes_longer_becomes_a_task_with_the_whole_answer
tasks/shown (response)
    tasks/get shows the status and, where there are any, the open questions.
    = protocol/test_tasks.py::test_a_task_is_shown_with_all_that_is_known_of_it
    = protocol/test_tasks.py::test_a_task_that_works_or_waits_for_its_client_may_still_change
    = features/test_tasks.py::test_a_tool_that_asks_becomes_a_task_at_once_and_goes_on_with_all_answers
tasks/result (response)
    A completed task has the result that the call would have had.
    = protocol/test_tasks.py::test_the_result_in_a_task_is_exactly_what_the_call_would_have_been_answered_with
tasks/complete (response)
    The resultType of tasks/get, tasks/update and tasks/cancel is "complete".
    = protocol/test_tasks.py::test_a_task_is_shown_with_all_that_is_known_of_it
    = protocol/test_tasks.py::test_what_is_updated_or_cancelled_is_acknowledged_without_more
tasks/update (response)
    An update is acknowledged with an empty result, and what it answers unasked is ignored.
    = protocol/test_tasks.py::test_what_is_updated_or_cancelled_is_acknowledged_without_more
    = features/test_tasks.py::test_a_tool_that_asks_becomes_a_task_at_once_and_goes_on_with_all_answers
tasks/unknown (protocol-errors)
    A task that is not there is -32602.
    = features/test_tasks.py::test_another_callers_task_and_one_that_has_expired_are_not_there
tasks/methods-declared (protocol-errors)
    Who asks about a task without having declared the extension is refused with -32021.
    = protocol/test_tasks.py::test_who_has_not_declared_it_is_told_what_is_missing
tasks/watch-declared (task-status-notifications)
    Who asks to be told of tasks without having declared the extension is refused with -32021.
    = protocol/test_tasks.py::test_a_client_without_the_capability_cannot_watch
tasks/no-progress (task-status-notifications)
    There is no progress and there are no log messages of a task.
    = protocol/test_progress.py::test_no_progress_follows_the_answer
    = features/test_tasks.py::test_how_far_it_is_stands_in_its_message
tasks/words (protocol-errors)
    Errors say what is wrong.
    = protocol/test_words.py::test_what_is_wrong_about_tasks
tasks/failed (task-execution-errors)
    A task fails with the JSON-RPC error of its call; a result that is marked as an error completes it.
    = features/test_tasks.py::test_an_error_that_comes_late_is_the_tasks_result
    = features/test_tasks.py::test_what_a_tool_raises_is_the_calls_error_or_the_tasks
tasks/ids (security-considerations)
    Nobody can guess the id of a task.
    = features/test_shelf.py::test_a_handle_has_128_bits_that_nobody_can_guess
tasks/owner (security-considerations)
    Each request about a task is checked for whose it is.
    = features/test_tasks.py::test_another_callers_task_and_one_that_has_expired_are_not_there
""")
