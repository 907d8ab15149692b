"""What the depth of an operator's sums says of its error, in words, on screen and in the script."""

import dataclasses
from typing import Any

import pytest
from factories import make_call, make_judged
from test_localise_across import found as localisation
from test_localise_screen import screen
from test_operator_script import script

from sdbench.localise.across import Environment, Searched
from sdbench.localise.depth_words import rounding_sentence, rounding_word
from sdbench.localise.ranking import JudgedCall

CONV = make_call(0, "aten::convolution")
HALF: dict[str, Any] = {"depth": 576, "bound": 2e-7, "coarse": "float16", "coarse_bound": 2e-6}


def judged(ratio: float | None, **fields: Any) -> JudgedCall:
    """A convolution whose error is the ratio times 1e-7."""
    return make_judged(CONV, ratio, **fields)


@pytest.mark.parametrize(
    ("entry", "rounding", "word"),
    [
        (judged(1.0, **HALF), "within", "within rounding"),
        (judged(2.0, **HALF), "within", "within rounding"),
        (judged(10.0, **HALF), "within-coarse", "within rounding of sums in float16"),
        (judged(21.0, **HALF), "beyond", "beyond rounding"),
        (judged(21.0, depth=576, bound=2e-7), "beyond", "beyond rounding"),
        (
            judged(10.0, **{**HALF, "coarse": "tf32"}),
            "within-coarse",
            "within rounding of TF32",
        ),
        (judged(1e6), "unknown", "no bound known"),
        (judged(None, status="failed"), "unknown", "no bound known"),
        (judged(None, nonfinite=3, rel_l2=0.0, **HALF), "beyond", "beyond rounding"),
    ],
)
def test_word(entry: JudgedCall, rounding: str, word: str) -> None:
    assert (entry.rounding, rounding_word(entry)) == (rounding, word)


def test_the_sentence_has_depth_bound_and_multiple() -> None:
    assert rounding_sentence(judged(1.0, **HALF)) == (
        "Sums of 576 terms: the error is 0.5 times what rounding allows (2e-07): within rounding."
    )
    assert rounding_sentence(judged(21.0, **HALF)) == (
        "Sums of 576 terms: the error is 10 times what rounding allows (2e-07): beyond rounding "
        "(sums in float16 allow 2e-06)."
    )
    tf32 = rounding_sentence(judged(10.0, **{**HALF, "coarse": "tf32"}))
    assert "within rounding of TF32 (products in TF32 allow 2e-06)" in tf32
    assert rounding_sentence(judged(1e6)) == "No bound of its rounding error is known."
    assert "infinite or NaN" in rounding_sentence(judged(None, nonfinite=3))


def test_a_screen_acquits_no_error_that_rounding_does_not_explain() -> None:
    lines = " ".join(screen(judged(21.0, **HALF), width=200))
    assert "gives the same results" not in lines
    assert "but rounding does not explain aten::convolution" in lines
    assert "0 of 1 operators are within it, 1 beyond" in lines
    assert "sdbench localise --dtype float32" in lines


def test_coarser_arithmetic_is_named_and_not_taken_for_a_fault() -> None:
    lines = " ".join(screen(judged(10.0, **HALF), width=200))
    assert "gives the same results" not in lines and "may use coarser arithmetic" in lines
    assert "explained by coarser arithmetic alone: aten::convolution" in lines


def test_what_tf32_explains_is_not_wrong_however_far_above_its_floor() -> None:
    """An H200 in float32 with torch's defaults: convolutions 2,100 times their floor off."""
    tf32: dict[str, Any] = {**HALF, "coarse": "tf32", "coarse_bound": 3e-3}
    entry = judged(2100.0, **tf32)
    assert entry.above_limit and not entry.beyond
    lines = " ".join(screen(entry, width=200))
    assert "No operator is wrong; mps multiplies in TF32, which explains its errors." in lines
    assert "Above 30× its floor, and explained by coarser arithmetic alone: aten::conv" in lines
    assert "gives the same results" not in lines and "Nearest to its limit" not in lines
    other = make_judged(make_call(1, "aten::linear"), 21.0, **HALF)
    words = "exceeds 30× its floor except where TF32 explains it"
    assert f"{words}, but rounding does not" in " ".join(screen(entry, other, width=200))
    assert "30× its floor except where" in " ".join(screen(entry, width=200, complete=False))
    # More than TF32 allows, no number, or no bound at all: wrong as ever.
    assert judged(31000.0, **tf32).beyond
    assert judged(None, nonfinite=1, rel_l2=0.0, **tf32).beyond
    assert judged(2100.0).beyond
    assert judged(2100.0, **{**tf32, "coarse": "float16"}).beyond


def test_the_table_has_depth_bound_and_word() -> None:
    text = "\n".join(screen(judged(1e4, **HALF), width=220))
    (row,) = [line for line in text.splitlines() if "unet.part0" in line]
    assert "576" in row and "2e-07" in row and "5e+03" in row and "beyond rounding" in row


def test_the_script_says_it() -> None:
    assert "Sums of 576 terms: the error is" in script(judged(1e4, **HALF))
    assert "No bound of its rounding error is known." in script(judged(1e4))


def test_no_environment_is_right_where_rounding_does_not_explain_an_error() -> None:
    result = dataclasses.replace(localisation(), judged=[judged(21.0, **HALF)])
    searched = Searched(Environment("a", "2.13.0"), result)
    assert searched.answer("aten::convolution") == "unknown" and not result.right
    coarse = dataclasses.replace(localisation(), judged=[judged(10.0, **HALF)])
    assert Searched(Environment("a", "2.13.0"), coarse).answer("aten::convolution") == "right"
    assert coarse.right
