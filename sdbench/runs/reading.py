"""Reads run folders, whatever state they were left in and whoever made them."""

import contextlib
import dataclasses
import functools
import gc
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sdbench import __version__
from sdbench.errors import StoreError, UsageError
from sdbench.files.access import MIB, TOO_DEEP, lines_of, open_inside, read_inside
from sdbench.records import (
    SCHEMA_VERSION,
    Compared,
    InterimAnalysis,
    MatmulRate,
    Preflight,
    Record,
    Replicate,
    Run,
    Started,
    Withdrawn,
)
from sdbench.runs.checks import check_run, device_fault, record_fault
from sdbench.runs.interning import Sharing
from sdbench.runs.membership import Belonging
from sdbench.runs.ownership import digest, is_own
from sdbench.runs.voided import compared_without_voided, voided_by, without_voided, words_of
from sdbench.words import counted, did_you_mean, shell, shortened

RUN_FILE, RECORDS_FILE = "run.json", "records.jsonl"
FLEET_FILE = "fleet.json"
"""In a folder whose run folders are those of a fleet (``sdbench fleet``)."""
_DECODER = msgspec.json.Decoder(Record)
_RUN_DECODER = msgspec.json.Decoder(Run)
# A plan of a million processes is 150 MB; a process with 10,000 passes of 4 images 25 MB.
_MOST_RUN_BYTES = 256 * MIB
_MOST_LINE_BYTES = 64 * MIB
# Ten times what a matrix of 20,000 cases writes in a night.
_MOST_RECORDS = 1_000_000
_MOST_RECORDS_BYTES = 16 << 30
_NAMED_LINES = 5
_USUAL_ROOT = Path("results")
_NAMED_RUNS = 5


@dataclass(frozen=True)
class LoadedRun:
    """A run as read: what could not be read is said in ``warnings``, never silently left out.

    Once read its lists stay as they are: what is worked out from them is worked out once.
    """

    path: Path
    run: Run
    started: list[Started]
    attempts: list[Replicate]
    """Every replicate line, repeated attempts included, in order."""
    warnings: list[str] = field(default_factory=list)

    withdrawn: list[Withdrawn] = field(default_factory=list)
    comparisons: list[Compared] = field(default_factory=list)
    """Every comparison with the CPU, replaced ones included, in order."""
    checks: list[Preflight] = field(default_factory=list)
    """The small images made before sittings."""
    ceilings: list[MatmulRate] = field(default_factory=list)
    """What the device does at most, by variant and dtype."""
    looks: list[InterimAnalysis] = field(default_factory=list)
    """Where the run goes on until it is decided."""
    folder: Path | None = None
    """Where its files are, where ``path`` is only what may be shown (``report --share``)."""
    recorded_ids: dict[str, str] = field(default_factory=dict)
    """Replicate ids as they were recorded, where a shared run calls them otherwise."""
    run_sha256: str | None = None
    """Of the ``run.json`` that ``run`` was read from; None where it was not read from one."""
    left_out: int = 0
    """Records that are not of this run, and so in none of the lists."""
    unreadable: int = 0
    """Lines of the records file that are no records, and so in none of the lists."""
    order: list[type[Record]] = field(default_factory=list)
    """The type of each record, in the order of the file."""
    schema: int = SCHEMA_VERSION
    """The newest schema of ``run.json`` and the records."""

    @property
    def own(self) -> bool:
        """Whether this installation made it: only then may it decide what is executed."""
        return is_own(self.run_sha256)

    def records(self) -> Iterator[Record]:
        """Every record of the run as it is in the lists, in the order of the file."""
        lists = {kind: iter(records) for kind, records in _lists_of(self).items()}
        for kind in self.order:
            yield next(lists[kind])

    @property
    def files(self) -> Path:
        """The folder to read images, latents and timelines from; nothing shows it."""
        return self.folder or self.path

    def timeline_path(self, replicate: Replicate) -> Path:
        """The file of a process's memory timeline, whether there is one or not."""
        return self.files / "telemetry" / self.timeline_name(replicate)

    def timeline_name(self, replicate: Replicate) -> str:
        """The file in ``telemetry`` of a process's timeline, whether there is one or not."""
        recorded = self.recorded_ids.get(replicate.replicate_id, replicate.replicate_id)
        return f"{recorded}.{replicate.attempt}.jsonl"

    @functools.cached_property
    def replicates(self) -> list[Replicate]:
        """The last attempt at each replicate, in the order first run."""
        return last_attempts(self.attempts)

    @functools.cached_property
    def compared(self) -> list[Compared]:
        """The last comparison of each replicate's last attempt."""
        last = {entry.replicate_id: entry.attempt for entry in self.replicates}
        return list(
            {
                entry.replicate_id: entry
                for entry in self.comparisons
                if last.get(entry.replicate_id) == entry.attempt
            }.values()
        )

    @functools.cached_property
    def in_flight(self) -> list[Started]:
        """Processes under which the run was killed: started last, and nothing said of them since.

        An earlier lost attempt that has been made good by a later one is history.
        """
        latest = {entry.replicate_id: entry for entry in self.started}
        ended = {(entry.replicate_id, entry.attempt) for entry in self.attempts}
        ended |= {(entry.replicate_id, entry.attempt) for entry in self.withdrawn}
        return [
            entry for entry in latest.values() if (entry.replicate_id, entry.attempt) not in ended
        ]


