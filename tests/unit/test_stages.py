"""The timeline and the stages of the profiling pass, joined on the clock they share."""

import msgspec
from factories import make_pass

from sdbench.records import Stage
from sdbench.runner.stage_memory import with_sampled_ends, with_sampled_peaks


def make_stage(begin_t: float | None, duration_s: float, stage: str = "vae_decode") -> Stage:
    return Stage(
        stage=stage,
        duration_s=duration_s,
        peak_bytes=None,
        allocated_bytes=None,
        begin_t=begin_t,
    )


def point(t: float, footprint: int | None) -> bytes:
    line = {"t": t, "footprint_bytes": footprint, "available_bytes": 5, "thermal": "nominal"}
    return msgspec.json.encode(line) + b"\n"


TIMELINE = [
    point(9.9, 999),
    b'{"t": 10.0, "phase": "profile"}\n',
    point(10.0, 100),
    point(10.5, 300),
    point(11.0, None),
    point(11.5, 200),
    point(12.5, 800),
]


def test_each_stage_gets_the_highest_footprint_sampled_in_it() -> None:
    stages = [
        make_stage(10.0, 0.1, "text_encoder"),
        make_stage(10.1, 1.5, "denoising_step"),
        make_stage(11.6, 0.5),
    ]
    (profile,) = with_sampled_peaks([make_pass(kind="profile", stages=stages)], TIMELINE)
    assert profile.stages is not None
    assert [stage.footprint_peak_bytes for stage in profile.stages] == [100, 300, None]


def test_each_pass_gets_the_footprint_last_sampled_in_it() -> None:
    passes = [make_pass(index=index) for index in (1, 2, 3, 4)]
    found = with_sampled_ends(passes, [10.2, 11.2, 11.3, 13.0], TIMELINE)
    assert [entry.footprint_bytes for entry in found] == [100, 300, None, 800]
    assert [entry.footprint_bytes for entry in with_sampled_ends(passes[:1], [0.0], [])] == [None]


def test_passes_without_stages_are_left_as_they_are() -> None:
    passes = [make_pass(), make_pass(index=2)]
    assert with_sampled_peaks(passes, TIMELINE) == passes


def test_stage_of_an_older_worker_has_no_time_and_stays_unknown() -> None:
    (profile,) = with_sampled_peaks(
        [make_pass(kind="profile", stages=[make_stage(None, 5.0)])], TIMELINE
    )
    assert profile.stages is not None
    assert profile.stages[0].footprint_peak_bytes is None
