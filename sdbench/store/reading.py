"""Reads run folders, whatever state they were left in and whoever made them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sdbench.errors import StoreError, UsageError
from sdbench.schema import (
    Ceiling,
    Checked,
    Compared,
    Looked,
    Record,
    Replicate,
    Run,
    Started,
    Withdrawn,
)

RUN_FILE, RECORDS_FILE = "run.json", "records.jsonl"
_DECODER = msgspec.json.Decoder(Record)


@dataclass(frozen=True)
class LoadedRun:
    """A run as read: what could not be read is said in ``warnings``, never silently left out."""

    path: Path
    run: Run
    started: list[Started]
    attempts: list[Replicate]
    """Every replicate line, repeated attempts included, in order."""
    warnings: list[str] = field(default_factory=list)

    withdrawn: list[Withdrawn] = field(default_factory=list)
    comparisons: list[Compared] = field(default_factory=list)
    """Every comparison with the CPU, replaced ones included, in order."""
    checks: list[Checked] = field(default_factory=list)
    """The small pictures made before sittings."""
    ceilings: list[Ceiling] = field(default_factory=list)
    """What the device does at most, by arm and dtype."""
    looks: list[Looked] = field(default_factory=list)
    """Where the run goes on until it is decided."""
    folder: Path | None = None
    """Where its files are, where ``path`` is only what may be shown (``report --share``)."""
    recorded_ids: dict[str, str] = field(default_factory=dict)
    """Replicate ids as they were recorded, where a shared run calls them otherwise."""

    @property
    def files(self) -> Path:
        """The folder to read pictures, latents and timelines from; nothing shows it."""
        return self.folder or self.path

    def timeline_path(self, replicate: Replicate) -> Path:
        """The file of a process's memory timeline, whether there is one or not."""
        recorded = self.recorded_ids.get(replicate.replicate_id, replicate.replicate_id)
        return self.files / "telemetry" / f"{recorded}.{replicate.attempt}.jsonl"

    @property
    def replicates(self) -> list[Replicate]:
        """The last attempt at each replicate, in the order first run."""
        return last_attempts(self.attempts)

    @property
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

    @property
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


def load_run(path: Path) -> LoadedRun:
    """Read a run folder, whatever state it was left in.

    Raises:
        UsageError: there is no run there.
        StoreError: ``run.json`` cannot be read.
    """
    file = path / RUN_FILE
    try:
        run = msgspec.json.decode(file.read_bytes(), type=Run)
    except FileNotFoundError:
        raise UsageError(f"{path}: no run there (no {RUN_FILE})") from None
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(f"{file}: not a run of this or an older sdbench: {error}") from error
    loaded = LoadedRun(path, run, [], [])
    for number, line in enumerate(_lines(path / RECORDS_FILE), start=1):
        try:
            record = _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            loaded.warnings.append(f"{RECORDS_FILE} line {number} is unreadable: {error}")
            continue
        if isinstance(record, Started):
            loaded.started.append(record)
        elif isinstance(record, Withdrawn):
            loaded.withdrawn.append(record)
        elif isinstance(record, Compared):
            loaded.comparisons.append(record)
        elif isinstance(record, Checked):
            loaded.checks.append(record)
        elif isinstance(record, Ceiling):
            loaded.ceilings.append(record)
        elif isinstance(record, Looked):
            loaded.looks.append(record)
        else:
            loaded.attempts.append(record)
    return loaded


def find_run(root: Path, name: str) -> Path:
    """The folder of a run given by path, by id, by the start of an id, or as ``latest``.

    Raises:
        UsageError: none or several match.
    """
    if (Path(name) / RUN_FILE).is_file():
        return Path(name)
    runs = list_runs(root)
    if name == "latest" and runs:
        return runs[-1]
    matches = [path for path in runs if path.name == name] or [
        path for path in runs if path.name.startswith(name)
    ]
    if len(matches) == 1:
        return matches[0]
    found = "no run" if not matches else f"{len(matches)} runs"
    raise UsageError(f"{found} called {name!r} in {root}; see sdbench list")


def list_runs(root: Path) -> list[Path]:
    """The run folders in a folder, oldest first (their names begin with the time)."""
    return sorted(path.parent for path in root.glob(f"*/{RUN_FILE}"))


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