def last_attempts(attempts: Iterable[Replicate]) -> list[Replicate]:
    """Of each replicate the last attempt recorded, in the order first run."""
    return list({replicate.replicate_id: replicate for replicate in attempts}.values())


def load_run(path: Path, *, as_recorded: bool = False) -> LoadedRun:
    """Read a run folder, whatever state it was left in.

    What is no record of this run (another plan's, another device's) is counted and left out. So are
    figures that rest on an instrument that failed its selftest, but with ``as_recorded``.

    Raises:
        UsageError: there is no run there.
        StoreError: ``run.json`` or the records cannot be read, or ``run.json`` says what no
            sdbench writes.
    """
    run, data = read_run_file(path)
    loaded = _checked(path, run, data)
    with without_collecting():
        loaded = _with_records(loaded, _record_lines(loaded))
    return loaded if as_recorded else as_believed(loaded)


def run_of_bytes(run_file: bytes, records_file: bytes, name: Path) -> LoadedRun:
    """A run whose files are in memory, as recorded (:func:`as_believed` is the rest).

    ``name`` is what messages call its folder.

    Raises:
        StoreError: as :func:`load_run`.
    """
    loaded = _checked(name, decode_run(run_file, name / RUN_FILE), run_file)
    with without_collecting():
        return _with_records(loaded, records_file.split(b"\n"))


def _checked(path: Path, run: Run, data: bytes) -> LoadedRun:
    """The run without its records."""
    found = check_run(run, str(path / RUN_FILE))
    loaded = LoadedRun(path, run, [], [], warnings=found, run_sha256=digest(data))
    if run.schema > SCHEMA_VERSION:
        loaded.warnings.append(_newer_words(f"{RUN_FILE} has", run.schema, run.sdbench))
    return loaded


def read_run_file(path: Path) -> tuple[Run, bytes]:
    """``run.json`` decoded, and as it is.

    Raises:
        UsageError, StoreError: as :func:`load_run`, but for what :func:`check_run` finds.
    """
    file = path / RUN_FILE
    try:
        data = read_inside(path, RUN_FILE, most_bytes=_MOST_RUN_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{shortened(str(path))}: no run there (no {RUN_FILE})") from None
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror}") from error
    return decode_run(data, file), data


def decode_run(data: bytes, file: Path) -> Run:
    """The content of a ``run.json``; messages call it ``file``.

    Raises:
        StoreError: it is none.
    """
    try:
        return _RUN_DECODER.decode(data)
    except RecursionError:
        raise StoreError(f"{file}: {TOO_DEEP}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise StoreError(
            f"{file}: not a run of this or an older version of sdbench: {error}"
        ) from error


