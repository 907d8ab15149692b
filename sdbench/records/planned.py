"""The plan of a run: cases, blocks and the order of the processes."""

import functools
from collections import Counter
from typing import Literal

import msgspec

from sdbench.records.case import Arm, Case
from sdbench.records.numbers import Block, Bytes, Count, PassSeconds

StartMethod = Literal["spawn", "fork"]


MemoryStage = Literal["load", "text_encoder", "vae_encode", "denoising", "vae_decode"]


class PredictedStage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The highest memory of a process in a stage, as predicted from the model's shapes.

    ``device_bytes`` is what the device's allocator holds, None on the CPU, which has none;
    ``process_bytes`` what the process takes of the machine's memory, which on a Mac includes the
    former.
    """

    stage: MemoryStage
    device_bytes: Bytes | None
    process_bytes: Bytes

    @property
    def peak_bytes(self) -> int:
        """What a run measures: on the device, on the CPU of the process."""
        return self.process_bytes if self.device_bytes is None else self.device_bytes


class PredictedMemory(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The memory that a process of a case was predicted to take, stage by stage.

    ``from_sizes`` names the networks whose shapes are not known, so that their part was estimated
    from sizes alone, on the high side.
    """

    stages: list[PredictedStage]
    from_sizes: list[str] = []

    @property
    def worst(self) -> PredictedStage:
        """The stage with the highest memory."""
        return max(self.stages, key=lambda stage: stage.peak_bytes)

    @property
    def process_bytes(self) -> int:
        """The most that the process takes of the machine's memory."""
        return max(stage.process_bytes for stage in self.stages)


class PredictedTime(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Seconds of an image in a steady pass on a Mac, predicted before the run.

    The interval is made for nine of ten machines. ``basis`` says what it rests on: published
    figures and public reports, no measurement of sdbench.
    """

    image_s: PassSeconds
    low_s: PassSeconds
    high_s: PassSeconds
    basis: str


class PlannedCase(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A case of a plan; ``skip_reason`` says why it cannot run, ``merged`` what it stands for.

    ``flags`` are known issues and predicted overflows it meets on this environment, one sentence
    each. ``memory`` is None in plans of an older sdbench, ``time`` where none was predicted.
    """

    case: Case
    skip_reason: str | None = None
    merged: list[str] = []
    flags: list[str] = []
    memory: PredictedMemory | None = None
    time: PredictedTime | None = None

    @property
    def case_id(self) -> str:
        """The case's id."""
        return self.case.case_id


class Slot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One process to run: a case in a variant in a block, at its place in the order."""

    index: Count
    block: Block
    case_id: str
    arm: str

    @property
    def replicate_id(self) -> str:
        """Unique within a run, and a safe file name."""
        return f"{self.case_id}.{self.arm}.{self.block}"


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a run does, in order."""

    cases: list[PlannedCase]
    arms: list[Arm]
    slots: list[Slot]
    start: StartMethod

    def planned(self, case_id: str) -> PlannedCase:
        """The case of that id.

        Raises:
            KeyError: the plan has no such case.
        """
        return self._by_id[case_id]

    def processes(self, case_id: str, arm: str) -> int:
        """How many processes of a case in a variant are planned."""
        return self._processes[case_id, arm]

    def arm(self, name: str) -> Arm:
        """The variant of that name.

        Raises:
            KeyError: the plan has no such variant.
        """
        return self._arms_by_name[name]

    # A plan may have 100,000 processes, and all of them are looked up.

    @functools.cached_property
    def _by_id(self) -> dict[str, PlannedCase]:
        return {planned.case_id: planned for planned in reversed(self.cases)}

    @functools.cached_property
    def _arms_by_name(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in reversed(self.arms)}

    @functools.cached_property
    def _processes(self) -> Counter[tuple[str, str]]:
        return Counter((slot.case_id, slot.arm) for slot in self.slots)
