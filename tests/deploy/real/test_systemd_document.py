"""What docs/deployment.md says on systemd beside the installation, which every machine of these tests has had."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import bridge
from tests.deploy.real.service import Service, commands, example
from tests.support.brokers import Redis
from tests.support.certificates import Certificates
from tests.support.children import REPOSITORY, free_port, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import queue_messages, written_numbers

_VERSION = f'__version__ = "{bridge.__version__}"'


def _stream(sink: Redis) -> StreamFeed:
    feed = StreamFeed(sink)
    feed.prepare()
    return feed


def _running(service: Service) -> set[str]:
    """Return the releases whose files the processes of the bridge have loaded."""
    maps = "".join(service.machine.do(f"cat /proc/{pid}/maps") for pid in service.processes())
    return {
        line.split("/opt/dramatiq-bridge/")[1].split("/")[0] for line in maps.splitlines() if "/opt/dramatiq" in line
    }


def _is_replaced(service: Service, killed: int) -> bool:
    """Whether another process has come, and has loaded its libraries."""
    pids = service.processes()
    return len(pids) == 2 and killed not in pids and "uvloop" in service.machine.do(f"cat /proc/{pids[-1]}/maps")


def test_configure_with_a_secret(service: Service, new_redis: Callable[..., Redis]) -> None:
    """The documented files make a bridge that works; root alone can read the password, and no log has it."""
    sink, password = new_redis(password="hunter2-of-redis"), "hunter2-of-redis\n"
    said = service.machine.do(commands("Configure").replace(":6379", f":{sink.port}"), given=password)
    assert f"{service.path}: ok" in said
    service.machine.do("systemctl daemon-reload")
    service.ctl("start")
    with sink.client() as client:
        client.xadd("signups", {"user_id": "7"})
        wait_until(lambda: queue_messages(client, "default"), 60, "the message")
        (message,) = queue_messages(client, "default")
    assert (message["actor_name"], message["args"]) == ("send_welcome_email", ["7"])
    assert "hunter2" not in "".join([said, *service.journal(), service.machine.do("dramatiq-bridge status")])


def test_metrics_on_an_address(service: Service, redis_server: Redis) -> None:
    """The drop-in of the documentation lets the bridge listen where the file says; a reload by signal works too."""
    feed, listen = _stream(redis_server), f"127.0.0.1:{free_port()}"
    config = {**feed.config(redis_server), "admin": {"listen": listen}}
    service.configure(config)
    service.drop_in(example("Metrics for Prometheus", "ini"))
    service.ctl("start")
    get = f"import urllib.request; print(urllib.request.urlopen('http://{listen}/metrics').read().decode())"
    assert "\ndramatiq_bridge_ready 1.0\n" in service.machine.do(f'python3 -c "{get}"')
    service.configure({**config, "log": {"level": "warning"}})
    service.ctl("reload")
    service.machine.write(service.path, "routes: 7\n")
    service.ctl("reload")
    service.wait_for_log("bridge.reload_failed")
    assert service.show("SubState") == "running"


def test_upgrade_and_go_back(service: Service, redis_server: Redis, release: Path, tmp_path: Path) -> None:
    """A release beside the other takes over at the restart, and the old one again; no event is lost on the way."""
    feed = _stream(redis_server)
    service.configure({**feed.config(redis_server), "processes": 2})
    service.ctl("start")
    newer = tmp_path / "newer"
    shutil.copytree(REPOSITORY, newer, ignore=shutil.ignore_patterns(".*", "tests"), symlinks=True)
    module = newer / "bridge" / "__init__.py"
    assert _VERSION in module.read_text()
    module.write_text(module.read_text().replace(_VERSION, '__version__ = "99.0"'))
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(release)]
    subprocess.run(command, cwd=newer, check=True, stdout=sys.stderr)
    beside = [line for line in commands("Install").splitlines() if "ln -sf" not in line and "systemd" not in line]
    script = "\n".join(beside).replace(f"V={bridge.__version__}", "V=99.0")
    service.machine.do(f"cd /root/release\n{script}", timeout=300)
    feed.publish_numbers(*range(100))
    switch = commands("Upgrade, and go back")
    for number, version in enumerate(["99.0", bridge.__version__], start=1):
        # A process that dies after the link was changed is replaced by one of the release that runs.
        killed = service.processes()[1]
        service.machine.do(f"ln -sfn {version} /opt/dramatiq-bridge/current; kill -KILL {killed}")
        wait_until(partial(_is_replaced, service, killed), 60, "another process")
        assert _running(service) == {bridge.__version__ if number == 1 else "99.0"}
        service.machine.do(f"cd /root/release\nV={version}\n{switch}")
        assert _running(service) == {version}
        assert f"dramatiq-bridge {version}: ready" in service.machine.do("dramatiq-bridge status")
        feed.publish_numbers(*range(100 * number, 100 * number + 100))
    wait_until(lambda: len(set(written_numbers(redis_server))) == 300, 60, "all events")


def test_a_key_of_tls_is_a_credential(
    service: Service, redis_server: Redis, new_redis: Callable[..., Redis], certificates: Certificates
) -> None:
    """The bridge finds it in the folder that systemd names; root alone can read its source."""
    sink = new_redis({"tls-auth-clients": "yes"}, tls=certificates)
    feed = _stream(redis_server)
    feed.publish_numbers(*range(10))
    lines = ["[Service]"]
    for file in (certificates.ca, certificates.client_cert, certificates.client_key):
        path = f"/etc/dramatiq-bridge/credentials/{file.name}"
        service.machine.write(path, file.read_text(), "600")
        lines.append(f"LoadCredential={file.name}:{path}")
    service.drop_in("\n".join(lines))
    tls = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
    config = feed.config(sink)
    config["dramatiq"]["tls"] = {key: f"${{CREDENTIALS_DIRECTORY}}/{name}" for key, name in tls.items()}
    service.configure(config)
    service.ctl("start")
    wait_until(lambda: feed.unacknowledged() == 0, 60, "all events")
