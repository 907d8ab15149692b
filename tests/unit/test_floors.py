"""The noise floor: errors of single steps, added up to what a free run may be expected to show."""

import json
import math
from pathlib import Path

import pytest
from quality_factories import STEPS, make_floor, make_reference, write_reference

from sdbench.correctness.floors import load_floor


def test_errors_of_steps_add_up_as_independent_ones() -> None:
    divergence = make_floor().expected_divergence()
    assert divergence is not None
    assert divergence.tolist() == pytest.approx([math.sqrt(k) * 1e-3 for k in range(STEPS + 1)])


def test_steps_not_computed_take_what_lies_between() -> None:
    divergence = make_floor(steps=3, latents={1: 1e-3, 3: 3e-3}).expected_divergence()
    assert divergence is not None
    assert divergence[2] == pytest.approx(math.hypot(1e-3, 2e-3))


def test_the_noise_s_own_rounding_stays() -> None:
    divergence = make_floor(noise=2e-3, latents={1: 0.0}).expected_divergence()
    assert divergence is not None
    assert divergence.tolist() == pytest.approx([2e-3] * (STEPS + 1))


def test_picture_shows_part_of_the_latents_error() -> None:
    assert make_floor().expected_picture(0.5) == pytest.approx(1e-3 + 0.5 * 2e-3)
    assert make_floor().expected_picture(None) is None


def test_overflow_in_the_emulation_means_no_expectation() -> None:
    floor = make_floor(latents={1: 1e-3, STEPS: None})
    assert floor.expected_divergence() is None
    assert floor.expected_picture(0.5) is None
    assert make_floor(noise=None).expected_divergence() is None


def test_floor_is_read_as_written_and_a_torn_one_is_none(tmp_path: Path) -> None:
    floor = make_floor(
        latents={1: 1e-3, STEPS: None}, not_float64=("transformer.pos_embed (FluxPosEmbed)",)
    )
    write_reference(tmp_path, make_reference(), [floor])
    path = tmp_path / "floor-float16.json"
    assert load_floor(path) == floor
    path.write_text(path.read_text()[:20])
    assert load_floor(path) is None
    assert load_floor(tmp_path / "floor-bfloat16.json") is None


def test_floor_of_an_older_sdbench_does_not_say_what_stayed_float32(tmp_path: Path) -> None:
    write_reference(tmp_path, make_reference(), [make_floor()])
    path = tmp_path / "floor-float16.json"
    document = json.loads(path.read_text())
    del document["not_float64"]
    path.write_text(json.dumps(document))
    floor = load_floor(path)
    assert floor is not None and floor.not_float64 is None


@pytest.mark.parametrize(
    ("dtype", "highest"), [("float32", 1e-3), ("float16", 0.03), ("bfloat16", 0.12)]
)
def test_floor_that_is_higher_than_rounding_can_be_is_not_believed(
    dtype: str, highest: float
) -> None:
    assert make_floor(dtype=dtype, picture=0.9 * highest).excess is None
    found = make_floor(dtype=dtype, picture=1.1 * highest).excess
    assert found is not None and "picture" in found and f"stays below {highest:g}" in found
