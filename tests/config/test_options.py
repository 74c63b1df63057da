"""Message options at run time, and the names that a route writes out."""

from __future__ import annotations

import re

import pytest

from bridge.config.message_options import (
    OPTIONS,
    REFUSED_OPTIONS,
    check_actor_name,
    check_option,
    check_queue_name,
    with_queues,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_retries", 3),
        ("max_retries", None),
        ("time_limit", 30_000),
        ("max_age", 0),
        ("notify_shutdown", False),
        ("on_failure", "report"),
        ("group_completion_uuid", "a"),
        ("broker_priority", 5),
        ("of_my_own", {"any": ["thing"]}),
    ],
)
def test_a_right_result_of_an_expression_is_sent_as_it_is(name: str, value: object) -> None:
    """An option that an expression gives right reaches the worker unchanged."""
    assert check_option(name, value, literal=False) == value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_retries", "3", "takes a whole number from 0, not text"),
        ("max_retries", True, "takes a whole number from 0, not true or false"),
        ("max_retries", -1, "takes a whole number from 0"),
        ("max_retries", 1 << 63, "takes a whole number from 0"),
        ("broker_priority", None, "takes a whole number from 0, not null"),
        ("time_limit", 1.5, "takes whole milliseconds from 0 to 3155760000000; int(...) makes one of a fraction"),
        ("time_limit", "30s", "takes whole milliseconds from 0 to 3155760000000"),
        ("time_limit", None, "takes whole milliseconds from 0 to 3155760000000"),
        ("time_limit", "$payload.x", "takes whole milliseconds from 0 to 3155760000000"),
        ("store_results", 1, "takes true or false, not a number"),
        ("group_completion_uuid", "", "takes text that is not empty"),
        ("on_success", 1, "takes the name of an actor, not a number"),
        ("on_success", "", "takes the name of an actor; text without spaces around it, as in send_email"),
        ("pipe_target", [], "takes one message, not a list; a list stops the pipeline without a word"),
        ("pipe_target", "next", "takes a message written out as a mapping, not text"),
        ("pipe_target", {}, "the key 'actor_name' is missing; add actor_name: the actor of this step"),
        ("pipe_target", {"actor_name": "a", "args": "b"}, "takes a list, not text"),
        (
            "pipe_target",
            {"actor_name": "a", "options": {"max_age": "1h"}},
            "takes whole milliseconds from 0 to 3155760000000",
        ),
        ("group_completion_callbacks", {}, "takes a list of messages written out, not a mapping"),
    ],
)
def test_a_wrong_result_of_an_expression_is_refused(name: str, value: object, words: str) -> None:
    """An option that would damage a worker, or lose the message when it fails, never reaches Redis."""
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        check_option(name, value, literal=False)


@pytest.mark.parametrize("name", REFUSED_OPTIONS)
@pytest.mark.parametrize("literal", [True, False])
def test_dramatiq_s_own_options_are_refused_from_every_side(name: str, literal: bool) -> None:
    """Options that are Dramatiq's own come neither from the file nor from a payload."""
    with pytest.raises(ValueError, match=f"the option {name} is never written by a bridge; "):
        check_option(name, 1, literal=literal)


@pytest.mark.parametrize(
    "name", [name for name, kind in OPTIONS.items() if kind.name not in {"ACTOR", "MESSAGE", "MESSAGES"}]
)
def test_an_expression_is_left_for_run_time(name: str) -> None:
    """An option may be computed from the event, unless it names an actor."""
    assert check_option(name, "$payload.x", literal=True) == "$payload.x"


@pytest.mark.parametrize("name", ["on_success", "on_failure", "on_retry_exhausted", "pipe_target"])
def test_no_option_takes_an_actor_from_the_payload(name: str) -> None:
    """A publisher of events cannot choose which actor is called."""
    for literal in (True, False):
        with pytest.raises(ValueError, match="would let anyone call any actor"):
            check_option(name, "$payload.actor", literal=literal)


def test_a_step_s_missing_parts_are_filled_in() -> None:
    """A worker needs all five parts of a pipeline's step; the file needs its actor only. The queue may be the actor's."""
    step = {"actor_name": "a", "args": [], "kwargs": {}, "options": {}}
    assert check_option("pipe_target", {"actor_name": "a"}, literal=True) == step
    assert check_option("group_completion_callbacks", [{"actor_name": "a"}], literal=False) == [step]
    queued = {**step, "queue_name": "default"}
    assert check_option("pipe_target", queued, literal=False) == queued
    options = {"pipe_target": {**step, "options": {"pipe_target": step}}, "group_completion_callbacks": [step]}
    assert with_queues(options, {}) == {
        "pipe_target": {**queued, "options": {"pipe_target": queued}},
        "group_completion_callbacks": [queued],
    }
    assert with_queues({"pipe_target": step, "max_retries": 1}, {"a": "own"}) == {
        "pipe_target": {**step, "queue_name": "own"},
        "max_retries": 1,
    }


def test_a_pipeline_has_an_end() -> None:
    """A pipeline of absurd length is refused before its JSON is too deep for a worker."""
    message: dict[str, object] = {"actor_name": "a"}
    for _ in range(40):
        message = {"actor_name": "a", "options": {"pipe_target": message}}
    with pytest.raises(ValueError, match="this pipeline is too long"):
        check_option("pipe_target", message, literal=False)


@pytest.mark.parametrize("name", ["default", "_a", "a-b_c9", "A"])
def test_ordinary_queues_are_fine(name: str) -> None:
    """Every name that Dramatiq's keys survive may be used."""
    assert check_queue_name(name) == name


@pytest.mark.parametrize("name", ["", "__acks__", "x.DQ", "x.msgs", "9a", "a b", "a\n", "é", "$payload.q", None, 7])
def test_a_queue_s_name_never_damages_dramatiq_s_keys(name: object) -> None:
    """A queue named like one of Dramatiq's own keys would break every worker of the namespace."""
    with pytest.raises(ValueError, match="queue"):
        check_queue_name(name)


@pytest.mark.parametrize("name", ["a", "package.module:actor", "é"])
def test_ordinary_actors_are_fine(name: str) -> None:
    """An actor may have any name that its module gives it."""
    assert check_actor_name(name) == name


@pytest.mark.parametrize("name", ["", " ", " a", "a\n", "a\0", "$payload.actor", None, ["a"]])
def test_an_actor_is_named_and_written_out(name: object) -> None:
    """The configuration itself holds an actor's name, as text."""
    with pytest.raises(ValueError, match="actor"):
        check_actor_name(name)
