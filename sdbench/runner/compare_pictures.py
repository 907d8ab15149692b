"""After the last timed process: compares every replicate's images with the CPU's and records the
result."""

import math
from collections.abc import Iterable

import msgspec

from sdbench.correctness.arithmetic import arithmetic_of
from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.content import judge
from sdbench.correctness.parity import ParityResult, ReadContent, ReferenceSet
from sdbench.models.builtin import BUILTIN
from sdbench.records import Arithmetic, Case, Dtype, Replicate, RowKey, Run
from sdbench.runner.reference_maker import Group, ImageAsRounded, ReferenceStore
from sdbench.runs import RunFolder, load_run

_SAME_DIGITS = 1e-9
_QUANTISED = (
    "quantised weights form a different model: how much its images may differ from the CPU's is "
    "unknown"
)


def wanted_by(run: Run, replicates: Iterable[Replicate]) -> dict[Group, set[Dtype]]:
    """What references these replicates' images need, and for which dtypes."""
    wanted: dict[Group, set[Dtype]] = {}
    for replicate in replicates:
        if any(entry.kind != "prime" for entry in replicate.passes):
            case = run.plan.planned(replicate.case_id).case
            if case.quantization == "none":
                wanted.setdefault(_group_of(run, replicate), set()).add(case.dtype)
    return wanted


def compare_with_cpu(
    folder: RunFolder, run: Run, shelf: ReferenceStore
) -> dict[Group, set[ImageAsRounded]]:
    """Append a comparison for each replicate, unless the last one says the same already.

    Returns the images that have to be made as rounding alone makes them, or more often than they
    were: with these, it is to be called again.

    Raises:
        StoreError: a record could not be written.
    """
    loaded = load_run(folder.path, as_recorded=True)
    known = {entry.replicate_id: entry for entry in loaded.compared}
    artifacts, read = Artifacts(folder.path), _reader(run, shelf)
    comparison = ParityResult(artifacts, trained=run.model.trained, read=read)
    wanted: dict[Group, set[ImageAsRounded]] = {}
    yardsticks: dict[tuple[Group, Dtype, Arithmetic | None], ReferenceSet] = {}

    def yardstick_of(replicate: Replicate, case: Case) -> ReferenceSet:
        if case.quantization != "none":
            return ReferenceSet(absent=_QUANTISED)
        key = _group_of(run, replicate), case.dtype, arithmetic_of(run, replicate, case)
        if key not in yardsticks:
            yardsticks[key] = shelf.yardstick(*key)
        return yardsticks[key]

    padded: dict[RowKey, frozenset[int]] = {}  # one process of a row makes the profiling pass
    for replicate in loaded.replicates:
        case = run.plan.planned(replicate.case_id).case
        if case.batching == "batch" and replicate.of_kind("profile"):
            row = replicate.case_id, replicate.arm
            found = comparison.padded(replicate, yardstick_of(replicate, case))
            padded[row] = padded.get(row, frozenset()) | found
    for replicate in loaded.replicates:
        if not replicate.passes:
            continue
        case = run.plan.planned(replicate.case_id).case
        arithmetic = arithmetic_of(run, replicate, case)
        record = comparison.compare(
            replicate,
            case,
            yardstick_of(replicate, case),
            padded.get((replicate.case_id, replicate.arm), frozenset()),
        )
        before = known.get(replicate.replicate_id)
        if before is None or not _alike(msgspec.to_builtins(before), msgspec.to_builtins(record)):
            folder.append(record)
        for image in record.images:
            if arithmetic is not None and image.own_rounding_missing is not None:
                group = _group_of(run, replicate)
                wanted.setdefault(group, set()).add((arithmetic, image.image))
    return wanted


def _alike(one: object, other: object) -> bool:
    """Whether two records are equal except for the last digits of their numbers.

    These depend on where in memory an array lay, so they differ from one computation to the next.
    """
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_SAME_DIGITS, abs_tol=_SAME_DIGITS)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other


def _reader(run: Run, shelf: ReferenceStore) -> ReadContent:
    """How images are read; only those that the built-in model makes of text can be."""
    prompts = shelf.config.prompts
    if run.model.name not in BUILTIN or run.image_to_image is not None:
        return lambda image, pixels: None
    return lambda image, pixels: judge(pixels, prompts[image % len(prompts)]).content


def _group_of(run: Run, replicate: Replicate) -> Group:
    case = run.plan.planned(replicate.case_id).case
    return Group.of_case(run.plan.arm(replicate.arm).stack, case)
