"""Whether a run may stand on a board next to others', and if not, why: one list of blockers.

Pure over what is recorded. What is not known blocks as well: a missing reading is no proof.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec

from sdbench.analysis.beside import beside_words
from sdbench.analysis.comparability import throttled
from sdbench.analysis.run_summary import CaseSummary, is_virtual, slowed_by_others
from sdbench.bundles.evidence import Evidence
from sdbench.bundles.summary import Examined
from sdbench.models.builtin import BUILTIN
from sdbench.models.catalogue import SYNTHETIC
from sdbench.privacy.redact_shared import LOCAL_MODEL, is_local_model
from sdbench.records import SCHEMA_VERSION, Replicate, Run
from sdbench.runs.voided import not_vouched_for
from sdbench.stats import MIN_PROCESSES
from sdbench.words import counted

BlockerCode = Literal[
    "simulated",
    "virtual",
    "virtual-unknown",
    "preload",
    "planted-fault",
    "newer-schema",
    "damaged",
    "unfinished",
    "nothing-measured",
    "few-processes",
    "throttled",
    "throttled-unknown",
    "on-battery",
    "power-unknown",
    "other-load",
    "load-unknown",
    "beside-others",
    "memory-pressure",
    "slept",
    "times-unchecked",
    "unknown-model",
    "selftest-failed",
    "selftest-missing",
    "selftest-unknown",
    "pictures-unchecked",
    "pictures-missing",
    "pictures-wrong",
]
"""The most serious first; this is the order of the list."""

_PLANTED = "SDBENCH_PLANTED_FAULTS"
_PRELOAD = "SDBENCH_WORKER_PRELOAD"
# What gates record of a machine that cannot run on a battery.
_NO_BATTERY = "there is no battery"
_SLOWING = {"thermal", "low-power-mode", "background"}
_NAMED = 3


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a run is not publishable, and how a publishable one is made."""

    code: BlockerCode
    sentence: str
    remedy: str


class Publishable(msgspec.Struct, frozen=True, kw_only=True):
    """``ok`` where there is no blocker. The first blocker is the most serious."""

    ok: bool
    blockers: list[Blocker]


def publishable(
    examined: Examined, lines_left_out: int = 0, evidence: Evidence | None = None
) -> Publishable:
    """All blockers of a run, in the order of :data:`BlockerCode`.

    Args:
        examined: the run and what is said of it.
        lines_left_out: lines of the records file that were no records of the run.
        evidence: what the bundle of the run has; None where there is no bundle.
    """
    blockers = [
        *_origin(examined),
        *_completeness(examined, lines_left_out),
        *_conditions(examined),
        *_times(evidence),
        *_model(examined.loaded.run),
        *_selftest(examined.loaded.run),
        *_pictures(examined, evidence),
    ]
    return Publishable(ok=not blockers, blockers=blockers)


def _origin(examined: Examined) -> Iterator[Blocker]:
    """What must be a real machine at its ordinary work."""
    run, replicates = examined.loaded.run, examined.loaded.replicates
    if examined.summary.simulated or run.machine_facts.get("simulated") is not False:
        yield _blocker(
            "simulated",
            "No real device made this run, or its record does not say that one did.",
            "Measure on a real device, without SDBENCH_MACHINE_RECORDING.",
        )
    virtual = run.identity("virtual")
    if virtual is True or any(map(is_virtual, replicates)):
        yield _blocker(
            "virtual",
            "The run was made in a virtual machine: its host decides about its speed.",
            "Measure on the machine itself.",
        )
    elif virtual is not False:
        yield _blocker(
            "virtual-unknown",
            "It is not known whether the machine is a virtual one.",
            "Measure again with this version of sdbench; sdbench doctor shows what is known.",
        )
    variables = {name for arm in run.plan.arms for name in run.variables(arm)}
    if run.preload or _PRELOAD in variables:
        yield _blocker(
            "preload",
            "Workers imported other code before torch.",
            f"Measure without {_PRELOAD}.",
        )
    if _PLANTED in variables:
        yield _blocker(
            "planted-fault",
            "Faults were planted in the workers.",
            f"Measure without {_PLANTED}.",
        )


