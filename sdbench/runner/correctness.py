"""After the last timed process: every replicate's pictures beside the CPU's, as records."""

from sdbench.quality.artifacts import Artifacts
from sdbench.quality.compare import Comparison
from sdbench.runner.references import ReferenceShelf
from sdbench.store import RunFolder, load_run


def compare_with_cpu(folder: RunFolder, shelf: ReferenceShelf) -> None:
    """Append a comparison for each replicate, unless the last one says the same already.

    Raises:
        StoreError: a record could not be written.
    """
    loaded = load_run(folder.path)
    known = {entry.replicate_id: entry for entry in loaded.compared}
    comparison = Comparison(Artifacts(folder.path), trained=shelf.run.model.trained)
    for replicate in loaded.replicates:
        if not replicate.passes:
            continue
        case = shelf.run.plan.planned(replicate.case_id).case
        yardstick = shelf.yardstick(shelf.group_of(replicate), case.dtype)
        record = comparison.compare(replicate, case, yardstick)
        if record != known.get(replicate.replicate_id):
            folder.append(record)
