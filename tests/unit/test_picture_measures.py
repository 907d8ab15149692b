"""Measures of two images, beside what is worked out in the plainest way."""

from typing import Any

import numpy as np
import pytest
from quality_factories import noise_picture, smooth_picture

from sdbench.correctness import picture_differences as differences
from sdbench.correctness import picture_measures
from sdbench.correctness.measures import to_pixels

RNG = np.random.default_rng


@pytest.mark.parametrize("shape", [(64, 64, 3), (65, 79, 3), (5, 5, 3), (8, 200, 3), (71, 24, 3)])
def test_errors_of_blocks_are_those_of_each_by_itself(shape: tuple[int, int, int]) -> None:
    left = RNG(0).integers(-255, 256, shape).astype(float)
    rows, columns = (max(1, min(8, side // 8)) for side in shape[:2])
    expected = [
        [np.sqrt((part**2).mean()) for part in np.array_split(strip, columns, axis=1)]
        for strip in np.array_split(left, rows, axis=0)
    ]
    assert picture_measures.block_errors(left) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("side", [64, 640])
@pytest.mark.parametrize(("down", "right"), [(1, 0), (-2, 1), (5, -9)])
def test_shift_is_found_rolled_around_or_not(side: int, down: int, right: int) -> None:
    """An image of 640 pixels is sampled."""
    picture = RNG(1).integers(0, 256, (side, side, 3)).astype(np.uint8)
    rolled = np.roll(picture, (down, right), axis=(0, 1))
    found = picture_measures.moved(rolled, picture)
    assert (found.down, found.right, found.left_over) == (down, right, 0.0)
    uncovered = rolled.copy()
    uncovered[: max(0, down)] = uncovered[side + min(0, down) :] = 7
    uncovered[:, : max(0, right)] = uncovered[:, side + min(0, right) :] = 7
    found = picture_measures.moved(uncovered, picture)
    assert (found.down, found.right, found.left_over) == (down, right, 0.0)


def test_two_pictures_are_judged_once_and_each_caller_has_a_list_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[Any] = []
    judge = differences._differences

    def counting(*arguments: Any) -> Any:
        judged.append(arguments)
        return judge(*arguments)

    monkeypatch.setattr(differences, "_differences", counting)
    monkeypatch.setattr(differences, "_JUDGED", {})
    got, expected = to_pixels(noise_picture(3)), to_pixels(smooth_picture(3))
    first = differences.picture_differences(got, expected, 1.0)
    assert first
    first.clear()
    assert differences.picture_differences(got.copy(), expected, 1.0) and len(judged) == 1
    for other in ((expected, got, 1.0), (got, expected, 2.0), (got[::-1], expected, 1.0)):
        differences.picture_differences(*other)
    differences.picture_differences(got, expected, 1.0, tiled=True)
    differences.picture_differences(got, expected, 1.0, share=0.5)
    assert len(judged) == 6, "whatever is asked otherwise is judged anew"
