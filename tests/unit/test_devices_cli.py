"""``--devices`` on the command line: what it implies, and what is said before it measures."""

import io
from typing import Any

import pytest
from device_doubles import devices_of, pinned
from factories import make_config, make_run
from rich.console import Console

from sdbench.cli.devices import (
    chosen_devices,
    device_lines,
    device_wanted,
    devices_again,
    devices_document,
    measure_on,
)
from sdbench.errors import UsageError
from sdbench.records import Plan


def plan_of(replicates: int) -> Plan:
    return make_run(make_config(replicates=replicates)).plan


def test_devices_imply_the_device_of_the_run() -> None:
    assert device_wanted(None, "cuda") == "cuda"
    assert device_wanted("cuda:0,cuda:1", None) == "cuda"
    assert device_wanted("cpu:0", "auto") == "cpu"
    assert device_wanted("all", "cuda") == "cuda"
    assert device_wanted("all", None) is None
    with pytest.raises(UsageError, match="contradicts --device cpu"):
        device_wanted("cuda:0", "cpu")


def test_nothing_changes_without_devices() -> None:
    prepared: Any = None
    assert chosen_devices(None, prepared) == []
    assert devices_again(make_run(), make_config()) == []
    assert measure_on([]) is None
    assert devices_document([]) == {}
    assert device_lines([], plan_of(3), 10.0) == []


def test_a_plan_says_what_measures_at_once_and_how_long_that_takes() -> None:
    lines = device_lines(pinned(2), plan_of(4), 400.0)
    assert lines[0].startswith("cpu:0: H200, cores ")
    assert "4 blocks of processes" in lines[2] and "about 3 min" in lines[2]
    assert len(lines) == 3, "no device is idle"
    assert len(device_lines(pinned(1), plan_of(4), 400.0)) == 1


def test_a_plan_says_how_to_use_devices_that_would_be_idle() -> None:
    lines = device_lines(pinned(5), plan_of(3), 400.0)
    assert lines[-1].startswith("2 devices will be idle") and "replicates=5" in lines[-1]


def test_a_document_of_a_plan_has_the_devices() -> None:
    (first, _) = devices_document(pinned(2))["devices"]
    assert first["name"] == "cpu:0" and first["machine_id"] == devices_of(1)[0].machine_id


def test_screens_name_the_device_of_a_process() -> None:
    from factories import make_replicate

    from sdbench.records import Placement
    from sdbench.report.terminal.case_page import show_replicate
    from sdbench.report.terminal.progress import ScreenWatcher

    out = io.StringIO()
    console = Console(file=out, width=120)
    placed = make_replicate(placement=Placement(device="cuda:1", cores="8-15"))
    show_replicate(placed, "run 1", console)
    assert "on cuda:1, cores 8-15" in out.getvalue()
    watcher = ScreenWatcher(make_run(devices=devices_of(2)), console, "results/x")
    watcher.slot_ends(placed, 3, 9)
    assert "[3/9]" in out.getvalue() and ", on cuda:1: ok" in out.getvalue()
