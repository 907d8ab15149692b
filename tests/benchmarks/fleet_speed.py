"""What handing out slots costs: how many a second, the client's memory, the overhead of one.

``python tests/benchmarks/fleet_speed.py``: 1,000 slots over 50 workers that are simulated in one
other process (no worker process is started, each slot answers at once), then single slots of a real
worker through Dask and directly, in turn.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "unit")]

import msgspec
from factories import make_config, play

from sdbench import __version__, machine
from sdbench.fleet import dispatch, task
from sdbench.fleet.connection import Connection, quieten
from sdbench.fleet.course import Settings
from sdbench.fleet.engine import Engine
from sdbench.fleet.fleet_folder import FleetFolder
from sdbench.fleet.messages import (
    Answer,
    DescribeOrder,
    Description,
    MeasureOrder,
    Plan,
    decode,
    encode,
)
from sdbench.process.executor import FakeExecutor
from sdbench.records import Compared, Replicate


class _Quiet:
    """A screen that notes the times only."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0

    def machine_joins(self, title: str, run: str) -> None: ...
    def machine_left_out(self, name: str, why: str) -> None:
        print(f"left out: {why}")

    def machine_lost(self, title: str, why: str) -> None: ...
    def works_on(self, title: str, doing: str) -> None: ...
    def compared(self, entries: Sequence[Compared]) -> None: ...
    def slot_given(self, title: str, slot: str) -> None:
        self.first = self.first or time.monotonic()

    def slot_done(self, title: str, replicate: Replicate, done: int, total: int) -> None:
        self.last = time.monotonic()

    def says(self, words: str) -> None:
        print(words)


# Functions travel by name, so those of the simulated workers are a module's own.
_REAL = {"describe": task.describe, "measure": task.measure}
_ANSWERS: dict[str, Answer] = {}
_FIRST: list[tuple[str, str, bytes]] = []


def simulated_describe(text: str) -> Answer:
    """Each worker is a machine of its own."""
    from distributed import get_worker

    if "describe" not in _ANSWERS:
        _ANSWERS["describe"] = _REAL["describe"](text)
    about = decode(_ANSWERS["describe"][0], Description)
    name = hashlib.sha256(str(get_worker().name).encode()).hexdigest()[:16]
    return encode(msgspec.structs.replace(about, machine=name, process=name)), b""


def canned_measure(text: str) -> Answer:
    """The answer to the first slot, as if it were this one's."""
    order = decode(text, MeasureOrder)
    if not _FIRST:
        _FIRST.append((order.slot, *_REAL["measure"](text)))
    slot, answer, blob = _FIRST[0]
    case_id, arm, block = order.slot.rsplit(".", 2)
    old_case, _, old_block = slot.rsplit(".", 2)
    assert arm
    return (
        answer.replace(slot, order.slot)
        .replace(f'"case_id":"{old_case}"', f'"case_id":"{case_id}"')
        .replace(f'"block":{old_block},', f'"block":{block},')
    ), blob


def nothing(*_: object) -> Answer:
    """A check or a comparison that finds nothing."""
    return '{"records":[],"files":[]}', b""


