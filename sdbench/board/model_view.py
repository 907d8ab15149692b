"""What a model's page says: which machine for this model. Pure.

A class of machines (chip, GPU cores, memory) is never one figure: its fastest machine stands for
itself, with how many others there are and where the slowest is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sdbench.board.plots import Point, Series
from sdbench.board.rows import Row
from sdbench.board.table import Placed
from sdbench.words import seconds, size

MOST_SETTINGS = 5
_MOST_POINTS = 300
_MOST_TORCHES = 12


@dataclass(frozen=True)
class ClassBest:
    """The fastest row of a class of machines at one setting."""

    best: Row
    place: int
    machines: int
    rows: int
    slowest_s: float


@dataclass(frozen=True)
class SettingView:
    """A setting with the classes of machines that have a ranked row of it, the fastest first."""

    setting: str
    device: str
    machines: int
    rows: int
    classes: list[ClassBest]


@dataclass(frozen=True)
class ModelView:
    """A model: ``settings`` are the most measured; counts are of everything."""

    model: str
    model_sha256: str | None
    rows: int
    ranked: int
    wrong: int
    machines: int
    settings_in_all: int
    settings: list[SettingView]
    memory: list[Series]
    torches: list[str]
    over_torch: list[Series]


def model_view(placed: Sequence[Placed]) -> ModelView:
    """Of the rows of one model, in the order of the table."""
    first = placed[0].row.submission
    works: dict[tuple[str, str], list[Placed]] = {}
    for one in placed:
        if one.place:
            works.setdefault((one.row.submission.device, one.row.setting), []).append(one)
    views = sorted(
        (
            SettingView(
                setting=setting,
                device=device,
                machines=len({one.row.submission.machine_id for one in own}),
                rows=len(own),
                classes=_classes(own),
            )
            for (device, setting), own in works.items()
        ),
        key=lambda view: (-view.machines, -view.rows, view.device, view.setting),
    )[:MOST_SETTINGS]
    most = works[views[0].device, views[0].setting] if views else []
    torches, over_torch = _over_torch([one.row for one in most])
    return ModelView(
        model=first.model,
        model_sha256=first.model_sha256,
        rows=len(placed),
        ranked=sum(one.place > 0 for one in placed),
        wrong=sum(one.row.image == "wrong" for one in placed),
        machines=len({one.row.submission.machine_id for one in placed}),
        settings_in_all=len({(one.row.submission.device, one.row.setting) for one in placed}),
        settings=views,
        memory=[_memory_series(view) for view in views],
        torches=torches,
        over_torch=over_torch,
    )


def _classes(own: Sequence[Placed]) -> list[ClassBest]:
    """``own`` is sorted by time."""
    found: dict[tuple[str, int | None, str], list[Placed]] = {}
    for one in own:
        found.setdefault(one.row.submission.machine_class, []).append(one)
    return [
        ClassBest(
            best=rows[0].row,
            place=rows[0].place,
            machines=len({one.row.submission.machine_id for one in rows}),
            rows=len(rows),
            slowest_s=rows[-1].row.seconds_per_image or 0.0,
        )
        for rows in found.values()
    ]


def _memory_series(view: SettingView) -> Series:
    points = []
    for one in view.classes[:_MOST_POINTS]:
        point = memory_point(one.best)
        points += [] if point is None else [point]
    return Series(f"{view.setting} ({view.device})", points)


def memory_point(row: Row) -> Point | None:
    """Seconds an image against gigabytes; None where one is not known."""
    if row.seconds_per_image is None or row.peak_memory_bytes is None:
        return None
    run = row.submission
    words = (
        f"{run.chip}, {run.memory_class}: {seconds(row.seconds_per_image)}, "
        f"{size(row.peak_memory_bytes)}; {row.setting}"
    )
    return Point(row.seconds_per_image, row.peak_memory_bytes / 1e9, words)


def version_order(version: str) -> tuple[tuple[int, ...], str]:
    """Sorts ``2.9.1`` before ``2.13.0+cpu``, and what is no version last."""
    numbers = version.partition("+")[0].split(".")
    if not all(part.isdecimal() for part in numbers):
        return (1 << 30,), version
    return tuple(map(int, numbers)), version


def _over_torch(rows: Sequence[Row]) -> tuple[list[str], list[Series]]:
    """The same setting over torch versions: a line for each machine that has several of them, and
    points for the others, which say something of torch only as a crowd."""
    torches = sorted({row.torch for row in rows}, key=version_order)[-_MOST_TORCHES:]
    number = {torch: at for at, torch in enumerate(torches)}
    machines: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.torch in number:
            machines.setdefault(row.submission.machine_id, {}).setdefault(row.torch, row)
    several = sorted((own for own in machines.values() if len(own) > 1), key=lambda own: -len(own))[
        : MOST_SETTINGS - 1
    ]
    drawn = [
        Series(
            _machine_words(next(iter(own.values()))),
            [_torch_point(own[torch], number[torch]) for torch in torches if torch in own],
            line=True,
        )
        for own in several
    ]
    shown = {id(row) for own in several for row in own.values()}
    rest = [row for own in machines.values() for row in own.values() if id(row) not in shown]
    step = max(1, len(rest) // _MOST_POINTS)
    if rest:
        crowd = [_torch_point(row, number[row.torch]) for row in rest[::step]]
        drawn.append(Series("other machines", crowd))
    return torches, drawn


def _torch_point(row: Row, at: int) -> Point:
    return Point(
        at,
        row.seconds_per_image or 0.0,
        f"{_machine_words(row)}, torch {row.torch}: {seconds(row.seconds_per_image)}",
    )


def _machine_words(row: Row) -> str:
    run = row.submission
    return f"{run.chip}, {run.memory_class}, {run.machine_id}"


def torch_series_of_machine(rows: Sequence[Row]) -> tuple[list[str], list[Series]]:
    """The settings of one machine that were measured with several torch versions."""
    works: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if row.seconds_per_image is not None and row.image != "wrong" and row.outcome == "ok":
            key = row.submission.device, row.submission.model, row.setting, row.diffusers
            works.setdefault(key, {}).setdefault(row.torch, row)
    several = [(key, own) for key, own in works.items() if len(own) > 1][:MOST_SETTINGS]
    torches = sorted({torch for _, own in several for torch in own}, key=version_order)
    number = {torch: at for at, torch in enumerate(torches)}
    return torches, [
        Series(
            f"{model}, {setting}",
            [_torch_point(own[torch], number[torch]) for torch in torches if torch in own],
            line=True,
        )
        for (_, model, setting, _), own in several
    ]
