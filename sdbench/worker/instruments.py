"""The worker's part in ``sdbench selftest``: it reads its clocks, takes memory, computes, or dies.

Each part reports raw readings. Nothing is judged here: the parent compares them with its own
sources (``sdbench/selftest``).
"""

import os
import signal
import statistics
import subprocess
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List

if TYPE_CHECKING:
    from .channel import Channel
    from .devices import Device

_EDGES = 50
_STEPS_SOUGHT = 200
_COST_CALLS = 20_000
_KERNEL_SIZE = {"cpu": 384, "mps": 1024, "cuda": 2048}
_KERNEL_TIMINGS = 15


def take_part(job: "Dict[str, Any]", channel: "Channel", begin: "Callable[[str], None]") -> None:
    """Do the part that the job names."""
    part = job["selftest"]
    begin(part)
    _PARTS[part](job, channel)


def _clocks(job: "Dict[str, Any]", channel: "Channel") -> None:
    first = read_clocks()
    time.sleep(job["seconds"])
    last = read_clocks()
    elapsed = {name: last[name] - first[name] for name in first}
    channel.send("instrument", name="clocks", values=elapsed)
    channel.send("instrument", name="clock-grain", values=clock_grain())


def read_clocks() -> "Dict[str, float]":
    """All clocks at one moment, in seconds: of many readings the one that took least time."""
    best: "Dict[str, float]" = {}
    shortest = float("inf")
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    for _ in range(_EDGES):
        values = {"perf_counter_s": time.perf_counter(), "monotonic_s": time.monotonic()}
        values["realtime_s"] = time.clock_gettime(time.CLOCK_REALTIME)
        if raw is not None:
            values["raw_s"] = time.clock_gettime(raw)
        took = time.perf_counter() - values["perf_counter_s"]
        if took < shortest:
            best, shortest = values, took
    return best


def clock_grain() -> "Dict[str, float]":
    """Announced resolution, smallest step seen, and cost of a reading by itself and CPU time."""
    smallest = float("inf")
    for _ in range(_STEPS_SOUGHT):
        first = later = time.perf_counter()
        while later == first:
            later = time.perf_counter()
        smallest = min(smallest, later - first)
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in range(_COST_CALLS):
        time.perf_counter()
    return {
        "announced_s": time.get_clock_info("perf_counter").resolution,
        "step_s": smallest,
        "cost_s": (time.perf_counter() - began) / _COST_CALLS,
        "cost_cpu_s": (time.process_time() - began_cpu) / _COST_CALLS,
    }


def _memory(job: "Dict[str, Any]", channel: "Channel") -> None:
    """Take memory of the host or the device, hold it and give it back, some times.

    After each of the three reports the worker waits, so that the parent can read its counters.
    """
    device = _device_for_memory(job)
    take = _take_of_host if job["where"] == "host" else _take_of_device

    def report(name: str, **more: "Any") -> None:
        memory = device.memory()
        channel.send(
            "instrument",
            name=name,
            values=dict(
                pid=os.getpid(),
                allocated_bytes=memory.allocated_bytes,
                driver_bytes=memory.driver_bytes,
                **more,
            ),
            reason=memory.reason,
        )
        time.sleep(job["hold_s"])

    _give_back(take(job, job["bytes"]), device)  # what is needed once is there from now on
    for number in range(job["rounds"]):
        device.reset_peak()
        before, _ = device.peak_bytes()
        report(f"before-{number}", peak_bytes=before)
        held = take(job, job["bytes"])
        device.synchronize()
        report(f"held-{number}")
        _give_back(held, device)
        del held
        device.synchronize()
        device.empty_cache()
        peak, _ = device.peak_bytes()
        report(f"returned-{number}", peak_bytes=peak)


def _device_for_memory(job: "Dict[str, Any]") -> "Device":
    """The host's memory is taken without torch, which none of its counters need."""
    if job["where"] == "host":
        from .devices.cpu import CPU

        return CPU()
    from .devices import open_device

    return open_device(job["device"])


def _take_of_host(job: "Dict[str, Any]", size: int) -> "List[Any]":
    return [bytearray(b"\x01") * size]  # written to, so that it is really there


def _take_of_device(job: "Dict[str, Any]", size: int) -> "List[Any]":
    import torch

    return [torch.ones(size, dtype=torch.uint8, device=job["device"])]


def _give_back(held: "List[Any]", device: "Device") -> None:
    held.clear()
    device.empty_cache()


