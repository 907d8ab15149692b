"""Bundles of a run that two machines shared: a true one is accepted, forged ones are refused.

The run is a fleet's, measured by the double in this process; the machines' clocks differ by an
hour.
"""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import Called, make_config, play
from forged_bundles import (
    Document,
    Members,
    edited_records,
    good_members,
    records_of,
    repaired,
    with_records,
    without_records,
)
from test_fleet import begin, describe, give, make_plan

from sdbench import machine
from sdbench.bundles.verify import verify
from sdbench.fleet import task
from sdbench.fleet.ledger import Lost, Seen
from sdbench.fleet.messages import Result, decode
from sdbench.plan.config import Config
from sdbench.process.executor import FakeExecutor
from sdbench.records import Replicate, Started

NAMED = {"a": f"m-{'a' * 16}", "b": f"m-{'b' * 16}"}
"""What the machines are called in the bundles: ids that were shared already stay."""


class TwoMachines:
    """A fleet of two machines, each with a clock of its own, that take turns."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, config: Config) -> None:
        self._patch = patch
        now = datetime.datetime.now(datetime.timezone.utc)
        self._clocks = {"a": now, "b": now + datetime.timedelta(hours=1)}
        self._on("a")
        self.folder, self.group = begin(root, plan=make_plan(config))
        self.joins("b")

    def _on(self, name: str) -> None:
        self._patch.setattr(machine, "machine_id", lambda: NAMED[name])

    def joins(self, name: str) -> None:
        self._on(name)
        about = describe(self.folder.fleet.plan)
        self.folder.record(Seen(machine=NAMED[name], group=self.group, process=about.process))

    def vanishes(self, name: str) -> None:
        process = describe(self.folder.fleet.plan).process
        self.folder.record(Lost(machine=NAMED[name], process=process, why="gone"))

    def measures(self, name: str, *, vanishes: bool = False) -> bool:
        """Whether the machine was given a slot; it vanishes with it, or its record is kept."""
        self._on(name)
        if self.folder.state.offer(NAMED[name]) is None:
            return False
        given, (text, blob) = give(self.folder)
        if vanishes:
            self.vanishes(name)
            return True
        result = decode(text, Result)
        records = [self._at_its_time(name, record) for record in result.records]
        assert self.folder.keep_result(
            given, msgspec.structs.replace(result, records=records), blob
        )
        return True

    def _at_its_time(self, name: str, record: Any) -> Any:
        began = self._clocks[name].isoformat(timespec="milliseconds")
        if isinstance(record, Replicate):
            wall_s = record.wall_s + 1.0  # the double takes no time for loading
            self._clocks[name] += datetime.timedelta(seconds=wall_s)
            ended = self._clocks[name].isoformat(timespec="milliseconds")
            return msgspec.structs.replace(
                record, started_utc=began, ended_utc=ended, wall_s=wall_s
            )
        assert isinstance(record, Started)
        return msgspec.structs.replace(record, started_utc=began)

    def members(self) -> Members:
        self.folder.close()
        return good_members(self.folder.path_of(self.group))


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: None) -> None:
    """Workers of this process measure nothing, and share nothing with others of this machine."""
    monkeypatch.setattr(task, "open_executor", lambda: FakeExecutor(play))
    monkeypatch.setattr(task, "_LOCK", f"{tmp_path}/turn.lock")
    task._here.cache_clear()


def two(tmp_path: Path, patch: pytest.MonkeyPatch, replicates: int = 3) -> TwoMachines:
    arms = [{"name": "one"}, {"name": "two"}]
    return TwoMachines(tmp_path, patch, make_config(replicates=replicates, arm=arms))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Members:
    """A complete run of two machines."""
    fleet = two(tmp_path, monkeypatch)
    while any([fleet.measures("a"), fleet.measures("b")]):
        pass
    return fleet.members()


def verdict(members: Members) -> str | None:
    """The code with which a bundle is refused; None: it is accepted."""
    found = verify(repaired(members), "made.sdbench.zip")
    assert (found.status == "ok") == (found.code is None)
    return found.code


def test_run_of_two_machines_with_clocks_of_their_own_is_accepted(shared: Members) -> None:
    assert verdict(shared) is None
    machines = {one["machine_id"] for one in records_of(shared) if one["type"] == "replicate"}
    assert machines == {*NAMED.values()}


@pytest.mark.parametrize("replicates", [2, 3])
def test_run_whose_machine_vanished_on_the_way_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replicates: int
) -> None:
    """What it had begun is given again, in the plan's order within its unit."""
    fleet = two(tmp_path, monkeypatch, replicates)
    assert fleet.measures("a")
    assert fleet.measures("b")
    fleet.measures("a", vanishes=True)
    for _ in range(3):
        assert fleet.measures("b")
    fleet.joins("a")
    while any([fleet.measures("a"), fleet.measures("b")]):
        pass
    assert fleet.folder.state.complete
    assert verdict(fleet.members()) is None


