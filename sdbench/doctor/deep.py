"""``--deep``: compares the operators of a pipeline on the device with the CPU, and measures the
device's maximum rates.

The operators run in a child process. Metal aborts a process if an assertion fails; the child is
then started again without the operator that caused it, so that the others are still tested.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts, TorchFacts
from sdbench.process.doctor_events import DeviceRate, OperatorResult, OperatorVerdict, Trying
from sdbench.process.query import Child
from sdbench.records import DeviceKind

# Of one operator: the slowest here takes about a second; the first on mps compiles shaders.
SILENCE_S = 60.0
LIMIT_S = 300.0
# A device on which more than this many operators kill the process has shown what it is.
_MOST_DEATHS = 8


class DeepResult(msgspec.Struct, frozen=True, kw_only=True):
    """All results of ``--deep`` for one device."""

    device: DeviceKind
    operators: list[OperatorResult]
    ceilings: list[DeviceRate]
    ended: str | None = None
    """Why the result is incomplete; None if it is complete."""


def cannot_be_deep(facts: DoctorFacts) -> Check | None:
    """Why no operator can be tested; None if they can."""
    question = Question("deep", "a device to compute on", "operators are judged by their results")
    if facts.recorded:
        return question.unknown("a recording cannot compute anything")
    if _best_device(facts) is None:
        return question.unknown("torch offers no working device")
    return None


def _best_device(facts: DoctorFacts) -> DeviceKind | None:
    """The working device that a run would use."""
    devices = facts.torch.devices.values() if isinstance(facts.torch, TorchFacts) else ()
    return next((device.kind for device in devices if device.computes is True), None)


def examine_device(
    facts: DoctorFacts, notice: Callable[[str], None] = lambda _: None
) -> DeepResult:
    """Run the operators on the best device, in child processes, until each has a result.

    ``notice`` is called with the name of each operator before it is tested.
    """
    device = _best_device(facts)
    assert device is not None
    results: dict[str, OperatorResult] = {}
    ceilings: dict[str, DeviceRate] = {}
    dead: set[str] = set()
    while True:
        known = [*results, *ceilings, *dead]
        child = Child(
            facts.interpreter.path,
            "operators",
            ["--device", device, "--skip", *known],
            facts.environment,
            silence_s=SILENCE_S,
            limit_s=LIMIT_S,
        )
        trying = _follow(child, results, ceilings, notice)
        ending = child.ending()
        if ending is None or trying is None or len(dead) >= _MOST_DEATHS:
            return DeepResult(
                device=device,
                operators=list(results.values()),
                ceilings=list(ceilings.values()),
                ended=ending,
            )
        dead.add(trying)
        dtype, _, operator = trying.partition("/")
        if "ceiling" not in operator:
            verdict: OperatorVerdict = "hung" if child.hung else "died"
            results[trying] = OperatorResult(
                dtype=dtype, operator=operator, verdict=verdict, message=ending
            )


def _follow(
    child: Child,
    results: dict[str, OperatorResult],
    ceilings: dict[str, DeviceRate],
    notice: Callable[[str], None],
) -> str | None:
    """Collect a child's results; return the key of the operator that was running when it ended, or
    None."""
    trying: str | None = None
    for event in child.events():
        if isinstance(event, Trying):
            trying = event.key
            notice(" in ".join(reversed(trying.split("/"))))
        elif isinstance(event, OperatorResult) and trying is not None:
            results[trying] = event
            trying = None
        elif isinstance(event, DeviceRate) and trying is not None:
            ceilings[trying] = event
            trying = None
    return trying


def as_json(result: DeepResult) -> dict[str, Any]:
    """The numbers behind the verdicts; their names contain the units."""
    document: dict[str, Any] = msgspec.to_builtins(result)
    for entry in (*document["operators"], *document["ceilings"]):
        del entry["event"]  # how they came from the child
    return document


def deep_checks(result: DeepResult) -> Iterator[Check]:
    """One verdict per dtype, and one for the maximum rates."""
    if result.ended is not None:
        yield Check(
            id=f"deep-{result.device}",
            status="fail" if result.operators else "unknown",
            found=f"not all operators could be tested: {result.ended}",
            expected="every operator has a result",
            why="operators that were not tested may be wrong",
        )
    for dtype in dict.fromkeys(entry.dtype for entry in result.operators):
        entries = [entry for entry in result.operators if entry.dtype == dtype]
        yield _dtype_check(result.device, dtype, entries)
    if result.ceilings:
        yield _ceiling_check(result)


def _dtype_check(device: DeviceKind, dtype: str, entries: list[OperatorResult]) -> Check:
    # A CPU may lack kernels for half precision: pipelines run in float32 there.
    tolerable = {"right", "less-exact", *(["missing"] if device == "cpu" else [])}
    bad = [entry for entry in entries if entry.verdict not in tolerable]
    vague = [entry for entry in entries if entry.verdict == "less-exact"]
    right = sum(entry.verdict == "right" for entry in entries)
    found = f"{right} of {len(entries)} operators as accurate as expected"
    named = "; ".join(_words(entry) for entry in entries if entry.verdict != "right")
    # What a run uses by default: float32 and float16 on a GPU, float32 on a CPU.
    used = dtype == "float32" or (dtype == "float16" and device != "cpu")
    status: Literal["pass", "warn", "fail"] = "pass"
    if bad:
        status = "fail" if used else "warn"
    elif vague:
        status = "warn"
    remedy = None
    if bad:
        others = "another version of torch" if device == "cpu" else "another version of torch or OS"
        remedy = (
            f"avoid {dtype} on {device}, or try {others}; sdbench run shows the effect on images"
        )
    elif vague:
        remedy = "sdbench run shows whether the effect is visible in an image"
    return Check(
        id=f"deep-{device}-{dtype}",
        status=status,
        found=f"{found}; {named}" if named else found,
        expected=f"{device} agrees with float64 on the CPU as far as {dtype} allows",
        why="one wrong operator can cause noise, black images or slightly wrong images",
        remedy=remedy,
    )


def _words(entry: OperatorResult) -> str:
    if entry.verdict in ("wrong", "less-exact") and entry.rel_l2 is not None:
        words = "wrong" if entry.verdict == "wrong" else "less accurate"
        return (
            f"{entry.operator} {words} (error {entry.rel_l2:.1e}, tolerance "
            f"{entry.tolerance or 0:.1e})"
        )
    plain = {
        "not-a-number": "gives not-a-number",
        "missing": "is not implemented",
        "raised": "fails",
        "died": "crashes the process",
        "hung": "hangs",
    }[entry.verdict]
    return f"{entry.operator} {plain}" + (f" ({entry.message})" if entry.message else "")


def _ceiling_check(result: DeepResult) -> Check:
    words = []
    for ceiling in result.ceilings:
        if ceiling.flops_per_s is not None:
            words.append(f"matmul {ceiling.dtype} {ceiling.flops_per_s / 1e12:.3g} TFLOP/s")
        if ceiling.bytes_per_s is not None:
            words.append(f"memory {ceiling.bytes_per_s / 1e9:.3g} GB/s")
    return Check(
        id=f"deep-{result.device}-ceilings",
        status="pass",
        found=", ".join(words),
        expected="measured here; there is no reference value to compare with",
        why="these two rates limit the speed of every pipeline",
    )
