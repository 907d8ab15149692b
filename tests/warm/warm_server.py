"""A process that has imported what tests' programs import, and forks them when they start.

    python warm_server.py KIND SOCKET PID

Importing torch, diffusers and transformers takes 6 s of a core, and the suite does it hundreds of
times. A test that is not about the start gets its processes from here: ``sitecustomize.py`` sends a
starting process over as a request (``warm_client.py``), and this server forks one in its place that
runs the same program with the same arguments, environment, folder, limits and descriptors. It is
a process like any other: it dies, hangs, is killed and computes as a fresh one does. Tests marked
``cold`` start everything anew. The server ends with the process PID.

Kinds: ``stack`` (torch and the pipeline), ``standin`` (the stand-in device loaded before them, its
settings read in the fork), ``command-line`` (the verbs and their libraries, no torch). No module of
a worker is kept, and of the command line none where lines are counted, so that all of them run, and
are counted, in every process.
"""

import array
import contextlib
import functools
import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import phase_log
import shorter
from import_hook import replace_after_import

MARK = "SDBENCH_TEST_MARK"
ROOT = Path(__file__).resolve().parents[2]
_MOST_BYTES = 1 << 18
_MOST_DESCRIPTORS = 32


def import_stack() -> None:
    """Import torch and the pipeline, as a worker does."""
    sys.path.insert(0, str(ROOT / "sdbench"))
    importlib.import_module("worker.pipelines").import_stack()
    sys.path.remove(str(ROOT / "sdbench"))
    _forget("worker")
    _load_a_text_encoder()
    shorter.convolve_quickly()


def _load_a_text_encoder() -> None:
    """transformers compiles 900 patterns at the first load in a process, 0.4 s of a core."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    small = CLIPTextConfig(
        vocab_size=8,
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=4,
    )
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=()):
        CLIPTextModel(small).save_pretrained(folder)
        CLIPTextModel.from_pretrained(folder)


def import_standin() -> None:
    """Load the stand-in's device first, as its preload does."""
    sys.path.insert(0, str(ROOT / "tests" / "standin"))
    os.environ["SDBENCH_STANDIN_PREPARE_ONLY"] = "1"
    importlib.import_module("sdbench_standin")

    del os.environ["SDBENCH_STANDIN_PREPARE_ONLY"]
    sys.path.remove(str(ROOT / "tests" / "standin"))
    _forget("sdbench_standin")
    import_stack()


def import_command_line() -> None:
    """Import the verbs and the libraries that they need; no torch."""
    import click  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import msgspec  # noqa: F401
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import PIL.Image  # noqa: F401
    import psutil  # noqa: F401
    import rich.progress  # noqa: F401
    import scipy.stats  # noqa: F401
    import skimage.metrics  # noqa: F401

    if "COVERAGE_CHECKOUT" in os.environ:
        return
    from sdbench.cli import VERBS

    for module, _ in VERBS.values():
        importlib.import_module(module)
    from sdbench.report.html import html_report
    from sdbench.runs import load_run

    # Fonts, templates and patterns are read and compiled once in a process, for every page anew.
    html_report([load_run(next((ROOT / "results").glob("*-quick-*")))])


KINDS = {"stack": import_stack, "standin": import_standin, "command-line": import_command_line}


def _forget(package: str) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        del sys.modules[name]


