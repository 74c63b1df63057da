"""The tests that `make test` leaves out, and `make test-long` runs: those that take longest, and have siblings which stay.

Most are further rows of one table: the library's own clients beside the bridge's, several processes beside one, 20 s beside 1 s.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

#: Patterns of ids, below `tests/`; `[[]` is a bracket.
LONG: Final = (
    "admin/test_metrics.py::test_ten_thousand_scrapes_take_no_memory",
    "config/test_load_time.py::test_a_hostile_file_is_refused_soon[[]un[ks]*",  # unknown keys, sources, types
    "delivery/test_delivery.py::*-library]",
    "delivery/test_identity.py::test_the_events_that_came_are_accounted_for_at_every_moment[[][6-9]-*",
    "delivery/test_poison.py::*-library]",
    "deploy/alerts/test_rules.py::test_a_mistake_in_a_rule_turns_a_case_red[[]comparison-[1-9]]",
    "deploy/alerts/test_rules.py::test_a_mistake_in_a_rule_turns_a_case_red[[]limit-*",
    "deploy/alerts/test_rules.py::test_a_mistake_in_a_rule_turns_a_case_red[[]at-once]",
    "deploy/alerts/test_rules.py::test_a_mistake_in_a_rule_turns_a_case_red[[]later]",
    "faults/test_matrix.py::test_a_mistake_turns_a_row_red[[][!a]*",
    "faults/test_matrix.py::test_a_row_holds[[]bridge-log-unread-*",
    "faults/test_matrix_memory.py::test_memory_is_flat_while_redis_refuses",
    "faults/test_matrix_sources.py::test_a_row_holds[[]input-topics-*",
    "faults/test_matrix_sources.py::test_a_row_holds[[]mosquitto-flapping-*",
    "faults/test_matrix_sources.py::test_a_row_holds[[]neighbour-black-hole-*",
    "faults/test_matrix_sources.py::test_a_row_holds[[]neighbour-dead-True]",
    "faults/test_matrix_sources.py::test_a_row_holds[[]neighbour-expired-*",
    "faults/test_matrix_sources.py::test_a_row_holds[[]rabbitmq-con*",
    "faults/test_matrix_sources.py::test_a_row_holds[[]rabbitmq-delivery-limit-*",
    "faults/test_matrix_spool.py::test_a_row_holds[[]spool-flipped-bytes]",
    "faults/test_matrix_time.py::test_a_row_holds[[]*-False]",
    "process/test_clock.py::test_a_bridge_that_stood_still_calls_no_source_stuck[[]*-2]",
    "process/test_pause.py::*-library*",
    "process/test_reload.py::*-library*",
    "process/test_stop.py::*[[]library*",
    "process/test_stop.py::test_a_sink_that_is_silent_holds_up_no_stop[[]asyncio]",
    "routing/expressions/test_purse.py::test_no_payload_makes_a_loop_slow[[][!0]*",
    "routing/expressions/test_python.py::test_the_common_subset_is_python",
    "sources/amqp/test_amqp_faults.py::test_an_outage_wears_out_no_quorum_queue[[]library-*",
    "sources/amqp/test_amqp_faults.py::test_an_outage_wears_out_no_quorum_queue[[]fast-full-pipeline]",
    "sources/amqp/test_transport.py::test_the_end_has_a_cause[[]library-the broker cancels*",
    "sources/mqtt/test_takeover.py::*[[]library*",
    "sources/test_contract.py::test_a_broker_that_is_away_at_the_start_stops_nobody[[]*-library]",
    "sources/test_contract.py::test_a_late_acknowledgement_is_ignored[[]*-library]",
    "sources/test_contract.py::test_a_restarted_broker_is_found_again[[]*-library]",
    "sources/test_tls_rotation.py::*[[]rabbitmq-server]",
    "spool/test_log.py::test_any_flipped_byte_costs_one_record_and_is_counted",
    "spool/test_removed_at_stop.py::test_a_slow_disk_has_all_the_time_of_the_stop_and_what_it_loses_is_counted[[]*-20s]",
    "support/test_brokers.py::test_rabbitmq_keeps_its_messages_over_a_restart_and_a_kill",
)


def is_long(test_id: str) -> bool:
    """Whether `make test` leaves this test out."""
    name = test_id.removeprefix("tests/")
    return any(fnmatchcase(name, pattern) for pattern in LONG)
