"""What takes a pair of rows its speed verdict, whatever the numbers say (PROTOCOL 10 and 11)."""

from collections.abc import Iterator
from dataclasses import dataclass

from sdbench.analysis.beside import others_at_work
from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.pairs import Pair
from sdbench.analysis.run_summary import is_virtual
from sdbench.machine.gpu.nvml import GPU_SLOWED
from sdbench.records import AXES, Replicate, Run

# Settings that change how much memory a pass takes: swap on one side is then part of the answer.
_MEMORY_AXES = {name for name, axis in AXES.items() if axis.holds_memory}
# Less is the system tidying up, not this worker running out of room.
SWAPPED_BYTES = 64e6
_NOT_HOT = (None, "nominal")
_SYSTEM_FACTS = ("system", "release", "build")
WORK_AXES = ("steps", "guidance_scale", "scheduler")
"""Settings that may change how often the denoiser is called for an image."""
_WORK_SETTINGS = ("scheduler", "guidance_scale", "images")


@dataclass(frozen=True)
class Objections:
    """Codes of :mod:`~sdbench.analysis.reasons`.

    ``incorrect`` and ``void`` take the speed verdict; ``remark`` is shown with one.
    """

    incorrect: str | None
    void: list[str]
    remark: str | None

    @property
    def judged(self) -> bool:
        """Whether the numbers may speak."""
        return self.incorrect is None and not self.void


def objections_to(pair: Pair, *, by_machine: bool = False) -> Objections:
    """Everything that speaks against a speed verdict for a pair, the gravest first."""
    base, new = pair.base, pair.new
    if base is None or new is None:
        return Objections(None, ["missing-in-base" if base is None else "missing-in-new"], None)
    void = [*_ended_badly(base, new)]
    if pair.axis is not None and base.computes_as(new, pair.axis):
        void.append("no-effect")
    remark = None
    if not pair.interleaved:
        differing = work_and_place_differ(base.run, new.run)
        if by_machine and "machines-differ" in differing:
            remark = "machines-differ"
            differing = [
                code for code in differing if code not in ("machines-differ", "os-differs")
            ]
        void += differing
    if other_work(base, new) and not {"steps-differ", "settings-differ"} & {*void}:
        void.append("work-differs")
    if _starts(base) != _starts(new):
        void.append("start-differs")
    if _on_virtual_gpu(base) or _on_virtual_gpu(new):
        void.append("virtual-device")
    elif _other_machine(base, new) and (base.run.on_virtual_mac or new.run.on_virtual_mac):
        void.append("virtual-mac")
    if not pair.interleaved and others_at_work(base.run) != others_at_work(new.run):
        void.append("beside-others")
    slowed = [row.any_process(throttled) for row in (base, new)]
    if base.any_process(_heat_is_unknown) or new.any_process(_heat_is_unknown):
        void.append("heat-unknown")
    elif any(slowed):
        if all(slowed):
            remark = remark or "both-throttled"
        else:
            void.append("throttled")
    memory_is_compared = pair.axis in _MEMORY_AXES or base.arm.hold_bytes != new.arm.hold_bytes
    if base.any_process(swapped) != new.any_process(swapped):
        if memory_is_compared:
            remark = remark or "swap-in-one-arm"
        else:
            void.append("swap-in-one-arm")
    elif base.any_process(_swap_is_unknown) or new.any_process(_swap_is_unknown):
        if memory_is_compared:
            remark = remark or "swap-unknown"
        else:
            void.append("swap-unknown")
    return Objections(_incorrect(base, new), void, remark)


def _on_virtual_gpu(row: CaseResult) -> bool:
    on_mps = row.run.device == "mps"
    return row.any_process(is_virtual) or (on_mps and row.run.on_virtual_mac)


def _other_machine(base: CaseResult, new: CaseResult) -> bool:
    return base.run.machine_id != new.run.machine_id