def simulate(count: int, *, in_memory: bool) -> None:
    """In a process of its own: a scheduler and so many workers, until standard input ends."""
    from distributed import Scheduler, Worker

    quieten()
    task.open_executor = lambda: FakeExecutor(play)
    task._turn = lambda interrupted: contextlib.nullcontext()  # type: ignore
    for name in ("check", "compare"):
        setattr(task, name, nothing)
    task.describe = simulated_describe
    if in_memory:
        task.measure = canned_measure

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            scheduler = await stack.enter_async_context(
                Scheduler(host="127.0.0.1", dashboard_address=":0")
            )
            for number in range(count):
                worker = Worker(
                    scheduler.address,
                    nthreads=1,
                    name=f"m{number}",
                    resources={dispatch.RESOURCE: 1},
                    memory_limit=0,
                )
                await stack.enter_async_context(worker)
            print(scheduler.address, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    import dask
    import distributed

    assert distributed  # fills in its settings before one is changed
    # Fifty workers in one process would look at it a hundred times a second.
    settings = {
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.interval": "10s",
    }
    with dask.config.set(settings):
        asyncio.run(serve())


def throughput(root: Path, slots: int, workers: int, *, in_memory: bool) -> None:
    """Print slots a second and the client's memory."""
    program = f"import fleet_speed; fleet_speed.simulate({workers}, in_memory={in_memory})"
    folders = [Path(__file__).parent, Path(__file__).parent.parent / "unit"]
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        assert cluster.stdin is not None
        address = cluster.stdout.readline().strip()
        config = make_config(replicates=2, matrix={"resolution": _resolutions(slots // 2)})
        plan = Plan(sdbench=__version__, config=config, yes=True)
        folder = FleetFolder.create(root, plan, "split")
        screen = _Quiet()
        began = time.monotonic()
        working = Engine(
            folder,
            Connection(address, None),
            screen,
            lambda: time.monotonic() - began > 200,
            Settings(machines=workers, patience_s=60),
        )
        end = working.run()
        counts = [group.counts() for group in folder.state.groups.values()]
        folder.close()
        cluster.stdin.close()
        seconds = screen.last - (screen.first or screen.last)
        done = sum(one["done"] for one in counts)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        kind = "answered at once" if in_memory else "whole slots with a stand-in for the process"
        print(
            f"{done} slots over {workers} workers, {kind}: {seconds:.1f} s, "
            f"{done / max(seconds, 1e-9):.0f} slots/s, {end}; peak of the client {peak:.0f} MB",
            flush=True,
        )
        cluster.wait()


def overhead(times: int) -> None:
    """Print what one slot takes directly and through Dask, the process itself aside."""
    from distributed import LocalCluster

    task.open_executor = lambda: FakeExecutor(play)
    plan = Plan(sdbench=__version__, config=make_config())
    about = decode(task.describe(encode(DescribeOrder(plan=plan)))[0], Description)
    assert about.run is not None
    slot = about.run.plan.slots[0].replicate_id
    order = encode(MeasureOrder(plan=plan, kind=about.kind, slot=slot, attempt=1, token="t.1"))
    direct, through = [], []
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            resources={dispatch.RESOURCE: 1},
            dashboard_address=None,
        ) as cluster,
        cluster.get_client() as client,
    ):
        for _ in range(times):
            began = time.perf_counter()
            task.measure(order)
            direct.append(time.perf_counter() - began)
            began = time.perf_counter()
            client.submit(
                task.measure, order, resources={dispatch.RESOURCE: 1}, pure=False
            ).result()
            through.append(time.perf_counter() - began)
    more = statistics.median(through) - statistics.median(direct)
    print(
        f"one slot, the measured process aside, median of {times}: directly "
        f"{1e3 * statistics.median(direct):.1f} ms, through Dask "
        f"{1e3 * statistics.median(through):.1f} ms: {1e3 * more:.1f} ms more, "
        f"{100 * more / 10:.2f}% of a 10 s slot; with all that a fleet does around a process "
        f"{100 * statistics.median(through) / 10:.2f}%",
        flush=True,
    )


def _resolutions(count: int) -> list[str]:
    sizes = [64 + 8 * number for number in range(40)]
    return [f"{width}x{height}" for width in sizes for height in sizes][:count]


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=50)
    wanted = parser.parse_args()
    quieten()
    print(f"machine {machine.machine_id()[:6]}, {os.cpu_count()} cores, load {os.getloadavg()[0]}")
    with tempfile.TemporaryDirectory(prefix="sdbench-fleet-speed-") as folder:
        os.environ["SDBENCH_STATE"] = str(Path(folder) / "state")
        throughput(Path(folder) / "a", wanted.slots, wanted.workers, in_memory=True)
        throughput(Path(folder) / "b", wanted.slots // 5, wanted.workers, in_memory=False)
        overhead(30)


if __name__ == "__main__":
    main()
