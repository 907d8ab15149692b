"""The first screen of a page: what the run's question was, and its answer."""

from typing import Any

import msgspec
import pytest
from diagnosed_runs import loaded_run, plan
from factories import make_model
from measured_runs import by_arm, changed, measured, one_case, steady, two_arms

from sdbench.comparison import compare_axis, compare_runs
from sdbench.records import Case, Slot
from sdbench.report.view import build_report
from sdbench.report.view.build import build_run_report
from sdbench.report.view.first_screen import answers_of, date_words

SIZES = {"resolution": ["64x64", "128x128", "256x256"]}


def by_size(**ratios: float) -> Any:
    """Seconds of two arms; the new one takes so many times the old one's, by size."""

    def time_of(slot: Slot) -> float:
        size = "s" + slot.case_id.split("x")[0]
        return steady(ratios[size] if slot.arm == "new" else 1.0)(slot)

    return time_of


def answered(**ratios: float) -> Any:
    loaded = measured(by_size(**ratios), config=two_arms(matrix=SIZES))
    (answer,) = answers_of(compare_axis([loaded], "arm"))
    return answer


def test_cases_that_agree_are_a_range_in_words() -> None:
    answer = answered(s64=0.744, s128=0.58, s256=0.65)
    assert (answer.base, answer.new, answer.tone) == ("old", "new", "good")
    assert answer.change == "26 to 42% less time"
    assert answer.details == ["3 of 3 cases faster"]


def test_more_time_is_told_from_the_least_to_the_most() -> None:
    answer = answered(s64=1.5, s128=1.2, s256=1.3)
    assert (answer.change, answer.tone) == ("20 to 50% more time", "bad")


def test_cases_that_do_not_agree_are_counted_the_worst_first() -> None:
    answer = answered(s64=0.5, s128=1.5, s256=1.0)
    assert (answer.change, answer.tone) == ("1 slower, 1 faster, 1 the same", "bad")
    assert [words.split(":")[0] for words in answer.details] == ["slower", "faster", "3 cases"]
    assert answer.details[1] == "faster: 50% less time"


def test_an_undecided_case_is_never_good() -> None:
    loaded = measured(by_arm(old=1.0, new=0.5), config=two_arms(1))
    (answer,) = answers_of(compare_axis([loaded], "arm"))
    assert (answer.change, answer.tone) == ("inconclusive", "unknown")


def test_runs_that_are_unlike_are_not_comparable() -> None:
    base = measured()
    new = changed(measured(), run_id="other", config={**base.run.config, "steps": 99})
    (answer,) = answers_of(compare_runs(base, new))
    assert (answer.change, answer.tone) == ("not comparable", "unknown")
    assert (answer.base, answer.new) == (base.run.run_id, "other")


def test_numbers_stand_beside_what_they_depend_on() -> None:
    loaded = measured(config=one_case(3))
    head = build_run_report(loaded).headline
    words = " · ".join(head.subject)
    for part in ("2 cores", "torch 2.0.0", "(random weights)", "64x64", "2 steps", "3 processes"):
        assert part in words
    trained = changed(loaded, model=make_model(trained=True))
    assert "random weights" not in " · ".join(build_run_report(trained).headline.subject)


def test_steps_that_differ_are_no_one_number() -> None:
    cases = [{"resolution": "64x64", "steps": steps} for steps in (2, 5)]
    head = build_run_report(loaded_run(config=plan(case=cases))).headline
    assert "different numbers of steps" in head.subject


def test_answers_are_one_image_and_its_share_of_a_batch() -> None:
    cases = [
        {"resolution": size, "batching": batching}
        for size in ("128x128", "512x512")
        for batching in ("loop", "batch")
    ]

    def seconds(slot: Slot, here: Case) -> float:
        return steady((here.width / 512) * (0.6 if here.batching == "batch" else 1.0))(slot)

    head = build_run_report(loaded_run(config=plan(case=cases), seconds=seconds)).headline
    found = [(answer.purpose, answer.cell.name) for answer in head.answers]
    assert found == [("one image", "512x512"), ("many images", "512x512 batch")]


def test_a_wrong_batch_answers_nothing() -> None:
    cases = [{"resolution": "64x64", "batching": batching} for batching in ("loop", "batch")]

    def outcome(slot: Slot, here: Case) -> dict[str, Any]:
        return {"outcome": "crashed", "reason": "x"} if here.batching == "batch" else {}

    head = build_run_report(loaded_run(outcome, config=plan(case=cases))).headline
    assert [answer.purpose for answer in head.answers] == ["one image"]


def test_claims_are_one_sentence() -> None:
    run = build_run_report(loaded_run())
    ids = {claim.id for claim in run.diagnosis.claims}
    assert run.headline.claims is not None
    assert f"of {len(ids)} documented claims can be tested on " in run.headline.claims


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-22T15:56:33.811+00:00", "22 Nov 2026"),
        ("2026-01-02", "2 Jan 2026"),
        ("2026-13-02", "2026-13-02"),
        ("no date", "no date"),
    ],
)
def test_dates(text: str, words: str) -> None:
    assert date_words(text) == words


def test_figures_of_the_first_screen_say_who_is_recommended() -> None:
    from sdbench.report.figures import run_figures

    loaded = loaded_run(
        seconds=lambda slot, here: steady(0.5 if here.attention_slicing else 1.0)(slot)
    )
    (run,) = build_report([loaded]).runs
    overview = run_figures(run)[0]
    assert overview.kind == "overview"
    assert "64x64 sliced: 0.25 s, 8.01 it/s" in overview.description
    for narrow in (False, True):
        assert "★ 64x64 sliced" in overview.inline_svg(narrow=narrow)


def test_bars_begin_with_the_size_of_the_answer_and_keep_what_is_recommended() -> None:
    from sdbench.report.figures.overview import chosen_bars

    cases = [{"resolution": size} for size in ("128x128", "768x768", "512x512", "256x256")]
    (run,) = build_report([loaded_run(config=plan(case=cases))]).runs
    names = [cell.name for cell in chosen_bars(run.cells, 4)]
    assert names == ["512x512", "768x768", "256x256", "128x128"]
    assert [cell.name for cell in chosen_bars(run.cells, 2)] == names[:2]
    last = [changed_to(cell, recommended=cell.name == "128x128") for cell in run.cells]
    assert [cell.name for cell in chosen_bars(last, 2)] == ["512x512", "128x128"]


def changed_to(cell: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(cell, **fields)
