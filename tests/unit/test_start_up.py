"""What a worker does while it imports the environment."""

import gc
import sys
import weakref
from types import ModuleType

import pytest

from sdbench.worker.pipelines import stack as pipelines


class _Knot:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.own = self


def test_the_collector_rests_while_the_stack_is_imported_and_works_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    left: list[weakref.ref[_Knot]] = []

    def imports() -> dict[str, str]:
        seen.append(gc.isenabled())
        left.append(weakref.ref(_Knot()))
        monkeypatch.setitem(sys.modules, "imported_now", ModuleType("imported_now"))
        return {"torch": "2.0.0"}

    monkeypatch.setattr(pipelines, "_import_stack", imports)
    assert pipelines.import_stack() == {"torch": "2.0.0"}
    assert seen == [False] and gc.isenabled()
    assert left[0]() is None, "what the imports left behind is collected before anything is timed"


def test_a_forked_worker_that_finds_everything_imported_collects_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would copy each page that it shares with its server: 0.8 s on two cores."""
    collected: list[object] = []
    monkeypatch.setattr(gc, "collect", lambda *_: collected.append(1))
    monkeypatch.setattr(pipelines, "_import_stack", dict)
    pipelines.import_stack()
    assert collected == [] and gc.isenabled()


def test_a_stack_that_cannot_be_imported_leaves_the_collector_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails() -> dict[str, str]:
        raise ImportError("no torch here")

    monkeypatch.setattr(pipelines, "_import_stack", fails)
    with pytest.raises(ImportError):
        pipelines.import_stack()
    assert gc.isenabled()


def test_a_collector_that_somebody_switched_off_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "_import_stack", dict)
    gc.disable()
    try:
        pipelines.import_stack()
        assert not gc.isenabled()
    finally:
        gc.enable()
