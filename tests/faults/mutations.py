"""Mistakes that the matrix must find: textual changes, each of which breaks a promise, made to a copy of the bridge."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.children import REPOSITORY


@dataclass(frozen=True)
class Mutation:
    """In `file`, each text of `changes` becomes another one; `row` must turn red, and say `finds`."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    row: str
    finds: str

    def apply(self, directory: Path) -> Mapping[str, str]:
        """Copy the bridge into `directory` and change it there; return the environment that makes Python run the copy.

        Raises:
            AssertionError: a text is not there exactly once; the mutation has to follow the code.
        """
        shutil.copytree(REPOSITORY / "bridge", directory / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
        path = directory / self.file
        source = path.read_text()
        for old, new in self.changes:
            assert source.count(old) == 1, f"mutation {self.name}: {self.file} holds {source.count(old)} times: {old}"
            source = source.replace(old, new)
        path.write_text(source)
        # Safe path: `python -m` does not put the current directory, where the bridge itself is, before the copy.
        return {"PYTHONPATH": os.fspath(directory), "PYTHONSAFEPATH": "1"}


MUTATIONS: Final = (
    Mutation(
        "acknowledge-before-write",
        "bridge/delivery/pipeline.py",
        (
            (
                "                    outcome = await self._policy.decide(delivery)\n",
                (
                    "                    if delivery.session is not None:\n"
                    "                        await delivery.session.acknowledge(delivery.batch.events)\n"
                    "                    outcome = await self._policy.decide(delivery)\n"
                ),
            ),
            ("                    await self._acknowledge(delivery, outcome)\n", ""),
        ),
        "bridge-kill-unwritten",
        "lost ",
    ),
    Mutation(
        "no-batch-token",
        "bridge/sink/enqueue.lua",
        (("if last == NUMBER and result ~= '' then", "if false then"),),
        "redis-cut-replies",
        " duplicates, at most 0 allowed",
    ),
    # In Redis a script is one step, and its effects are one MULTI in the append-only file, of which a torn tail keeps
    # nothing (7.0.15, observed): no crash shows the order. It is the second line of defence, and only MONITOR shows it.
    Mutation(
        "rpush-before-hset",
        "bridge/sink/enqueue.lua",
        (
            ("    redis.call('HSET', hash, unpack(source, from, till))\n", ""),
            (
                "    length = redis.call('RPUSH', list, unpack(ids))\n",
                (
                    "    length = redis.call('RPUSH', list, unpack(ids))\n"
                    "    redis.call('HSET', hash, unpack(source, from, till))\n"
                ),
            ),
        ),
        "redis-order",
        "in the list before their messages",
    ),
)
