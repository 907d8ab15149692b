"""``--deep`` on mps: the known faults that have a probe, each tried on this machine.

The probes run in a child, which is started again without the one it died of, as in :mod:`.deep`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from sdbench.doctor.checks.issues import chip_name
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.knowledge.known_issues import KnownIssue, load_known_issues
from sdbench.machine.facts import known
from sdbench.process.doctor_events import ProbeResult, ProbeVerdict, Trying
from sdbench.process.query import Child

SILENCE_S = 60.0
LIMIT_S = 300.0
_MOST_DEATHS = 8
_SHOWN = ("shown", "died", "hung")


class ProbedFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every probe; ``ended`` is why some were not run, None if all were."""

    results: list[ProbeResult]
    ended: str | None = None


def probed_issues() -> list[KnownIssue]:
    """The entries of the catalogue that have a probe."""
    return [issue for issue in load_known_issues() if issue.probe is not None]


def probe_faults(
    facts: DoctorFacts, notice: Callable[[str], None] = lambda _: None
) -> ProbedFaults:
    """Run all probes on mps, in children, until each has an answer.

    ``notice`` is called with the name of what is tried now.
    """
    left = list(dict.fromkeys(issue.probe for issue in probed_issues() if issue.probe))
    results: list[ProbeResult] = []
    deaths = 0
    while left:
        child = Child(
            facts.interpreter.path,
            "probes",
            ["--device", "mps", "--names", *left],
            facts.environment,
            silence_s=SILENCE_S,
            limit_s=LIMIT_S,
        )
        trying = _follow(child, results, notice)
        ending = child.ending()
        if trying is not None and ending is not None:
            verdict: ProbeVerdict = "hung" if child.hung else "died"
            results.append(ProbeResult(name=trying, verdict=verdict, message=ending))
            deaths += 1
        answered = {result.name for result in results}
        left = [name for name in left if name not in answered]
        if left and (trying is None or deaths >= _MOST_DEATHS):
            return ProbedFaults(results=results, ended=ending or "the child ended early")
    return ProbedFaults(results=results)


def _follow(child: Child, results: list[ProbeResult], notice: Callable[[str], None]) -> str | None:
    """Collect what a child says; the probe it was at when it ended, None for none."""
    trying: str | None = None
    for event in child.events():
        if isinstance(event, Trying):
            trying = event.key
            notice(f"the known fault {trying}")
        elif isinstance(event, ProbeResult):
            results.append(event)
            trying = None
    return trying


def as_json(probed: ProbedFaults) -> dict[str, Any]:
    """Every probe with its verdict and the entries of the catalogue that it belongs to."""
    document: dict[str, Any] = msgspec.to_builtins(probed)
    for entry in document["results"]:
        del entry["event"]  # how it came from the child
        entry["issues"] = [issue.id for issue in probed_issues() if issue.probe == entry["name"]]
    return document


def probe_check(facts: DoctorFacts, probed: ProbedFaults) -> Check:
    """One verdict over all probes.

    It fails if a fault shows that usual settings meet, and warns of any other. Without one it is
    known only if every probe was run; what torch or the device lacks counts as run.
    """
    question = Question(
        "deep-mps-known-faults",
        "no known fault of mps shows",
        "a fault that shows here is in this macOS, this torch or this chip, whatever the "
        "catalogue says of versions",
    )
    by_probe = {result.name: result for result in probed.results}
    shown = [
        (issue, result)
        for issue in probed_issues()
        for result in [by_probe.get(issue.probe or "")]
        if result is not None and result.verdict in _SHOWN
    ]
    absent = sum(result.verdict in ("absent", "not-there") for result in probed.results)
    total = len({issue.probe for issue in probed_issues()})
    rest = [result.name for result in probed.results if result.verdict == "not-run"]
    unrun = total - len(by_probe) + len(rest)
    words = f"{absent} of {total} probes show none"
    if unrun:
        why = probed.ended or f"{', '.join(rest)} failed otherwise"
        words += f", {unrun} could not be run ({why})"
    if not shown:
        return question.unknown(words) if unrun else question.passes(words)
    found = "; ".join([*_named(facts, shown), words])
    remedy = "\n".join(f"{issue.title}: {issue.advice(_macos(facts))}" for issue, _ in shown)
    why = "\n".join(f"{issue.what} {issue.links[0]}" for issue, _ in shown)
    if any(issue.when for issue, _ in shown):
        return question.fails(found, remedy, why=why)
    return question.warns(found, remedy, why=why)


def _named(facts: DoctorFacts, shown: Sequence[tuple[KnownIssue, ProbeResult]]) -> Iterator[str]:
    torch, chip = facts.installed("torch"), chip_name(facts)
    for issue, result in shown:
        here = issue.known_of(torch, _macos(facts), chip)
        note = "" if here else "; not known of these versions and this chip, worth a report"
        yield f"{issue.title} ({result.message}{note})"


def _macos(facts: DoctorFacts) -> str | None:
    macos = facts.machine.identity.os_version
    return macos if known(macos) and facts.is_mac else None
