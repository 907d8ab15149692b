"""Workers as real processes: spawned fresh, or forked from a server of our own (Linux).

One thread, one wait. The parent sleeps in a selector until a pipe speaks, a sample is due or a
second has passed; it never spins, because on few cores that alone slows a benchmark down.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime, timezone
from typing import Any, Protocol

from sdbench.knowledge.crash_reports import read_crash_report
from sdbench.machine import MemoryProbe, crash_files, open_memory_probe
from sdbench.process.events import DECODER, Event, Hello, Phase
from sdbench.process.executor import Report, Stop, Supervisor, Task
from sdbench.process.launch import WORKER_FOLDER, signal_group, start_script
from sdbench.process.sampler import MachineSampler, Sampler
from sdbench.process.streams import Streams
from sdbench.records import CrashReport

_Streams = Streams[Event]
_TICK_S = 1.0
_POLITE_S = 3.0  # from SIGTERM to SIGKILL
_REAP_S = 30.0  # after SIGKILL: a process inside a driver call may take its time
_QUIET_EXIT_S = 10.0  # from the closed pipe to the exit
_SERVER_START_S = 300.0
_SLEPT_S = 1.0
_REPLY_BYTES = 4096


class _Child(Protocol):
    """A running worker, however it was started."""

    pid: int

    def poll(self) -> int | None:
        """The exit code, once there is one."""

    def wake_fd(self) -> int | None:
        """A descriptor that becomes readable at the exit, if there is one."""


class ProcessExecutor:
    """Runs each task in a process of its own."""

    def __init__(self, probe: MemoryProbe | None = None) -> None:
        self._probe = probe or open_memory_probe()
        self._servers: dict[tuple[str, ...], ForkServer | None] = {}

    def run(self, task: Task, supervise: Supervisor) -> Report:
        """Run one worker to its end."""
        server = self._server_for(task, supervise) if task.start == "fork" else None
        return _Execution(task, supervise, self._probe, server).run()

    def close(self) -> None:
        """End the fork servers."""
        for server in self._servers.values():
            if server is not None:
                server.close()
        self._servers.clear()
        self._probe.close()

    def _server_for(self, task: Task, supervise: Supervisor) -> "ForkServer | None":
        """The server of this interpreter and environment; None (spawn instead) if it won't start.

        An environment that cannot even be imported then fails in a worker of its own, where the
        failure is recorded like any other.
        """
        key = (task.interpreter, *(f"{k}={v}" for k, v in sorted(task.environment.items())))
        if key not in self._servers:
            self._servers[key] = ForkServer.start(task, supervise)
        server = self._servers[key]
        if server is not None and not server.alive:
            server.close()
            self._servers[key] = server = ForkServer.start(task, supervise)
        return server


class _Execution:
    """One worker from start to end."""

    def __init__(
        self, task: Task, supervise: Supervisor, probe: MemoryProbe, server: "ForkServer | None"
    ) -> None:
        self._task = task
        self._supervise = supervise
        self._probe = probe
        self._server = server
        self._sampler: Sampler | None = None
        self._paused = False
        self._machine = MachineSampler(probe)
        self._stop: Stop | None = None
        self._events: list[Event] = []
        self._quiet_since: float | None = None
        self._next_sample = float("-inf")

    def run(self) -> Report:
        started_utc, wall, monotonic = _utc(), time.time(), time.monotonic()
        kills = self._probe.out_of_memory_kills()
        pipes = _Pipes()
        child, start = self._start(pipes)
        streams = Streams(*pipes.parent_ends(), DECODER)
        exit_code, could_not_be_ended = None, False
        try:
            exit_code = self._watch(child, streams, monotonic + self._task.timeout_s)
            if exit_code is None:
                exit_code = self._end(child, streams)
                could_not_be_ended = exit_code is None
        except BaseException:
            signal_group(child.pid, signal.SIGKILL)
            raise
        finally:
            pipes.close_lifeline()  # the watchdog now ends whatever is left of the group
        streams.drain()
        self._take_events(streams, stoppable=False)
        streams.close()
        elapsed = time.monotonic() - monotonic
        kills_after = self._probe.out_of_memory_kills()
        crash_report = None
        if exit_code is not None and exit_code < 0 and self._stop is None:
            crash_report = _crash_report(child.pid, wall)
        return Report(
            start=start,
            started_utc=started_utc,
            ended_utc=_utc(),
            wall_s=elapsed,
            exit_code=exit_code,
            events=self._events,
            unreadable_lines=streams.events.unreadable,
            stop=self._stop,
            stdout_tail=streams.stdout.text(),
            stderr_tail=streams.stderr.text(),
            telemetry=None if self._sampler is None else self._sampler.summary(),
            timeline=[] if self._sampler is None else self._sampler.lines,
            slept=time.time() - wall - elapsed > _SLEPT_S,
            killed_by_system=kills is not None and kills_after is not None and kills_after > kills,
            could_not_be_ended=could_not_be_ended,
            crash_report=crash_report,
        )

    def _start(self, pipes: "_Pipes") -> "tuple[_Child, Any]":
        if self._server is not None:
            forked = self._server.fork(self._task, pipes)
            if forked is not None:
                return forked, "fork"
        return _Spawned(self._task, pipes), "spawn"

    def _watch(self, child: _Child, streams: _Streams, deadline: float) -> int | None:
        """Wait for the worker's own end; None when it has to be ended."""
        wake_fd = child.wake_fd()
        if wake_fd is not None:
            streams.watch(wake_fd)
        while True:
            now = time.monotonic()
            sample = None
            if now >= self._next_sample:
                if self._sampler is not None and not self._paused:
                    sample = self._sampler.take()
                    period_s = self._sampler.period_s
                else:  # without telemetry the guard still looks, and nothing is kept
                    sample = self._machine.take()
                    period_s = _TICK_S
                self._next_sample = max(self._next_sample + period_s, time.monotonic())
            self._stop = self._stop or self._supervise(None, sample)
            self._take_events(streams, stoppable=True)
            self._check_limits(streams, now, deadline, child)
            exit_code = child.poll()
            if exit_code is not None:
                self._stop = None  # it ended by itself before anybody stopped it
                return exit_code
            if self._stop is not None:
                return None
            streams.wait(min(self._next_sample, now + _TICK_S, deadline) - time.monotonic())

    def _check_limits(self, streams: _Streams, now: float, deadline: float, child: _Child) -> None:
        if self._stop is not None:
            return
        if streams.events.flooded:
            self._stop = Stop("flood", "the worker wrote an endless line into its event pipe")
        elif now >= deadline:
            self._stop = Stop("timeout", f"not finished after {self._task.timeout_s:.0f} s")
        elif streams.events_closed:
            self._quiet_since = self._quiet_since or now
            if now - self._quiet_since > _QUIET_EXIT_S and child.poll() is None:
                self._stop = Stop("silent", "the worker closed its event pipe and went on")

    def _take_events(self, streams: _Streams, stoppable: bool) -> None:
        pending = streams.events.pending
        while pending:
            event = pending.popleft()
            self._events.append(event)
            if isinstance(event, Hello) and self._task.telemetry and self._sampler is None:
                self._sampler = Sampler(self._probe, event.pid, ignored_pid=event.watchdog_pid)
                self._next_sample = float("-inf")  # a quick worker may be gone after a tick
            if isinstance(event, Phase) and self._sampler is not None:
                self._enter(event, self._sampler)
            wish = self._supervise(event, None)
            if stoppable:
                self._stop = self._stop or wish

    def _enter(self, phase: Phase, sampler: Sampler) -> None:
        """Mark a phase, and sample from its beginning unless telemetry is to pause in it."""
        paused = phase.name in self._task.unsampled_phases
        if not paused:
            sampler.mark(phase.name, phase.t)
        if paused != self._paused:
            self._paused = paused
            self._next_sample = time.monotonic() + _TICK_S if paused else float("-inf")

    def _end(self, child: _Child, streams: _Streams) -> int | None:
        """End the worker's whole group, politely first; None if even SIGKILL does not."""
        for number, patience_s in ((signal.SIGTERM, _POLITE_S), (signal.SIGKILL, _REAP_S)):
            signal_group(child.pid, number)
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                exit_code = child.poll()
                if exit_code is not None:
                    signal_group(child.pid, signal.SIGKILL)  # its children as well
                    return exit_code
                streams.wait(0.05)
        return None