def _completeness(examined: Examined, lines_left_out: int) -> Iterator[Blocker]:
    loaded, summary = examined.loaded, examined.summary
    again = "Continue it with sdbench resume, or measure again."
    if loaded.schema > SCHEMA_VERSION:
        yield _blocker(
            "newer-schema",
            "A newer sdbench wrote the run, so not all of it is understood.",
            "Update sdbench.",
        )
    if lines_left_out or loaded.unreadable or loaded.left_out:
        lines = lines_left_out + loaded.unreadable + loaded.left_out
        yield _blocker(
            "damaged",
            f"{counted(lines, 'line')} of its records could not be read or did not belong to it.",
            "Measure again.",
        )
    ended = {entry.replicate_id for entry in loaded.replicates}
    missing = sum(slot.replicate_id not in ended for slot in loaded.run.plan.slots)
    undecided = any(
        entry.code == "unfinished" and entry.evidence.get("kind") == "not-decided"
        for entry in examined.diagnosis.findings
    )
    if missing or undecided:
        words = f"{counted(missing, 'planned process', 'planned processes')} left no result"
        yield _blocker(
            "unfinished",
            f"The run is not finished: {words if missing else 'not every comparison is decided'}.",
            again,
        )
    rows = [row for row in summary.cases if row.outcome == "ok"]
    if not any(row.latency_s.median is not None for row in rows):
        yield _blocker("nothing-measured", "No case of the run has a time.", "Measure again.")
    few = [row for row in rows if row.latency_s.n < MIN_PROCESSES]
    if few:
        yield _blocker(
            "few-processes",
            f"Fewer than {MIN_PROCESSES} processes measured {_names(few)}, so there is no "
            "interval.",
            f"Measure with --set replicates={MIN_PROCESSES} or more.",
        )


def _conditions(examined: Examined) -> Iterator[Blocker]:
    """How the machine was while processes ran."""
    replicates = [entry for entry in examined.loaded.replicates if entry.passes]
    if not replicates:
        return
    beside = beside_words(examined.loaded.run)
    if beside is not None:
        yield _blocker(
            "beside-others", f"The times were {beside}.", "Measure on one device at a time."
        )
    for code, holds, sentence, remedy in _CONDITIONS:
        count = sum(map(holds, replicates))
        if count:
            of = f"{count} of {counted(len(replicates), 'process', 'processes')}"
            yield _blocker(code, sentence.format(of=of), remedy)


def _is_throttled(entry: Replicate) -> bool:
    return throttled(entry) or not _SLOWING.isdisjoint(entry.gate.flags)


def _throttling_unknown(entry: Replicate) -> bool:
    """The machine's thermal level, or the reasons of the GPU, must have been read."""
    telemetry = entry.telemetry
    if telemetry is None or entry.why_voided("thermal") is not None:
        return True
    kind = entry.device.get("kind")
    if kind == "mps" and entry.gate.low_power_mode is None:
        return True
    if kind == "cuda":
        return telemetry.gpu_temperature_peak_c is None or "gpu_throttled" in telemetry.unavailable
    return telemetry.thermal_peak is None


def _is_on_battery(entry: Replicate) -> bool:
    return entry.gate.power_source not in (None, "ac")


def _power_unknown(entry: Replicate) -> bool:
    gate = entry.gate
    if gate.power_source is not None:
        return False
    return gate.unavailable.get("battery_percent") != _NO_BATTERY


def _is_loaded(entry: Replicate) -> bool:
    known = entry.why_voided("load") is None
    return known and (slowed_by_others(entry) or "load" in entry.gate.flags)


def _load_unknown(entry: Replicate) -> bool:
    telemetry = entry.telemetry
    if telemetry is None or entry.why_voided("load") is not None:
        return True
    return telemetry.other_cpu_share is None or telemetry.idle_cpu_share is None


_CONDITIONS: Sequence[tuple[BlockerCode, Callable[[Replicate], bool], str, str]] = (
    (
        "throttled",
        _is_throttled,
        "{of} were slowed down by heat, power saving or work in the background.",
        'Let the machine cool down, turn low-power mode off, and set gate.wait_for = ["thermal"].',
    ),
    (
        "throttled-unknown",
        _throttling_unknown,
        "It is not known whether heat or power saving slowed down {of}.",
        "Measure with telemetry on; sdbench doctor shows which sensors can be read.",
    ),
    (
        "on-battery",
        _is_on_battery,
        "{of} did not run on mains power.",
        "Connect the power supply and measure again.",
    ),
    (
        "power-unknown",
        _power_unknown,
        "It is not known whether {of} ran on mains power.",
        "sdbench doctor shows why the power source cannot be read.",
    ),
    (
        "other-load",
        _is_loaded,
        "Other programs kept the processor busy in {of}.",
        "Close other programs and measure again.",
    ),
    (
        "load-unknown",
        _load_unknown,
        "It is not known whether other programs kept the processor busy in {of}.",
        "Measure with telemetry on; sdbench selftest checks this instrument.",
    ),
    (
        "memory-pressure",
        lambda entry: "pressure" in entry.gate.flags,
        "Memory was short before {of} began.",
        'Close other programs, and set gate.wait_for = ["pressure"].',
    ),
    (
        "slept",
        lambda entry: entry.slept or entry.machine_restarted,
        "The machine slept or restarted during {of}.",
        "Keep the machine awake and measure again.",
    ),
)


