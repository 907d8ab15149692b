"""Finds the case that a person means by a name from a table, a part of it, or an id. Pure."""

from collections.abc import Iterable

from sdbench.analysis.case_words import case_words
from sdbench.records import Case

_NAMED_CASES = 20


def cases_called(name: str, cases: Iterable[Case]) -> list[Case]:
    """The cases that a name fits: one if it says enough, several if not.

    The first of these that one case alone fits: its id or what tables call it; its words without
    those that all cases have; the beginning of its id; some of its words, in any order.
    """
    every = list(cases)
    words = {case.case_id: {case.resolution, *case.words()} for case in every}
    common = set.intersection(*words.values()) if words else set()
    wanted = set(name.split())
    if not wanted:
        return []
    tried = [
        [case for case in every if name in (case.case_id, case_words(case))],
        [case for case in every if words[case.case_id] - common == wanted - common],
        [case for case in every if case.case_id.startswith(name)],
        [case for case in every if wanted <= words[case.case_id]],
    ]
    for found in tried:
        if len(found) == 1:
            return found
    return next(filter(None, tried), [])


def names_of(cases: Iterable[Case]) -> str:
    """``64x64, 64x64 sliced``: what tables call them; of very many the first, and how many more."""
    names = [case_words(case) for case in cases]
    more = len(names) - _NAMED_CASES
    shown = ", ".join(names[:_NAMED_CASES])
    return f"{shown} and {more} more" if more > 0 else shown
