"""Every write once: at each call that changes the disk a run is killed, or the call fails.

One of 58 points in `make test`, as many others with the mark ``long``; all of them with
``SDBENCH_TEST_WRITES=all`` (make test-writes).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from every_write import SCENES, Point, Scene, broken_promises, calls_of, desk, points_of
from faulty_disk import FaultKind, PowerCut

import sdbench.files.access

LONG = pytest.mark.long
EVERY, SHARES = (1, 8) if os.environ.get("SDBENCH_TEST_WRITES") == "all" else (29, 2)


@pytest.mark.parametrize("share", [0, *(pytest.param(n, marks=LONG) for n in range(1, SHARES))])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_nothing_is_lost_or_doubled_wherever_a_write_fails(
    scene: Scene,
    share: int,
    tmp_path: Path,
    tiny_cache: Path,
    record_property: Callable[[str, object], None],
) -> None:
    broken = {}
    with desk(tmp_path / "desk", tiny_cache) as at:
        start = scene.prepare(at)
        calls = [*calls_of(scene, at, start), "the end"]
        points = points_of(calls)
        tried = points[share * EVERY :: SHARES * EVERY]
        for point in tried:
            found = broken_promises(scene, point, at, start)
            assert at.struck == (calls[point.at] != "the end"), f"{point}: other calls than before"
            if found:
                broken[f"{point} ({calls[point.at]})"] = found
    record_property("writes", [scene.name, len(points), len(tried)])
    assert not broken, "\n".join(f"{name}: {words}" for name, words in broken.items())


# --- would it be found? --------------------------------------------------------------------------


def _nothing(*_: object, **__: object) -> None:
    return None


def _in_place(folder: Path, *names: str, data: bytes) -> None:
    """As it must not be: the file is there before it is whole."""
    path = folder.joinpath(*names)
    path.parent.mkdir(exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    sdbench.files.access.write_all(fd, data)
    os.fsync(fd)
    os.close(fd)


def _without_flushing(folder: str, name: str, content: Callable[[], bytes]) -> None:
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(fd, content())
        os.close(fd)


def _all_slots(loaded: Any, *, retry: bool) -> list[Any]:
    return list(loaded.run.plan.slots)


@dataclass(frozen=True)
class Planted:
    """Something broken on purpose, and where that shows."""

    name: str
    patched: Sequence[str]
    by: object
    says: str
    scene: str = "run"
    at: str = "the end"
    kind: FaultKind = "killed"
    cut: PowerCut | None = None


_STORE, _LOOP = "sdbench.runs.folder", "sdbench.runner"
PLANTED = [
    Planted(
        "records are not flushed", [f"{_STORE}.flush_to_disk"], _nothing, "lost", cut="renamed"
    ),
    Planted(
        "folders are not flushed",
        ["sdbench.files.access.flush_folder", f"{_STORE}.flush_folder"],
        _nothing,
        "the run is gone",
        cut="bare",
    ),
    Planted(
        "names of images are not flushed",
        ["sdbench.runs.RunFolder.keep_files"],
        _nothing,
        "latents",
        cut="bare",
    ),
    Planted(
        "images are not flushed",
        ["every_write.keep_file"],
        _without_flushing,
        "an image",
        cut="renamed",
    ),
    Planted(
        "a file has its name before it is whole",
        [f"{_STORE}.write_inside"],
        _in_place,
        "cannot be read",
        scene="resume of a torn run",
        at="/run.json",
        kind="torn",
    ),
    Planted(
        "unfinished files stay",
        [f"{_STORE}.remove_scratch"],
        _nothing,
        "left behind",
        at="rename report.html",
    ),
    Planted(
        "a torn record stays",
        ["sdbench.runs.RunFolder._put_torn_tail_aside"],
        _nothing,
        "warnings",
        at="/records.jsonl",
        kind="torn",
    ),
    Planted(
        "comparisons are recorded again",
        [f"{_LOOP}.compare_pictures._alike"],
        lambda *_: False,
        "2 times: comparison",
    ),
    Planted(
        "all is measured again", [f"{_LOOP}.session.remaining_slots"], _all_slots, "measured again"
    ),
    Planted("own runs are not noted", [f"{_STORE}.note_own"], _nothing, "ended with 2"),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_fault_that_is_planted_is_found(
    planted: Planted, tmp_path: Path, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scene,) = (scene for scene in SCENES if scene.name == planted.scene)
    with desk(tmp_path / "desk", tiny_cache) as at:
        start = scene.prepare(at)
        for name in planted.patched:
            monkeypatch.setattr(name, planted.by)
        calls = [*calls_of(scene, at, start), "the end"]
        number = next(number for number, call in enumerate(calls) if planted.at in call)
        found = broken_promises(scene, Point(number, planted.kind, planted.cut), at, start)
    assert planted.says in "; ".join(found)
