"""Tries brokers: `python -m tests.interop --brokers 'rabbitmq-*'`. Everything that is fetched lies in INTEROP_DIR."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.interop import table
from tests.interop.broker import InteropBroker, Unavailable, every_broker, misnamed
from tests.interop.checks import CHECKS, STREAMED, Check, family_of, name_of
from tests.interop.outcome import Outcome, Outcomes, Report
from tests.interop.roots import CACHE
from tests.interop.sources import sources_of
from tests.interop.trial import Trial

#: For this program, and for the clients that fetch.
_KEPT: Final = re.compile(
    r"INTEROP_DIR|PYTHONPATH|PIP_[A-Z_]+|[A-Za-z]+_(PROXY|proxy)|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE|GO(PROXY|NOSUMDB|PRIVATE)"
)


def main() -> int:
    """Try the brokers that were asked for, one after the other; 1 if one fails or could not be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description=__doc__)
    parser.add_argument("--brokers", default="*", metavar="PATTERN", help="names as in 'rabbitmq-*,mosquitto-2.0.21'")
    parser.add_argument("--checks", default="", metavar="NAME,...", help="only these checks")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too, of a whole run")
    parser.add_argument("--list", action="store_true", help="list the brokers and try none")
    options = parser.parse_args()
    brokers = every_broker(options.brokers)
    if options.list:
        for broker in brokers:
            print(f"{broker.name:<26} {', '.join(sorted(broker.protocols))}")
        return 0
    if not brokers:
        parser.error(f"no broker is called {options.brokers}")
    _become_root()
    # The publishers' libraries report each outage; the ledger does so as well.
    logging.disable()
    # aio-pika's tasks of connections whose broker was killed end like that.
    warnings.simplefilter("ignore", RuntimeWarning)
    sys.unraisablehook = lambda _: None
    reports = []
    for broker in brokers:
        reports.append(report_on(broker, set(filter(None, options.checks.split(",")))))
        print(table.summary(reports[-1]), flush=True)
    if options.markdown and len(brokers) == len(every_broker()) and not options.checks:
        _write(options.markdown, table.markdown(reports, "make interop"))
    failed = [report.name for report in reports if report.failed]
    print(f"\n{len(reports)} brokers, {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


def _become_root() -> None:
    """Begin anew as root, where sudo asks for no password: without it there are no Debian roots."""
    if (
        os.geteuid() != 0
        and shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], check=False).returncode == 0
    ):
        program = [sys.executable, "-B", "-m", "tests.interop", *sys.argv[1:]]
        os.execvp("sudo", as_root(program, os.environ))


def as_root(program: list[str], environ: Mapping[str, str]) -> list[str]:
    """Return the command that runs `program` as root, with the few variables of the environment that it needs.

    A proxy's address or a package index's may hold a password, which no command line shows.
    """
    kept = ",".join(sorted(name for name in environ if _KEPT.fullmatch(name)))
    # sudo has a PATH and a HOME of its own.
    same = [f"{name}={environ[name]}" for name in ("HOME", "PATH") if name in environ]
    return ["sudo", "-n", *([f"--preserve-env={kept}"] if kept else []), "env", *same, *program]


def _write(path: Path, text: str) -> None:
    """Write a file that belongs to the user, also where sudo made this process root's."""
    path.write_text(text)
    if os.environ.get("SUDO_UID"):
        os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def report_on(broker: type[InteropBroker], only: set[str]) -> Report:
    """Fetch a broker, and run its checks; `only` those of these names, if there are any."""
    report = Report(broker.name, broker.protocols)
    since = time.monotonic()
    try:
        broker.prepare(CACHE)
        report.version = broker.version()
    except Unavailable as error:
        report.unavailable = str(error)
        return report
    except Exception as error:  # noqa: BLE001 - a full disk, or a folder of somebody else; the other brokers are still to be tried
        report.unavailable = f"{type(error).__name__}: {error}"
        return report
    trial = Trial(broker)
    if wrong := misnamed(broker.name, report.version):
        trial.note(wrong)
    with trial.brokers:
        try:
            trial.admit()
        except Exception as error:  # noqa: BLE001 - a library's own; the other brokers are still to be tried
            report.outcomes["start"] = {broker.name: _broken_off(error)}
            report.notes = trial.notes
            return report
        for check in CHECKS[family_of(broker.protocols)]:
            if not only or name_of(check) in only:
                began = time.monotonic()
                report.outcomes[name_of(check)] = _outcomes(check, trial)
                report.took_s[name_of(check)] = time.monotonic() - began
    report.notes = trial.notes
    report.seconds = time.monotonic() - since
    return report


def _outcomes(check: Check, trial: Trial) -> Outcomes:
    name = name_of(check)
    every = sources_of(trial.kind, at_most_once=name == "events", streams=name in STREAMED)
    if lack := trial.kind.lacks.get(name):
        return dict.fromkeys(every, Outcome("broker", str(lack)))
    if not trial.sources():
        return trial.refused
    try:
        found = check(trial)
    except Exception as error:  # noqa: BLE001 - as above
        trial.brokers.close()
        found = dict.fromkeys(trial.sources(), _broken_off(error))
    return {**found, **{source: trial.refused[source] for source in every if source in trial.refused}}


def _broken_off(error: Exception) -> Outcome:
    return Outcome("FAILED", f"{type(error).__name__}: {error}".partition("\n")[0], str(error))


if __name__ == "__main__":
    sys.exit(main())