def test_slot_that_killed_its_worker_twice_is_accepted_as_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = two(tmp_path, monkeypatch)
    fleet._on("a")
    given, _ = give(fleet.folder)
    recorded = fleet.folder.state.give(given.give)
    assert recorded is not None
    fleet.folder.write_off(fleet.group, given.slot, recorded)
    while any([fleet.measures("a"), fleet.measures("b")]):
        pass
    assert verdict(fleet.members()) is None


def test_incomplete_run_of_two_machines_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which process is missing, and why, cannot be found out."""
    fleet = two(tmp_path, monkeypatch)
    for _ in range(3):
        fleet.measures("a")
        fleet.measures("b")
    found = verify(repaired(fleet.members()), "made.sdbench.zip")
    assert (found.status, found.code) == ("refused", "record-missing")
    assert "only when it is complete" in str(found.reason)


def of_machine(name: str, records: list[Document]) -> list[Document]:
    return [record for record in records if record.get("machine_id") == NAMED[name]]


def dropped(members: Members) -> Members:
    """One process in the middle is left out."""
    name = of_machine("b", records_of(members))[1]["replicate_id"]
    return without_records(members, lambda record: record.get("replicate_id") == name)


def out_of_turn(members: Members) -> Members:
    """Two processes of a unit of one machine, one in the other's place and time."""
    records = records_of(members)
    first, second = of_machine("a", records)[:2]
    times = [{name: one[name] for name in ("started_utc", "ended_utc")} for one in (first, second)]
    places = [records.index(one) for one in (first, second)]
    records[places[0]], records[places[1]] = second | times[0], first | times[1]
    starts = [one for one in records if one["type"] == "started"]
    rest = [one for one in records if one["type"] != "started"]
    return with_records(members, [*starts, *rest])


def as_one(members: Members) -> Members:
    """Both machines' processes are said to be one's."""

    def change(record: Document) -> None:
        if record["type"] == "replicate":
            record["machine_id"] = NAMED["a"]

    return edited_records(members, change)


def unnamed(members: Members) -> Members:
    """Nobody is said to have measured it, so it was one machine's."""
    return edited_records(members, lambda record: record.pop("machine_id", None))


def half_named(members: Members) -> Members:
    """One process names no machine."""
    records = records_of(members)
    of_machine("a", records)[0].pop("machine_id")
    return with_records(members, records)


def at_once(members: Members) -> Members:
    """All processes of a machine ran at the same time."""
    began = of_machine("b", records_of(members))[0]

    def change(record: Document) -> None:
        if record.get("machine_id") == NAMED["b"]:
            record["started_utc"], record["ended_utc"] = began["started_utc"], began["ended_utc"]

    return edited_records(members, change)


def hostile_name(members: Members) -> Members:
    """A machine's name that is no id."""

    def change(record: Document) -> None:
        if record.get("machine_id") == NAMED["b"]:
            record["machine_id"] = "\x1b[31m<b>"

    return edited_records(members, change)


def without_a_start(members: Members) -> Members:
    """A process that ended and never began."""
    name = of_machine("a", records_of(members))[0]["replicate_id"]
    return without_records(
        members, lambda one: one["type"] == "started" and one["replicate_id"] == name
    )


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (dropped, "record-missing"),
        (out_of_turn, "order"),
        (as_one, "implausible"),
        (unnamed, "order"),
        (half_named, "schema"),
        (at_once, "implausible"),
        (hostile_name, "schema"),
        (without_a_start, "record-missing"),
    ],
)
def test_forged_run_of_two_machines_is_refused(
    shared: Members, forge: Callable[[Members], Members], code: str
) -> None:
    assert verdict(forge(shared)) == code


def test_board_finds_the_runs_of_a_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Called
) -> None:
    fleet = two(tmp_path / "results", monkeypatch)
    while any([fleet.measures("a"), fleet.measures("b")]):
        pass
    fleet.folder.close()
    code, out, err = call("board", "build", fleet.folder.path, "-o", tmp_path / "site")
    assert (code, err) == (0, "")
    assert "4 cases of 1 bundle from 1 machine" in out