def _with_records(loaded: LoadedRun, lines: Iterable[bytes | None]) -> LoadedRun:
    """The run with the lines of its records file; what is wrong with them is a warning."""
    own, sharing, lists = Belonging(loaded.run), Sharing(device_fault), _lists_of(loaded)
    unreadable: list[tuple[int, str]] = []
    foreign: list[int] = []
    newest = SCHEMA_VERSION
    number = 0
    for number, line in enumerate(lines, start=1):
        if line is not None and not line.strip():
            continue
        try:
            if line is None:
                raise ValueError(f"longer than the {_MOST_LINE_BYTES:,} bytes that are read")
            record = _DECODER.decode(line)
            fault = record_fault(record)
            if fault is not None:
                raise ValueError(fault)
            record = sharing.shared(record)
        except RecursionError:
            unreadable.append((number, TOO_DEEP))
            continue
        except (msgspec.MsgspecError, ValueError) as error:
            unreadable.append((number, str(error)))
            continue
        newest = max(newest, record.schema)
        if own.has(record):
            msgspec.structs.force_setattr(record, "run_id", msgspec.UNSET)  # the run has it
            lists[type(record)].append(record)
            loaded.order.append(type(record))
        else:
            foreign.append(number)
    for number, why in unreadable[:_NAMED_LINES]:
        loaded.warnings.append(f"{RECORDS_FILE} line {number} is unreadable: {why}")
    if unreadable[_NAMED_LINES:]:
        more = len(unreadable) - _NAMED_LINES
        loaded.warnings.append(f"{RECORDS_FILE}: {more} more lines are unreadable")
    if foreign:
        loaded.warnings.append(_foreign_words(foreign))
    if newest > max(loaded.run.schema, SCHEMA_VERSION):
        loaded.warnings.append(_newer_words("records have", newest, loaded.run.sdbench))
    return dataclasses.replace(
        loaded,
        left_out=len(foreign),
        unreadable=len(unreadable),
        schema=max(newest, loaded.run.schema),
    )


def as_believed(loaded: LoadedRun) -> LoadedRun:
    """The run without figures that rest on a failed instrument, each of which is a warning."""
    voided = voided_by(loaded.run.selftest)
    if not voided:
        return loaded
    return dataclasses.replace(
        loaded,
        attempts=[without_voided(entry, voided) for entry in loaded.attempts],
        comparisons=[compared_without_voided(entry, voided) for entry in loaded.comparisons],
        ceilings=[] if "times" in voided else loaded.ceilings,
        warnings=[*loaded.warnings, *words_of(voided)],
    )


def _lists_of(loaded: LoadedRun) -> dict[type[Record], list[Any]]:
    """Where records of each type go."""
    return {
        Started: loaded.started,
        Withdrawn: loaded.withdrawn,
        Replicate: loaded.attempts,
        Compared: loaded.comparisons,
        Preflight: loaded.checks,
        MatmulRate: loaded.ceilings,
        InterimAnalysis: loaded.looks,
    }


def _foreign_words(lines: list[int]) -> str:
    """``2 records (lines 4, 7) are not of this run …``."""
    named = ", ".join(map(str, lines[:_NAMED_LINES]))
    more = f" and {len(lines) - _NAMED_LINES} more" if lines[_NAMED_LINES:] else ""
    one = len(lines) == 1
    return (
        f"{counted(len(lines), 'record')} ({'line' if one else 'lines'} {named}{more} of "
        f"{RECORDS_FILE}) {'is' if one else 'are'} not of this run (another run's id, no such "
        f"process in its plan, or another device) and {'is' if one else 'are'} left out"
    )


def _newer_words(what: str, schema: int, version: str) -> str:
    newer = "a newer sdbench" if version == __version__ else f"sdbench {version} or newer"
    return (
        f"{what} schema {schema}, and this sdbench ({__version__}) knows {SCHEMA_VERSION}: a newer "
        "sdbench wrote it. Its new fields are not shown, and it is read only; to continue it, "
        f"install {newer}"
    )


