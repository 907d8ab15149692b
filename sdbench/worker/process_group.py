"""Processes that make a pass together (``batching = "split"``), as accelerate spreads prompts.

The worker is process 0. It starts the others: the same program in the same interpreter, one for
each GPU, or two on a CPU, each with half the threads. ``torch.distributed`` (NCCL on GPUs, gloo on
a CPU) serves for what must happen at once, the beginning and the end of a pass. Everything else
goes over pipes as JSON lines: orders to a process through its standard input, its events back
through a pipe of its own. So nothing is pickled, and a process without an order waits in ``read``
and takes no processor time.

All of them belong to the process group that the parent and the watchdog end. When one of the
others dies, a thread of process 0 ends process 0 in the same way: by the same signal, or with the
same exception. The parent then sees what it sees of any worker.
"""

import datetime
import faulthandler
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional

from .channel import Channel
from .pipelines import CaseImpossibleError

CPU_PROCESSES = 2
_HERE = os.path.dirname(os.path.abspath(__file__))
# The parent ends a worker that takes too long; torch's own limit must not come before that.
_TIMEOUT = datetime.timedelta(days=1)
# A process whose group is broken waits so long to be ended: another one knows why it broke.
_PATIENCE_S = 20.0
_END_PATIENCE_S = 10.0
_LONGEST_LINE = 1 << 20
# Set only where the user has not. Everything is on one host. NVLS is NVLink's multicast, which
# barriers do not need and which has put GPUs out of service that other programs use.
_DEFAULTS = {
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "NCCL_NVLS_ENABLE": "0",
}


def is_split(job: "Dict[str, Any]") -> bool:
    """Whether several processes make the passes of a job."""
    return bool(job["case"]["batching"] == "split")


def settle(job: "Dict[str, Any]") -> None:
    """Take this process's GPU or its share of the threads; before the device is opened."""
    import torch

    if job["device"] == "cpu":
        threads = job.get("threads") or max(1, torch.get_num_threads() // CPU_PROCESSES)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # accelerate reads it
        torch.set_num_threads(threads)
    elif job.get("rank"):
        torch.cuda.set_device(job["rank"])


def size_for(job: "Dict[str, Any]") -> int:
    """How many processes make a pass: one for each GPU, but no more than there are images.

    Raises:
        CaseImpossibleError: there are no two devices.
    """
    import torch

    if job["device"] == "mps":
        raise CaseImpossibleError("split needs several GPUs, and a Mac has one")
    count = CPU_PROCESSES if job["device"] == "cpu" else torch.cuda.device_count()
    if count < 2:
        raise CaseImpossibleError("split needs two GPUs or more, and torch finds one")
    return min(count, int(job["images"]))


def meeting_place(environment: "Mapping[str, str]", size: int, port: int) -> "Dict[str, str]":
    """The variables by which processes of this host find each other, their ranks aside."""
    defaults = {name: _DEFAULTS[name] for name in _DEFAULTS if name not in environment}
    count = str(size)
    return dict(
        defaults,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        WORLD_SIZE=count,
        LOCAL_WORLD_SIZE=count,
    )


class Group:
    """This process's place among those that make a pass together."""

    def __init__(self, job: "Dict[str, Any]", rank: int, size: int) -> None:
        """Join the group; returns when all have joined.

        Raises:
            CaseImpossibleError: torch or accelerate do not offer what that takes.
        """
        import torch

        self.size = size
        self._rank = rank
        self._gpus = job["device"] == "cuda"
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        if not self._gpus:  # else accelerate asks torch.cpu, which torch 1.13 does not have whole
            os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
        state_class = _partial_state()
        torch.distributed.init_process_group("nccl" if self._gpus else "gloo", timeout=_TIMEOUT)
        state = state_class(cpu=not self._gpus)
        with state.split_between_processes(list(range(job["images"]))) as images:
            self.images: "List[int]" = list(images)
        self.wait()

    def wait(self) -> None:
        """Return when all processes have called it and this one's device has nothing left to do."""
        import torch

        try:
            torch.distributed.barrier(device_ids=[self._rank] if self._gpus else None)
            if self._gpus:
                torch.cuda.synchronize()
        except Exception:
            time.sleep(_PATIENCE_S)
            raise

    def begin(self, kind: str, index: int) -> None:
        """Have the other processes make the same pass; only process 0 gives orders."""

    def together(self, record: "Dict[str, Any]") -> "Dict[str, Any]":
        """The record of a pass that this process has made its share of."""
        record["numbers"] = self.images
        return record


class Leader(Group):
    """Process 0, which starts the others and ends with them."""

    def __init__(self, job: "Dict[str, Any]", channel: Channel) -> None:
        """Start the others and join them.

        Raises:
            CaseImpossibleError: the host, torch or accelerate do not offer what that takes.
        """
        size = size_for(job)
        _partial_state()  # before anything is started
        self._channel = channel
        self._shares_device = job["device"] == "cpu"
        self._count: int = job["images"]
        self._ending = False
        os.environ.update(meeting_place(os.environ, size, _free_port()))
        job = dict(job, size=size, threads=_threads(), forked=False)
        channel.send("group", processes=size, threads=job["threads"])
        self._members = [_Member(dict(job, rank=rank), self._lost) for rank in range(1, size)]
        super().__init__(job, 0, size)

    def begin(self, kind: str, index: int) -> None:
        for member in self._members:
            member.order(kind=kind, index=index)

    def together(self, record: "Dict[str, Any]") -> "Dict[str, Any]":
        """One record of all shares: images in the order of their numbers, memory of all devices.

        ``peak_bytes`` and the allocator's counters are the busiest device's. Processes that share
        one device (the CPU) count together.
        """
        records = [super().together(record), *(member.records.get() for member in self._members)]
        peaks = [one["peak_bytes"] for one in records]
        if self._shares_device:
            record["peak_bytes"] = None if None in peaks else sum(peaks)
        else:
            busiest = max(records, key=lambda one: one["peak_bytes"] or 0)
            for name in ("peak_bytes", "allocated_bytes", "driver_bytes"):
                record[name] = busiest[name]
        record["process_peak_bytes"] = peaks
        if record["kind"] == "measured":
            record["images"] = _in_order(records, self._count)
        del record["numbers"]
        return record

    def finish(self, memory: "Dict[str, int]") -> "Dict[str, int]":
        """End the others; what all processes weigh together, from what this one weighs."""
        self._ending = True
        weights = [memory]
        for member in self._members:
            member.order(kind="end")
        for member in self._members:
            try:
                weights.append(member.weights.get(timeout=_END_PATIENCE_S))
            except queue.Empty:
                weights.append({})
        names = set(memory).intersection(*weights)
        return {name: sum(one[name] for one in weights) for name in sorted(names)}

    def _lost(self, member: "_Member", error: "Optional[Dict[str, Any]]", code: int) -> None:
        """End this process as another one ended; called in a thread."""
        if self._ending:
            return
        self._channel.send("member", rank=member.rank, exit_code=code)
        if error is not None:
            fields = {name: error[name] for name in error if name not in ("event", "t")}
            self._channel.send("error", **fields)
        elif code < 0:
            faulthandler.disable()  # the stack of this process says nothing about that one
            os.kill(os.getpid(), -code)
            time.sleep(_PATIENCE_S)
        os._exit(code if code > 0 else 1)


class _Member:
    """Another process of the group, as process 0 sees it.

    Attributes:
        records: what it reports of its share of each pass.
        weights: what it weighs, once it has ended as it was ordered.
    """

    def __init__(
        self,
        job: "Dict[str, Any]",
        lost: "Callable[[_Member, Optional[Dict[str, Any]], int], None]",
    ) -> None:
        """``lost`` is called in a thread with its last error, if any, and its exit code."""
        self.rank: int = job["rank"]
        self.records: "queue.Queue[Dict[str, Any]]" = queue.Queue()
        self.weights: "queue.Queue[Dict[str, int]]" = queue.Queue()
        self._lost = lost
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, _HERE, "--events", str(writing), "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            pass_fds=[writing],
        )
        os.close(writing)
        self._write(job)
        thread = threading.Thread(target=self._listen, args=(reading,), daemon=True)
        thread.start()

    def order(self, **fields: Any) -> None:
        """Give it an order."""
        self._write(fields)

    def _write(self, document: "Dict[str, Any]") -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: the thread that listens ends this process

    def _listen(self, reading: int) -> None:
        error = None
        with open(reading, encoding="utf-8", errors="replace") as lines:
            while True:
                line = lines.readline(_LONGEST_LINE)
                if not line:
                    break
                if len(line) == _LONGEST_LINE:
                    error = _fault("wrote an endless line into its event pipe")
                    self._process.kill()
                    break
                event = _parsed(line)
                if event.get("event") == "pass":
                    self.records.put(event)
                elif event.get("event") == "error":
                    error = event
                elif event.get("event") == "done":
                    self.weights.put({name: event[name] for name in event if "bytes" in name})
        try:
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            error = _fault("closed its event pipe and went on")
            self._process.kill()
            code = self._process.wait()
        self._lost(self, error, code)