def throttled(replicate: Replicate) -> bool:
    """Whether heat or power saving held this process back; what is not known does not count."""
    gate, telemetry = replicate.gate, replicate.telemetry
    if gate.low_power_mode is True or gate.thermal not in _NOT_HOT:
        return True
    if telemetry is None:
        return False
    return telemetry.thermal_peak not in _NOT_HOT or not GPU_SLOWED.isdisjoint(
        telemetry.gpu_throttled
    )


def swapped(replicate: Replicate) -> bool:
    """Whether the machine wrote memory to swap while this process ran."""
    telemetry = replicate.telemetry
    return _is_much(replicate.swapped_out_bytes) or (
        telemetry is not None
        and (_is_much(telemetry.swap_out_bytes) or _is_much(telemetry.swap_delta_bytes))
    )


def _swap_is_unknown(replicate: Replicate) -> bool:
    """Whether nobody knows if the machine swapped, because the instrument failed its selftest."""
    return replicate.why_voided("swap") is not None


def _heat_is_unknown(replicate: Replicate) -> bool:
    """As :func:`_swap_is_unknown`, of heat."""
    return replicate.why_voided("thermal") is not None


def _is_much(written_bytes: int | None) -> bool:
    return written_bytes is not None and written_bytes > SWAPPED_BYTES


def work_and_place_differ(base: Run, new: Run) -> list[str]:
    """Codes of what two runs did not do alike, or not in the same place."""
    return [*_work_differs(base, new), *_place_differs(base, new)]


def other_work(base: CaseResult, new: CaseResult) -> bool:
    """Whether the denoiser is known to have done other work for an image on the two sides."""
    samples = base.denoiser_samples_per_image, new.denoiser_samples_per_image
    return None not in samples and samples[0] != samples[1]


def system_of(run: Run) -> tuple[object, ...]:
    """Operating system and build."""
    return tuple(run.machine.get(fact) for fact in _SYSTEM_FACTS)


def _incorrect(base: CaseResult, new: CaseResult) -> str | None:
    """The one place that reads what the correctness checks said of a row."""
    wrong = [row.summary.correct == "broken" for row in (base, new)]
    if all(wrong):
        return "wrong-in-both"
    if any(wrong):
        return "wrong-in-base" if wrong[0] else "wrong-in-new"
    return None


def _ended_badly(base: CaseResult, new: CaseResult) -> Iterator[str]:
    ends = base.summary.outcome, new.summary.outcome
    if ends == ("ok", "ok"):
        return
    if ends[0] == ends[1]:
        yield f"{ends[0]}-in-both"
        return
    for side, end in zip(("base", "new"), ends, strict=True):
        if end != "ok":
            yield f"{end}-in-{side}"


def _work_differs(base: Run, new: Run) -> Iterator[str]:
    if base.model.sha256 != new.model.sha256:
        yield "model-differs"
    elif base.model.sha256 is None and base.model.name != new.model.name:
        yield "model-differs"  # not hashed, so the name is all there is
    for key, code in (
        ("prompts", "prompts-differ"),
        ("steps", "steps-differ"),
        ("seed", "seed-differs"),
    ):
        if base.config.get(key) != new.config.get(key):
            yield code
    if any(base.config.get(key) != new.config.get(key) for key in _WORK_SETTINGS):
        yield "settings-differ"
    if _begin_differently(base, new):
        yield "mode-differs"


def _begin_differently(base: Run, new: Run) -> bool:
    """Whether one begins with an image and the other does not, or with another one or strength."""
    if (base.image_to_image is None) != (new.image_to_image is None):
        return True
    sizes = {one.case.resolution for one in base.plan.cases}
    both = sizes & {one.case.resolution for one in new.plan.cases}
    return any(base.begins_with(size) != new.begins_with(size) for size in both)


def _place_differs(base: Run, new: Run) -> Iterator[str]:
    if base.device != new.device:
        yield "device-differs"
    if base.machine_id != new.machine_id:
        yield "machines-differ"
    if system_of(base) != system_of(new):
        yield "os-differs"


def _starts(row: CaseResult) -> set[str]:
    return {entry.start for entry in row.replicates} or {row.run.plan.start}