def _burn(job: "Dict[str, Any]", channel: "Channel") -> None:
    """Use one core for some seconds; the CPU time is what the kernel accounts to this process."""
    import resource

    def used_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    began_s = used_s()
    channel.send("instrument", name="begins", values={"pid": os.getpid(), "used_s": began_s})
    end = time.perf_counter() + job["seconds"]
    while time.perf_counter() < end:
        pass
    channel.send("instrument", name="ends", values={"pid": os.getpid(), "used_s": used_s()})
    time.sleep(job["hold_s"])


def _die(job: "Dict[str, Any]", channel: "Channel") -> None:
    """Start a child that must not outlive this process, then end in the way that is ordered."""
    child = subprocess.Popen(
        ["/bin/sleep", str(job["child_s"])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    channel.send("instrument", name="child", values={"pid": os.getpid(), "child_pid": child.pid})
    _DEATHS[job["how"]](job)


def _run_out_of_memory(job: "Dict[str, Any]") -> None:
    bytearray(1 << 60)


def _run_out_of_device_memory(job: "Dict[str, Any]") -> None:
    from .devices import open_device

    open_device(job["device"])
    import torch

    torch.empty(1 << 46, dtype=torch.uint8, device=job["device"])


def _raise(job: "Dict[str, Any]") -> None:
    raise ValueError("the selftest ordered this worker to raise")


def _hang(job: "Dict[str, Any]") -> None:
    import ctypes

    ctypes.PyDLL(None).sleep(600)  # with the interpreter's lock, as native code that hangs


_DEATHS: "Dict[str, Callable[[Dict[str, Any]], None]]" = {
    "killed": lambda job: os.kill(os.getpid(), signal.SIGKILL),
    "aborted": lambda job: os.abort(),
    "hung": _hang,
    "raised": _raise,
    "out-of-memory": _run_out_of_memory,
    "out-of-device-memory": _run_out_of_device_memory,
}


def _kernel(job: "Dict[str, Any]", channel: "Channel") -> None:
    """Time one long piece of work on the device in several ways, the least of some timings each."""
    from .devices import open_device

    device = open_device(job["device"])
    import torch

    torch.set_num_threads(1)  # threads wait for each other where another program has a core
    size = _KERNEL_SIZE[device.kind]
    with torch.no_grad():
        matrix = torch.eye(size, device=device.kind) * 0.5

        def work(times: int) -> Any:
            product = matrix
            for _ in range(times):
                product = torch.matmul(product, matrix)
            return product

        def synchronised(times: int) -> float:
            device.synchronize()
            started = time.perf_counter()
            work(times)
            device.synchronize()
            return time.perf_counter() - started

        def copied(times: int) -> float:
            device.synchronize()
            started = time.perf_counter()
            work(times)[:1].cpu()
            return time.perf_counter() - started

        synchronised(1)
        once = min(copied(1) for _ in range(3))
        times = max(1, round(job["seconds"] / max(once, 1e-6)))
        timings: "Dict[str, Callable[[], float]]" = {
            "synchronised_s": lambda: synchronised(times),
            "copied_s": lambda: copied(times),
            "twice_s": lambda: synchronised(2 * times),
        }
        if device.kind == "cuda":
            timings["event_s"] = lambda: _cuda_event_s(work, times)
        taken: "Dict[str, List[float]]" = {name: [] for name in timings}
        for _ in range(_KERNEL_TIMINGS):  # in turn, so that a disturbance meets all alike
            for name, timing in timings.items():
                taken[name].append(timing())
    values = {name: min(seconds) for name, seconds in taken.items()}
    values["unrest"] = max(statistics.median(one) / min(one) for one in taken.values())
    channel.send("instrument", name="kernel", values=values)


def _cuda_event_s(work: "Callable[[int], Any]", times: int) -> float:
    import torch

    begins, ends = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begins.record()
    work(times)
    ends.record()
    ends.synchronize()
    return float(begins.elapsed_time(ends)) / 1000


def _memory_and_kernel(job: "Dict[str, Any]", channel: "Channel") -> None:
    """Both in one process, since importing torch and opening the device take seconds."""
    _memory(job, channel)
    _kernel(job, channel)


_PARTS: "Dict[str, Callable[[Dict[str, Any], Channel], None]]" = {
    "clocks": _clocks,
    "memory": _memory,
    "memory-and-kernel": _memory_and_kernel,
    "burn": _burn,
    "die": _die,
    "kernel": _kernel,
}
