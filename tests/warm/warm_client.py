"""The small process that a test's program starts: hands itself over to a warm server.

It sends what makes a process what it is (arguments, environment, folder, limits, descriptors) and
then only stands for the process made there: it passes signals on, and ends as that one ends. What
no server is meant for goes on as if nothing had been here.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys

LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]
# Preloads that may come after the environment: they change torch and diffusers where these are
# looked up.
_LATE_PRELOADS = {
    "",
    "sdbench_test_faults",
    "sdbench_test_slowdown",
    "dies_at_import",
    "faulty_operators",
    "wrong_norm",
}
# The same of the stand-in device, which comes before them.
_AFTER_THE_STANDIN = {"", "only_large", "swapped_chunk"}
_STARTED_WITH_THE_STACK = tuple(
    f"/sdbench/worker{script}" for script in ("", "/examine.py", "/run_program.py")
)
COLD_PARENT = "SDBENCH_TEST_COLD_PARENT"
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hand_over() -> None:
    """Become the stand-in of a process forked by a server, if there is one for this program."""
    kind = _kind(sys.orig_argv[1:], os.environ)
    if kind is None:
        return
    folder, _, prefix = os.environ["SDBENCH_TEST_WARM"].partition(os.pathsep)
    if sys.prefix != prefix:
        return
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(os.path.join(folder, kind))
    except OSError:
        connection.close()
        return  # the server could not be started: a cold start is as right
    descriptors = sorted({0, 1, 2, *_inherited()} - {connection.fileno()})
    request = {
        "argv": sys.orig_argv[1:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
        "cores": sorted(os.sched_getaffinity(0)),
        "leads": os.getsid(0) == os.getpid(),
        "ignored": [n for n in _FORWARDED if signal.getsignal(n) == signal.SIG_IGN],
        "descriptors": descriptors,
    }
    socket.send_fds(connection, [json.dumps(request).encode()], descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    _stand_for(connection)


def _kind(arguments: "list[str]", environment: "os._Environ[str]") -> "str | None":
    if arguments[:2] == ["-m", "sdbench"]:
        return None if COLD_PARENT in environment else "command-line"
    if not arguments or not arguments[0].endswith(_STARTED_WITH_THE_STACK):
        return None
    preload = environment.get("SDBENCH_WORKER_PRELOAD", "")
    if preload in _LATE_PRELOADS:
        return "stack"
    first, _, others = preload.partition(",")
    return "standin" if first == "sdbench_standin" and others in _AFTER_THE_STANDIN else None


def _inherited() -> "list[int]":
    """The descriptors that the starter meant for this process."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            continue  # the one that listed them
    return found


def _stand_for(connection: socket.socket) -> None:
    """Pass signals on until the other process has ended; end like it."""
    pid = int(json.loads(connection.recv(4096))["pid"])
    for number in _FORWARDED:
        signal.signal(number, lambda received, _: _pass_on(pid, received))
    answer = b""
    while not answer:
        answer = connection.recv(4096)
        if not answer:
            os._exit(71)  # the server is gone, and with it the process
    status = int(json.loads(answer)["exit_code"])
    if status >= 0:
        os._exit(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if -status not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


def _pass_on(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
