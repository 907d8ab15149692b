"""Parts of running a worker that need none: the fork server's answers, what other systems lack."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from factories import make_task

from sdbench.process import watch_worker as process
from sdbench.process.executor import Stop
from sdbench.process.watch_worker import ForkServer


class FakeProcess:
    """The server's process, of which only its life is asked."""

    def __init__(self) -> None:
        self.killed = False

    def poll(self) -> int | None:
        return -9 if self.killed else None

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> int:
        return -9


class Pipes:
    """Descriptors to hand over: any will do."""

    events = lifeline = stdout = stderr = 1


@pytest.fixture
def ends() -> Iterator[tuple[ForkServer, socket.socket, FakeProcess]]:
    """The parent's side over a fake process, and the socket that the server would answer on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fake: Any = FakeProcess()
    reader, writer = os.pipe()
    server = ForkServer(fake, ours, writer)
    with theirs:
        yield server, theirs, fake
    server.close()
    os.close(reader)


def fork(server: ForkServer) -> Any:
    pipes: Any = Pipes()
    return server.fork(make_task(), pipes)


def test_refusal_is_no_worker_and_the_server_may_be_asked_again(
    ends: tuple[ForkServer, socket.socket, FakeProcess],
) -> None:
    server, theirs, _ = ends
    theirs.send(json.dumps({"refused": "the fork server has more than one thread"}).encode())
    assert fork(server) is None
    assert server.alive
    theirs.send(json.dumps({"forked": 4711}).encode())
    forked = fork(server)
    assert forked is not None and forked.pid == 4711
    theirs.send(json.dumps({"exit_code": -6}).encode())
    assert forked.poll() == -6


def test_server_that_does_not_answer_is_given_up(
    ends: tuple[ForkServer, socket.socket, FakeProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late answer would be taken for that to the next request."""
    server, _, fake = ends
    monkeypatch.setattr(process, "_REAP_S", 0.0)
    assert fork(server) is None
    assert fake.killed and not server.alive


def test_server_that_is_gone_forks_nothing(
    ends: tuple[ForkServer, socket.socket, FakeProcess],
) -> None:
    server, theirs, _ = ends
    theirs.close()
    assert fork(server) is None
    assert not server.alive
    assert server.receive(0.0) is None


def test_worker_whose_server_died_has_died_with_it(
    ends: tuple[ForkServer, socket.socket, FakeProcess],
) -> None:
    server, theirs, fake = ends
    theirs.send(json.dumps({"forked": 4711}).encode())
    forked = fork(server)
    assert forked is not None and forked.poll() is None
    fake.killed = True
    assert forked.poll() == -signal.SIGKILL


def test_user_may_stop_while_the_server_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[FakeProcess] = []

    def start(*_: Any, **__: Any) -> FakeProcess:
        started.append(FakeProcess())
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(process, "_TICK_S", 0.0)
    stop = Stop("interrupted", "the user stopped it")
    assert ForkServer.start(make_task(), lambda event, sample: stop) is None
    assert started[0].killed


def test_crash_reports_are_looked_for_on_macs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def wait(pid: int, started: float, folder: object) -> None:
        asked.append(pid)

    monkeypatch.setattr("sdbench.machine.crash_files.wait_for_report", wait)
    for platform, pids in (("linux", []), ("darwin", [4711])):
        monkeypatch.setattr(sys, "platform", platform)
        assert process._crash_report(4711, 0.0) is None
        assert asked == pids


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux has it")
def test_end_of_a_process_without_a_descriptor_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is asked for at every tick."""
    assert process._open_pidfd(2**22 + 1) is None, "no process has that number"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert process._open_pidfd(os.getpid()) is None
