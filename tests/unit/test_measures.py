"""Distances of arrays and images, on cases whose answer is known."""

import math

import numpy as np
import pytest
from quality_factories import noise_picture, smooth_picture

from sdbench.correctness import measures


def test_relative_l2_is_the_distance_over_the_expected_norm() -> None:
    expected = np.array([3.0, 4.0])
    assert measures.relative_l2(np.array([3.0, 4.5]), expected) == pytest.approx(0.1)
    assert measures.relative_l2(expected, expected) == 0.0


def test_what_is_not_finite_has_no_distance() -> None:
    expected, got = np.ones(3), np.array([1.0, np.nan, 1.0])
    assert measures.relative_l2(got, expected) is None
    assert measures.max_abs(got, expected) is None
    assert measures.cosine(got, expected) is None
    assert measures.relative_l2(np.ones(2), np.zeros(2)) is None
    assert measures.relative_l2(np.zeros(2), np.zeros(2)) == 0.0


def test_half_precision_numbers_are_compared_in_double() -> None:
    got = np.full(4, 60000.0, np.float16)  # its square is infinite in its own type
    assert measures.relative_l2(got, got) == 0.0


def test_correlation_ignores_brightness_and_contrast() -> None:
    pixels = measures.to_pixels(smooth_picture())
    darker = (pixels // 2 + 10).astype(np.uint8)
    assert measures.correlation(darker, pixels) == pytest.approx(1.0, abs=1e-3)
    other = measures.correlation(measures.to_pixels(smooth_picture(1)), pixels)
    assert other is not None and other < 0.8


def test_psnr_of_one_level_is_48_db_and_of_nothing_is_infinite() -> None:
    pixels = measures.to_pixels(smooth_picture())
    assert measures.peak_signal_to_noise_db(pixels, pixels) is None
    decibels = measures.peak_signal_to_noise_db(pixels + 1, pixels)
    assert decibels == pytest.approx(20 * math.log10(255))
    assert measures.structural_similarity(pixels, pixels) == pytest.approx(1.0)


def test_cells_of_noise_do_not_follow_each_other() -> None:
    noise = measures.neighbour_correlation(measures.to_pixels(noise_picture()))
    smooth = measures.neighbour_correlation(measures.to_pixels(smooth_picture()))
    assert noise is not None and abs(noise) < 0.3
    assert smooth is not None and smooth > 0.7
    small = measures.neighbour_correlation(measures.to_pixels(noise_picture())[:32, :32])
    assert small is not None and abs(small) < 0.6, "four cells a side are enough"
    assert measures.neighbour_correlation(np.zeros((64, 64, 3), np.uint8)) is None
    assert measures.neighbour_correlation(np.zeros((16, 16, 3), np.uint8)) is None


def test_pixels_are_those_a_worker_stores() -> None:
    picture = np.array([0.0, 0.5, 1.0, 2.0, -1.0, np.nan], np.float32).reshape(1, 1, 6)
    pixels = measures.to_pixels(np.repeat(picture, 3, axis=0))
    assert pixels.shape == (1, 6, 3)
    assert pixels[0, :, 0].tolist() == [0, 128, 255, 255, 0, 0]
    packed = np.zeros((3, 1, 6), np.uint8)
    assert measures.to_pixels(packed).shape == (1, 6, 3)


def test_errors_in_the_same_places_correlate() -> None:
    latents = np.zeros((4, 8, 8), np.float32)
    moved_latents = latents.copy()
    moved_latents[:, 2:4, 5] = 1.0
    pixels = measures.to_pixels(smooth_picture())
    there, elsewhere = pixels.copy(), pixels.copy()
    there[16:32, 40:48] ^= 64
    elsewhere[48:64, :8] ^= 64
    same = measures.correlation_of_errors(there, pixels, moved_latents, latents)
    assert same == pytest.approx(1.0, abs=0.05)
    other = measures.correlation_of_errors(elsewhere, pixels, moved_latents, latents)
    assert other is not None and other < 0.1


def test_errors_that_cannot_be_placed_have_no_correlation() -> None:
    latents, pixels = np.zeros((4, 8, 8), np.float32), np.zeros((64, 64, 3), np.uint8)
    infinite = latents.copy()
    infinite[0, 0, 0] = np.inf

    def together(one: np.ndarray, picture: np.ndarray = pixels) -> float | None:
        return measures.correlation_of_errors(picture, picture + 1, one, latents)

    assert together(latents[:, :4]) is None, "another size"
    assert together(infinite) is None
    assert together(latents + 1, pixels[:60]) is None, "points are no whole number of pixels"