class _Pipes:
    """The pipes of one worker. Only the parent holds the lifeline's writing end."""

    def __init__(self) -> None:
        self._events, self.events = os.pipe()
        self._stdout, self.stdout = os.pipe()
        self._stderr, self.stderr = os.pipe()
        self.lifeline, self._lifeline = os.pipe()

    def parent_ends(self) -> tuple[int, int, int]:
        """Events, stdout and stderr, to read from; closes the worker's ends here."""
        for fd in (self.events, self.stdout, self.stderr, self.lifeline):
            os.close(fd)
        return self._events, self._stdout, self._stderr

    def close_lifeline(self) -> None:
        """Tell the watchdog that it is over."""
        os.close(self._lifeline)


class _Spawned:
    """A fresh interpreter."""

    def __init__(self, task: Task, pipes: _Pipes) -> None:
        self._pidfd: int | None = None
        self._process = start_script(
            [
                *(task.interpreter, WORKER_FOLDER),
                *("--events", str(pipes.events)),
                *("--lifeline", str(pipes.lifeline)),
            ],
            task.environment,
            pass_fds=[pipes.events, pipes.lifeline],
            stdin=subprocess.PIPE,
            stdout=pipes.stdout,
            stderr=pipes.stderr,
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: its exit tells
            self._process.stdin.write(json.dumps(task.job | {"forked": False}).encode() + b"\n")
            self._process.stdin.close()
        self._pidfd = _open_pidfd(self.pid)

    def poll(self) -> int | None:
        return self._process.poll()

    def wake_fd(self) -> int | None:
        return self._pidfd

    def __del__(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)


class _Forked:
    """A fork of a server, which reports its exit."""

    def __init__(self, pid: int, server: "ForkServer") -> None:
        self.pid = pid
        self._server = server
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        if self._exit_code is None:
            reply = self._server.receive(timeout_s=0.0)
            if reply is not None:
                self._exit_code = int(reply["exit_code"])
            elif not self._server.alive:
                self._exit_code = -signal.SIGKILL  # PR_SET_PDEATHSIG: it died with its server
        return self._exit_code

    def wake_fd(self) -> int | None:
        return self._server.fileno()


class ForkServer:
    """The parent's side of ``sdbench/worker/forkserver.py``."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", connection: socket.socket, lifeline: int
    ) -> None:
        self._process = process
        self._connection = connection
        self._lifeline = lifeline
        self._hung_up = False

    @classmethod
    def start(cls, task: Task, supervise: Supervisor) -> "ForkServer | None":
        """A server for the task's interpreter and environment; None if it does not come up."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline, lifeline_end = os.pipe()
        process = start_script(
            [
                *(task.interpreter, WORKER_FOLDER),
                *("--serve", str(theirs.fileno())),
                *("--lifeline", str(lifeline)),
            ],
            task.environment,
            pass_fds=[theirs.fileno(), lifeline],
        )
        theirs.close()
        os.close(lifeline)
        server = cls(process, ours, lifeline_end)
        deadline = time.monotonic() + _SERVER_START_S
        while server.alive and time.monotonic() < deadline:
            if server.receive(_TICK_S) is not None:
                return server
            if supervise(None, None) is not None:
                break
        server.close()
        return None

    @property
    def alive(self) -> bool:
        """Whether it can still fork."""
        return not self._hung_up and self._process.poll() is None

    def fileno(self) -> int:
        """Readable when the server has something to say."""
        return self._connection.fileno()

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next reply, or None if none comes in time."""
        self._connection.settimeout(timeout_s)
        try:
            data = self._connection.recv(_REPLY_BYTES)
        except (BlockingIOError, TimeoutError):
            return None
        except OSError:
            data = b""
        if not data:
            self._hung_up = True
            return None
        reply: dict[str, Any] = json.loads(data)
        return reply

    def fork(self, task: Task, pipes: _Pipes) -> _Forked | None:
        """Fork a worker; None if the server refuses or is gone."""
        request = json.dumps(task.job | {"forked": True}).encode()
        fds = [pipes.events, pipes.lifeline, pipes.stdout, pipes.stderr]
        self._connection.settimeout(_POLITE_S)
        try:
            socket.send_fds(self._connection, [request], fds)
        except OSError:
            self._hung_up = True
            return None
        reply = self.receive(_REAP_S)
        if reply is None:  # a late answer would be taken for the next one's: start anew
            self._hung_up = True
            self._process.kill()
            return None
        if "forked" not in reply:
            return None
        return _Forked(int(reply["forked"]), self)

    def close(self) -> None:
        """End the server."""
        self._connection.close()
        os.close(self._lifeline)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


def _crash_report(pid: int, started: float) -> CrashReport | None:
    """What macOS says of a death by signal; nothing elsewhere."""
    if sys.platform != "darwin":
        return None
    text = crash_files.wait_for_report(pid, started, crash_files.reports_folder())
    return None if text is None else read_crash_report(text)


def _open_pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open") or not sys.platform.startswith("linux"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _utc() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
