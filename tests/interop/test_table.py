"""The table of brokers: one cell for all sources of a check, and every broker and check in it by its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.broker import AMQP, MQTT, Lack, every_broker
from tests.interop.checks import CHECKS, family_of, name_of
from tests.interop.outcome import HELD, Outcome, Report
from tests.interop.roots import command
from tests.interop.sources import sources_of
from tests.interop.table import cell, markdown, summary


def test_a_cell_is_one_word_where_all_sources_agree() -> None:
    """Four sources that held need no names."""
    assert cell({"mqtt-5-fast": HELD, "mqtt-5-library": HELD}) == "held"


def test_a_cell_names_the_sources_that_differ() -> None:
    """Whoever reads "LOST" sees which way of reading it was."""
    assert cell({"amqp-fast": HELD, "amqp-library": Outcome("LOST", "3")}) == "LOST: 3 (amqp-library); held (amqp-fast)"


def test_a_check_that_a_broker_has_no_source_for_is_a_dash() -> None:
    """MQTT 3.1.1 announces no limits and shares nothing."""
    assert cell({}) == "-"


def test_the_document_has_a_line_for_each_broker_and_a_word_on_each_check() -> None:
    """Also a broker that could not be had has its line, with the reason; no cell breaks the table."""
    had = Report("broker-1", MQTT, version="1.2", outcomes={"events": {"mqtt-5-fast": Outcome("FAILED", "a|b\nc")}})
    text = markdown([had, Report("broker-2", AMQP, unavailable="no such package")], "make interop")
    assert "| broker-1 | FAILED: a\\|b c | - |" in text
    assert "| broker-2 | could not be had: no such package |" in text
    for check in (*CHECKS["mqtt"], *CHECKS["amqp"]):
        assert f"- **{name_of(check)}**: " in text
    assert "- **broker-1**: version 1.2" in text


def test_a_broker_that_fails_at_its_start_has_its_reason_in_the_document() -> None:
    """A row of dashes would say that there was nothing to try."""
    report = Report("broker-1", MQTT, outcomes={"start": {"broker-1": Outcome("FAILED", "ended at once")}})
    assert "| broker-1 | at its start: FAILED: ended at once |" in markdown([report], "make interop")


def test_a_broker_that_announces_nothing_has_no_bullet() -> None:
    """And the document says what a dash means."""
    text = markdown([Report("broker-1", MQTT)], "make interop")
    assert "**broker-1**" not in text
    assert "**-**: " in text


def test_a_lack_says_when_it_was_observed() -> None:
    """Its numbers are not those of the run that prints the table."""
    assert str(Lack("loses 1 of 490", "2026-11-27")) == "loses 1 of 490 (observed on 2026-11-27)"


def test_streams_are_tried_only_where_they_are_asked_for() -> None:
    """Of one broker: its streams have the checks of the common ones that say something about them."""
    (rabbitmq,) = every_broker("rabbitmq-4.0")
    assert sources_of(rabbitmq) == ("amqp-fast", "amqp-library")
    assert set(sources_of(rabbitmq, streams=True)) == {*sources_of(rabbitmq), "amqp-stream-fast", "amqp-stream-library"}


def test_the_terminal_gets_the_log_of_a_failure_once() -> None:
    """All sources of one experiment have the same log."""
    failed = Outcome("FAILED", "exit code 1", "the last line of the log")
    report = Report("broker-1", MQTT, outcomes={"events": {"mqtt-5-fast": failed, "mqtt-5-library": failed}})
    assert summary(report).count("the last line of the log") == 1


def test_brokers_have_names_of_their_own_and_lack_checks_that_exist() -> None:
    """A misspelt check in `lacks` would excuse nothing, and nobody would notice."""
    brokers = every_broker()
    assert len({broker.name for broker in brokers}) == len(brokers) > 10
    for broker in brokers:
        assert sources_of(broker), broker.name
        assert broker.lacks.keys() <= {name_of(check) for check in CHECKS[family_of(broker.protocols)]}, broker.name


def test_brokers_are_chosen_by_patterns() -> None:
    """BROKERS='rabbitmq-*,mosquitto-2.0.21' is what it says."""
    names = [broker.name for broker in every_broker("mosquitto-2.0.21, redis-*")]
    assert names == ["mosquitto-2.0.21", "redis-6.0", "redis-7.0", "redis-8.0"]


def test_each_check_says_what_it_does() -> None:
    """The first line of its docstring is its description in the table."""
    for check in {each for checks in CHECKS.values() for each in checks}:
        assert (check.__doc__ or "").strip(), name_of(check)


@pytest.mark.parametrize("root", [Path("/"), Path("/some/root")])
def test_a_program_in_a_root_is_the_child_itself(root: Path) -> None:
    """Signals reach the broker: everything before it becomes it (exec), and on a machine of the suite there is nothing before it."""
    argv = command(root, ["mosquitto", "-c", "file"])
    assert argv[-3:] == ["mosquitto", "-c", "file"]
    assert (len(argv) == 3) == (root == Path("/"))
    assert len(argv) == 3 or "exec chroot" in " ".join(argv)
