"""One input put through some verbs, in this process and without torch."""

import contextlib
import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from factories import make_report
from fuzz_batches import Batch
from fuzz_box import Box, Forbidden, TakesTooLong
from fuzz_bundles import NAME, bundle_of_files
from fuzz_direct import Read, read_each
from fuzz_mutations import Files, Mutation, Subject, mutated
from fuzz_pictures import is_stranger
from fuzz_promises import Call, broken_promises
from fuzz_subjects import outside_of
from fuzz_trees import Odd, write_tree
from fuzz_verbs import FRAMES, SOUND, lines_for

import sdbench
from sdbench.errors import SdbenchError
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.report.figures.figure import Figure, _dressed

_MACHINE = "SDBENCH_MACHINE_RECORDING"
_FIRST_CASE = "64x64"


@dataclass(frozen=True)
class Trial:
    """A subject, changes to it, and what chooses the verbs."""

    subject: Subject
    mutations: tuple[Mutation, ...]
    seed: int

    @property
    def files(self) -> Files:
        """The input."""
        return mutated(self.subject, [*self.mutations])


@dataclass
class Finding:
    """A promise that a call broke. ``key`` is alike for the same fault."""

    line: tuple[str, ...]
    what: str
    key: str
    name: str = ""
    """Of a batch: which of its inputs."""


@dataclass
class Bench:
    """Where trials are made: a box, the sound run, and what was counted."""

    box: Box
    sound: Subject
    drawing_share: float = 0.05
    """Of the trials those that draw their figures, which takes ten times as long."""
    verbs: int = 4
    """How many each input is put through at most."""
    calls: dict[str, int] = field(default_factory=dict)
    codes: dict[tuple[str, int], int] = field(default_factory=dict)

    _draws: bool = False

    def prepare(self, subjects: list[Subject]) -> None:
        """Put what is outside of every run where links lead to."""
        for subject in subjects:
            if subject.kind in ("run", "fleet"):
                write_tree(outside_of(subject), self.box.outside / subject.name, self.box.outside)
        self.box.outside.mkdir(exist_ok=True)

    def findings(self, trial: Trial) -> list[Finding]:
        """Put an input through the verbs that its seed chooses."""
        random = Random(trial.seed)
        lines = lines_for(trial.subject.kind, random, self.verbs)
        self._draws = random.random() < self.drawing_share
        return self.of_files(trial.subject, trial.files, lines)

    def of_batch(self, batch: Batch) -> list[Finding]:
        """Give each input of a batch to its reader."""
        self.box.empty()
        folder = self.box.given / "batch"
        write_tree(batch.tree, folder, self.box.outside)
        self.box.remember()
        call = Call(("read", batch.kind))
        read = Read()
        open_before = _open_files()
        with mock.patch.dict(os.environ, self._environment(None, folder)):
            try:
                with self.box.watched():
                    read_each(batch.kind, folder, batch.names, _place, read)
            except TakesTooLong as error:
                call.endless = _place(error)
            except Forbidden:
                pass
        call.noted, call.changed = [*self.box.noted], self.box.changed()
        self.calls[call.verb] = self.calls.get(call.verb, 0) + 1
        left_open = _open_files() - open_before
        told = [
            *(("", what) for what in broken_promises(call, strangers=False)),
            *[("", f"it leaves {left_open} files open")] * (left_open > _KEPT_OPEN),
            *read.broken,
            *((name, "what cannot be is accepted") for name in read.accepted_of(batch.impossible)),
            *((name, "what is sound is refused") for name in read.refused_of(batch.sound)),
            *(
                (name, f"the refusal does not speak of “{word}”: {read.refused[name]}"[:300])
                for name, word in batch.says.items()
                if word not in read.refused.get(name, word)
            ),
        ]
        return [
            Finding(call.line, f"{batch} {name}: {what}", f"{batch}: {what[:60]}", name)
            for name, what in told
        ]

    def of_files(
        self, subject: Subject, files: Files, lines: list[tuple[str, ...]]
    ) -> list[Finding]:
        """Put these files through these verbs."""
        found: list[Finding] = []
        self.box.empty()
        folder = self._lay_out(subject, files)
        strangers = any(
            isinstance(data, Odd) or (name.endswith(".png") and is_stranger(data))
            for name, data in files.items()
            if "/" in name or isinstance(data, Odd)
        )
        self.box.remember()
        for line in lines:
            call = self._call(self._filled(line, subject, files, folder), subject, folder, line)
            key = (call.verb, call.code)
            self.calls[call.verb] = self.calls.get(call.verb, 0) + 1
            self.codes[key] = self.codes.get(key, 0) + 1
            for what in broken_promises(call, strangers=strangers):
                found.append(Finding(line, what, _key(call.verb, what)))
        return found

    def _lay_out(self, subject: Subject, files: Files) -> Path:
        results = self.box.given / "results"
        write_tree(self.sound.tree, results / SOUND, self.box.outside)
        places = {"run": results / "1-given", "fleet": results / "2-fleet"}
        folder = places.get(subject.kind, self.box.given / "folder")
        laid = bundle_of_files(subject, files) if subject.kind == "bundle" else files
        write_tree(laid, folder, self.box.outside)
        return folder

    def _filled(
        self, line: tuple[str, ...], subject: Subject, files: Files, folder: Path
    ) -> list[str]:
        results = self.box.given / "results"
        words = {
            "run": str(folder),
            "other": str(results / SOUND),
            "results": str(results),
            "folder": str(folder),
            "file": str(folder / _given_name(subject)),
            "case": _FIRST_CASE if subject.kind == "run" else "x",
        }
        filled = [word.format_map(words) for word in line]
        if "{case}" in line and line[0] in ("show", "repro"):
            filled[2] = _case_of(subject)
        return filled

    def _call(
        self, words: list[str], subject: Subject, folder: Path, line: tuple[str, ...]
    ) -> Call:
        call = Call(tuple(line))
        # ``resume`` opens the run to write, which leaves its lock and puts a torn line aside.
        given = folder / _given_name(subject)
        for path in [*self.box.work.iterdir()]:
            if path.name != "torch.py":
                _remove(path)
        self.box.noted.clear()
        out, err = _stream(), _stream()
        streams: dict[str, Any] = {"stdout": out, "stderr": err, "stdin": _input(words, given)}
        environment = self._environment(subject, folder)
        with (
            mock.patch.dict(os.environ, environment),
            mock.patch.multiple(sys, **streams),
            _noting(call),
            _drawing(really=self._draws),
        ):
            try:
                with self.box.watched():
                    call.code = _frames(words) if call.verb == FRAMES else _main(words)
            except TakesTooLong as error:
                call.endless = _place(error)
            except Forbidden:
                pass
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                call.raised.append(_place(error))
        call.out, call.err = _said(out, call), _said(err, call)
        call.noted = [*self.box.noted]
        changed = self.box.changed()
        own = str(folder) if call.verb in ("resume", "fleet") else "\0"
        call.changed = [name for name in changed if not name.startswith(own)]
        call.files = self.box.written()
        return call

    def _environment(self, subject: Subject | None, folder: Path) -> dict[str, str]:
        environment = {
            "SDBENCH_CACHE": str(self.box.inside / "cache"),
            "SDBENCH_STATE": str(self.box.inside / "state"),
        }
        if subject is None:
            return environment
        if subject.kind == "recording":
            environment[_MACHINE] = str(folder)
        elif subject.kind in ("model", "site"):
            # Doctor would start an interpreter to look at this machine.
            environment[_MACHINE] = str(_MACHINES / "m4-macos15")
        return environment


