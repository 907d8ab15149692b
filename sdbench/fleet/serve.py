"""``sdbench fleet worker``, and workers started by ssh: Dask workers set up for measuring.

One thread, one slot at a time, no profiler of Dask's (it looks at every thread each 10 ms), no
limit of Dask's for memory (the guard of a run has its own). The nanny starts a killed worker again.
Where the scheduler is lost Dask ends both; `fleet worker` then starts them again until it is back.
"""

import asyncio
import atexit
import contextlib
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from filelock import FileLock

from sdbench import machine
from sdbench.fleet.connection import (
    NO_PAGES,
    TERMINAL,
    Connection,
    no_route_words,
    security_of,
)
from sdbench.fleet.dispatch import RESOURCE

if TYPE_CHECKING:
    from distributed import Nanny

_AGAIN_AFTER_S = 2.0
_CLOSE_S = 10.0
_SCHEDULER_GONE_S = 60.0
_CONFIG = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.http.routes": [],  # these pages ask nobody for a certificate
}


def serve(connection: Connection, name: str | None, say: Callable[[str], None]) -> None:
    """Work for a scheduler until a signal ends it; the scheduler may come and go."""
    import dask
    import distributed  # before its settings are changed: it fills in the others

    assert distributed
    with dask.config.set(_CONFIG):
        asyncio.run(_serve(connection, name, say))


async def _serve(connection: Connection, name: str | None, say: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="sdbench-worker-") as folder:
        reported = False
        while not stop.is_set():
            problem = await _work_once(connection, name, Path(folder), stop, say)
            if stop.is_set():
                break
            if not reported:
                say(f"no connection to {connection.address}{problem}; trying again")
            reported = bool(problem)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), _AGAIN_AFTER_S)


async def _work_once(
    connection: Connection,
    name: str | None,
    folder: Path,
    stop: asyncio.Event,
    say: Callable[[str], None],
) -> str:
    """Work as long as the scheduler is there; why it could not be reached, or nothing."""
    problem = await _connection_problem(connection)
    if problem is not None:
        return f": {problem}"
    nanny = measuring_nanny(connection, name, folder, silence_logs=logging.WARNING)
    try:
        await nanny
    except Exception as error:
        return f": {error}"
    say(f"connected to {connection.address}")
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(nanny.finished())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(nanny.close(timeout=_CLOSE_S), 2 * _CLOSE_S)
    return ""


def measuring_nanny(
    connection: Connection, name: str | None, folder: Path, **options: Any
) -> "Nanny":
    """Dask's supervisor of one worker that measures, to be awaited; ``folder`` is for its files."""
    from distributed import Nanny

    nanny: Nanny = Nanny(
        connection.address,
        nthreads=1,
        resources={RESOURCE: 1},
        name=name,
        security=security_of(connection),
        memory_limit=0,
        local_directory=str(folder),
        startup_information={"sdbench": facts_of_worker},
        dashboard=False,
        dashboard_address=NO_PAGES,
        **options,
    )
    return nanny


def nanny_of_host(scheduler: str, name: str, folder: str) -> "Nanny":
    """The same for a worker that ssh starts: Dask calls this on the host (``dask_spec``).

    ``folder`` has the keys of the fleet, is locked while the process lives, and is removed when it
    ends. It ends when the scheduler is gone.
    """
    import dask
    import distributed

    assert distributed
    dask.config.set(_CONFIG)
    in_use = FileLock(str(Path(folder) / "lock"))
    in_use.acquire(timeout=_CLOSE_S)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(in_use.release)
    connection = Connection(scheduler, Path(folder))
    return measuring_nanny(connection, name, Path(folder), death_timeout=_SCHEDULER_GONE_S)


async def _connection_problem(connection: Connection) -> str | None:
    """Why no scheduler answers: without one a nanny waits for a long time, deaf to signals."""
    from distributed.comm import connect

    try:
        comm = await connect(
            connection.address,
            timeout=_CLOSE_S,
            **security_of(connection).get_connection_args("worker"),
        )
        await comm.close()
    except OSError as error:
        return no_route_words(error, TERMINAL) or "nobody answers there"
    return None


def facts_of_worker(worker: Any) -> dict[str, Any]:
    """The machine's facts, as ``sdbench doctor`` finds them, for whoever looks at the scheduler."""
    facts = machine.probe_machine(machine.open_system(), Path.cwd())
    return {
        "python": sys.version.split()[0],
        "machine_id": machine.machine_id(),
        "facts": msgspec.to_builtins(facts),
    }
