"""The rows of a board: one case of one run of one machine. Pure.

Seconds are per image, memory is bytes. A row never stands for two machines or two runs.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from sdbench.analysis.case_words import case_words
from sdbench.analysis.iterations import steps_of
from sdbench.analysis.run_summary import CaseSummary, device_facts, per_picture
from sdbench.bundles.publishable import BlockerCode, Publishable
from sdbench.bundles.summary import Examined
from sdbench.diagnosis.result import ClaimVerdict, Severity
from sdbench.knowledge.known_issues import FindingCode
from sdbench.knowledge.variables import is_tuning
from sdbench.records import Arm, Case, DeviceKind, Outcome, Run
from sdbench.words import gigabytes, memory_words, system_words

Image = Literal["right", "slightly-different", "wrong", "unknown"]
"""Compared with the CPU's images, and with the prompt where that can be read."""
Interval = tuple[float, float]
UNKNOWN = "–"
"""What stands for a chip or a memory that is not known."""

# Of variables that containers set and that change no time.
_WITHOUT_EFFECT = ("_VERSION", "_VISIBLE_DEVICES")


class MachineClass(NamedTuple):
    """Equal for similar machines: chip, GPU cores, and memory as it is sold."""

    chip: str
    gpu_cores: int | None
    memory: str

    @property
    def known(self) -> bool:
        """Whether chip and memory are known; machines of which they are not are not similar."""
        return UNKNOWN not in (self.chip, self.memory)

    @property
    def words(self) -> str:
        """``Apple M4, 10 GPU cores, 16 GB``."""
        cores = [] if self.gpu_cores is None else [f"{self.gpu_cores} GPU cores"]
        return ", ".join([self.chip, *cores, self.memory])


class ClaimSeen(msgspec.Struct, frozen=True, gc=False):
    """A claim of the documentation that applies to a machine, in one of its environments."""

    id: str
    stack: str
    verdict: ClaimVerdict


