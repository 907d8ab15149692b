"""A worker whose answer does not come, or is an error; the scheduler is a double."""

import asyncio
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import KilledWorker
from distributed.comm import CommClosedError

from sdbench.fleet.dispatch import RESOURCE, Dispatcher, _LostError, _UnfitError, _Worker

ADDRESS = "tls://127.0.0.1:1"


class Future:
    """A future of Dask that ends with an error."""

    def __init__(self, error: Exception, status: str) -> None:
        self.error, self.status, self.released = error, status, False

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        raise self.error

    def release(self) -> None:
        self.released = True


def dispatcher(client: Any, clock: Callable[[], float] = lambda: 0.0) -> Dispatcher:
    course: Any = SimpleNamespace(
        clock=clock,
        folder=SimpleNamespace(flush=lambda: None),
        settings=SimpleNamespace(silent_s=60.0),
        budget_s=None,
        out_of_time=False,
        last_busy=0.0,
    )
    return Dispatcher(course, client)


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        # The task's own errors: the machine cannot do what it is asked.
        (FileNotFoundError(2, "its folder is gone"), "error", _UnfitError),
        (OSError(28, "No space left on device"), "error", _UnfitError),
        (TimeoutError("a lock"), "error", _UnfitError),
        (KeyError("a"), "error", _UnfitError),
        # Worker or scheduler is gone.
        (KilledWorker("task", SimpleNamespace(address=ADDRESS), 0), "error", _LostError),
        (CommClosedError("in <TLS>: Stream is closed"), "error", _LostError),
        (OSError("Timed out trying to connect"), "lost", _LostError),
        (RuntimeError("cancelled"), "cancelled", _LostError),
    ],
)
def test_error_of_a_task_is_told_from_a_lost_worker(
    error: Exception, status: str, expected: type[Exception]
) -> None:
    future = Future(error, status)
    client = SimpleNamespace(submit=lambda *_, **__: future)
    worker = _Worker(ADDRESS, "studio", heard_at=0.0)
    with pytest.raises(expected):
        asyncio.run(dispatcher(client)._ask(worker, len))  # type: ignore[arg-type]
    assert future.released and not worker.busy


def test_worker_that_lost_an_answer_and_is_still_there_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its machine would never work again, and its slot never be given again."""
    served: list[_Worker] = []

    async def serve(self: Dispatcher, worker: _Worker) -> None:
        served.append(worker)
        if len(served) == 1:
            raise _LostError("stream is closed")
        await asyncio.sleep(60)

    async def identity(n_workers: int) -> dict[str, Any]:
        seen = {"name": "studio", "resources": {RESOURCE: 1}, "last_seen": 1.0}
        return {"workers": {ADDRESS: seen}}

    async def looks() -> int:
        client = SimpleNamespace(scheduler=SimpleNamespace(identity=identity))
        fleet = dispatcher(client)
        for _ in range(4):
            await fleet._look()
            await asyncio.sleep(0.01)
        return len(fleet._workers)

    monkeypatch.setattr(Dispatcher, "_serve", serve)
    assert asyncio.run(looks()) == 1
    first, second = served
    assert first is not second
