"""A server that has imported the environment and forks a worker for each request (Linux only).

Importing torch and diffusers takes seconds; a fork takes milliseconds. Forked workers share
address layout and heap, so they are used only where no speed verdict is given. The server runs no
kernel and refuses to fork once a device is initialised, because a forked CUDA context is broken.

Requests arrive as one JSON document a datagram on a sequenced-packet socket, with the worker's file
descriptors attached; replies go the same way. Nothing is pickled.
"""

import json
import os
import signal
import socket
import sys
import threading
from typing import Any

from . import watchdog
from .channel import Channel
from .job import import_preloads, preload_names, run_job

REQUEST_BYTES = 1 << 18
_DESCRIPTORS = ("events", "lifeline", "stdout", "stderr")


def serve(fd: int) -> None:
    """Import the environment, then fork a worker for each request until the socket closes."""
    from .pipelines import import_stack

    connection = socket.socket(fileno=fd)
    connection.set_inheritable(False)
    import_preloads(preload_names())
    import_stack()
    _reply(connection, ready=True, pid=os.getpid())
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, len(_DESCRIPTORS))
        if not data:
            os._exit(0)
        refusal = _why_not_fork()
        if refusal is not None:
            for descriptor in descriptors:
                os.close(descriptor)
            _reply(connection, refused=refusal)
            continue
        server_pid = os.getpid()
        child = os.fork()
        if child == 0:
            connection.close()
            _become_worker(json.loads(data), dict(zip(_DESCRIPTORS, descriptors)), server_pid)
        for descriptor in descriptors:
            os.close(descriptor)
        _reply(connection, forked=child)
        _, status = os.waitpid(child, 0)
        _reply(connection, exit_code=os.waitstatus_to_exitcode(status))


def _reply(connection: socket.socket, **fields: Any) -> None:
    connection.send(json.dumps(fields, allow_nan=False).encode())


def _why_not_fork() -> "str | None":
    import torch

    if torch.cuda.is_initialized():
        return "a CUDA context exists in the fork server"
    if threading.active_count() > 1:
        return "the fork server has more than one thread"
    return None


def _become_worker(job: "dict[str, Any]", fds: "dict[str, int]", server_pid: int) -> None:
    """In the forked child: a session, standard streams and a watchdog of its own, then the job."""
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(fds["stdout"], 1)
        os.dup2(fds["stderr"], 2)
        os.close(fds["stdout"])
        os.close(fds["stderr"])
        watchdog_pid = watchdog.start(fds["lifeline"])
        watchdog.die_with_parent(server_pid)
        run_job(job, Channel(fds["events"]), watchdog_pid)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(70)
