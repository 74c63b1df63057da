"""`dead purge`: it asks, deletes those that are meant, and can be interrupted."""

from __future__ import annotations

import signal

from tests.support.dead_commands import MANY, fill, length, shorter, started
from tests.support.letters import Desk
from tests.support.terminal import Terminal as RealTerminal


async def test_purge_asks_on_a_terminal(desk: Desk) -> None:
    """How many they are; only y deletes them, and the books stay right."""
    await fill(desk, 40)
    words = ["dead", "purge", "--text", '"n": 1', "--config", str(desk.path)]
    for answer, left in (("n\n", 40), ("\n", 40), ("y\n", 29)):
        with RealTerminal(words) as terminal:
            terminal.read_until("delete 11 dead letters for good? [y/N]")
            terminal.press(answer)
            assert terminal.wait() == (1 if left == 40 else 0)
        assert desk.books()["length"] == desk.books()["count"] == left


async def test_purge_of_ten_thousand_is_interrupted(desk: Desk) -> None:
    """By SIGINT: it says how many it has deleted; the books stay right."""
    await fill(desk, MANY)
    process = started(desk, "purge", "--yes")
    await shorter(desk, MANY)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode in {0, 130}
    assert int(out.split(" deleted")[0].replace(",", "")) == MANY - length(desk)
    assert desk.books()["count"] == length(desk)


async def test_purge_makes_room_in_a_redis_without_memory(desk: Desk) -> None:
    """Where no letter can be retried, letters can be deleted; their room counts until the books begin anew with the stream."""
    await fill(desk, 300)
    with desk.server.client() as client:
        client.config_set("maxmemory", "1")
        try:
            process = started(desk, "purge", "--yes")
            assert process.communicate(timeout=60)[0] == "300 deleted\n"
        finally:
            client.config_set("maxmemory", "0")
    assert process.returncode == 0
    assert length(desk) == 0
    await fill(desk, 5)
    assert length(desk) == 5
    assert desk.books()["count"] >= 5
