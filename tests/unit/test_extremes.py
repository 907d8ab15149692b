"""Dear readings reduced to worst levels and peaks."""

from factories import make_slow

from sdbench.process.slow_readings import TimedReading, extremes


def test_throttling_reasons_are_gathered_over_all_passes() -> None:
    found = extremes(
        [
            TimedReading(make_slow(gpu_throttled=["heat"]), in_pass=True),
            TimedReading(make_slow(gpu_throttled=[]), in_pass=True),
            TimedReading(make_slow(gpu_throttled=["power limit"]), in_pass=True),
            TimedReading(make_slow(gpu_throttled=["while loading"]), in_pass=False),
        ]
    )
    assert found["gpu_throttled"] == ["heat", "power limit"]


def test_value_known_once_is_kept_and_needs_no_reason() -> None:
    found = extremes(
        [
            TimedReading(make_slow(), in_pass=True),
            TimedReading(make_slow(compressor_bytes=7, free_percent=81), in_pass=True),
            TimedReading(make_slow(compressor_bytes=5, free_percent=40), in_pass=True),
        ]
    )
    assert (found["compressor_peak_bytes"], found["least_free_percent"]) == (7, 40)
    assert "compressor_peak_bytes" not in found["unavailable"]


def test_gpu_of_a_process_that_made_no_picture_has_a_reason() -> None:
    found = extremes([TimedReading(make_slow(gpu_power_w=5.0), in_pass=False)])
    assert "gpu_power_mean_w" not in found
    assert found["unavailable"]["gpu_power_mean_w"] == "no reading fell into a pass"


def test_process_that_was_never_read_has_a_reason_for_everything() -> None:
    found = extremes([])
    assert set(found) == {"unavailable"}
    assert found["unavailable"]["thermal_peak"] == "the process ended before the first reading"
