"""One run of a row: load, fault, recovery, drain, and the check of what every row promises."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from subprocess import TimeoutExpired
from typing import Any, Final

import redis

from tests.faults import checker
from tests.faults.rows import Row
from tests.faults.sources import KINDS
from tests.faults.stage import Brokers, Stage
from tests.support.children import PATIENCE

#: What delivery.md allows over the idle process, beside the windows.
MEMORY_BYTES: Final = 64 * 2**20
#: What may come of a row that does not go as it should.
BROKEN_OFF: Final = (AssertionError, OSError, TimeoutExpired, redis.RedisError)
#: How long the bridge may take to end when it is told to.
STOP_S: Final = 25.0
#: A source from which nothing new arrives for so long has nothing more to give.
_QUIET_S: Final = 10.0
_DRAIN_S: Final = 60.0
#: How much later than promised a recovery is still waited for, to tell how long it took.
_PATIENCE_S: Final = 20.0
#: By when a recovery has come on any machine.
_EVENTUALLY_S: Final = 120.0


@dataclass(slots=True)
class Result:
    """What came of one run; it has held if there are no `failures`."""

    row: Row
    fast: bool
    failures: list[str] = field(default_factory=list)
    #: What the row has measured.
    notes: list[str] = field(default_factory=list)
    confirmed: int = 0
    #: The numbers of each source that are missing, promised or not.
    missing: dict[str, list[int]] = field(default_factory=dict)
    #: Missing although the row promises them; by the broker's own fault; of sources that promise at most once.
    lost: int = 0
    own_loss: int = 0
    not_promised: int = 0
    duplicates: int = 0
    orphans: int = 0
    recovery_s: float | None = None
    #: Over the idle process.
    memory_bytes: int = 0
    log: str = ""

    def report(self) -> str:
        """Return the failures and the end of the log as text."""
        return "\n".join([f"{self.row.name}: {self.row.what}", *(f"  - {one}" for one in self.failures), self.log])


def run(
    row: Row,
    brokers: Brokers,
    *,
    fast: bool = True,
    short: bool = True,
    seconds: float | None = None,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Run a row once, on one of the two ways to read AMQP and MQTT; `env` is the bridge's, for `seconds` see Stage."""
    result = Result(row, fast)
    options: dict[str, Any] = {"fast": fast, "short": short, "seconds": seconds, "env": env, **(row.stage or {})}
    stage = Stage(brokers, row.sources, **options)
    try:
        with stage:
            _experiment(row, stage, result)
    except BROKEN_OFF as error:
        result.failures.append(f"the experiment broke off: {type(error).__name__}: {error}")
    result.failures += [*stage.failures, *stage.scraper.failures[:5]]
    result.notes += stage.notes
    result.memory_bytes = max(0, stage.peak_bytes - stage.idle_bytes)
    if result.failures:
        result.log = stage.log_tail()
        # What the row has done to them may last; the next one begins with brokers that nobody has touched.
        brokers.close()
    return result


def _experiment(row: Row, stage: Stage, result: Result) -> None:
    for load in stage.loads.values():
        load.start()
    _await_flow(stage)
    stage.wait(0.2, 1)
    row.act(stage)
    if row.recovery_s is not None:
        # The short form runs beside other tests: there a recovery has to come, and how soon is no measurement.
        within_s = _EVENTUALLY_S if stage.short else row.recovery_s
        with stage.client() as client:
            newest = partial(checker.newest, client)
            result.recovery_s = await_recovery(stage, within_s, newest, result.failures)
        if not row.stays_unready and not stage.scraper.wait_ready(within_s + _PATIENCE_S):
            result.failures.append(f"/readyz has not become 200 again: {list(stage.scraper.unready)[-5:]}")
    for load in stage.loads.values():
        load.stop()
    _drain(row, stage)
    stage.scraper.wait_scraped(_PATIENCE_S)
    _stop(stage, result)
    _check_scrapes(row, stage, result)
    _check_events(row, stage, result)
    _check_log(row, stage, result)
    grown, most = stage.peak_bytes - stage.idle_bytes, MEMORY_BYTES + stage.window_bytes * len(stage.sources)
    if grown > most:
        result.failures.append(f"memory grew by {grown / 2**20:.1f} MiB, more than {most / 2**20:.0f}")


def _await_flow(stage: Stage) -> None:
    deadline = time.monotonic() + 20 * PATIENCE
    loaded = [source for source, load in stage.loads.items() if load.rate]
    with stage.client() as client:
        while min(checker.lengths(client, loaded).values(), default=1) < 1:
            assert time.monotonic() < deadline, f"no event arrived of each of {loaded} before the fault"
            time.sleep(0.05)


