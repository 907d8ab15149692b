"""One job of a worker: import, device, load, passes; every step reported as it happens."""

import contextlib
import importlib
import os
import sys
import time
import traceback
from typing import Any, Optional

from .channel import Channel
from .own_memory import own_memory

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # MPS backend out of memory, CUDA out of memory
    "invalid buffer size",
    "can't allocate memory",  # torch's CPU allocator
    "not enough memory",
)
_MOST_CAUSES = 20


def import_preloads(names: "list[str]") -> "list[Any]":
    """Import the modules of ``SDBENCH_WORKER_PRELOAD``, in order, before torch."""
    return [importlib.import_module(name) for name in names]


def preload_names() -> "list[str]":
    """The module names in ``SDBENCH_WORKER_PRELOAD``."""
    text = os.environ.get("SDBENCH_WORKER_PRELOAD", "")
    return [name.strip() for name in text.split(",") if name.strip()]


def run_job(job: "dict[str, Any]", channel: Channel, watchdog_pid: "Optional[int]") -> None:
    """Do the job, report everything, and end the process without interpreter shutdown.

    Shutdown is skipped because torch's and the driver's own take seconds on some systems and a
    crash there says nothing about the case.
    """
    channel.send(
        "hello",
        pid=os.getpid(),
        watchdog_pid=watchdog_pid,
        python=".".join(str(part) for part in sys.version_info[:3]),
        forked=job["forked"],
        cores=sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    )
    phase = _Phases(channel)
    memory: "dict[str, Any]" = {}
    status = 0
    try:
        if job.get("probe"):
            _probe_devices(job, channel, phase)
        elif job.get("signature"):
            _read_signature(job, channel, phase)
        elif job.get("localise"):
            _localise(job, channel, phase)
        elif job.get("reference"):
            _make_references(job, channel, phase)
        elif job.get("ceilings"):
            _measure_ceilings(job, channel, phase)
        elif job.get("selftest"):
            _test_instruments(job, channel, phase)
        elif job.get("rank"):
            memory = _take_part(job, channel, phase)
        else:
            memory = _run_phases(job, channel, phase)
        channel.send("done", **memory)
    except BrokenPipeError:
        status = 1  # the parent is gone: nobody is left to tell
    except BaseException as error:
        status = 1
        _tell_error(channel, error, phase.name)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _tell_error(channel: Channel, error: BaseException, phase: str) -> None:
    """Send the error, then print it; where memory ran out even that may need more than there is.

    What the frames of the error hold (the pipeline, its tensors) is let go of first where it must.
    """
    try:
        _send_error(channel, error, phase)
    except MemoryError:
        traceback.clear_frames(error.__traceback__)
        with contextlib.suppress(Exception):
            channel.send(
                "error", type="MemoryError", message="", kind="oom", phase=phase, causes=[]
            )
    except BrokenPipeError:
        return  # the parent is gone: nobody is left to tell
    with contextlib.suppress(Exception):
        traceback.print_exception(type(error), error, error.__traceback__)


def _send_error(channel: Channel, error: BaseException, phase: str) -> None:
    channel.send(
        "error",
        type=type(error).__name__,
        message=str(error)[:4000],
        kind=_kind_of(error),
        phase=phase,
        causes=_causes_of(error),
    )


class _Phases:
    """Announces phases and remembers the one in progress."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.name = "start"

    def begin(self, name: str) -> None:
        self.name = name
        self._channel.send("phase", name=name)


def _run_phases(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> "dict[str, Any]":
    """Load and make passes; what the process weighed when the last of them had ended."""
    began_s = time.perf_counter()
    device = _open(job, channel, phase, settled=True)
    from .pipelines import Applied, load
    from .process_group import Leader, is_split

    group = None
    if is_split(job):
        phase.begin("group")
        group = Leader(job, channel)
    phase.begin("load")
    device.reset_peak()
    started = time.perf_counter()
    pipeline = load(job, device)
    settings = Applied(pipeline, job, device)
    if group is not None:
        group.wait()
    load_s = time.perf_counter() - started
    peak_bytes, _ = device.peak_bytes()
    channel.send("loaded", load_s=load_s, peak_bytes=peak_bytes)

    from .pass_count import PassCount
    from .passes import Passes
    from .yardstick import Yardstick

    count = PassCount(job, began_s)
    passes = Passes(pipeline, device, job, group)
    yardstick = Yardstick(device, job["case"]["dtype"]) if job.get("yardstick") else None
    if job["case"]["warmup"]:
        phase.begin("prime")
        channel.send("pass", **passes.prime())
    while (stopped := count.why_enough()) is None:
        if yardstick is not None and count.made == 1:  # not before pass 1, see yardstick.py
            phase.begin("yardstick")
            yardstick.read("before")
        phase.begin(f"pass {count.made + 1}")
        record = passes.measured(count.made + 1)
        channel.send("pass", **record)
        count.note(record)
    channel.send("passes", made=count.made, stopped=stopped)
    if yardstick is not None and count.made > 1:
        phase.begin("yardstick")
        yardstick.read("after")
        channel.send("yardstick", **yardstick.record)
    profile = None
    if job["profile"]:
        phase.begin("profile")
        with settings.call:
            profile = passes.profile()
        channel.send("pass", **profile)
    channel.send("settings", **settings.record(profile))
    phase.begin("end")
    memory = own_memory()
    if group is not None:
        memory = group.finish(memory)
    if job["count_flops"]:
        channel.send("counted", **passes.count_flops())
    return memory


def _take_part(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> "dict[str, int]":
    """Make a share of each pass, as process 0 of the group orders; what this process weighs."""
    device = _open(job, channel, phase, settled=True)
    from .passes import Passes
    from .pipelines import Applied, load
    from .process_group import Group, take_part

    def passes_of(group: Group) -> Passes:
        phase.begin("load")
        pipeline = load(job, device)
        Applied(pipeline, job, device)
        group.wait()
        return Passes(pipeline, device, job, group)

    take_part(job, passes_of, channel)
    return own_memory()


def _localise(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> None:
    """Do one pass on the CPU and repeat its operators on the job's device."""
    device = _open(job, channel, phase)
    from .devices import open_device
    from .localise import localise
    from .pipelines import apply_settings, load

    phase.begin("load")
    pipeline = load(job, open_device("cpu"))
    apply_settings(pipeline, job["case"])
    phase.begin("operators")
    localise(pipeline, device, job, channel)


