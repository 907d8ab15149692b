"""Whether a run that goes on until it is decided may stop (PROTOCOL 12)."""

import dataclasses

import msgspec

from sdbench.analysis.estimates import estimate_pair
from sdbench.analysis.pairs import pairs_of_axis
from sdbench.records import InterimAnalysis, InterimCase
from sdbench.runs import LoadedRun
from sdbench.stats import DEFAULT_THRESHOLD, LOOKS, look_at


def look_after(
    loaded: LoadedRun,
    axis: str,
    blocks: int,
    threshold: float = DEFAULT_THRESHOLD,
    most: int = LOOKS[-1],
) -> InterimAnalysis:
    """Judge an axis (or ``arm``) of a run by its first blocks, and say when to look again.

    What cannot be judged however many blocks follow (a side crashed, heat on one side) keeps
    nobody waiting. ``compare`` later judges such a run with the same 99% intervals, which it knows
    by ``until_decided`` in the run's configuration.

    Raises:
        UsageError: the run does not have the axis.
        ValueError: this many blocks is no time to look (see ``LOOKS``).
    """
    so_far = [entry for entry in loaded.attempts if entry.block < blocks]
    begun = InterimAnalysis(blocks=blocks, by=axis, threshold=threshold, cases=[], next_look=None)
    at_look = dataclasses.replace(loaded, attempts=so_far, looks=[begun])
    examined = [estimate_pair(pair) for pair in pairs_of_axis(at_look, axis)]
    void = [entry.void("steady") for entry in examined]
    judged = [index for index, reasons in enumerate(void) if not reasons]
    estimates = [examined[index].ratios["steady"] for index in judged]
    look = look_at(estimates, blocks, threshold, most)
    judgements = dict(zip(judged, look.judgements, strict=True))
    open_ = {judged[index] for index in look.open_cases}
    cases = []
    for index, entry in enumerate(examined):
        judgement = judgements.get(index)
        cases.append(
            InterimCase(
                case_id=entry.pair.case.case_id,
                arm=entry.pair.arm,
                base=entry.pair.labels[0],
                new=entry.pair.labels[1],
                ratio=None if entry.objections.void else entry.ratios["steady"].ratio,
                verdict=judgement.verdict if judgement else "inconclusive",
                reason=judgement.reason if judgement else void[index][0],
                open=index in open_,
            )
        )
    return msgspec.structs.replace(begun, cases=cases, next_look=look.next_look)


def rows_still_open(loaded: LoadedRun, looked: InterimAnalysis) -> set[tuple[str, str]]:
    """Case id and variant of each side of the comparisons that a look left open."""
    pairs = pairs_of_axis(loaded, looked.by)
    return {
        row.key
        for pair, entry in zip(pairs, looked.cases, strict=True)
        if entry.open
        for row in pair.rows
    }