def _fault(words: str) -> "Dict[str, Any]":
    """The error of a process that cannot report one itself."""
    message = f"a process of the group {words}"
    return {"type": "RuntimeError", "message": message, "kind": "exception", "causes": []}


def _parsed(line: str) -> "Dict[str, Any]":
    """The event of a line; empty where something else has written into the pipe."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def take_part(job: "Dict[str, Any]", passes_of: "Callable[[Group], Any]", channel: Channel) -> None:
    """Be another process than 0: join, make ready, and do as ordered until the end.

    ``passes_of`` loads the pipeline for the group and returns its passes.
    """
    group = Group(job, job["rank"], job["size"])
    passes = passes_of(group)
    for line in sys.stdin:
        order = json.loads(line)
        if order["kind"] == "end":
            return
        prime = order["kind"] == "prime"
        record = passes.prime() if prime else passes.measured(order["index"])
        channel.send("pass", **record)
    os._exit(1)  # process 0 is gone


def _in_order(records: "List[Dict[str, Any]]", count: int) -> "List[Dict[str, Any]]":
    """The images of all shares by number; old releases of accelerate give some out twice.

    Raises:
        RuntimeError: not all of them were made.
    """
    made: "Dict[int, Dict[str, Any]]" = {}
    for record in records:
        for number, picture in zip(record["numbers"], record["images"]):
            made.setdefault(number, picture)
    if sorted(made) != list(range(count)):
        raise RuntimeError(f"the processes made images {sorted(made)} of {count}")
    return [made[number] for number in sorted(made)]


def _partial_state() -> Any:
    """accelerate's ``PartialState``.

    Raises:
        CaseImpossibleError: there is none, or none that splits.
    """
    import torch

    try:
        import accelerate
    except ImportError:
        accelerate = None
    state = getattr(accelerate, "PartialState", None)
    if not hasattr(state, "split_between_processes"):
        raise CaseImpossibleError("split needs accelerate 0.20 or later")
    if not torch.distributed.is_available():
        raise CaseImpossibleError("split needs a torch that is built with torch.distributed")
    return state


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
