"""Telemetry: does it slow a worker down, and do equal processes get no verdict; GPU sensors."""

import re
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sdbench.machine.facts import Unavailable, known, or_none
from sdbench.models.resolve import find_model
from sdbench.plan.config import Config
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.process.executor import Task
from sdbench.process.picture_job import picture_job
from sdbench.records import Case, Gate, InstrumentLine, ModelInfo, Slot
from sdbench.runner.replicate import replicate_record
from sdbench.selftest.judging import Question, all_unknown
from sdbench.selftest.workers import ONE_THREAD, Setup
from sdbench.stats import RatioEstimate, decide_family, paired_ratio

_PROCESSES = 8
# After the first pass, which is left out, telemetry samples in every pass or pauses; ABBA, so that
# drift cancels. Processes with odd numbers do it the other way round.
_SAMPLED = (True, False, False, True) * 2
# A pass lasts some periods of the sampler.
_STEPS = 8
_LIMIT_S = 60.0
_CASE = Case(resolution="64x64", dtype="float32")
_ALLOWED_RATIO = 0.05
_SMI = ("/usr/bin/nvidia-smi", "--query-gpu=temperature.gpu,power.draw", "-i", "0")
_SMI_FORMAT = "--format=csv,noheader,nounits"

OVERHEAD = Question(
    id="telemetry-overhead",
    instrument="time of a pass with telemetry, over the time without in the same process",
    source="1: telemetry must not be seen in a time",
    allowed=_ALLOWED_RATIO,
    ground="5%: telemetry may use 0.5% of a core, the rest is the scatter of short passes",
)
EQUAL = Question(
    id="telemetry-aa",
    instrument="verdict on two sides of four equal processes each",
    source="both sides are the same work",
)
TEMPERATURE = Question(
    id="telemetry-temperature",
    instrument="temperature of the GPU as telemetry reads it",
    source="nvidia-smi",
    unit="C",
    allowed=5.0,
    ground="5 degrees: the two are read one after the other",
)
POWER = Question(
    id="telemetry-power",
    instrument="power of the GPU as telemetry reads it",
    source="nvidia-smi",
    unit="W",
    allowed=50.0,
    ground="50 W: the power of an idle GPU moves between two readings",
)
THERMAL = Question(
    id="telemetry-thermal",
    instrument="thermal level as telemetry reads it",
    source="notifyutil, parsed apart",
)
_THERMAL_KEY = "com.apple.system.thermalpressurelevel"
_THERMAL_LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")

Times = Mapping[int, float]


@dataclass(frozen=True)
class ProcessTimes:
    """Median seconds of a pass of one process: of those with telemetry, without, and of all.

    None where there was no such pass.
    """

    on_s: float | None
    off_s: float | None
    all_s: float


def cost_lines(setup: Setup) -> list[InstrumentLine]:
    """Eight short processes; telemetry samples in half of the passes of each."""
    config = msgspec.structs.replace(shipped_for_its_model("quick"), images=1, steps=_STEPS)
    model = find_model(config.model).prepare()
    found: list[ProcessTimes] = []
    with tempfile.TemporaryDirectory(prefix="sdbench-selftest-") as folder:
        longest_s = 0.0
        for number in range(_PROCESSES):
            began = time.monotonic()
            if began + longest_s > setup.deadline:
                break
            times = _run(setup, _task(setup, config, model, Path(folder), number))
            if isinstance(times, str):
                return all_unknown((OVERHEAD, EQUAL), times)
            found.append(times)
            longest_s = max(longest_s, time.monotonic() - began)
    off = {number: one.off_s for number, one in enumerate(found) if one.off_s is not None}
    on = {number: one.on_s for number, one in enumerate(found) if one.on_s is not None}
    if len(found) < _PROCESSES:
        words = f"the machine was too busy: {len(found)} of {_PROCESSES} processes in time"
        return [overhead_line(paired_ratio(off, on)), EQUAL.unknown(words)]
    return judged(off, on, *_sides([one.all_s for one in found]))


def _sides(seconds: Sequence[float]) -> tuple[Times, Times]:
    """Processes that follow one another as the two sides of a comparison: AB, BA, AB, BA."""
    pairs = [seconds[first : first + 2] for first in range(0, len(seconds), 2)]
    turned = [pair if block % 2 == 0 else pair[::-1] for block, pair in enumerate(pairs)]
    return dict(enumerate(a for a, _ in turned)), dict(enumerate(b for _, b in turned))


