"""Which runs of a board count: the same measurement counts once. Pure."""

from collections.abc import Iterable

from sdbench.board.rows import Submission


def once_each(runs: Iterable[Submission]) -> tuple[list[Submission], dict[str, str]]:
    """The runs that count: of equal measurements of one machine, one.

    It is the one with the fewest blockers, then with the smaller SHA-256. The second result has,
    for each bundle that counts for nothing, the one that counts.
    """
    chosen: dict[tuple[str, str], Submission] = {}
    others: list[Submission] = []
    for run in runs:
        kept = chosen.setdefault(_measurement(run), run)
        if kept is run:
            continue
        if _precedence(run) < _precedence(kept):
            chosen[_measurement(run)], run = run, kept
        others.append(run)
    same_as = {_precedence(run)[1]: _precedence(chosen[_measurement(run)])[1] for run in others}
    return [*chosen.values()], same_as


def _measurement(run: Submission) -> tuple[str, str]:
    return run.machine_id, run.measured_sha256


def _precedence(run: Submission) -> tuple[int, str]:
    return len(run.blockers), run.bundle_sha256 or ""