class Server:
    """Forks a process for each request and reports its end."""

    def __init__(self, path: str, session_pid: int) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(os.pidfd_open(session_pid), selectors.EVENT_READ, self._leave)
        self._children: dict[int, socket.socket] = {}
        self._marks: dict[int, str | None] = {}

    def serve(self) -> "dict[str, Any]":
        """Serve for ever; returns, in a forked process only, what it is to become."""
        while True:
            for key, _ in self._selector.select():
                request: dict[str, Any] | None = key.data(key.fileobj)
                if request is not None:
                    return request

    def _leave(self, _: Any) -> None:
        """The tests are over."""
        for pid in self._children:
            _kill(pid)
        os._exit(0)

    def _accept(self, listener: socket.socket) -> "dict[str, Any] | None":
        connection, _ = listener.accept()
        data, ancillary, _, _ = connection.recvmsg(
            _MOST_BYTES, socket.CMSG_LEN(_MOST_DESCRIPTORS * array.array("i").itemsize)
        )
        descriptors = array.array("i")
        for _, _, part in ancillary:
            descriptors.frombytes(part[: len(part) - len(part) % descriptors.itemsize])
        if not data:  # the client was killed before it asked
            connection.close()
            return None
        request: dict[str, Any] = json.loads(data)
        if "list" in request:
            found = [pid for pid, mark in self._marks.items() if mark == request["list"]]
            with contextlib.suppress(OSError):
                connection.send(json.dumps(found).encode())
            connection.close()
            return None
        pid = os.fork()
        if pid == 0:
            request["connection"] = connection
            self._become_child(request, list(descriptors))
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[pid] = connection
        self._marks[pid] = request["environment"].get(MARK)
        with contextlib.suppress(OSError):  # the client was killed meanwhile: it hangs up
            connection.send(json.dumps({"pid": pid}).encode())
        pidfd = os.pidfd_open(pid)
        self._selector.register(pidfd, selectors.EVENT_READ, lambda fd: self._reap(fd, pid))
        self._selector.register(
            connection, selectors.EVENT_READ, lambda _: self._hung_up(connection, pid)
        )
        return None

    def _reap(self, pidfd: int, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        phase_log.note("end", pid=pid)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        del self._marks[pid]
        connection = self._children.pop(pid)
        if connection in self._selector.get_map():
            self._selector.unregister(connection)
        answer = {"exit_code": os.waitstatus_to_exitcode(status)}
        with contextlib.suppress(OSError):
            connection.send(json.dumps(answer).encode())
        connection.close()

    def _hung_up(self, connection: socket.socket, pid: int) -> None:
        """Who stands for the process was killed: so is the process."""
        self._selector.unregister(connection)
        _kill(pid)

    def _become_child(self, request: "dict[str, Any]", descriptors: "list[int]") -> None:
        """Leave the server's descriptors, take the request's."""
        self._selector.close()
        self._listener.close()
        for connection in self._children.values():
            connection.close()
        request["connection"].close()
        wanted = request["descriptors"]
        # Above all that is wanted first: else one could be overwritten before it is moved.
        spare = max([*wanted, *descriptors]) + 1
        moved = []
        for at, descriptor in enumerate(descriptors):
            moved.append(spare + at)
            os.dup2(descriptor, spare + at, inheritable=False)
        for descriptor in descriptors:
            if descriptor not in (0, 1, 2):
                os.close(descriptor)
        for descriptor, number in zip(moved, wanted, strict=True):
            os.dup2(descriptor, number, inheritable=True)
            os.close(descriptor)


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


def become(request: "dict[str, Any]") -> None:
    """Run the program of the request in this process, as a fresh one would."""
    if request["leads"]:
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ignored = number in request["ignored"]
        plain = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if ignored else plain)
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), tuple(limit))
    os.sched_setaffinity(0, request["cores"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    arguments = list(request["argv"])
    if "--parent" in arguments:  # whose death ends a worker: here the server's
        arguments[arguments.index("--parent") + 1] = str(os.getppid())
    sys.orig_argv[:] = [sys.executable, *arguments]
    if "torch" in sys.modules:
        threads = int(os.environ.get("OMP_NUM_THREADS", "") or os.cpu_count() or 1)
        set_threads = functools.partial(sys.modules["torch"].set_num_threads, threads)
        set_threads()
        # After a fork the first thread that asks makes torch's pool of threads anew. Where two ask
        # at once, as when weights are loaded, one of them fails: "Invalid thread pool!".
        os.register_at_fork(after_in_child=set_threads)
    if "COVERAGE_PROCESS_START" in os.environ:
        import coverage

        coverage.process_startup()
    if shorter.WHOLE not in os.environ:
        replace_after_import(shorter.SHORTER)
    if phase_log.VARIABLE in os.environ:
        phase_log.watch()
    if arguments[0] == "-m":
        sys.path[:0] = [request["folder"], *paths]
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[:0] = paths
        sys.argv = arguments
        if os.path.isfile(arguments[0]):
            sys.path.insert(0, os.path.dirname(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    """Import, listen, fork."""
    kind, path, session_pid = sys.argv[1:]
    sys.path.remove(str(Path(__file__).parent))
    began = time.monotonic()
    os.fsync = os.fstat  # type: ignore[assignment]  # as in tests/conftest.py
    KINDS[kind]()
    phase_log.note("import", time.monotonic() - began)
    gc.collect()
    gc.freeze()
    server = Server(path, int(session_pid))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    become(server.serve())


if __name__ == "__main__":
    main()