def _make_references(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> None:
    """Compute references and noise floors on the CPU."""
    device = _open(job, channel, phase)
    from .reference import make_references

    make_references(job, device, phase.begin)


def _measure_ceilings(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> None:
    """Measure how fast the device multiplies large matrices, then import what a case needs.

    For the first torch is enough; the second finds an environment that no case could be run in.
    """
    phase.begin("import")
    import_preloads(preload_names())
    from .devices import open_device
    from .operators import matmul_ceilings

    phase.begin("device")
    device = open_device(job["device"])
    phase.begin("matrix products")
    for dtype, rate in matmul_ceilings(device, job["ceilings"]):
        channel.send("ceiling", dtype=dtype, **rate)
    phase.begin("import")
    from .pipelines import import_stack

    import_stack()


def _test_instruments(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> None:
    """Read instruments inside a worker, or end it in the way that the job names."""
    phase.begin("import")
    import_preloads(preload_names())
    from .instruments import take_part

    take_part(job, channel, phase.begin)


def _open(job: "dict[str, Any]", channel: Channel, phase: _Phases, *, settled: bool = False) -> Any:
    """Import the environment, open the job's device, and report both.

    ``settled``: the process first takes its share of a host where several make a pass together.
    """
    phase.begin("import")
    started = time.perf_counter()
    preloads = import_preloads(preload_names())
    from .devices import open_device
    from .pipelines import import_stack
    from .process_group import is_split, settle

    versions = import_stack()
    import_s = None if job["forked"] else time.perf_counter() - started
    channel.send(
        "stack",
        versions=versions,
        import_s=import_s,
        simulated=_is_simulated(preloads, job["device"]),
    )
    phase.begin("device")
    if settled and is_split(job):
        settle(job)
    device = open_device(job["device"])
    channel.send("device", kind=device.kind, facts=device.facts(), dtypes=device.supported_dtypes())
    return device


def _probe_devices(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> None:
    """Try the devices named in the job, best first, up to the first that works."""
    phase.begin("import")
    preloads = import_preloads(preload_names())
    import torch

    from .devices import DeviceUnavailableError, open_device

    channel.send("stack", versions={"torch": str(torch.__version__)})
    phase.begin("device")
    for kind in job["devices"]:
        try:
            device = open_device(kind)
        except DeviceUnavailableError as error:
            channel.send("device", kind=kind, available=False, reason=str(error))
            continue
        channel.send(
            "device",
            kind=kind,
            available=True,
            facts=device.facts(),
            dtypes=device.supported_dtypes(),
            recommended_max_bytes=device.memory().recommended_max_bytes,
            simulated=_is_simulated(preloads, kind),
        )
        return


def _read_signature(job: "dict[str, Any]", channel: Channel, phase: _Phases) -> None:
    """Say what the ``__call__`` of the job's pipeline class takes by default."""
    phase.begin("import")
    import_preloads(preload_names())
    from .pipelines.signature import call_defaults

    channel.send("signature", **call_defaults(job["signature"]))


def _is_simulated(preloads: "list[Any]", device: str) -> bool:
    """A preload that says so, or a Metal device where there is no Metal."""
    declared = any(getattr(module, "SDBENCH_SIMULATED", False) for module in preloads)
    return declared or (device == "mps" and sys.platform != "darwin")


def _causes_of(error: BaseException) -> "list[str]":
    """The exception and those it was raised from, outermost first, each as ``Type: message``."""
    found: "list[str]" = []
    seen: "set[int]" = set()
    current: "BaseException | None" = error
    while current is not None and id(current) not in seen and len(found) < _MOST_CAUSES:
        seen.add(id(current))
        found.append(f"{type(current).__name__}: {str(current)[:1000]}")
        # An import that failed while another one was made up for is itself what is missing.
        hidden = current.__suppress_context__ or isinstance(current, ImportError)
        current = current.__cause__ or (None if hidden else current.__context__)
    return found


def _kind_of(error: BaseException) -> str:
    """``impossible``, ``unavailable``, ``oom`` or ``exception``."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "CaseImpossibleError" in names:
        return "impossible"
    if "DeviceUnavailableError" in names:
        return "unavailable"
    text = str(error).lower()
    if "MemoryError" in names or "OutOfMemoryError" in names:
        return "oom"
    return "oom" if any(part in text for part in _OUT_OF_MEMORY_TEXTS) else "exception"
