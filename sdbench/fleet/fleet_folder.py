"""A fleet's folder: what is to be done, the ledger, and an ordinary run folder for each group.

The run folders lie directly in it, so every verb works on them, and each replicate line is in
exactly one ``records.jsonl``.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import msgspec
from filelock import FileLock

from sdbench.errors import StoreError
from sdbench.files.access import (
    MIB,
    flush_folder,
    make_folder,
    read_inside,
    write_inside,
)
from sdbench.fleet.fleet_file import (
    STOP_FILE,
    FleetPlan,
    Mode,
    lock_fleet,
    read_fleet,
    require_own,
    write_fleet,
)
from sdbench.fleet.ledger import (
    Done,
    Event,
    Given,
    Grouped,
    Ledger,
    Session,
    UnitSlot,
)
from sdbench.fleet.ledger_file import LedgerFile
from sdbench.fleet.messages import (
    Description,
    FileEntry,
    Plan,
    Result,
    WrongAnswerError,
    unpacked,
)
from sdbench.plan.units import unit_of
from sdbench.privacy.redact_recorded import hidden_run
from sdbench.records import Compared, Record, Replicate, Run, Slot, Started
from sdbench.runner.loop import new_run_id
from sdbench.runs import RunFolder, list_runs, load_run, not_writable
from sdbench.runs.reading import RECORDS_FILE

_MOST_BYTES = 64 * MIB
_ENCODER = msgspec.json.Encoder()


@dataclass
class FleetFolder:
    """A fleet folder opened to go on with it; only one process holds it."""

    path: Path
    fleet: FleetPlan
    ledger: LedgerFile
    _lock: FileLock
    _runs: dict[str, RunFolder] = field(default_factory=dict)
    """Open run folders by group."""
    _attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of the last attempt that a run folder knows, by group and slot."""
    compared: dict[str, set[str]] = field(default_factory=dict)
    """Replicates whose images were compared, by group."""
    checked: set[str] = field(default_factory=set)
    """Groups whose device was checked."""
    _pictured: dict[str, dict[str, str]] = field(default_factory=dict)
    """Replicates that made images, and their cases, by group."""
    _loaded: dict[str, tuple[int, dict[str, list[Replicate]]]] = field(default_factory=dict)
    """Replicates by case as a run folder had them, and how many made images then, by group."""

    @classmethod
    def create(cls, root: Path, plan: Plan, mode: Mode) -> "FleetFolder":
        """Make the folder of a new fleet.

        Raises:
            UsageError, StoreError: it cannot be made there.
        """
        now = datetime.now(timezone.utc)
        fleet_id = new_run_id(f"fleet-{plan.config.name}", now, os.urandom(2))
        fleet = FleetPlan(
            fleet_id=fleet_id,
            created_utc=now.isoformat(timespec="milliseconds"),
            mode=mode,
            plan=plan,
        )
        path = root / fleet_id
        try:
            make_folder(root)
            os.mkdir(path)
            flush_folder(root)
            write_fleet(path, fleet)
        except OSError as error:
            raise not_writable(f"cannot make {path}", error) from error
        return cls._opened(path, fleet)

    @classmethod
    def open(cls, path: Path) -> "FleetFolder":
        """Open the folder of a fleet that was stopped or killed.

        Raises:
            UsageError: there is none, another process has it open, or this installation did not
                make it.
            StoreError: it cannot be read or written.
        """
        fleet = read_fleet(path)
        require_own(path)
        folder = cls._opened(path, fleet)
        try:
            with contextlib.suppress(FileNotFoundError):
                (path / STOP_FILE).unlink()
            folder._take_up()
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def _opened(cls, path: Path, fleet: FleetPlan) -> "FleetFolder":
        lock = lock_fleet(path)
        try:
            return cls(path, fleet, LedgerFile(path), lock)
        except BaseException:
            lock.release()
            raise

    @property
    def state(self) -> Ledger:
        """Where every slot is."""
        return self.ledger.state

    @property
    def stop_wanted(self) -> bool:
        """Whether somebody has asked the fleet to stop."""
        return os.path.lexists(self.path / STOP_FILE)

    def note(self, *events: Event) -> None:
        """Have events in the state, with the time; :meth:`flush` comes before acting on them."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.ledger.note([msgspec.structs.replace(event, at_utc=now) for event in events])

    def flush(self) -> None:
        """Have on the disk what was noted.

        Raises:
            StoreError: it could not be written.
        """
        self.ledger.flush()

    def record(self, *events: Event) -> None:
        """Have events in the state and on the disk.

        Raises:
            StoreError: they could not be written.
        """
        self.note(*events)
        self.flush()

    def group_for(self, about: Description) -> str:
        """The group that a machine works for; made now if it is the first one of it.

        Raises:
            StoreError: its run folder cannot be made.
        """
        every = self.fleet.mode == "every"
        group = f"{about.kind}-{about.machine}" if every else about.kind
        if group not in self.state.groups:
            assert about.run is not None
            self._make_group(group, about.title, about.run)
        return group

    def run_of(self, group: str) -> Run:
        """The run of a group."""
        return self._folder(group).before.run

    def path_of(self, group: str) -> Path:
        """The run folder of a group."""
        return self.path / self.state.groups[group].run_id

    def attempt(self, group: str, slot: str) -> int:
        """The number of a slot's next attempt."""
        self._folder(group)
        return self._attempts.get((group, slot), 0) + 1

    def keep_result(self, given: Given, result: Result, blob: bytes) -> Replicate | None:
        """Keep what a machine measured, unless the slot has a record already.

        The files first, then the records, then the ledger: a crash in between loses nothing,
        because a fleet that is resumed takes up what its run folders have.

        Returns the replicate that counts, None where nothing was measured or another one counts.

        Raises:
            WrongAnswerError: the answer is not about this slot; nothing was kept.
            StoreError: it could not be written.
        """
        attempts = [entry for entry in result.records if isinstance(entry, Replicate)]
        if not attempts:
            return None
        for entry in result.records:
            if not isinstance(entry, Started | Replicate) or entry.replicate_id != given.slot:
                raise WrongAnswerError(f"a machine sent records that are not of {given.slot}")
        last = attempts[-1]
        done = Done(
            group=given.group,
            slot=given.slot,
            give=given.give,
            machine=given.machine,
            outcome=last.outcome,
        )
        # Its place in the ledger follows from the record, so it need not be on the disk at once.
        if self.state.is_done(given.group, given.slot):
            self.note(done)
            return None
        self._keep(given.group, result.records, result.files, blob)
        self.note(done)
        return last

    def keep_extra(self, group: str, result: Result, blob: bytes) -> None:
        """Keep what is no replicate: checks, rates, comparisons.

        Raises:
            WrongAnswerError, StoreError: as :meth:`keep_result`.
        """
        extra = [entry for entry in result.records if not isinstance(entry, Started | Replicate)]
        known = self.compared[group]
        new = [
            entry
            for entry in extra
            if not isinstance(entry, Compared) or entry.replicate_id not in known
        ]
        self._keep(group, new, result.files, blob)
        known.update(entry.replicate_id for entry in new if isinstance(entry, Compared))

    def write_off(self, group: str, slot_id: str, given: Given) -> Replicate:
        """Record that a case crashed, because its slot killed its worker process twice.

        Raises:
            StoreError: it could not be written.
        """
        run = self.run_of(group)
        slot = next(one for one in run.plan.slots if one.replicate_id == slot_id)
        replicate = _crashed(run, slot, self.attempt(group, slot_id), given)
        self._keep(group, [_started(replicate), replicate], [], b"")
        self.record(
            Done(
                group=group, slot=slot_id, give=given.give, machine=given.machine, outcome="crashed"
            )
        )
        return replicate

    def cases_to_compare(self, group: str) -> list[str]:
        """Cases with images that were not compared with the CPU's yet."""
        self._folder(group)
        known = self.compared[group]
        cases = {case: None for entry, case in self._pictured[group].items() if entry not in known}
        return [*cases]

    def uncompared(self, group: str, case: str) -> list[Replicate]:
        """Replicates of a case whose images were not compared with the CPU's yet."""
        pictured = len(self._pictured[group])
        if group not in self._loaded or self._loaded[group][0] != pictured:
            by_case: dict[str, list[Replicate]] = {}
            for replicate in load_run(self.path_of(group), as_recorded=True).replicates:
                by_case.setdefault(replicate.case_id, []).append(replicate)
            self._loaded[group] = pictured, by_case
        known = self.compared[group]
        return [
            entry
            for entry in self._loaded[group][1].get(case, [])
            if entry.passes and entry.replicate_id not in known
        ]

    def files_of(
        self, group: str, replicates: Iterable[Replicate]
    ) -> Iterator[tuple[str, str, bytes]]:
        """The images, latents and traces of replicates, as far as they are there."""
        path = self.path_of(group)
        names: dict[tuple[str, str], None] = {}
        for replicate in replicates:
            for entry in replicate.passes:
                for picture in entry.images:
                    names["images", f"{picture.pixels_sha256}.png"] = None
                    names["latents", f"{picture.latents_sha256}.npy"] = None
                if entry.trace_sha256 is not None:
                    names["traces", f"{entry.trace_sha256}.safetensors"] = None
        for folder, name in names:
            with contextlib.suppress(OSError):
                yield folder, name, read_inside(path, folder, name, most_bytes=_MOST_BYTES)

    def close(self) -> None:
        """Close all files and let go of the folder."""
        self.ledger.flush()
        for run_folder in self._runs.values():
            run_folder.close()
        self.ledger.close()
        self._lock.release()

    def _make_group(self, group: str, title: str, described: Run) -> None:
        fleet = self.fleet
        run_id = new_run_id(fleet.plan.config.name, datetime.now(timezone.utc), os.urandom(2))
        run = hidden_run(msgspec.structs.replace(described, run_id=run_id))
        if fleet.mode == "split":
            run = msgspec.structs.replace(run, machine_id=_shared_id(fleet.fleet_id, group))
        self._runs[group] = RunFolder.create(self.path, run)
        self.compared[group], self._pictured[group] = set(), {}
        slots = [
            UnitSlot(id=slot.replicate_id, unit=unit_of(run.plan, slot)) for slot in run.plan.slots
        ]
        self.record(Grouped(group=group, run_id=run_id, title=title, slots=slots))

    def _take_up(self) -> None:
        """Have the ledger know every record that is in a run folder."""
        self._remove_unknown_runs()
        self.record(Session())
        for group in [*self.state.groups]:
            loaded = self._folder(group).before
            missing = [
                Done(group=group, slot=entry.replicate_id, outcome=entry.outcome)
                for entry in loaded.replicates
                if not self.state.is_done(group, entry.replicate_id)
            ]
            if missing:
                self.record(*missing)

    def _remove_unknown_runs(self) -> None:
        """Remove the folder of a run that was made just before a crash: nothing is in it."""
        known = {group.run_id for group in self.state.groups.values()}
        for path in list_runs(self.path):
            unknown = path.name not in known and not os.path.islink(path)
            if unknown and not os.path.lexists(path / RECORDS_FILE):
                shutil.rmtree(path)

    def _folder(self, group: str) -> RunFolder:
        if group not in self._runs:
            if os.path.islink(self.path_of(group)):
                raise StoreError(f"{self.path_of(group)}: a link, and not the fleet's own folder")
            folder = RunFolder.open(self.path_of(group))
            loaded = folder.before
            planned = {slot.replicate_id for slot in loaded.run.plan.slots}
            if planned != self.state.groups[group].slots.keys():
                folder.close()
                raise StoreError(f"{folder.path}: its plan is not the one of the fleet's ledger")
            self._runs[group] = folder
            begun = [(entry.replicate_id, entry.attempt) for entry in loaded.started]
            ended = [(entry.replicate_id, entry.attempt) for entry in loaded.attempts]
            for replicate_id, attempt in sorted([*begun, *ended], key=lambda one: one[1]):
                self._attempts[group, replicate_id] = attempt
            self.compared[group] = {entry.replicate_id for entry in loaded.compared}
            self._pictured[group] = {
                entry.replicate_id: entry.case_id for entry in loaded.replicates if entry.passes
            }
            if loaded.checks or loaded.ceilings:
                self.checked.add(group)
        return self._runs[group]

    def _keep(
        self, group: str, records: Sequence[Record], files: Iterable[FileEntry], blob: bytes
    ) -> None:
        folder = self._folder(group)
        try:
            for where, name, data in unpacked(files, blob):
                write_inside(folder.path, where, name, data=data)
        except OSError as error:
            raise StoreError(f"cannot write into {folder.path}: {error.strerror}") from error
        folder.append(*records)
        for record in records:
            if isinstance(record, Replicate):
                self._attempts[group, record.replicate_id] = record.attempt
                if record.passes:
                    self._pictured[group][record.replicate_id] = record.case_id


def _shared_id(fleet_id: str, group: str) -> str:
    """A machine id for a run that several machines of one kind share: it equals no machine's."""
    return hashlib.sha256(f"sdbench fleet\n{fleet_id}\n{group}".encode()).hexdigest()[:16]


def _started(replicate: Replicate) -> Started:
    """The start of a process of which its machine could keep no record."""
    return Started(
        replicate_id=replicate.replicate_id,
        case_id=replicate.case_id,
        arm=replicate.arm,
        block=replicate.block,
        slot=replicate.slot,
        attempt=replicate.attempt,
        started_utc=replicate.started_utc,
        boot_id=None,
    )


def _crashed(run: Run, slot: Slot, attempt: int, given: Given) -> Replicate:
    return Replicate(
        replicate_id=slot.replicate_id,
        case_id=slot.case_id,
        arm=slot.arm,
        block=slot.block,
        slot=slot.index,
        attempt=attempt,
        outcome="crashed",
        reason="the process that measured it was killed twice, together with its supervisor",
        simulated=run.simulated,
        start=run.plan.start,
        started_utc=given.at_utc,
        ended_utc=given.at_utc,
        wall_s=0.0,
        machine_id=given.machine,
    )
