"""Operations over time over the limit: plain arithmetic, and a reason for all that is not known."""

import math
from typing import Any

import msgspec
import pytest
from factories import make_config, make_pass, make_replicate, make_run, make_slot, summarise

from sdbench.analysis.efficiency import CaseEfficiency, case_efficiency
from sdbench.records import Case, CountedFlops, MatmulRate, Replicate, Stage
from sdbench.report.view.efficiency_words import efficiency_sentence, efficiency_words

FLOPS = CountedFlops(text_encoder=10, denoising=6000, vae_decode=900, measured_pass=4 * 6910)
CASE = Case(dtype="float16")


def stage(name: str, duration_s: float) -> Stage:
    return Stage(stage=name, duration_s=duration_s, peak_bytes=None, allocated_bytes=None)


def profiled(arm: str = "current", **fields: Any) -> Replicate:
    """A process that counted; its profiled call took 0.5 s, 3 × 1 s and 2 s."""
    stages = [stage("text_encoder", 0.5), *[stage("denoising_step", 1.0)] * 3]
    stages.append(stage("vae_decode", 2.0))
    passes = [make_pass(4.0), make_pass(6.0, 0, kind="profile", stages=stages)]
    return make_replicate(make_slot(arm=arm), **{"passes": passes, "flops": FLOPS, **fields})


def ceiling(arm: str = "current", **fields: Any) -> MatmulRate:
    return MatmulRate(
        arm=arm,
        **{
            "dtype": "float16",
            "device": "mps",
            "simulated": False,
            "flops_per_s": 20_000.0,
            **fields,
        },
    )


def efficiency(
    replicates: list[Replicate],
    *ceilings: MatmulRate,
    arm: str = "current",
    latency_s: float | None = 4.0,
) -> CaseEfficiency:
    own = [entry for entry in replicates if entry.arm == arm]
    return case_efficiency(CASE, arm, own, replicates, ceilings, latency_s)


def test_whole_is_of_the_steady_latency_and_stages_of_the_profiled_call() -> None:
    found = efficiency([profiled()], ceiling())
    assert found.pass_flops == 27_640
    assert found.achieved_flops_per_s == pytest.approx(6_910)
    assert found.ceiling_share == pytest.approx(6_910 / 20_000)
    assert {one.stage: one.achieved_flops_per_s for one in found.stages} == {
        "text_encoder": pytest.approx(20),
        "denoising": pytest.approx(2_000),
        "vae_decode": pytest.approx(450),
    }
    denoising = found.stages[1]
    assert denoising.flops == 6000
    assert denoising.duration_s == pytest.approx(3.0)
    assert denoising.ceiling_share == pytest.approx(0.1)
    assert found.unavailable == {} and found.counted_in is None


def test_process_has_its_own_rate() -> None:
    found = efficiency([profiled()], ceiling())
    slower = found.at(8.0)
    assert slower.achieved_flops_per_s == pytest.approx(3_455)
    assert slower.ceiling_share == pytest.approx(3_455 / 20_000)
    assert (found.at(None).achieved_flops_per_s, found.at(None).ceiling_share) == (None, None)
    assert found.at(4.0) == found


def test_limit_is_that_of_the_dtype_and_the_arm() -> None:
    others = ceiling(dtype="float32", flops_per_s=1.0), ceiling("old", flops_per_s=2.0)
    found = efficiency([profiled()], *others)
    assert (found.ceiling_flops_per_s, found.ceiling_share) == (None, None)
    assert found.unavailable == {"ceiling_flops_per_s": "not measured"}
    assert found.achieved_flops_per_s is not None
    assert efficiency([profiled()], *others, ceiling()).ceiling_flops_per_s == 20_000


def test_why_a_limit_was_not_measured_is_told() -> None:
    found = efficiency([profiled()], ceiling(flops_per_s=None, reason="no float16 here"))
    assert found.unavailable == {"ceiling_flops_per_s": "no float16 here"}


