"""The warm servers of a test session: started when first needed, ended with it."""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

FOLDER = Path(__file__).parent
VARIABLE = "SDBENCH_TEST_WARM"
POSSIBLE = sys.platform == "linux" and not os.environ.get("SDBENCH_TEST_COLD")
"""``SDBENCH_TEST_COLD=1`` starts every process of every test anew."""


class WarmServers:
    """One server for each kind of program."""

    def __init__(self) -> None:
        self._servers: dict[str, subprocess.Popen[str]] = {}
        self._folder = ""

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What makes programs of this environment start warm, their servers being there."""
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="sdbench-warm-")  # short, as sockets' names are
            atexit.register(self.close)
        standin = environment.get("SDBENCH_WORKER_PRELOAD") == "sdbench_standin"
        kinds = ("command-line", "standin" if standin else "stack")
        missing = [kind for kind in kinds if kind not in self._servers]
        for kind in missing:
            self._servers[kind] = self._start(kind)
        for kind in missing:  # deadlines that are tested must not run while a server imports
            output = self._servers[kind].stdout
            assert output is not None
            assert output.readline() == "ready\n", f"the warm server {kind} did not start"
        return {VARIABLE: f"{self._folder}{os.pathsep}{sys.prefix}"}

    def _start(self, kind: str) -> "subprocess.Popen[str]":
        worker = kind != "command-line"
        return subprocess.Popen(
            [sys.executable, str(FOLDER / "warm_server.py"), kind, f"{self._folder}/{kind}"],
            stdin=subprocess.PIPE,
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

    def processes(self) -> list[psutil.Process]:
        """What the servers have forked, and what those have started, that still runs."""
        found = []
        for server in self._servers.values():
            found += psutil.Process(server.pid).children(recursive=True)
        return found

    def close(self) -> None:
        """End the servers."""
        for kind, server in self._servers.items():
            assert server.stdin is not None and server.stdout is not None
            server.stdin.close()
            server.wait(30)
            server.stdout.close()
            os.unlink(f"{self._folder}/{kind}")
        self._servers.clear()
        if self._folder:
            os.rmdir(self._folder)
            self._folder = ""


SESSION = WarmServers()