def _times(evidence: Evidence | None) -> Iterator[Blocker]:
    if evidence is not None and evidence.unconfirmed_processes:
        processes = counted(evidence.unconfirmed_processes, "process", "processes")
        yield _blocker(
            "times-unchecked",
            f"Times of {processes} cannot be checked: the bundle does not say when passes began.",
            "Measure with telemetry on and with this version of sdbench.",
        )


def _model(run: Run) -> Iterator[Blocker]:
    model = run.model
    local = is_local_model(model) or model.name.startswith(LOCAL_MODEL)
    shipped = BUILTIN.get(model.name)
    if shipped is not None:
        known = model.sha256 == shipped.sha256
    else:
        known = model.sha256 is not None and (
            model.name in SYNTHETIC or (not local and model.revision is not None)
        )
    if not known or model.loras:
        yield _blocker(
            "unknown-model",
            "Nobody else can have the model: it is not one of sdbench's or of the Hub, or its "
            "content or revision is not recorded."
            if not known
            else "The model has a LoRA, a file that nobody else can be sure to have.",
            "Measure a model of sdbench (sdbench models) or of the Hub by its id (owner/name).",
        )


def _selftest(run: Run) -> Iterator[Blocker]:
    selftest = run.selftest
    if selftest is None or (selftest.device, selftest.simulated) != (run.device, run.simulated):
        yield _blocker(
            "selftest-missing",
            "No selftest of the instruments on this machine and device is recorded.",
            "Run sdbench selftest, then measure again.",
        )
    elif selftest.failed:
        few = ", ".join(selftest.failed[:_NAMED])
        more = f" and {len(selftest.failed) - _NAMED} more" if selftest.failed[_NAMED:] else ""
        yield _blocker(
            "selftest-failed",
            f"Instruments failed the selftest: {few}{more}.",
            "sdbench selftest shows why; measure again when it passes.",
        )
    elif unsure := not_vouched_for(selftest):
        yield _blocker(
            "selftest-unknown",
            f"The selftest did not look at {', '.join(unsure)}.",
            "Run sdbench selftest while nothing else runs, then measure again.",
        )


def _pictures(examined: Examined, evidence: Evidence | None) -> Iterator[Blocker]:
    rows = [row for row in examined.summary.cases if row.outcome == "ok"]
    partly = {
        case_id
        for entry in examined.diagnosis.findings
        if entry.code == "unfinished" and entry.evidence.get("kind") == "not-checked"
        for case_id in entry.case_ids
    }
    unchecked = [row for row in rows if row.correct == "unknown" or row.case_id in partly]
    if unchecked:
        yield _blocker(
            "pictures-unchecked",
            f"Images of {_names(unchecked)} were not compared with the CPU's.",
            "Give the CPU time to make the reference images: --set reference.budget_s=600.",
        )
    if rows and evidence is not None and not evidence.images:
        yield _blocker(
            "pictures-missing",
            "The bundle has no image that the run made, so nobody can check one.",
            "Measure with built-in prompts, or bundle with --include pictures.",
        )
    wrong = [
        row for row in examined.summary.cases if row.correct == "broken" or row.content == "wrong"
    ]
    small = any(check.wrong for check in examined.loaded.checks)
    if wrong or small:
        what = _names(wrong) if wrong else "the small image before the run"
        yield _blocker(
            "pictures-wrong",
            f"Images are wrong: {what}. A board shows such a run as wrong and never ranks it.",
            "sdbench diagnose names the cause.",
        )


def _names(rows: Sequence[CaseSummary]) -> str:
    """``512x512-float16-fb7e30 and 4 more cases``."""
    ids = [*dict.fromkeys(row.case_id for row in rows)]
    more = len(ids) - _NAMED
    shown = ", ".join(ids[:_NAMED])
    return f"{shown} and {counted(more, 'more case')}" if more > 0 else shown


def _blocker(code: BlockerCode, sentence: str, remedy: str) -> Blocker:
    return Blocker(code=code, sentence=sentence, remedy=remedy)