_MACHINES = Path(__file__).parents[1] / "data" / "machines"


_KEPT_OPEN = 4
"""Files that libraries may keep open from their first use on."""


def _given_name(subject: Subject) -> str:
    """The file that the user names."""
    return NAME if subject.kind == "bundle" else next(iter(subject.tree))


def _open_files() -> int:
    """Descriptors of this process; 0 where that cannot be asked."""
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.is_dir() else 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _case_of(subject: Subject) -> str:
    """The id of the first case that the sound run plans."""
    run = json.loads(subject.tree["run.json"])  # type: ignore[arg-type]
    return str(run["plan"]["slots"][0]["case_id"])


def _main(words: list[str]) -> int:
    from sdbench.cli import main

    return main(words)


def _frames(words: list[str]) -> int:
    try:
        frames = sdbench.load(words[1])
        for name in ("cases", "replicates", "passes", "telemetry"):
            len(getattr(frames, name))
    except SdbenchError as error:
        return error.exit_code
    return 0


@contextlib.contextmanager
def _noting(call: Call) -> Iterator[None]:
    """Nothing is started, and what nobody foresaw is noted wherever it is caught."""
    from sdbench.cli import resume, run
    from sdbench.comparison import history_index as pasts

    def last_resort(error: Exception, given: Any) -> int:
        call.raised.append(_place(error))
        return 70

    past = pasts._past

    def noted_past(path: Path) -> Any:
        try:
            return past(path)
        except SdbenchError:
            raise
        except Exception as error:
            call.raised.append(_place(error))
            raise

    with (
        mock.patch("sdbench.cli._last_resort", last_resort),
        mock.patch.object(pasts, "_past", noted_past),
        mock.patch.object(pasts, "_SETTLED_S", 0.0),  # the index is used by the next call
        mock.patch.object(run, "ProcessExecutor", _executor),
        mock.patch.object(resume, "ProcessExecutor", _executor),
        # A fleet of one's own, whose other files were changed, is opened and goes no further.
        mock.patch("sdbench.fleet.fleet_file.is_own", lambda digest: True),
        mock.patch("sdbench.fleet.engine.Engine.run", lambda engine: "stopped"),
        mock.patch("sdbench.fleet.connection.quieten", lambda: None),
        mock.patch("sdbench.process.find_device.accelerator_possible", lambda kind: False),
    ):
        yield