def await_recovery(stage: Stage, within_s: float, newest: Callable[[str], int], failures: list[str]) -> float:
    """Return the seconds until every source has brought an event that was published after now.

    `newest` tells the largest number of a source that has arrived; `failures` gets what takes longer than `within_s`.
    """
    since = time.monotonic()
    # Counted before it is sent: what begins before has a smaller number.
    waiting = {source: load.ledger.sent for source, load in stage.loads.items() if load.rate}
    while True:
        waiting = {source: wanted for source, wanted in waiting.items() if newest(source) < wanted}
        took = time.monotonic() - since
        if not waiting:
            break
        if took > within_s + _PATIENCE_S:
            failures.append(f"{', '.join(waiting)} did not recover within {took:.0f} s")
            return took
        time.sleep(0.02)
    if took > within_s:
        failures.append(f"recovered after {took:.1f} s, more than {within_s:g}")
    return took


def _drain(row: Row, stage: Stage) -> None:
    """Wait until everything that was promised has arrived, or until nothing arrives any more."""
    deadline = time.monotonic() + _DRAIN_S
    promised = [source for source in stage.sources if KINDS[source].guarantee or row.keeps_all]
    with stage.client() as client:
        before, since = checker.lengths(client, stage.sources), time.monotonic()
        while time.monotonic() < min(deadline, since + _QUIET_S):
            arrived = checker.look(client, stage.sources)
            if not any(arrived[source].missing(stage.loads[source].ledger) for source in promised):
                return
            time.sleep(0.2)
            now = checker.lengths(client, stage.sources)
            if now != before:
                before, since = now, time.monotonic()


def _stop(stage: Stage, result: Result) -> None:
    for bridge in stage.bridges:
        bridge.terminate()
    for number, bridge in enumerate(stage.bridges):
        with suppress(TimeoutExpired):
            code = bridge.wait(STOP_S)
            if code != 0:
                result.failures.append(f"bridge {number} ended with exit code {code}")
            continue
        result.failures.append(f"bridge {number} did not end within {STOP_S:g} s of SIGTERM")


def _check_events(row: Row, stage: Stage, result: Result) -> None:
    with stage.client() as client:
        arrived = checker.look(client, stage.sources)
    for source, its in arrived.items():
        kind, ledger = KINDS[source], stage.loads[source].ledger
        missing = result.missing[source] = its.missing(ledger)
        result.confirmed += len(ledger.confirmed)
        if not kind.guarantee and not row.keeps_all:
            result.not_promised += len(missing)
        elif source in row.losers:
            result.own_loss += len(missing)
        elif missing:
            result.lost += len(missing)
            result.failures.append(
                f"{source}: lost {len(missing)} of {len(ledger.confirmed)}: {checker.shown(missing)}"
            )
        result.duplicates += its.duplicates
        most = row.again * kind.again * stage.window_events
        if its.duplicates > most:
            twice = sorted(number for number, count in (its.queued + its.dead).items() if count > 1)
            result.failures.append(
                f"{source}: {its.duplicates} duplicates, at most {most} allowed: {checker.shown(twice)}"
            )
        result.orphans += len(its.orphans)
        result.failures += its.orphans[:5]
    if row.must_duplicate and not result.duplicates:
        result.failures.append("nothing came twice: the fault has not hit what it was meant to")


def _check_scrapes(row: Row, stage: Stage, result: Result) -> None:
    """Check that the bridges could be looked into, and that they have named the cause while they were not ready."""
    stage.scraper.stop()
    if not stage.scraper.scrapes:
        result.failures.append("no admin server has answered")
    named = stage.scraper.unready
    result.notes += [f"not ready: {cause} ({count} times)" for cause, count in named.most_common(3)]
    if row.unready and not any(word in cause for word in row.unready for cause in named):
        result.failures.append(f"/readyz has not named {' or '.join(row.unready)}: {list(named)[:5]}")


def _check_log(row: Row, stage: Stage, result: Result) -> None:
    lines = stage.error_lines()
    for says in row.says:
        found = [
            line
            for line in lines
            if line["event"] == says.event
            and (says.source is None or line.get("source") == says.source)
            and says.cause.lower() in str(line.get("cause", "")).lower()
        ]
        if not any(all(name in line for name in says.fields) for line in found):
            of = f" of {says.source}" if says.source else ""
            about = f" about {says.cause}" if says.cause else ""
            result.failures.append(f"the log has no {says.event}{of}{about} with {', '.join(says.fields)}")
    kinds = Counter((line["event"], line.get("source"), line.get("cause")) for line in lines)
    most = row.most_lines + int((stage.seconds or 0) // 60)  # one a minute, where it lasts longer
    for kind, count in kinds.items():
        if count > most:
            result.failures.append(f"{count} log lines {kind}: a repeated error is limited")