def by_telemetry(
    passes: Sequence[tuple[float, float]], samples_t: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Seconds of the passes in which telemetry took no sample, and of those in which it did.

    Args:
        passes: beginning and duration of each, in seconds of the monotonic clock.
        samples_t: times of the samples on that clock.
    """
    off: list[float] = []
    on: list[float] = []
    for begin_t, duration_s in passes:
        sampled = any(begin_t <= t <= begin_t + duration_s for t in samples_t)
        (on if sampled else off).append(duration_s)
    return off, on


def judged(off: Times, on: Times, first: Times, second: Times) -> list[InstrumentLine]:
    """The two lines, from seconds of a pass: without and with telemetry by process, and of two
    equal sides by block.
    """
    return [overhead_line(paired_ratio(off, on)), equal_line(paired_ratio(first, second))]


def overhead_line(estimate: RatioEstimate) -> InstrumentLine:
    """Pass where the whole interval is within what is allowed, fail where it is wholly outside."""
    interval = estimate.interval()
    if interval is None or estimate.ratio is None:
        return OVERHEAD.unknown(f"telemetry was not on and off in turn ({estimate.problem})")
    low, high = interval
    words = f"95% interval {low:.3f} to {high:.3f}"
    line = OVERHEAD.compare(estimate.ratio, 1.0)
    inside = low >= 1 - _ALLOWED_RATIO and high <= 1 + _ALLOWED_RATIO
    outside = high < 1 - _ALLOWED_RATIO or low > 1 + _ALLOWED_RATIO
    if not inside and not outside:
        return OVERHEAD.unknown(
            f"the passes scatter too much: {words}", measured=estimate.ratio, expected=1.0
        )
    return msgspec.structs.replace(line, reason=words)


def equal_line(estimate: RatioEstimate) -> InstrumentLine:
    """Pass where the product's own rule finds no difference."""
    (found,) = decide_family([estimate])
    if estimate.problem is not None:
        return EQUAL.unknown(f"no verdict was possible: {estimate.problem}")
    differs = found.verdict in ("faster", "slower")
    return EQUAL.compare_words(found.verdict if differs else "no difference", "no difference")


def _task(setup: Setup, config: Config, model: ModelInfo, folder: Path, number: int) -> Task:
    paused = [index for index, sampled in enumerate(_SAMPLED, 2) if sampled == bool(number % 2)]
    return Task(
        replicate_id="selftest-telemetry",
        interpreter=setup.interpreter,
        environment={**setup.environment, **ONE_THREAD},
        job=picture_job(config, model, setup.device, _CASE, allow_pickle=False)
        | {
            "passes": 1 + len(_SAMPLED),
            "profile": False,
            "count_flops": False,
            "artifacts": str(folder.absolute()),
        },
        # A process that has imported the stack cannot fork for CUDA. A device called mps is, on
        # Linux, a stand-in that computes on the CPU.
        start="fork" if setup.system.name() == "Linux" and setup.device != "cuda" else "spawn",
        timeout_s=setup.within(_LIMIT_S),
        unsampled_phases=frozenset(f"pass {index}" for index in paused),
    )


def _run(setup: Setup, task: Task) -> ProcessTimes | str:
    """Times of one process, or why there are none."""
    report = setup.executor.run(task, lambda event, sample: None)
    slot = Slot(index=0, block=0, case_id=_CASE.case_id, arm="selftest")
    record = replicate_record(slot, 1, task, report, Gate(), cold_cache=False)
    if record.steady_median_s is None:
        return f"a short process gave no time: {record.reason}"
    passes = [
        (one.begin_t, one.duration_s)
        for one in record.passes
        if one.kind == "measured" and one.index > 1 and one.begin_t is not None
    ]
    off, on = by_telemetry(passes, sample_times(report.timeline))
    return ProcessTimes(
        statistics.median(on) if on else None,
        statistics.median(off) if off else None,
        record.steady_median_s,
    )


def sample_times(timeline: Sequence[bytes]) -> list[float]:
    """When telemetry took its samples, in seconds of the monotonic clock."""
    lines = (msgspec.json.decode(line) for line in timeline)
    return [line["t"] for line in lines if "phase" not in line]


def sensor_lines(setup: Setup) -> list[InstrumentLine]:
    """Temperature, power and the thermal level: compared, or why they cannot be."""
    slow = setup.probe.slow()
    said = setup.system.command((*_SMI, _SMI_FORMAT))
    other = parse_smi(said.stdout) if known(said) and said.exit == 0 else {}
    lines = []
    for question, name, fact in (
        (TEMPERATURE, "temperature_c", slow.gpu.temperature_c),
        (POWER, "power_w", slow.gpu.power_w),
    ):
        if isinstance(fact, Unavailable):
            lines.append(question.unknown(fact.unavailable))
        elif name not in other:
            reason = "it is read, but no second source can be read without rights here"
            lines.append(question.unknown(reason, measured=fact))
        else:
            lines.append(question.compare(fact, other[name]))
    return [*lines, _thermal_line(setup, or_none(slow.thermal))]


def _thermal_line(setup: Setup, own: str | None) -> InstrumentLine:
    if setup.system.name() != "Darwin":
        return THERMAL.unknown("there is no second source of the thermal level here", measured=own)
    said = setup.system.command(("/usr/bin/notifyutil", "-g", _THERMAL_KEY))
    level = parse_thermal_level(said.stdout) if known(said) else None
    if level is None:
        return THERMAL.unknown("notifyutil does not tell the thermal level", measured=own)
    return THERMAL.compare_words(own, level)


def parse_smi(text: str) -> dict[str, float]:
    """``45, 71.03`` as temperature in degrees Celsius and power in watts."""
    found = re.match(r"\s*([0-9.]+)\s*,\s*([0-9.]+)\s*$", text)
    if found is None:
        return {}
    return {"temperature_c": float(found[1]), "power_w": float(found[2])}


def parse_thermal_level(text: str) -> str | None:
    """The number that ``notifyutil -g`` prints behind the key, as macOS names the level."""
    number = text.rsplit(None, 1)[-1] if text.startswith(_THERMAL_KEY) else ""
    return _THERMAL_LEVELS[int(number)] if number in ("0", "1", "2", "3", "4") else None
