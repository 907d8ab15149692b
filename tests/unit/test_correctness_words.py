"""How a comparison with the CPU reads."""

from typing import Any

from sdbench.records import Compared, ImageCompared, Preflight, StageDifference
from sdbench.report.view.correctness_words import check_words, correctness_lines


def stage(
    name: Any, rel_l2: float | None, expected: float | None, margin: float | None = None
) -> StageDifference:
    return StageDifference(
        stage=name,
        rel_l2=rel_l2,
        max_abs=None,
        cosine=None,
        expected_rel_l2=expected,
        margin=margin,
    )


def compared(**fields: Any) -> Compared:
    defaults: dict[str, Any] = {
        "replicate_id": "64x64-abc.current.2",
        "attempt": 1,
        "case_id": "64x64-abc",
        "arm": "current",
        "dtype": "float16",
        "simulated": False,
        "verdict": "match",
    }
    return Compared(**{**defaults, **fields})


def test_a_match_is_told_with_its_distances_and_its_source() -> None:
    image = ImageCompared(
        image=0,
        passes=[1, 2, 0],
        pixels_sha256="a",
        latents_sha256="b",
        verdict="match",
        latents=stage("latents", 1.23e-3, 2e-3, 0.15),
        psnr_db=51.2,
        ssim=0.9987,
    )
    record = compared(
        reason="0.15 of what float16 rounding allows",
        reference="packaged, made with torch 2.13.0",
        images=[image],
        stages=[stage("text", 3e-4, None), stage("latents", 1.23e-3, 2e-3, 8771.0)],
    )
    run, text, latents, picture, *_ = correctness_lines([record, record])
    assert latents[1] == "1.2e-03 away, 8,771 times what rounding allows at its worst step"
    assert run == ("run 3", "same as CPU: 0.15 of what float16 rounding allows")
    assert text == ("  text embeddings", "3.0e-04 away")
    assert picture[0] == "  image 1"
    assert picture[1].split("; ") == [
        "pass 1, 2, profile: same as CPU",
        "final latents 1.2e-03 away, 0.15 of what rounding allows",
        "image PSNR 51 dB, SSIM 0.999",
    ]
    assert correctness_lines([record, record])[8:] == [
        ("CPU's image", "packaged, made with torch 2.13.0")
    ]


def test_what_is_wrong_is_named() -> None:
    image = ImageCompared(
        image=1,
        passes=[1],
        pixels_sha256="a",
        latents_sha256="b",
        verdict="broken",
        fault="another-picture",
        latents=stage("latents", None, 2e-3),
    )
    lines = dict(correctness_lines([compared(verdict="broken", images=[image])]))
    assert lines["run 3"] == "wrong"
    assert (
        lines["  image 2"]
        == "pass 1: wrong; an image different from the CPU's; final latents not finite"
    )


def test_the_check_before_a_run_is_one_line_that_obeys_nothing() -> None:
    check = Preflight(
        device="mps",
        dtype="float16",
        simulated=True,
        outcome="ok",
        verdict="broken",
        reason="image 1 is noise\x1b[31m",
        prompt="a red circle on a white background",
        content="wrong",
        content_reason="there is nothing red",
        duration_s=9.5,
    )
    words = check_words(check)
    assert words == (
        "wrong, not as asked – a red circle on a white background, in float16 on mps, 9.5 s "
        "(image 1 is noise\\x1b[31m; there is nothing red)"
    )
    dead = Preflight(
        device="mps",
        dtype="float16",
        simulated=True,
        outcome="crashed",
        verdict="unknown",
        prompt="p",
        duration_s=3,
    )
    assert check_words(dead).startswith("crashed – p")
    assert dead.wrong
