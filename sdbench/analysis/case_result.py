"""A case of a run in a variant: its document, and the figures of its processes."""

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sdbench.analysis.case_words import arm_words, row_words
from sdbench.analysis.run_summary import CaseSummary, RunSummary, summary_of
from sdbench.records import Arm, Case, Compared, Replicate, RowKey, Run, by_row
from sdbench.runs import LoadedRun

_PLAIN = Case()
Figures = dict[int, float]
"""A process's figure by block."""


@dataclass(frozen=True)
class CaseResult:
    """What one run has of one case in one variant."""

    run: Run
    arm: Arm
    summary: CaseSummary
    replicates: list[Replicate]
    compared: list[Compared]
    blocks: frozenset[int] | None = None
    """By which blocks it is judged, where not every row has the same ones in the plan: by those
    planned for it, in a run that goes on until decided up to the last look (judging in between
    would be one more look); None: by all."""

    @property
    def key(self) -> RowKey:
        """What names it in its run."""
        return self.summary.key

    @property
    def name(self) -> str:
        """``512x512 sliced float16 [old]``."""
        return row_words(self.summary.case, self.arm.name, self.run.plan.arms)

    @property
    def of_arm(self) -> str:
        """`` [old]``; nothing where the run has one variant only."""
        return arm_words(self.arm.name, self.run.plan.arms)

    @functools.cached_property
    def steady_s(self) -> Figures:
        """Each process's median of its steady passes; a machine that slept measured nothing."""
        return self._figures(lambda entry: None if entry.slept else entry.steady_median_s)

    @functools.cached_property
    def first_pass_s(self) -> Figures:
        """Each process's measured pass 1."""
        return self._figures(lambda entry: None if entry.slept else entry.first_pass_s)

    @functools.cached_property
    def peak_memory_bytes(self) -> Figures:
        """Each process's peak."""
        return self._figures(lambda entry: entry.peak_memory_bytes)

    @property
    def images(self) -> int:
        """Images per pass."""
        return int(self.run.config["images"])

    @functools.cached_property
    def denoiser_samples_per_image(self) -> float | None:
        """How many samples the denoiser works on for one image, over all of its calls.

        Guidance doubles it. None where no process has counted them, or not all alike.
        """
        counted = {
            entry.denoiser_samples / len(entry.images)
            for replicate in self.replicates
            for entry in replicate.of_kind("profile")
            if entry.denoiser_samples and entry.images
        }
        return counted.pop() if len(counted) == 1 else None

    def computes_as(self, other: "CaseResult", axis: str) -> bool:
        """Whether the value of a setting makes no difference to what two rows compute.

        On each side it had no effect or is the default; on one at least it had no effect.
        """
        rows = [self, other]
        without = [axis in row.summary.no_effect for row in rows]
        default = getattr(_PLAIN, axis, None)
        plain = [default is not None and getattr(row.summary.case, axis) == default for row in rows]
        return any(without) and all(one or two for one, two in zip(without, plain, strict=True))

    def any_process(self, holds: Callable[[Replicate], bool]) -> bool:
        """Whether something holds for one of its processes; pair after pair asks the same."""
        if holds not in self._answers:
            self._answers[holds] = any(map(holds, self.replicates))
        return self._answers[holds]

    @functools.cached_property
    def _answers(self) -> dict[Callable[[Replicate], bool], bool]:
        return {}

    def _figures(self, figure_of: Callable[[Replicate], float | None]) -> Figures:
        return {
            entry.block: figure
            for entry in self.replicates
            if entry.outcome == "ok"
            and (self.blocks is None or entry.block in self.blocks)
            and (figure := figure_of(entry)) is not None
        }


def rows_of(loaded: LoadedRun, summary: RunSummary | None = None) -> list[CaseResult]:
    """Every case in every variant of a run, measured or not.

    ``summary`` is ``summary_of(loaded)``, where somebody has it already.
    """
    replicates, compared = by_row(loaded.replicates), by_row(loaded.compared)
    blocks = _blocks_of_rows(loaded)
    return [
        CaseResult(
            run=loaded.run,
            arm=loaded.run.plan.arm(row.arm),
            summary=row,
            replicates=replicates.get(row.key, []),
            compared=compared.get(row.key, []),
            blocks=None if blocks is None else frozenset(blocks[row.key]),
        )
        for row in (summary or summary_of(loaded)).cases
    ]


def _blocks_of_rows(loaded: LoadedRun) -> Mapping[RowKey, set[int]] | None:
    """The blocks planned for each row, up to the last look; None where all have all of them."""
    slots = loaded.run.plan.slots
    last = loaded.looks[-1].blocks if loaded.looks else None
    blocks: dict[RowKey, set[int]] = defaultdict(set)
    for slot in slots:
        if last is None or slot.block < last:
            blocks[slot.case_id, slot.arm].add(slot.block)
    alike = len({frozenset(planned) for planned in blocks.values()}) < 2
    return None if last is None and alike else blocks
