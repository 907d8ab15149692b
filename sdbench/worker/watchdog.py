"""Nothing outlives the parent: a tiny process that kills the worker's group when the parent goes.

A thread inside the worker cannot do this: with the main thread in a C call that holds the
interpreter lock, a thread was seen to act 19 s late. The watchdog is a process of the standard
library alone that blocks in ``read`` on the lifeline, a pipe whose only writer is the parent. At
end of file it sends SIGKILL to its own process group, which is the worker's; as it is a member
itself, the group's number cannot have been given to anybody else.
"""

import ctypes
import os
import signal
import subprocess
import sys

_PROGRAM = """
import os, signal, sys
fd = int(sys.argv[1])
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while os.read(fd, 4096):
    pass
os.killpg(0, signal.SIGKILL)
"""

_PR_SET_PDEATHSIG = 1


def start(lifeline_fd: int) -> int:
    """Start the watchdog for the caller's process group; return its process id.

    ``-I -S`` leaves out site-packages and the environment, so it starts in about 15 ms and no
    preload reaches it.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, str(lifeline_fd)],
        pass_fds=[lifeline_fd],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process.returncode = 0  # it is never waited for: it ends with the group
    os.close(lifeline_fd)
    return process.pid


def die_with_parent(parent_pid: int) -> None:
    """On Linux, ask the kernel to send SIGKILL when the parent ends; elsewhere do nothing."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the request took effect
        os.kill(os.getpid(), signal.SIGKILL)
