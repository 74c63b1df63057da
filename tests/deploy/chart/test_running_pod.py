"""A pod of the rendered StatefulSet, run as a kubelet would: its arguments, its environment, its volumes and its probes.

The program and the brokers are real. Paths of mounts lie below the test's folder, and the brokers' addresses are the tests' own.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from paho.mqtt import publish

from tests.deploy.chart import pods
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import REPOSITORY, Child, free_port, patient, wait_until
from tests.support.config_map import ConfigMapVolume
from tests.support.processes import queue_messages


class _Pod:
    """The pod `dramatiq-bridge-0`, with the volumes `config` and `credentials`, and one that is empty for each claim."""

    def __init__(self, folder: Path, addresses: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]]) -> None:
        (rendering,) = (each for each in pods.ALL if each.name == "plain-statefulset")
        self._replaced = dict(addresses)
        self.spec = pods.workload(rendering)["spec"]["template"]["spec"]
        self.container = pods.container(self.spec)
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        for name, path in mounts.items():
            self._replaced[path] = str(folder / name)
        (config_map,) = pods.of_kind(rendering, "ConfigMap")
        self.files = {name: self._here(text) for name, text in config_map["data"].items()}
        self.config = ConfigMapVolume(folder / "config", self.files)
        projected = pods.volume(self.spec, "credentials")["projected"]["sources"]
        items = [(source["secret"]["name"], item) for source in projected for item in source["secret"]["items"]]
        ConfigMapVolume(folder / "credentials", {item["path"]: secrets[name][item["key"]] for name, item in items})
        assert set(mounts) == {"config", "credentials", "state"}
        (folder / "state").mkdir()
        self.log = folder / "log"
        self._port = free_port()
        self._replaced["0.0.0.0:9464"] = f"127.0.0.1:{self._port}"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "bridge", *map(self._here, self.container["args"])]
            self.child = Child(command, env=self._environ(), stderr=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()

    def _here(self, text: str) -> str:
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        return text

    def _environ(self) -> dict[str, str]:
        own = {"POD_NAME": "dramatiq-bridge-0"}
        given = {each["name"]: self._here(each.get("value") or own[each["name"]]) for each in self.container["env"]}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **given}

    def probe(self, name: str) -> int:
        """Return the status that this probe of the container gets; 0 where nothing answers."""
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self.container[name]["timeoutSeconds"])
        try:
            # A kubelet asks the pod's own address.
            link.request("GET", self.container[name]["httpGet"]["path"], headers={"Host": "10.244.1.7:9464"})
            return link.getresponse().status
        except OSError:
            return 0
        finally:
            link.close()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of its log with this name."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in found if line["event"] == event]


def test_the_pod_runs_as_it_is_rendered(
    new_redis: Callable[..., Redis], new_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> None:
    """It is alive without its broker, ready with it, takes an updated ConfigMap, and ends within its grace period."""
    sink = new_redis(password="of-redis")
    mosquitto = new_mosquitto(user="bridge", password="of-mosquitto")
    mosquitto.stop()
    addresses = {
        "redis://redis:6379": f"redis://127.0.0.1:{sink.port}",
        "mosquitto:1883": f"127.0.0.1:{mosquitto.port}",
    }
    secrets = {"redis": {"password": "of-redis\n"}, "mosquitto": {"password": "of-mosquitto\n"}}
    with _Pod(tmp_path, addresses, secrets) as pod, sink.client() as client:
        wait_until(lambda: pod.probe("startupProbe") == 200, 60, "started")
        wait_until(lambda: pod.lines("source.unavailable"), 30, "the broker is missed")
        assert (pod.probe("livenessProbe"), pod.probe("readinessProbe")) == (200, 503)
        mosquitto.start()
        wait_until(lambda: pod.probe("readinessProbe") == 200, 60, "ready")
        _publish(mosquitto, "plants/3/ovens/7/temperature", {"celsius": 300})
        wait_until(lambda: client.llen("dramatiq:default") == 1, 30, "the message")
        pod.config.update({"bridge.yaml": pod.files["bridge.yaml"].replace("raise_alarm", "call_somebody")})
        wait_until(lambda: pod.lines("bridge.reloaded"), 30, "the updated ConfigMap")
        _publish(mosquitto, "plants/4/ovens/8/temperature", {"celsius": 400})
        wait_until(lambda: client.llen("dramatiq:default") == 2, 30, "the second message")
        calls = [(each["actor_name"], each["args"]) for each in queue_messages(client, "default")]
        assert sorted(calls) == [("call_somebody", ["4", 8, 400]), ("raise_alarm", ["3", 7, 300])]
        assert pod.child.end(patient(pod.spec["terminationGracePeriodSeconds"])) == 0, pod.log.read_text()
        assert pod.lines("bridge.stopped")[0]["enqueued"] == 2


def _publish(mosquitto: Mosquitto, topic: str, payload: dict[str, Any]) -> None:
    login: Any = {"username": mosquitto.user, "password": mosquitto.password}
    publish.single(topic, json.dumps(payload), qos=1, hostname="127.0.0.1", port=mosquitto.port, auth=login)
