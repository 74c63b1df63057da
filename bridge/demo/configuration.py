"""The configuration of the demo's bridge: demo.yaml, with rabbitmq.yaml where there is one, and the page's address."""

from __future__ import annotations

import json
from pathlib import Path

import yaml


def config_path() -> Path:
    """Return the path of the demo's configuration; `config/examples/demo.yaml` is a link to it."""
    return Path(__file__).with_name("demo.yaml")


def write_configuration(path: Path, *, with_rabbitmq: bool, admin_port: int) -> None:
    """Write the configuration to `path`, as JSON, which is YAML too."""
    configuration = yaml.safe_load(config_path().read_bytes())
    if with_rabbitmq:
        addition = yaml.safe_load(Path(__file__).with_name("rabbitmq.yaml").read_bytes())
        configuration["sources"] |= addition["sources"]
        configuration["routes"] += addition["routes"]
    configuration["admin"] = {"listen": f"127.0.0.1:{admin_port}"}
    path.write_text(json.dumps(configuration))
