"""After the last timed process: every replicate's pictures beside the CPU's, as records."""

from collections.abc import Iterable

from sdbench.quality.artifacts import Artifacts
from sdbench.quality.compare import Comparison, Yardstick
from sdbench.runner.references import Group, ReferenceShelf
from sdbench.schema import Dtype, Replicate, Run
from sdbench.store import RunFolder, load_run


def wanted_by(run: Run, replicates: Iterable[Replicate]) -> dict[Group, set[Dtype]]:
    """What references these replicates' pictures need, and for which dtypes."""
    wanted: dict[Group, set[Dtype]] = {}
    for replicate in replicates:
        if any(entry.kind != "prime" for entry in replicate.passes):
            case = run.plan.planned(replicate.case_id).case
            wanted.setdefault(_group_of(run, replicate), set()).add(case.dtype)
    return wanted


def compare_with_cpu(folder: RunFolder, run: Run, shelf: ReferenceShelf) -> None:
    """Append a comparison for each replicate, unless the last one says the same already.

    Raises:
        StoreError: a record could not be written.
    """
    loaded = load_run(folder.path)
    known = {entry.replicate_id: entry for entry in loaded.compared}
    comparison = Comparison(Artifacts(folder.path), trained=run.model.trained)
    yardsticks: dict[tuple[Group, Dtype], Yardstick] = {}
    for replicate in loaded.replicates:
        if not replicate.passes:
            continue
        case = run.plan.planned(replicate.case_id).case
        key = _group_of(run, replicate), case.dtype
        if key not in yardsticks:
            yardsticks[key] = shelf.yardstick(*key)
        record = comparison.compare(replicate, case, yardsticks[key])
        if record != known.get(replicate.replicate_id):
            folder.append(record)


def _group_of(run: Run, replicate: Replicate) -> Group:
    case = run.plan.planned(replicate.case_id).case
    return Group(run.plan.arm(replicate.arm).stack, case.resolution)
