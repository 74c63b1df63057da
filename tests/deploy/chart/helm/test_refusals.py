"""Values that would install and then lose or double events are refused by helm, in words that say how to mend them."""

from __future__ import annotations

from typing import Any, Final

import pytest

from bridge.config import load
from bridge.sources.sharding import why_not_shareable
from tests.deploy.chart.helm.conftest import Refusal, Template

IMAGE: Final = {"repository": "registry.example.com/dramatiq-bridge"}
ORDERS: Final = {"type": "amqp", "url": "amqp://rabbitmq/", "queue": "orders"}
SHARED: Final = {"type": "mqtt", "url": "mqtt://mosquitto/", "topics": ["$share/bridge/plants/#"]}
STREAM: Final = {"type": "redis-stream", "url": "redis://redis/", "streams": ["audit"], "group": "bridge"}
SPOOL: Final = {"directory": "/var/lib/dramatiq-bridge/spool"}


def _values(source: dict[str, Any] | None = None, more: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    config = {"sources": {"events": source or ORDERS}, "routes": [], **(more or {})}
    return {"image": IMAGE, "config": config, **values}


#: Sources of which two bridges would take each event twice, or the session from each other.
ALONE: Final[dict[str, dict[str, Any]]] = {
    "pubsub": {"type": "redis-pubsub", "url": "redis://redis/", "channels": ["signups"]},
    "mqtt-topics-of-routes": {"type": "mqtt", "url": "mqtt://mosquitto/"},
    "mqtt-one-topic-unshared": {**SHARED, "topics": ["$share/bridge/plants/#", "ovens/#"]},
    "mqtt-3.1.1": {**SHARED, "version": "3.1.1"},
    "stream-of-rabbitmq": {**ORDERS, "stream": True},
    "declared-stream": {**ORDERS, "declare": {"arguments": {"x-queue-type": "stream"}}},
    "stream-by-a-variable": {**ORDERS, "declare": {"arguments": {"x-queue-type": "${QUEUE_TYPE:-stream}"}}},
    "mqtt-by-a-variable": {**SHARED, "topics": ["${TOPIC:-plants/#}"]},
    "version-by-a-variable": {**SHARED, "version": "${MQTT_VERSION:-3.1.1}"},
    "fixed-client-id": {**SHARED, "client_id": "bridge"},
    "fixed-consumer": {**STREAM, "consumer": "bridge"},
}
#: A part of the reason, by the beginning of the name.
REASONS: Final = {
    "pubsub": "every subscriber of a channel gets every event",
    "mqtt": "version 5 shares topics such as topics: [$share/bridge/plants/#]",
    "version": "version 5 shares topics",
    "stream": "every consumer of a stream gets every event",
    "declared": "every consumer of a stream gets every event",
    "fixed-client": "a broker ends the older of two connections with one id; write client_id: bridge-${POD_NAME}",
    "fixed-consumer": "two consumers with one name take over each other's entries; leave it out",
}
SHAREABLE: Final[dict[str, dict[str, Any]]] = {
    "queue": ORDERS,
    "quorum-queue": {**ORDERS, "declare": {"arguments": {"x-queue-type": "quorum"}}},
    "shared-mqtt": SHARED,
    "shared-mqtt-version-5": {**SHARED, "version": 5, "client_id": "bridge-${POD_NAME}"},
    "named-by-the-host": {**SHARED, "client_id": "bridge-${HOSTNAME:-0}"},
    "redis-stream": STREAM,
    "named-consumer": {**STREAM, "consumer": "${POD_NAME}"},
}


@pytest.mark.parametrize("name", ALONE)
def test_two_replicas_of_a_source_that_they_cannot_share_are_refused(
    name: str, refusal: Refusal, template: Template
) -> None:
    """The refusal names the source and the way out; one replica is right, and is never doubled by a rollout."""
    words = refusal(_values(ALONE[name], replicas=2))
    assert "replicas: 2, but with this configuration only one is right:\n  sources.events" in words
    assert [reason for start, reason in REASONS.items() if name.startswith(start) and reason in words]
    assert ("Set replicas: 1" in words) is not name.startswith("fixed-")
    assert "processes" not in words
    (workload,) = (each for each in template(_values(ALONE[name])) if each["kind"] == "Deployment")
    assert workload["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("name", SHAREABLE)
def test_two_replicas_of_a_source_that_they_share_are_right(name: str, template: Template) -> None:
    """Bridges share a queue, a group of a stream, and a shared subscription, each by a name of its own."""
    (workload,) = (
        each for each in template(_values(SHAREABLE[name], replicas=2)) if each["kind"] in {"Deployment", "StatefulSet"}
    )
    assert workload["spec"]["replicas"] == 2
    named = "client_id" in SHAREABLE[name]
    assert workload["kind"] == ("StatefulSet" if named else "Deployment")


def test_a_source_is_looked_at_in_an_included_file_and_with_its_defaults(refusal: Refusal, template: Template) -> None:
    """As if its keys stood at a source of the configuration; a source's own key wins there too."""
    included = {
        "routes-a.yaml": "sources: {events: {type: redis-pubsub, url: redis://redis/, channels: [c]}}\nroutes: []\n"
    }
    values = {"image": IMAGE, "config": {"include": ["routes-*.yaml"]}, "extraFiles": included, "replicas": 2}
    assert "sources.events: every subscriber of a channel gets every event" in refusal(values)
    template({**values, "replicas": 1})
    shared: dict[str, Any] = {
        "defaults": {"mqtt": {**SHARED, "client_id": "bridge"}},
        "sources": {"events": {"type": "mqtt"}},
    }
    del shared["defaults"]["mqtt"]["type"]
    assert "write client_id: bridge-${POD_NAME}" in refusal({"image": IMAGE, "config": shared, "replicas": 2})
    shared["sources"]["events"]["client_id"] = "bridge-${POD_NAME}"
    assert any(each["kind"] == "StatefulSet" for each in template({"image": IMAGE, "config": shared, "replicas": 2}))
    shared["defaults"]["mqtt"]["password"] = "secret"
    assert "config.sources.events.password: a secret does not belong" in refusal({"image": IMAGE, "config": shared})


@pytest.mark.parametrize("name", [*ALONE, *SHAREABLE])
def test_the_chart_knows_as_much_as_the_bridge(name: str, tmp_path: Any) -> None:
    """A source that processes of one bridge cannot share, replicas cannot share either: both lists above say so."""
    import json  # noqa: PLC0415

    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps({"sources": {"events": {**ALONE, **SHAREABLE}[name]}}))
    (source,) = load(str(path), environ={"POD_NAME": "bridge-0"}).sources.values()
    assert (why_not_shareable(source) is not None) == (name in ALONE and not name.startswith("fixed-"))


#: The words of each other refusal: values, and a part of the words.
REFUSED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "no-image": ({"config": {"sources": {"events": ORDERS}}}, "image.repository: no registry has an image"),
    "no-config": ({"image": IMAGE}, "config: give the bridge's configuration (--set-file config=bridge.yaml)"),
    "two-configs": (_values(existingConfigMap="x"), "config, existingConfigMap: give one of them"),
    "no-sources": ({"image": IMAGE, "config": {"routes": []}}, "config.sources: is missing"),
    "list-of-sources": ({"image": IMAGE, "config": {"sources": []}}, "config.sources: takes a map, not a slice"),
    "text-for-a-source": (
        {"image": IMAGE, "config": {"sources": {"a": "amqp"}}},
        "config.sources.a: takes a map, not a string",
    ),
    "null-for-a-source": ({"image": IMAGE, "config": {"sources": {"a": None}}}, "config.sources.a: takes a map"),
    "text-for-dramatiq": (_values(more={"dramatiq": "redis://x/"}), "config.dramatiq: takes a map, not a string"),
    "list-for-spool": (_values(more={"spool": ["/x"]}), "config.spool: takes a map, not a slice"),
    "a-list-as-text": ({"image": IMAGE, "config": "- a\n"}, "config: this is no map of YAML"),
    "no-yaml": ({"image": IMAGE, "config": "a: [\n"}, "config: this is no map of YAML"),
    "unknown-type-twice": (
        _values({"type": "kafka"}, replicas=2),
        "does not know whether bridges can share the type kafka",
    ),
    "no-type-twice": (_values({"url": "x"}, replicas=2), "does not know whether bridges can share the type"),
    "unseen-replicas": (
        {"image": IMAGE, "existingConfigMap": "mine", "replicas": 2},
        "the chart can't read the ConfigMap mine: look whether replicas can share its sources",
    ),
    "a-word-without-a-question": (
        _values(replicasShareEvents=True),
        "replicasShareEvents: is for existingConfigMap; config is read, and decides itself",
    ),
    "pod-name-in-a-deployment": (
        _values({**SHARED, "client_id": "b-${POD_NAME}"}, kind="Deployment"),
        "each new pod has another name, and leaves its session behind at the broker; use kind: StatefulSet",
    ),
    "spool-in-a-deployment": (
        _values(more={"spool": SPOOL}, kind="Deployment"),
        "a spool needs a volume of its own for each pod",
    ),
    "spool-elsewhere": (
        _values(more={"spool": {"directory": "/tmp/spool"}}),
        "config.spool.directory: takes a folder in the volume, as in /var/lib/dramatiq-bridge/spool, not /tmp/spool",
    ),
    "spool-without-a-volume": (
        _values(more={"spool": SPOOL}, persistence={"enabled": False}),
        "persistence.enabled: false, but the configuration has a spool",
    ),
    "small-volume": (
        _values(more={"spool": {**SPOOL, "max_size": "2GiB"}}),
        "persistence.size: 1Gi is less than the spool may take (config.spool.max_size, 2GiB)",
    ),
    "short-grace": (
        _values(terminationGracePeriodSeconds=25),
        "25 is too short: the bridge ends within drain_timeout and 5 s, that is 25 s; give at least 26, or null",
    ),
    "short-grace-of-a-long-drain": (
        _values(more={"drain_timeout": "2m"}, terminationGracePeriodSeconds=60),
        "that is 125 s; give at least 126",
    ),
    "drain-by-a-variable": (_values(more={"drain_timeout": "${DRAIN}"}), "the chart can't see how long ${DRAIN} is"),
    "drain-without-a-unit": (
        _values(more={"drain_timeout": 20}),
        "config.drain_timeout: takes a duration such as 20s, not 20",
    ),
    "missing-credential": (
        _values({**ORDERS, "password": "${credential:rabbit}"}),
        "the configuration names ${credential:rabbit}, and no entry has this name; add {name: rabbit, secretName: ...}",
    ),
    "credential-twice": (
        _values(secrets=[{"name": "a", "secretName": "x"}, {"name": "a", "secretName": "y"}]),
        "secrets: the name a is there twice",
    ),
    "missing-manifest": (_values(more={"manifest": "actors.json"}), "extraFiles has no file actors.json"),
    "file-of-the-configuration": (
        _values(extraFiles={"bridge.yaml": "a"}),
        "extraFiles: bridge.yaml is the name of the configuration; give it in config",
    ),
    "name-of-a-file": (_values(extraFiles={"a/b": "a"}), "extraFiles: a/b is no name of a file in a ConfigMap"),
    "files-of-another-configmap": (
        {"image": IMAGE, "existingConfigMap": "mine", "extraFiles": {"a": "b"}},
        "extraFiles: with existingConfigMap they belong into that ConfigMap",
    ),
    "password": (
        _values({**ORDERS, "password": "hunter2"}),
        "config.sources.events.password: a secret does not belong into a ConfigMap; write ${credential:NAME}",
    ),
    "password-in-a-url": (
        _values({**ORDERS, "url": "amqp://bridge:hunter2@rabbitmq/"}),
        "config.sources.events.url: a password does not belong into a ConfigMap",
    ),
    "password-of-redis": (_values(more={"dramatiq": {"password": "hunter2"}}), "config.dramatiq.password: a secret"),
    "token": (_values(more={"admin": {"token": "0123456789abcdef"}}), "config.admin.token: a secret does not belong"),
    "key-password": (
        _values({**ORDERS, "tls": {"key_password": "hunter2"}}),
        "config.sources.events.tls.key_password: a secret does not belong",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_how_to_mend_it(name: str, refusal: Refusal) -> None:
    """Each refusal names the value, the reason and the remedy, and never the secret."""
    values, expected = REFUSED[name]
    words = refusal(values)
    assert expected in words
    assert "hunter2" not in words


#: Values that the schema refuses, and where.
TYPOS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "key": ({"replcas": 1}, "additional properties 'replcas' not allowed"),
    "key-below": ({"image": {**IMAGE, "digets": ""}}, "at '/image': additional properties 'digets' not allowed"),
    "number": ({"replicas": "2"}, "at '/replicas': got string, want integer"),
    "negative": ({"replicas": -1}, "at '/replicas'"),
    "kind": ({"kind": "DaemonSet"}, "at '/kind': value must be one of"),
    "change": ({"onConfigChange": "roll"}, "at '/onConfigChange': value must be one of 'restart', 'reload'"),
    "size": ({"persistence": {"size": "1GB"}}, "at '/persistence/size'"),
    "shared-volume": ({"persistence": {"accessModes": ["ReadWriteMany"]}}, "at '/persistence/accessModes/0'"),
    "secret": ({"secrets": [{"name": "a", "secret": "x"}]}, "at '/secrets/0'"),
    "no-secret": ({"secrets": [{"name": "a", "secretName": ""}]}, "at '/secrets/0/secretName'"),
    "name-of-a-credential": ({"secrets": [{"name": "a/b", "secretName": "x"}]}, "at '/secrets/0/name'"),
    "digest": ({"image": {**IMAGE, "digest": "sha256:12"}}, "at '/image/digest'"),
    "tag-in-the-repository": ({"image": {"repository": "registry.example.com/bridge:1"}}, "at '/image/repository'"),
    "pull-policy": ({"image": {**IMAGE, "pullPolicy": "Sometimes"}}, "at '/image/pullPolicy': value must be one of"),
    "tag": ({"image": {**IMAGE, "tag": "a b"}}, "at '/image/tag'"),
    "address-with-a-port": ({"adminHost": "0.0.0.0:9464"}, "at '/adminHost'"),
    "interval": ({"serviceMonitor": {"interval": "30"}}, "at '/serviceMonitor/interval'"),
    "label": ({"podLabels": {"team": 1}}, "at '/podLabels/team': got number, want string"),
    "environment": ({"extraEnv": [{"value": "x"}]}, "at '/extraEnv/0': missing property 'name'"),
    "grace": ({"terminationGracePeriodSeconds": "60s"}, "at '/terminationGracePeriodSeconds'"),
    "class": ({"priorityClassName": "Very Important"}, "at '/priorityClassName'"),
    "resource": ({"resources": {"limit": {"cpu": "1"}}}, "at '/resources': additional properties 'limit' not allowed"),
    "root": ({"runAsUser": 0}, "at '/runAsUser'"),
    "list-as-config": ({"config": ["a"]}, "at '/config': got array"),
    "file": ({"extraFiles": {"a": 1}}, "at '/extraFiles/a': got number, want string"),
}


@pytest.mark.parametrize("name", TYPOS)
def test_a_typo_is_refused_with_its_place(name: str, refusal: Refusal) -> None:
    """No value that the chart does not know is silently ignored."""
    changed, expected = TYPOS[name]
    words = refusal({**_values(), **changed})
    assert "values don't meet the specifications of the schema" in words
    assert expected in words


ACCEPTED: Final[dict[str, dict[str, Any]]] = {
    "login-by-variables": _values({**ORDERS, "url": "amqp://${USER:-bridge}:${PASSWORD}@rabbitmq/"}),
    "user-with-a-fallback": _values({**ORDERS, "url": "amqp://${USER:-bridge}@rabbitmq/"}),
    "escaped-credential": _values(more={"routes": [{"from": "events", "actor": "a", "args": ["$${credential:x}"]}]}),
    "manifest-elsewhere": _values(more={"manifest": "/etc/actors/actors.json"}),
    "long-grace-by-hand": _values(more={"drain_timeout": "${DRAIN:-20s}"}, terminationGracePeriodSeconds=60),
    "enough-grace": _values(terminationGracePeriodSeconds=26),
    "asleep": _values(ALONE["pubsub"], replicas=0),
    "subchart": _values(**{"global": {"team": "shop"}}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_values_beside_a_refusal_are_right(name: str, template: Template) -> None:
    """No refusal is wider than its reason."""
    assert {each["kind"] for each in template(ACCEPTED[name])} >= {"Service", "ConfigMap", "Pod"}
