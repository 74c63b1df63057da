"""One broker under trial: its sources, and the experiments with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from tests.faults.experiment import run
from tests.faults.rows import Row
from tests.faults.sources import KINDS
from tests.faults.stage import Brokers, Stage
from tests.interop.broker import InteropBroker
from tests.interop.control import Control, control_of
from tests.interop.outcome import Outcome, Outcomes, judge
from tests.interop.sources import sources_of
from tests.interop.tap import Tap
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.processes import BridgeProcess

#: What is done to the broker or the bridge, with the plain client beside it, if there is one.
Act = Callable[[Stage, Control | None], None]
_ANSWER_S: Final = 20.0
_CONNECTION_LINES: Final = frozenset({"source.unavailable", "source.disconnected", "sink.unavailable"})


class Trial:
    """One kind of broker; use `brokers` as a context manager around it."""

    def __init__(self, kind: type[InteropBroker]) -> None:
        self.kind = kind
        make: dict[str, Callable[[], Any]] = {"broker": kind}
        if self.is_redis:
            make = {"sink": kind, "events": kind, "plain": lambda: Redis(appendonly=True)}
        self.brokers = Brokers(**make)
        #: Sources that the bridge refuses, with its words, or that the broker cannot give.
        self.refused: Outcomes = {}
        #: Of the broker and of the bridge about it, in words.
        self.notes: list[str] = []

    @property
    def is_redis(self) -> bool:
        """Whether the broker is Dramatiq's Redis too."""
        return "redis" in self.kind.protocols

    def sources(self, *, at_most_once: bool = False, streams: bool = False) -> tuple[str, ...]:
        """Return the sources that the bridge has taken; those that promise at most once, and RabbitMQ's streams, on request."""
        every = sources_of(self.kind, at_most_once=at_most_once, streams=streams)
        return tuple(source for source in every if source not in self.refused)

    def note(self, text: str) -> None:
        """Keep what was found out about the broker, once."""
        if text not in self.notes:
            self.notes.append(text)

    def admit(self) -> None:
        """Find out which sources the bridge takes at all, and what it says about the broker at its start."""
        answers = self.refusals({source: (source, {}) for source in self.sources(at_most_once=True, streams=True)})
        self.refused = {source: self._refusal(source, words) for source, words in answers.items()}

    def _refusal(self, source: str, words: str) -> Outcome:
        wanted = self.kind.refused.get(source)
        return Outcome("refused" if wanted is not None and wanted in words else "FAILED", words)

    def refusals(self, asked: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
        """Return the words with which the bridge refuses sources, by name; those that it takes are not there.

        `asked` has by any name a source, and settings of this one.
        """
        with self.answers(asked) as (_, refused):
            return refused

    @contextmanager
    def answers(self, asked: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[Redis, dict[str, str]]]:
        """Give Dramatiq's Redis and the refusals while the bridge runs; each source's messages go to the queue of its name."""
        feeds = {}
        for name, (source, _) in asked.items():
            feeds[name] = KINDS[source].feed(self.brokers.get(KINDS[source].broker))
            feeds[name].prepare()
        sink = self.brokers.get("sink")
        assert isinstance(sink, Redis)
        config = {
            "dramatiq": {"url": sink.url_of(0)},
            "sources": {name: {**feed.source, **asked[name][1]} for name, feed in feeds.items()},
            "routes": [{"from": name, "actor": "record", "args": ["$payload.n"], "queue": name} for name in asked],
        }
        with BridgeProcess(config) as bridge:
            refused: dict[str, str] = {}

            def answered() -> bool:
                assert bridge.running, bridge.log_tail()
                for log in bridge.events("source.unavailable"):
                    refused[log["source"]] = log["cause"]
                for log in bridge.events("sink.unavailable"):
                    refused.update(dict.fromkeys(asked, log["cause"]))
                for log in bridge.events("source.connected"):
                    refused.pop(log["source"], None)
                return len(refused) + len(bridge.events("source.connected")) >= len(asked)

            wait_until(answered, _ANSWER_S, "an answer to each source")
            for log in list(bridge.logs):
                if log.get("level") == "warning" and log["event"] not in _CONNECTION_LINES:
                    self.note(f"the bridge says {log['event']}: {log.get('cause') or log.get('guarantee')}")
            yield sink, refused

    def experiment(
        self,
        act: Act,
        *,
        sources: tuple[str, ...] | None = None,
        stage: Mapping[str, Any] | None = None,
        controlled: bool = True,
        tapped: bool = False,
        **row: Any,
    ) -> Outcomes:
        """Run `act` under load, and return what has become of each source; `row` and `stage` are those of Row.

        A plain client stands beside a controlled one. `tapped`: a tap shows which events an MQTT bridge has acknowledged.
        """
        chosen = self.sources() if sources is None else sources
        controls: list[Control] = []
        topics: dict[str, str] = {}

        def controlled_act(staged: Stage) -> None:
            topics.update({source: feed.topic for source, feed in staged.feeds.items()})
            control = control_of(staged) if controlled else None
            controls.extend([control] if control else [])
            act(staged, control)

        settings = {"most_lines": 100, **row}
        name = getattr(act, "__name__", "act")
        with ExitStack() as ends:
            tap = None
            if tapped and chosen[0].startswith("mqtt"):
                tap = ends.enter_context(Tap(self.brokers.get("broker").port))
                url = {"url": f"mqtt://127.0.0.1:{tap.port}"}
                stage = {**(stage or {}), "per_source": dict.fromkeys(chosen, url)}
            result = run(Row(name, name, controlled_act, sources=chosen, stage=stage, **settings), self.brokers)
        outcomes = {}
        for source in chosen:
            promised = KINDS[source].guarantee or settings.get("keeps_all", False)
            missing = result.missing.get(source, []) if promised else []
            lost = frozenset(missing) - tap.acknowledged[topics[source]] if tap else frozenset()
            witness = controls[0].witness(source, lost) if controls else None
            outcome = judge(source, result.failures, missing, witness)
            outcomes[source] = replace(outcome, log=result.log) if outcome.failed else outcome
        return outcomes


def each(sources: tuple[str, ...], check: Callable[[str], Outcome]) -> Outcomes:
    """Return the outcome of each source; an AssertionError of its check is a failure."""
    outcomes = {}
    for source in sources:
        try:
            outcomes[source] = check(source)
        except AssertionError as error:
            outcomes[source] = Outcome("FAILED", str(error).partition("\n")[0], str(error))
    return outcomes
