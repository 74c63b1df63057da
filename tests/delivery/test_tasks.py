"""The end of a process."""

from __future__ import annotations

import subprocess
import sys

_TWO_THREADS_END_IT = """
import os, threading, time
from bridge.delivery import tasks

leave = os._exit

def leave_slowly(code):
    os.write(1, b"%d\\n" % code)
    time.sleep(0.3)
    leave(code)

os._exit = leave_slowly
threading.Thread(target=tasks.end_process, args=(3,)).start()
time.sleep(0.1)
tasks.end_process(4)
"""


def test_only_one_of_two_threads_ends_the_process() -> None:
    """A second signal and the end of the work may come together; what is done at an exit, as coverage does, is done once."""
    ended = subprocess.run([sys.executable, "-c", _TWO_THREADS_END_IT], stdout=subprocess.PIPE, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (3, b"3\n")
