"""The warm servers of a test session: started when first needed, ended with it.

All of pytest's processes share them. Their folder is made by the first of these processes, and
they end when that one does.
"""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil
from filelock import FileLock

FOLDER = Path(__file__).parent
VARIABLE = "SDBENCH_TEST_WARM"
SESSION = "SDBENCH_TEST_SERVERS"
"""The process that the servers end with, and their folder."""
MARK = "SDBENCH_TEST_MARK"
"""Tells the processes of one test from those of another."""
POSSIBLE = sys.platform == "linux" and not os.environ.get("SDBENCH_TEST_COLD")
"""``SDBENCH_TEST_COLD=1`` starts every process of every test anew."""
_KINDS = ("command-line", "stack", "standin")
_MOST_BYTES = 1 << 16
_started: "list[subprocess.Popen[str]]" = []
"""By this process; nobody waits for their end."""


def open_session() -> None:
    """Make the folder of the servers, for this process and those it starts."""
    if SESSION not in os.environ:
        folder = tempfile.mkdtemp(prefix="sdbench-warm-")  # short, as sockets' names are
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[SESSION] = f"{os.getpid()}{os.pathsep}{folder}"


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What makes programs of this environment start warm, their servers being there."""
    standin = environment.get("SDBENCH_WORKER_PRELOAD", "").partition(",")[0] == "sdbench_standin"
    for kind in ("command-line", "standin" if standin else "stack"):
        path = _path(kind)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                _start(kind)
    return {VARIABLE: f"{_folder()}{os.pathsep}{sys.prefix}"}


def processes(mark: str) -> list[psutil.Process]:
    """What the servers have forked for a test, and what that has started, that still runs."""
    found = []
    for kind in _KINDS:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            try:
                connection.connect(str(_path(kind)))
            except OSError:  # not needed so far
                continue
            connection.send(json.dumps({"list": mark}).encode())
            for pid in json.loads(connection.recv(_MOST_BYTES)):
                try:
                    process = psutil.Process(pid)
                    found += [process, *process.children(recursive=True)]
                except psutil.NoSuchProcess:
                    continue
    return found


def _folder() -> Path:
    return Path(os.environ[SESSION].partition(os.pathsep)[2])


def _path(kind: str) -> Path:
    """A server's socket."""
    return _folder() / kind


def _start(kind: str) -> None:
    """Start a server and wait: deadlines that are tested must not run while it imports."""
    worker = kind != "command-line"
    server = subprocess.Popen(
        [
            *(sys.executable, str(FOLDER / "warm_server.py"), kind, str(_path(kind))),
            os.environ[SESSION].partition(os.pathsep)[0],
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **{k: v for k, v in os.environ.items() if k != "COVERAGE_PROCESS_START"},
            # As sdbench starts its workers.
            **({"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"} if worker else {}),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
        },
        start_new_session=True,
    )
    _started.append(server)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n", f"the warm server {kind} did not start"
    server.stdout.close()
