"""What similar machines of a board measured of a plan or a model, before anything is run. Pure.

Only ranked rows count: verified, of a real machine, with right images.
"""

import statistics
from collections.abc import Iterable, Sequence

import msgspec

from sdbench.board.rows import MachineClass, Row, setting_of
from sdbench.board.similar import by_machine, seconds_of, similar_rows
from sdbench.records import DeviceKind, Run


class MeasuredWork(msgspec.Struct, frozen=True, kw_only=True):
    """What similar machines measured of the same work.

    ``seconds_per_image`` is the median of the machines, of which each counts once. ``low_s`` and
    ``high_s`` enclose the 95% intervals of all of them. ``peak_memory_bytes`` is the highest.
    ``torch`` has the releases they were measured with.
    """

    setting: str
    resolution: str
    machines: int
    seconds_per_image: float
    low_s: float
    high_s: float
    peak_memory_bytes: int | None
    torch: list[str]


class MeasuredCase(msgspec.Struct, frozen=True, kw_only=True):
    """A planned case; ``measured`` is None where no similar machine has measured it."""

    case_id: str
    arm: str
    setting: str
    measured: MeasuredWork | None


def measured_plan(site: Iterable[Row], machine: MachineClass, run: Run) -> list[MeasuredCase]:
    """What similar machines measured of the cases of a run that is about to begin.

    Args:
        site: the rows of a board.
        machine: the class of the machine that is about to measure.
        run: the run; of its model only what is known before it begins.
    """
    of_model = _of_model(similar_rows(site, machine), run.device, run.model.title, run.model.sha256)
    by_setting: dict[str, list[Row]] = {}
    for row in of_model:
        by_setting.setdefault(row.setting, []).append(row)
    found = []
    for planned in run.plan.cases:
        if planned.skip_reason is not None:
            continue
        for arm in run.plan.arms:
            setting = setting_of(run, planned.case, arm)
            packages = run.stacks[arm.stack].packages
            versions = packages.get("torch", ""), packages.get("diffusers", "")
            found.append(
                MeasuredCase(
                    case_id=planned.case_id,
                    arm=arm.name,
                    setting=setting,
                    measured=measured_work(by_setting.get(setting, []), *versions),
                )
            )
    return found


def measured_model(
    site: Iterable[Row], machine: MachineClass, device: DeviceKind, model: str, sha256: str | None
) -> list[MeasuredWork]:
    """Of each resolution the setting that most similar machines measured of a model."""
    by_setting: dict[str, list[Row]] = {}
    for row in _of_model(similar_rows(site, machine), device, model, sha256):
        by_setting.setdefault(row.setting, []).append(row)
    every = [work for rows in by_setting.values() if (work := measured_work(rows)) is not None]
    every.sort(key=lambda work: (-work.machines, work.seconds_per_image, work.setting))
    chosen: dict[str, MeasuredWork] = {}
    for work in every:
        chosen.setdefault(work.resolution, work)
    return sorted(chosen.values(), key=lambda work: work.seconds_per_image)


def measured_work(rows: Sequence[Row], torch: str = "", diffusers: str = "") -> MeasuredWork | None:
    """Summarise ranked rows of the same work, preferring these versions; None of no rows."""
    chosen = by_machine(rows, torch, diffusers)
    if not chosen:
        return None
    times = [seconds_of(row) for row in chosen]
    bounds = [bound for row in chosen for bound in row.ci95 or (seconds_of(row), seconds_of(row))]
    peaks = [row.peak_memory_bytes for row in chosen if row.peak_memory_bytes is not None]
    return MeasuredWork(
        setting=chosen[0].setting,
        resolution=chosen[0].resolution,
        machines=len(chosen),
        seconds_per_image=statistics.median(times),
        low_s=min(bounds),
        high_s=max(bounds),
        peak_memory_bytes=max(peaks, default=None),
        torch=sorted({row.torch for row in chosen}),
    )


def _of_model(rows: Sequence[Row], device: DeviceKind, model: str, sha256: str | None) -> list[Row]:
    """The rows of a model; none where its content is not known and the board has several."""
    named = [
        row for row in rows if (row.submission.device, row.submission.model) == (device, model)
    ]
    contents = {row.submission.model_sha256 for row in named}
    if sha256 is None:
        return named if len(contents) == 1 else []
    return [row for row in named if row.submission.model_sha256 == sha256]