def test_arm_that_cannot_count_takes_the_count_of_one_that_can() -> None:
    old = profiled("old", flops=None, flops_missing="this torch has no flop counter")
    found = efficiency([old, profiled("new")], ceiling("old"), arm="old", latency_s=8.0)
    assert (found.pass_flops, found.counted_in) == (27_640, "new")
    assert found.achieved_flops_per_s == pytest.approx(3_455)
    assert [one.stage for one in found.stages] == ["text_encoder", "denoising", "vae_decode"]


def test_without_a_count_the_reason_stands_and_no_number_is_made_up() -> None:
    old = profiled(flops=None, flops_missing="this torch has no flop counter")
    found = efficiency([old], ceiling())
    assert (found.pass_flops, found.achieved_flops_per_s, found.ceiling_share) == (None, None, None)
    assert found.stages == []
    assert found.unavailable == {"pass_flops": "this torch has no flop counter"}
    assert efficiency([]).unavailable["pass_flops"] == "not run"
    assert efficiency([make_replicate()]).unavailable["pass_flops"] == "not counted"


def test_without_a_steady_latency_there_is_no_rate_of_the_whole() -> None:
    found = efficiency([profiled()], ceiling(), latency_s=None)
    assert (found.pass_flops, found.achieved_flops_per_s) == (27_640, None)
    assert found.unavailable == {"achieved_flops_per_s": "no steady latency"}
    assert len(found.stages) == 3


def test_words_give_rate_share_and_stages() -> None:
    scale = 10**9
    big = msgspec.structs.replace(
        FLOPS,
        **{name: scale * getattr(FLOPS, name) for name in FLOPS.__struct_fields__},
    )
    found = efficiency([profiled(flops=big)], ceiling(flops_per_s=20e12))
    words = efficiency_words(found, "float16")
    assert words.startswith("27.6 TFLOP per pass, 6.91 TFLOP/s: ")
    assert "35% of the rate of large float16 matrix products (20 TFLOP/s here)" in words
    assert "of that rate in the profiling pass: " in words, "a share of a rate, not of time"
    assert "denoising 10%" in words and "VAE decode 2%" in words and "other kernels" not in words
    assert found.ceiling_of == "large float16 matrix products"
    assert efficiency([profiled(flops=big)]).ceiling_of is None
    unknown = efficiency_words(efficiency([make_replicate()]), "float16")
    assert unknown == "not known (not counted)"


def test_more_than_the_products_rate_is_no_riddle() -> None:
    found = efficiency([profiled(flops=FLOPS)], ceiling(flops_per_s=1.0))
    words = efficiency_words(found, "float32")
    assert "of the rate of large float32 matrix products, so it runs other kernels" in words
    assert "% (other kernels)" in words.partition("in the profiling pass: ")[2]
    assert "limit" not in words and "ceiling" not in words


def test_text_encoder_of_no_time_has_no_rate() -> None:
    found = efficiency(
        [profiled(passes=[make_pass(6.0, 0, kind="profile", stages=[stage("text_encoder", 0.0)])])]
    )
    (only,) = found.stages
    assert only.achieved_flops_per_s is None and only.ceiling_share is None
    assert not math.isnan(only.duration_s)


def test_run_has_one_sentence_with_the_range_and_the_limits() -> None:
    matrix = {"resolution": ["64x64", "128x128"], "dtype": ["float16"]}
    run = make_run(make_config(matrix=matrix, replicates=1))
    records = [
        make_replicate(slot, (9.0, latency_s), flops=FLOPS)
        for slot, latency_s in zip(run.plan.slots, (2.0, 4.0), strict=True)
    ]
    summary = summarise(run, records, "x", ceilings=[ceiling(flops_per_s=27_640.0)])
    sentence = efficiency_sentence(summary)
    assert sentence is not None
    assert "25% to 50% of the rate" in sentence and "float16 2.76e-05 GFLOP/s" in sentence
    assert efficiency_sentence(summarise(run, records, "x")) is None
