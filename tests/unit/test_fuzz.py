"""Whatever others give us, each reading verb ends as it should (``tests/fuzz``; ``make fuzz``)."""

import functools
from collections.abc import Sequence

import pytest
from fuzz import KINDS, open_bench
from fuzz_batches import all_batches
from fuzz_hostile import hostile
from fuzz_mutations import Mutation, Subject, ways_for
from fuzz_subjects import all_subjects
from fuzz_trials import Bench, Trial
from fuzz_verbs import all_lines
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

EVERY = (41, pytest.param(7, marks=pytest.mark.long))
"""Of the single changes one in so many. Ten are made in each place, so with 7 each has some."""
EXAMPLES = {
    "run": 6,
    "config": 6,
    "log": 5,
    "picture": 5,
    "recording": 6,
    "model": 4,
    "expectations": 4,
    "bundle": 5,
    "site": 4,
    "fleet": 6,
}
"""Drawn inputs: few, as what is simple is tried in turn and not by luck."""


@functools.cache
def subjects() -> Sequence[Subject]:
    return all_subjects()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return open_bench(tmp_path_factory.mktemp("box"), [*subjects()], drawing_share=0.02, verbs=3)


@pytest.mark.parametrize("every", EVERY)
def test_each_single_change_is_read_as_it_should(every: int, bench: Bench) -> None:
    """In order: what cannot be is refused, what is sound is not, and nothing unforeseen happens."""
    for batch in all_batches(subjects(), every):
        assert bench.of_batch(batch) == []


@pytest.mark.parametrize("name", ["failed", "told"])
def test_hostile_texts_stay_text_wherever_a_run_is_shown(name: str, bench: Bench) -> None:
    subject = next(one for one in subjects() if (one.kind, one.name) == ("run", name))
    lines = [line for line in all_lines("run") if line[0] in ("show", "report", "repro", "list")]
    assert bench.of_files(subject, hostile(subject, 0), lines) == []
    assert bench.codes[("show", 0)] and bench.codes[("repro", 0)]  # else nothing was shown


Drawn = tuple[str, tuple[Mutation, ...], int]
"""A subject's name, its changes, and what chooses the verbs."""


def trials(kind: str) -> st.SearchStrategy[Drawn]:
    mutations = st.builds(
        Mutation, st.sampled_from(sorted(set(ways_for(kind)))), st.integers(0, 2**32 - 1)
    )
    return st.tuples(
        st.sampled_from([one.name for one in subjects() if one.kind == kind]),
        st.lists(mutations, min_size=1, max_size=3).map(tuple),
        st.integers(0, 2**32 - 1),
    )


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_promise_holds_whatever_is_read(kind: str, bench: Bench) -> None:
    @seed(1)
    @settings(
        max_examples=EXAMPLES[kind],
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
        print_blob=False,
    )
    @given(trials(kind))
    def holds(drawn: Drawn) -> None:
        name, mutations, number = drawn
        subject = next(one for one in subjects() if (one.kind, one.name) == (kind, name))
        assert bench.findings(Trial(subject, mutations, number)) == []

    holds()


def test_what_is_sound_is_read_by_every_verb(bench: Bench) -> None:
    """Else the fuzzer would try verbs that refuse everything."""
    small = {one.kind: one for one in reversed(subjects())} | {
        one.kind: one for one in subjects() if one.name == "small"
    }
    assert set(small) == set(KINDS)
    for kind, subject in small.items():
        for line in all_lines(kind):
            assert bench.of_files(subject, dict(subject.tree), [line]) == []
    assert bench.codes[("show", 0)] and bench.codes[("repro", 0)] and bench.codes[("run", 0)]