class FaultSeen(msgspec.Struct, frozen=True):
    """A finding above info: its code, the known issues that explain it, and in how many cases."""

    code: FindingCode
    severity: Severity
    known_issues: list[str]
    cases: int


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all rows of a run.

    ``bundle_sha256`` is of the sealed file, None for a run that was not bundled.
    ``measured_sha256`` is of its records alone, so that the same measurements count once.
    ``verified``: everything was computed again from the records. ``virtual`` is None where it is
    not known. ``blockers`` are the codes of why it is not publishable, the most serious first.
    """

    bundle_sha256: str | None
    measured_sha256: str
    verified: bool
    run_id: str
    label: str | None
    created_utc: str
    sdbench_version: str
    machine_id: str
    chip: str
    gpu_cores: int | None
    memory_bytes: int | None
    system: str
    device: DeviceKind
    simulated: bool
    virtual: bool | None
    blockers: list[BlockerCode]
    model: str
    model_sha256: str | None
    claims: list[ClaimSeen] = []
    faults: list[FaultSeen] = []

    @property
    def publishable(self) -> bool:
        """Whether nothing keeps it from being ranked."""
        return not self.blockers

    @property
    def memory_class(self) -> str:
        """The machine's memory as it is sold: ``16 GB``; ``–`` where it is not known."""
        return memory_words(self.memory_bytes)

    @property
    def machine_class(self) -> MachineClass:
        """Equal for similar machines."""
        return MachineClass(self.chip, self.gpu_cores, self.memory_class)


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One case of one run in one of its environments.

    ``setting`` is everything that a time depends on apart from machine, model and versions. ``n``
    counts processes; ``ci95`` is None below 3.
    """

    submission: Submission
    case_id: str
    arm: str
    torch: str
    diffusers: str
    resolution: str
    dtype: str
    setting: str
    outcome: Outcome
    seconds_per_image: float | None
    ci95: Interval | None
    n: int
    peak_memory_bytes: int | None
    peak_memory_source: str | None
    image: Image

    @property
    def why_not_ranked(self) -> str | None:
        """A code; None of a row that is ranked."""
        run = self.submission
        if not run.verified:
            return "unverified"
        if run.simulated:
            return "simulated"
        if run.virtual is not False:
            return "virtual" if run.virtual else "virtual-unknown"
        if self.image == "wrong":
            return "wrong"
        if run.blockers:
            return run.blockers[0]
        if self.outcome != "ok":
            return self.outcome
        if self.seconds_per_image is None:
            return "no-time"
        return "image-unknown" if self.image == "unknown" else None

    @property
    def ranked(self) -> bool:
        """Whether it has a place among others."""
        return self.why_not_ranked is None

    @property
    def work(self) -> tuple[str, str, str | None, str]:
        """Equal for rows whose times may be compared: device, model, its content, setting."""
        run = self.submission
        return run.device, run.model, run.model_sha256, self.setting


def rows_of(
    examined: Examined,
    *,
    measured_sha256: str,
    bundle_sha256: str | None = None,
    verified: bool = False,
    virtual: bool | None = None,
    publishable: Publishable,
) -> list[Row]:
    """The rows of a run, one for each case and environment that is not left out.

    Args:
        examined: the run and what is said of it.
        measured_sha256: of its records file.
        bundle_sha256: of the sealed file, if it is one.
        verified: whether ``bundles.verify`` accepted that file.
        virtual: whether it ran in a virtual machine.
        publishable: what keeps it from being ranked.
    """
    run, facts = examined.loaded.run, device_facts(examined.loaded.replicates)
    submission = Submission(
        bundle_sha256=bundle_sha256,
        measured_sha256=measured_sha256,
        verified=verified,
        run_id=run.run_id,
        label=run.label,
        created_utc=run.created_utc,
        sdbench_version=run.sdbench,
        machine_id=run.machine_id,
        chip=_chip(run.machine, run.device, facts),
        gpu_cores=_whole(facts.get("gpu_cores") or run.identity("gpu_cores")),
        memory_bytes=_whole(run.machine.get("memory_bytes")),
        system=system_words(run.machine, run.machine_facts) or "–",
        device=run.device,
        simulated=examined.summary.simulated,
        virtual=virtual,
        blockers=[blocker.code for blocker in publishable.blockers],
        model=run.model.title,
        model_sha256=run.model.sha256,
        claims=[
            ClaimSeen(one.id, one.stack, one.verdict)
            for one in examined.diagnosis.claims
            if one.verdict != "not-applicable"
        ],
        faults=[*_faults(examined)],
    )
    arms = {arm.name: arm for arm in run.plan.arms}
    return [
        _row(submission, run, summary, arms[summary.arm], examined.summary.images)
        for summary in examined.summary.cases
        if summary.outcome != "skipped"
    ]


def _row(submission: Submission, run: Run, summary: CaseSummary, arm: Arm, images: int) -> Row:
    latency = summary.latency_s
    packages = run.stacks[arm.stack].packages if arm.stack in run.stacks else {}
    return Row(
        submission=submission,
        case_id=summary.case_id,
        arm=summary.arm,
        torch=packages.get("torch", "–"),
        diffusers=packages.get("diffusers", "–"),
        resolution=summary.case.resolution,
        dtype=summary.case.dtype,
        setting=setting_of(run, summary.case, arm),
        outcome=summary.outcome,
        seconds_per_image=per_picture(latency.median, images),
        ci95=latency.ci95 and (latency.ci95[0] / images, latency.ci95[1] / images),
        n=latency.n,
        peak_memory_bytes=summary.peak_memory_bytes,
        peak_memory_source=summary.peak_memory_source,
        image=image_of(summary),
    )


def image_of(summary: CaseSummary) -> Image:
    """Whether the images of a case are right: the worse of the two checks decides."""
    if summary.correct == "broken" or summary.content == "wrong":
        return "wrong"
    if summary.correct == "match":
        return "right"
    return "slightly-different" if summary.correct == "drift" else "unknown"


def setting_of(run: Run, case: Case, arm: Arm) -> str:
    """``512x512 sliced float16, 20 steps, ddim, guidance 7.5, 4 images``."""
    images = int(run.config["images"])
    dtype = [] if case.dtype in case.words() else [case.dtype]
    parts = [" ".join([case_words(case), *dtype])]
    if case.steps is None:
        parts.append(f"{steps_of(run, case) or run.config.get('steps')} steps")
    if case.scheduler is None:
        parts.append(str(run.config.get("scheduler")))
    if case.guidance_scale is None:
        parts.append(f"guidance {run.config.get('guidance_scale')}")
    parts.append(f"{images} images" if images != 1 else "1 image")
    if run.image_to_image is not None:
        parts.append(run.mode_words)
    if arm.hold_bytes:
        parts.append(f"{gigabytes(arm.hold_bytes)} held by another process")
    parts += [
        f"{name}={value}"
        for name, value in sorted(run.variables(arm).items())
        if is_tuning(name, value) and not name.endswith(_WITHOUT_EFFECT)
    ]
    return ", ".join(parts)


def machine_class_of(
    machine: Mapping[str, Any], device: DeviceKind, facts: Mapping[str, Any]
) -> MachineClass:
    """The class of a machine by its record (``run.json``) and the facts of its device."""
    return MachineClass(
        chip=_chip(machine, device, facts),
        gpu_cores=_whole(facts.get("gpu_cores") or machine.get("gpu_cores")),
        memory=memory_words(_whole(machine.get("memory_bytes"))),
    )


def _chip(machine: Mapping[str, Any], device: DeviceKind, facts: Mapping[str, Any]) -> str:
    """The chip, or the graphics card of a CUDA run."""
    card = facts.get("name") if device == "cuda" else None
    return str(card or machine.get("chip") or machine.get("architecture") or UNKNOWN)


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _faults(examined: Examined) -> Iterator[FaultSeen]:
    for finding in examined.diagnosis.findings:
        if finding.severity == "info":
            continue
        issues = finding.evidence.get("known_issues")
        known = issues if isinstance(issues, list) else []
        yield FaultSeen(
            code=finding.code,
            severity=finding.severity,
            known_issues=[str(one["id"]) for one in known if isinstance(one, dict) and "id" in one],
            cases=len(finding.case_ids),
        )
