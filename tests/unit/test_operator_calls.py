"""Which operator is named first, and what is said of it."""

import pytest
from factories import make_call, make_judged

from sdbench.localise.ranking import BEYOND, JudgedCall, ranked, where_it_fails
from sdbench.process.operator_calls import Operand

LAYOUTS = [(0, None), (1, None), (2, "channels_last"), (3, "slice")]


def operand(shape: list[int], stride: list[int], offset: int = 0) -> Operand:
    return Operand(name="x", storage=0, shape=shape, stride=stride, offset=offset)


def strided(index: int, op: str = "aten::convolution") -> dict[str, object]:
    """A call whose first operand is transposed."""
    return {
        "operands": [
            {"name": "input", "storage": 0, "shape": [2, 3], "stride": [1, 2], "offset": 0},
        ],
        "arguments": [],
    }


@pytest.mark.parametrize(
    ("shape", "stride", "contiguous"),
    [
        ([2, 3], [3, 1], True),
        ([2, 3], [1, 2], False),
        ([2, 3], [6, 1], False),
        ([2, 3], [0, 1], False),
        ([1, 3], [99, 1], True),
        ([], [], True),
        ([0, 3], [5, 7], True),
        ([1, 4, 2, 2], [16, 1, 8, 4], False),
    ],
)
def test_contiguous_is_what_torch_calls_so(
    shape: list[int], stride: list[int], contiguous: bool
) -> None:
    assert operand(shape, stride).contiguous is contiguous


def first(*judged: JudgedCall) -> list[str]:
    return [group.worst.call.op for group in ranked(judged)]


def test_worse_comes_first() -> None:
    assert first(
        make_judged(make_call(0, "aten::near"), 1.5),
        make_judged(make_call(1, "aten::far"), 1e6),
        make_judged(make_call(2, "aten::raised"), status="failed"),
        make_judged(make_call(3, "aten::nan"), None, nonfinite=3),
        make_judged(make_call(4, "aten::died"), status="crashed"),
        make_judged(make_call(5, "aten::hung"), status="hung"),
    ) == [f"aten::{word}" for word in ("died", "hung", "nan", "raised", "far", "near")]


@pytest.mark.parametrize(
    ("judged", "beyond"),
    [
        (make_judged(make_call(), 0.0), False),
        (make_judged(make_call(), BEYOND), False),
        (make_judged(make_call(), BEYOND * 1.01), True),
        (make_judged(make_call(), None, nonfinite=1), True),
        (make_judged(make_call(), status="failed"), True),
        (make_judged(make_call(), status="crashed"), True),
        (make_judged(make_call(), status="hung"), True),
    ],
)
def test_beyond_is_more_than_rounding_explains(judged: JudgedCall, beyond: bool) -> None:
    assert judged.beyond is beyond


def test_calls_of_an_operator_in_a_module_are_one_line_with_the_worst() -> None:
    calls = [make_call(index, module="unet.same") for index in range(3)]
    (group,) = ranked(
        [make_judged(call, ratio) for call, ratio in zip(calls, (1, 1e5, 40), strict=True)]
    )
    assert (group.worst.call.index, group.calls, group.beyond) == (1, 3, 2)


def test_what_is_made_of_others_is_not_blamed_for_its_part() -> None:
    whole = make_judged(make_call(0, "aten::layer_norm"), 1e6)
    part = make_judged(make_call(1, "aten::native_layer_norm", within=0), 1e5)
    assert first(whole, part) == ["aten::native_layer_norm"]


def test_blame_goes_through_every_level() -> None:
    outer = make_judged(make_call(0, "aten::outer"), 1e6)
    middle = make_judged(make_call(1, "aten::middle", within=0), 1.0)
    inner = make_judged(make_call(2, "aten::inner", within=1), 1e5)
    assert first(outer, middle, inner) == ["aten::inner"]


def test_what_is_wrong_although_its_parts_are_right_is_blamed() -> None:
    whole = make_judged(make_call(0, "aten::scaled_dot_product_attention"), 1e6)
    part = make_judged(make_call(1, "aten::bmm", within=0), 1.0)
    assert first(whole, part)[0] == "aten::scaled_dot_product_attention"


def test_says_what_sets_the_wrong_calls_apart() -> None:
    op = "aten::convolution"
    wrong = [make_judged(make_call(index, op, **strided(index)), 1e6) for index in range(2)]
    right = [make_judged(make_call(index, op), 1.0) for index in (2, 3, 4)]
    other = make_judged(make_call(9, "aten::other"), 1e9)
    assert where_it_fails([*wrong, *right, other], op) == (
        "wrong in 2 of 5 calls: in every call with an operand that is not contiguous, and in no "
        "other"
    )
    assert where_it_fails(wrong, op) == "wrong in all 2 calls"


def test_what_the_pass_does_not_meet_comes_after_what_it_meets_and_before_the_healthy() -> None:
    assert first(
        make_judged(make_call(0, "aten::healthy"), 1.0),
        make_judged(make_call(1, "aten::provoked", layout="channels_last"), 1e6),
        make_judged(make_call(2, "aten::met"), 1e3),
    ) == ["aten::met", "aten::provoked", "aten::healthy"]


def test_layouts_are_lines_of_their_own_and_told() -> None:
    calls = [make_call(i, "aten::bmm", module="same", layout=layout) for i, layout in LAYOUTS]
    judged = [
        make_judged(call, ratio) for call, ratio in zip(calls, (1.0, 1.0, 1e6, 1e6), strict=True)
    ]
    assert [group.calls for group in ranked(judged)] == [1, 1, 2]
    assert where_it_fails(judged, "aten::bmm") == (
        "right in all 2 calls of this pass, but wrong with its input in channels_last "
        "and with its input as a slice of a larger tensor"
    )


def test_says_no_more_than_it_knows() -> None:
    op = "aten::convolution"
    wrong = make_judged(make_call(0, op), 1e6)
    right = make_judged(make_call(1, op, **strided(1)), 1.0)
    assert where_it_fails([wrong, right], op) == "wrong in 1 of 2 calls"
    assert where_it_fails([wrong], op) == "wrong in its only call"