def _drawn_empty(figure: Figure, *, narrow: bool = False) -> str:
    return _dressed(_EMPTY_SVG, figure, f"{figure.id}-narrow" if narrow else figure.id)


@contextlib.contextmanager
def _drawing(*, really: bool) -> Iterator[None]:
    """Figures are drawn, or each is the same empty image with its own title and words."""
    if really:
        yield
        return
    with (
        mock.patch.object(Figure, "inline_svg", _drawn_empty),
        mock.patch.object(Figure, "png", lambda self: _EMPTY_PNG),
    ):
        yield


_EMPTY_SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0"/></svg>'
_EMPTY_PNG = b"\x89PNG\r\n\x1a\n"


def _executor() -> FakeExecutor:
    def script(task: Task, supervise: Supervisor) -> Report:
        if not task.job.get("probe"):
            raise Forbidden(f"a worker is started: {task.replicate_id}")
        kinds = task.job["devices"]
        return make_report([{"event": "device", "kind": kinds[0], "available": True}])

    return FakeExecutor(script)


def _stream() -> io.TextIOWrapper:
    """As a pipe is: what UTF-8 cannot say is an error."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", newline="\n", write_through=True)


def _said(stream: io.TextIOWrapper, call: Call) -> str:
    stream.flush()
    data = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return str(data.decode("utf-8", "replace"))


def _input(words: list[str], given: Path) -> io.TextIOWrapper:
    data = b""
    if words[:2] == ["explain", "-"] and given.is_file() and not given.is_symlink():
        with given.open("rb") as file:
            data = file.read(1 << 20)
    return io.TextIOWrapper(io.BytesIO(data), "utf-8")


def _place(error: BaseException) -> str:
    """``KeyError: 'x' at report/export/row.py:31``: the innermost of our own lines."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if f"{os.sep}sdbench{os.sep}" in frame.filename
    ]
    where = "outside sdbench"
    if own:
        name = own[-1].filename.rpartition(f"{os.sep}sdbench{os.sep}")[2]
        where = f"{name}:{own[-1].lineno}"
    return f"{type(error).__name__} at {where}: {str(error)[:200]}"


def _key(verb: str, what: str) -> str:
    """The fault without what differs between inputs."""
    kind, _, rest = what.partition(": ")
    if kind == "a fault nobody foresaw":
        return rest.partition(": ")[0]
    return f"{verb}: {what[:60]}"


def minimal(bench: Bench, trial: Trial, finding: Finding) -> tuple[Files, Finding]:
    """The smallest files found that break the same promise by the same verb."""

    def still(files: Files) -> Finding | None:
        found = bench.of_files(trial.subject, files, [finding.line])
        return next((one for one in found if one.key == finding.key), None)

    files, mutations = trial.files, [*trial.mutations]
    for mutation in trial.mutations:
        fewer = [one for one in mutations if one is not mutation]
        changed = mutated(trial.subject, fewer)
        if still(changed) is not None:
            files, mutations = changed, fewer
    first = still(files)
    if first is None:  # it needs the calls before it
        return files, finding
    for name in [*files]:
        fewer_files = {key: data for key, data in files.items() if key != name}
        if fewer_files and still(fewer_files) is not None:
            files = fewer_files
    for name in [*files]:
        data = files[name]
        if isinstance(data, bytes) and name.endswith((".jsonl", ".log", ".toml", ".txt")):
            files[name] = _fewer_lines(data, lambda one, at=name: still({**files, at: one}))
    return files, still(files) or first


def _fewer_lines(data: bytes, still: Any) -> bytes:
    """Leaves out lines, many at once and then fewer, as long as the fault stays."""
    lines = data.split(b"\n")
    size = max(1, len(lines) // 2)
    while True:
        at = 0
        while at < len(lines) and len(lines) > 1:
            fewer = lines[:at] + lines[at + size :]
            if fewer and still(b"\n".join(fewer)) is not None:
                lines = fewer
            else:
                at += size
        if size == 1:
            return b"\n".join(lines)
        size //= 2
