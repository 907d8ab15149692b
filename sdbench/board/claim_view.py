"""What the documentation claims and which known faults were seen, by kind of machine. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sdbench.board.rows import Submission

MOST_MACHINES = 5


@dataclass(frozen=True)
class KindCounts:
    """Machines of a chip and memory by what they say, and the first few of each for a link."""

    chip: str
    memory: str
    counts: dict[str, int]
    machines: list[str]
    machines_in_all: int


@dataclass(frozen=True)
class Seen:
    """A claim or a fault with the kinds of machines that say something of it, the most first."""

    id: str
    counts: dict[str, int]
    kinds: list[KindCounts]


def claims_seen(submissions: Sequence[Submission]) -> list[Seen]:
    """Verdicts of real machines. A machine counts once for each verdict that it gave.

    What is not applicable is left out.
    """
    return _seen(
        (run, claim.id, claim.verdict)
        for run in submissions
        if is_real(run)
        for claim in run.claims
        if claim.verdict != "not-applicable"
    )


def faults_seen(submissions: Sequence[Submission]) -> list[Seen]:
    """Known issues that showed on real machines."""
    return _seen(
        (run, issue, "seen")
        for run in submissions
        if is_real(run)
        for fault in run.faults
        for issue in fault.known_issues
    )


def is_real(run: Submission) -> bool:
    """Whether a real machine without anything planted made a verified run."""
    unreal = {"simulated", "virtual", "virtual-unknown", "preload", "planted-fault"}
    return run.verified and unreal.isdisjoint(run.blockers)


def _seen(entries: Iterable[tuple[Submission, str, str]]) -> list[Seen]:
    found: dict[str, dict[tuple[str, str], dict[str, set[str]]]] = {}
    for run, name, verdict in entries:
        kinds = found.setdefault(name, {})
        verdicts = kinds.setdefault((run.chip, run.memory_class), {})
        verdicts.setdefault(verdict, set()).add(run.machine_id)
    return [
        Seen(name, _total(kinds.values(), lambda machines: len(machines)), _kinds(kinds))
        for name, kinds in sorted(found.items())
    ]


def _total(
    kinds: Iterable[dict[str, set[str]]], count: Callable[[set[str]], int]
) -> dict[str, int]:
    total: Counter[str] = Counter()
    for verdicts in kinds:
        for verdict, machines in verdicts.items():
            total[verdict] += count(machines)
    return dict(total)


def _kinds(kinds: dict[tuple[str, str], dict[str, set[str]]]) -> list[KindCounts]:
    found = []
    for (chip, memory), verdicts in kinds.items():
        machines = sorted(set().union(*verdicts.values()))
        counts = {verdict: len(own) for verdict, own in verdicts.items()}
        found.append(KindCounts(chip, memory, counts, machines[:MOST_MACHINES], len(machines)))
    return sorted(found, key=lambda one: (-one.machines_in_all, one.chip, one.memory))
