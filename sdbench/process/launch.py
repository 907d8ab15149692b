"""Starts and signals the processes whose code is in ``sdbench/worker``."""

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import sdbench.worker

WORKER_FOLDER = str(Path(sdbench.worker.__file__).absolute().parent)
PLANTED_FAULTS_FOLDER = os.path.join(WORKER_FOLDER, "planted")
PLANTED_FAULTS_MODULE = "sdbench_planted_faults"
EXAMINATION = os.path.join(WORKER_FOLDER, "examine.py")


def start_script(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    pass_fds: Sequence[int],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Interpreter, script and arguments as a process that leads a group and knows its parent."""
    return subprocess.Popen(
        [*command, "--parent", str(os.getpid())],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=dict(environment),
        pass_fds=pass_fds,
        start_new_session=True,
    )


def signal_group(pid: int, number: int) -> None:
    """Signal the group a worker leads; a worker just forked may not lead one yet."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != os.getpgrp():
                os.kill(pid, number)
