"""What a run's figures are worked out from is looked at once, however many rules ask."""

from collections import Counter

import msgspec
import pytest
from measured_runs import measured, one_case, steady

from sdbench.analysis.estimates import PairEstimate, estimate_pair
from sdbench.analysis.pairs import Pair
from sdbench.diagnosis import evidence as evidence_module
from sdbench.diagnosis.claims import examine_claims
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.findings import find


def test_rules_and_claims_share_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = {"attention_slicing": [False, True], "warmup": [False, True]}
    loaded = measured(steady(noise=0.02), config=one_case(4, matrix=matrix))
    asked: Counter[tuple[str, ...]] = Counter()

    def noted(pair: Pair) -> PairEstimate:
        asked[pair.key] += 1
        return estimate_pair(pair)

    monkeypatch.setattr(evidence_module, "estimate_pair", noted)
    evidence = Evidence.of(loaded, [])
    find(evidence)
    examine_claims(evidence)
    assert len(asked) == 2  # with warm-up and without
    assert set(asked.values()) == {1}


def test_pictures_that_are_one_are_asked_once_and_all_counted() -> None:
    loaded = measured(steady(noise=0.02), config=one_case(4))
    shared = loaded.attempts[0].passes[0].images[0]
    for entry in loaded.attempts:
        for made in entry.passes:
            made.images[:] = [shared] * len(made.images)
    evidence = Evidence.of(loaded, [])
    (row,) = evidence.measured
    assert evidence.distinct_pictures(row) == [shared]
    assert len([*evidence.pictures(row)]) > len(loaded.attempts)


def test_a_later_attempt_is_seen_by_the_run_that_has_it() -> None:
    """Lists are worked out once for a run as it was read; what is added makes another."""
    import dataclasses

    loaded = measured(steady(noise=0.02), config=one_case(3))
    last = loaded.replicates[-1]
    again = msgspec.structs.replace(last, attempt=2, outcome="crashed")
    later = dataclasses.replace(loaded, attempts=[*loaded.attempts, again])
    assert loaded.replicates[-1].attempt == 1
    assert later.replicates[-1] == again
