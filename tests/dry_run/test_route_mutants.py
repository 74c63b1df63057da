"""The keys of a route that make several messages, or choose their target, and those of bodies: each change makes a test of the file fail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from bridge.dry_run.suite import Suite
from bridge.errors import ConfigError
from tests.dry_run.mutants import mutants

CONFIG: Final = """\
sources:
  orders: {type: amqp, url: amqp://localhost, queue: q}
  old:
    {type: amqp, url: amqp://localhost, queue: old, decode: json-or-text, charset: iso-8859-1, content_encoding: gzip, lenient: true, empty: as-null}
routes:
  - name: lines
    from: orders
    topic: order.lines
    foreach: $[line for line in payload.lines if line.qty > 0]
    actor: pick
    queue: picks
    args: [$item.sku, $index + 1]
    eta: $payload.at + 1000
    queue_by: {key: $item.size, queues: {large: slow-picks}}
    then:
      - {actor: label, args: [$item.sku], delay: 10s, message_id: '$f"label-{index}"', queue: labels}
      - {actor: count, ignore_result: true, options: {max_retries: 3}, kwargs: {of: $payload.id}}
  - name: task
    from: orders
    topic: order.task
    actor: $payload.task
    queue: $f"q-{payload.shard}"
    allow: {actor: [crop, resize], queue: ["q-{0..1}"]}
  - {name: rest, from: orders, otherwise: true, actor: keep}
  - {name: old, from: old, actor: note, args: [$payload]}
tests:
  - name: a list
    now: 2026-11-28T10:00:00Z
    event:
      from: orders
      topic: order.lines
      payload:
        {id: A1, at: 1795860000000, lines: [{sku: a, qty: 1, size: s}, {sku: n, qty: 0, size: s}, {sku: b, qty: 2, size: large}]}
    expect:
      - route: lines
        actor: pick
        queue: picks
        args: [a, 1]
        delay: 1s
        then:
          - {actor: label, args: [a], delay: 10s, message_id: label-0, queue: labels, ignore_result: false}
          - {actor: count, ignore_result: true, options: {max_retries: 3}, kwargs: {of: A1}, queue: default}
      - {route: lines, actor: pick, queue: slow-picks, args: [b, 2], delay: 1s}
  - name: a task
    event: {from: orders, topic: order.task, payload: {task: crop, shard: 1}}
    expect: [{route: task, actor: crop, queue: q-1}]
  - name: the rest
    event: {from: orders, topic: order.other, payload: {}}
    expect: [{route: rest, actor: keep}]
  - {name: an umlaut, event: {from: old, payload_base64: /G4=}, expect: [{actor: note, args: [ün]}]}
  - {name: compressed, event: {from: old, payload_base64: H4sIAAAAAAACA6tWSlSyMqwFAK+sG1YHAAAA}, expect: [{actor: note, args: [{a: 1}]}]}
  - {name: broken, event: {from: old, body: "NaN"}, expect: [{actor: note, args: [null]}]}
  - {name: nothing, event: {from: old, body: ""}, expect: [{actor: note, args: [null]}]}
  - {name: text, event: {from: old, body: "on"}, expect: [{actor: note, args: ["on"]}]}
"""


def _failures(path: Path, config: dict[str, Any]) -> list[str]:
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    suite = Suite(str(path))
    return [line for result in suite.run(range(len(suite.names()))) for line in result.differences]


def test_each_change_is_seen(tmp_path: Path) -> None:
    """Operators and literals of foreach, eta, queue_by, then, actor and queue; otherwise, and how a body is read."""
    path = tmp_path / "bridge.yaml"
    config = yaml.safe_load(CONFIG)
    assert _failures(path, config) == []
    survivors, changed = [], set()
    for mutant in mutants(config):
        changed.update(re.findall(r"^(?:routes\[\d+\]|sources\.old)\.(\w+)", mutant.change))
        try:
            if not _failures(path, mutant.config):
                survivors.append(mutant.change)
        except ConfigError:
            continue
    assert survivors == []
    assert changed >= {"foreach", "eta", "queue_by", "then", "actor", "queue", "otherwise", "args"} | {
        "decode",
        "charset",
        "content_encoding",
        "lenient",
        "empty",
    }