def refuse_newer(loaded: LoadedRun) -> None:
    """Refuse to write into a run that a newer sdbench wrote.

    Raises:
        StoreError: it did.
    """
    if loaded.schema > SCHEMA_VERSION:
        words = _newer_words("it has", loaded.schema, loaded.run.sdbench)
        raise StoreError(f"{loaded.path}: {words}").then("pip install --upgrade sdbench")


def _record_lines(loaded: LoadedRun) -> Iterator[bytes | None]:
    """The lines of the records file; none where there is no file.

    What is beyond the limits is not read, and a warning says so.

    Raises:
        StoreError: it cannot be read.
    """
    count = 0
    try:
        with open_inside(loaded.path, RECORDS_FILE) as file:
            lines = itertools.islice(lines_of(file, _MOST_LINE_BYTES), _MOST_RECORDS)
            for line in lines:
                yield line
                count += 1
                if file.tell() > _MOST_RECORDS_BYTES:
                    break
            if file.read(1):
                loaded.warnings.append(
                    f"{RECORDS_FILE}: only its first {count:,} lines are read, more are left out"
                )
    except FileNotFoundError:
        return
    except OSError as error:
        path = loaded.path / RECORDS_FILE
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Without looking for reference cycles, here and later in what was made here.

    Records and what is worked out from them have none, and looking at a million of them again and
    again takes longer than reading them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


def find_run(root: Path, name: str) -> Path:
    """The folder of a run given by path, by id, by the start or a part of an id, or as ``latest``.

    A part is what stands between hyphens, one of them or several: the time, the label, the digits
    at the end. Runs of the fleets in the folder are found too; a fleet stands for its only run.

    Raises:
        UsageError: none or several match.
    """
    if os.path.lexists(Path(name) / RUN_FILE):
        return Path(name)
    if os.path.lexists(Path(name) / FLEET_FILE):
        return _only_run_of(Path(name))
    fleets = list_fleets(root)
    of_fleets = itertools.chain.from_iterable(map(list_runs, fleets))
    runs = sorted([*list_runs(root), *of_fleets], key=lambda path: path.name)
    if name == "latest" and runs:
        return runs[-1]
    matches = (
        [path for path in runs if path.name == name]
        or [path for path in runs if path.name.startswith(name)]
        or [path for path in runs if f"-{name}-" in f"-{path.name}-"]
    )
    if len(matches) == 1:
        return matches[0]
    listing = shell("sdbench", "list", *([] if root == _USUAL_ROOT else ["--results", root]))
    if not matches:
        meant = [path for path in fleets if path.name.startswith(name)]
        if len(meant) == 1:
            return _only_run_of(meant[0])
        hint = did_you_mean(name, ["latest", *(path.name for path in runs)])
        what = f"{hint}see {listing}" if runs else "there is none yet; make one with: sdbench run"
        raise UsageError(f"no run called {shortened(name)!r} in {root}; {what}")
    found = f"{len(matches)} runs called {shortened(name)!r} in {root}"
    raise UsageError(f"{found}: {_names_of(matches)}; see {listing}")


def _only_run_of(fleet: Path) -> Path:
    """The run of a fleet that has one.

    Raises:
        UsageError: it has none or several.
    """
    runs = list_runs(fleet)
    if len(runs) == 1:
        return runs[0]
    listing = shell("sdbench", "list", "--results", fleet)
    raise UsageError(
        f"{shortened(str(fleet))} is the folder of a fleet with {counted(len(runs), 'run')}"
        f"{': ' if runs else ''}{_names_of(runs)}; see {listing}"
    )


def _names_of(runs: list[Path]) -> str:
    named = ", ".join(shortened(path.name) for path in runs[:_NAMED_RUNS])
    return named + (", …" if len(runs) > _NAMED_RUNS else "")


def list_runs(root: Path) -> list[Path]:
    """The run folders in a folder, oldest first (their names begin with the time)."""
    return _folders_with(RUN_FILE, root)


def list_fleets(root: Path) -> list[Path]:
    """The folders of fleets in a folder, oldest first; the runs of each are in it."""
    return _folders_with(FLEET_FILE, root)


def _folders_with(file: str, root: Path) -> list[Path]:
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return []
    return [path for path in entries if os.path.lexists(path / file)]
