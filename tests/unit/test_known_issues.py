"""The catalogue of known issues, what a case meets of it, and predicted attention sizes."""

import inspect

import msgspec
import pytest

from sdbench.knowledge.attention_limits import predicted_overflow, unet_scores, vae_scores
from sdbench.knowledge.chips import chip_family
from sdbench.knowledge.known_issues import (
    KnownIssue,
    Settings,
    load_known_issues,
    matching_issues,
    parse_known_issues,
)
from sdbench.records import AXES, Case, DeviceKind
from sdbench.worker.probes import PROBES

ENTRY = """
[[issue]]
id = "one"
title = "t"
what = "w"
workaround = "a"
links = ["https://example.org/1"]
confidence = "lead"
[issue.affects]
"""


def met(
    case: Case,
    *,
    entries: tuple[KnownIssue, ...] | None = None,
    device: DeviceKind = "mps",
    torch: str | None = "2.13.0",
    macos: str | None = "15.3",
    chip: str | None = "Apple M4 Pro",
    diffusers: str | None = "0.42.1",
    images: int = 1,
    pipeline_class: str = "StableDiffusionPipeline",
) -> list[str]:
    issues = matching_issues(
        load_known_issues() if entries is None else entries,
        device=device,
        torch=torch,
        macos=macos,
        chip=chip,
        diffusers=diffusers,
        case=case,
        images=images,
        pipeline_class=pipeline_class,
    )
    return [issue.id for issue in issues]


def test_every_issue_of_the_seed_is_there() -> None:
    links = " ".join(link for issue in load_known_issues() for link in issue.links)
    for thread in (
        *("diffusers/issues/372", "diffusers/pull/2771"),
        *("diffusers/issues/363", "diffusers/issues/941", "diffusers/issues/1519"),
        *("pytorch/issues/169342", "pytorch/issues/96113", "diffusers/issues/4480"),
        *("stable-diffusion-webui/pull/8866", "pytorch/issues/187521", "diffusers/issues/11229"),
        *("diffusers/issues/14438", "InvokeAI/issues/7049", "pytorch/issues/163597"),
        *("pytorch/issues/179352", "pytorch/issues/197636", "pytorch/issues/152344"),
        *("pytorch/issues/152550", "pytorch/issues/181213", "pytorch/issues/180984"),
        *("pytorch/issues/174345", "pytorch/issues/192212", "pytorch/issues/187280"),
        *("Fooocus/issues/2171", "diffusers/issues/548", "pytorch/issues/139389"),
        "InvokeAI/issues/398",
        *("pytorch/issues/180776", "pytorch/pull/181466", "pytorch/issues/196582"),
        *("pytorch/issues/197796", "pytorch/pull/190791", "pytorch/pull/181742"),
        *("diffusers/pull/14459", "kornia/issues/4159"),
    ):
        assert thread + " " in links + " ", thread


def test_entries_are_written_for_people() -> None:
    issues = load_known_issues()
    assert len(issues) >= 60
    for issue in issues:
        assert issue.what.endswith("."), issue.id
        assert issue.workaround.endswith("."), issue.id
        assert not issue.title.endswith("."), issue.id
        if not issue.when:
            reasons = ("no case meets it", "t is a lead", "this is a lead", "think of it when")
            assert any(reason in issue.what or "no case" in issue.what for reason in reasons), (
                issue.id
            )


def test_linear_on_m5_before_torch_2_12() -> None:
    half = Case(dtype="bfloat16")
    id_ = "linear-nondeterministic-m5"
    assert id_ in met(half, torch="2.11.0", macos="26.4", chip="Apple M5 Max")
    assert id_ not in met(half, torch="2.13.0", macos="26.4", chip="Apple M5 Max")
    assert id_ not in met(half, torch="2.11.0", macos="26.4", chip="Apple M4 Max")
    assert id_ not in met(half, torch="2.11.0", macos="26.4", chip=None), "an unknown chip"
    assert id_ not in met(half, torch=None, macos="26.4", chip="Apple M5 Max")
    assert id_ not in met(Case(dtype="float32"), torch="2.11.0", macos="26.4", chip="Apple M5")


def test_a_virtual_mac_is_none_of_the_real_chips() -> None:
    case = Case(dtype="float32")
    virtual = "Apple M1 (Virtual)"
    assert met(case, macos="26.5", chip=virtual) == ["virtual-macos-26-wrong"]
    assert met(case, torch="2.14.0", macos="26.5", chip=virtual) == ["virtual-metal-4"]
    assert met(case, macos="15.6", chip=virtual) == []
    assert met(case, macos="14.7", chip=virtual) == ["virtual-no-memory"]
    assert met(case, macos="26.5", chip="Apple M1") == []
    large = Case(resolution="1472x1472", attention="math")
    assert "bmm-long-reduction-m1-m2" in met(large, chip="Apple M2 Ultra")
    for chip in (virtual, "Apple M3", "Apple M10", "Intel(R) Core(TM) i9", None):
        assert "bmm-long-reduction-m1-m2" not in met(large, chip=chip), chip


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Apple M5 Max", "M5"),
        ("Apple M1", "M1"),
        ("Apple M12", "M12"),
        ("Apple M1 (Virtual)", "virtual"),
        ("VirtualApple @ 2.50GHz", "virtual"),
        ("Apple Paravirtual device", "virtual"),
        ("Apple A18 Pro", None),
        ("Intel(R) Core(TM) M5-6Y57", None),
        ("", None),
        (None, None),
    ],
)
def test_family_of_a_chip(name: str | None, family: str | None) -> None:
    assert chip_family(name) == family


def test_what_a_fault_is_known_of() -> None:
    (issue,) = (i for i in load_known_issues() if i.id == "linear-nondeterministic-m5")
    assert issue.known_of("2.12.1", "26.4", "Apple M5")
    assert not issue.known_of("2.13.0", "26.4", "Apple M5")
    assert not issue.known_of("2.12.1", "26.4", "Apple M4")
    assert not issue.known_of(None, "26.4", "Apple M5"), "an unknown torch"
    (issue,) = (i for i in load_known_issues() if i.id == "macos-14.4-solid-colour")
    assert issue.affects is None and issue.known_of("2.2.1", "14.4", None)


def test_every_probe_is_there_short_and_used() -> None:
    probes = {issue.probe for issue in load_known_issues() if issue.probe}
    assert probes == PROBES.keys()
    for name, probe in PROBES.items():
        assert len(inspect.getsource(probe).strip().splitlines()) <= 20, name


def test_settings_are_the_axes_of_a_case() -> None:
    assert set(Settings.__struct_fields__) == set(AXES) - {"resolution"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENTRY + "colour = 1", "colour"),
        (ENTRY + "[[issue.when]]\nsettings = { slicing = [true] }", "slicing"),
        (ENTRY + '[[issue.when]]\nsettings = { dtype = ["float64"] }', "float64"),
        (ENTRY + '[[issue.when]]\ntorch = "below 2"', "one: Invalid specifier"),
        (ENTRY + ENTRY, "one: this id is used twice"),
        (ENTRY.replace("https://example.org/1", "example.org"), "one: expected at least one link"),
        (ENTRY.replace('"lead"', '"sure"'), "sure"),
        (ENTRY.replace("[[issue]]", "[[issue"), "line 2"),
        (ENTRY.replace("[issue.affects]", ""), "one: expected a table when or affects"),
        (ENTRY + 'torch = "below 2"', "one: Invalid specifier"),
        (ENTRY + 'chip = ["M0"]', "M0"),
    ],
)
def test_a_bad_catalogue_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_known_issues(text)


def test_sliced_attention_before_torch_2_14() -> None:
    sliced = Case(attention_slicing=True, dtype="float16")
    assert met(sliced) == ["baddbmm-nan"]
    assert met(sliced, torch="1.13.1", macos="13.6") == [
        "first-pass-differs",
        "baddbmm-nan",
        "slowdown-torch-1.13",
    ]
    assert met(sliced, torch="2.14.0") == []
    assert met(sliced, device="cpu") == []
    assert met(sliced, device="cuda") == []
    assert met(Case(dtype="float16")) == []


def test_the_smallest_attention_on_the_cpu_before_torch_2_1() -> None:
    small, sliced = Case(resolution="64x64"), Case(resolution="64x64", attention_slicing=True)
    assert met(small, device="cpu", torch="1.13.1") == ["baddbmm-nan-cpu"]
    assert met(small, device="cpu", torch="2.0.1") == [], "attention of its own, if not sliced"
    assert met(sliced, device="cpu", torch="2.0.1") == ["baddbmm-nan-cpu"]
    assert met(sliced, device="cpu", torch="2.1.0") == []
    assert met(Case(resolution="128x128"), device="cpu", torch="1.13.1") == []


def test_local_and_nightly_versions_count_as_their_release() -> None:
    sliced = Case(attention_slicing=True, dtype="float16")
    assert met(sliced, torch="2.13.0+cpu") == ["baddbmm-nan"]
    assert met(sliced, torch="2.13.1a0+git1234567") == ["baddbmm-nan"]
    assert met(sliced, torch="2.14.0.dev20260901") == []
    half = Case(dtype="float16")
    assert met(half, torch="2.0.0a0+gite00d", macos="13.6") == ["fp16-layernorm-abort"]
    assert met(half, torch="2.0.1", macos="14.1") == [
        "fp16-layernorm-abort",
        "macos-14-neural-engine",
    ]
    assert met(half, torch="2.1.2", macos="14.1") == []


@pytest.mark.parametrize("unknown", [None, "", "unknown", "a.b"])
def test_unknown_versions_match_no_specifier(unknown: str | None) -> None:
    assert met(Case(attention_slicing=True, dtype="float16"), torch=unknown) == []
    large = Case(resolution="1032x1024", dtype="float16")
    assert "linear-large-macos-13.2" in met(large, macos="13.2.1")
    assert "linear-large-macos-13.2" not in met(large, macos=unknown)
    assert "linear-large-macos-13.2" not in met(large, macos="13.3")


def test_unknown_macos_matches_where_an_entry_says_so() -> None:
    when = '[[issue.when]]\nmacos = ">=15"\n'
    plain, stated = (
        parse_known_issues(ENTRY + when),
        parse_known_issues(ENTRY + when + "unknown_macos = true"),
    )
    assert met(Case(), entries=plain, macos=None) == []
    assert met(Case(), entries=stated, macos=None) == ["one"]
    assert met(Case(), entries=stated, macos="14.6") == []
    assert met(Case(), entries=stated, macos="26.0") == ["one"]


def test_one_table_that_holds_is_enough() -> None:
    entries = parse_known_issues(
        ENTRY + '[[issue.when]]\ntorch = "<2"\n[[issue.when]]\ndiffusers = ">=0.40"\n'
    )
    assert met(Case(), entries=entries, torch="1.13.1", diffusers="0.31.0") == ["one"]
    assert met(Case(), entries=entries, torch="2.5.1", diffusers="0.42.1") == ["one"]
    assert met(Case(), entries=entries, torch="2.5.1", diffusers="0.31.0") == []


def test_warm_up_and_batches_on_torch_1_13() -> None:
    def found(case: Case, images: int = 4) -> list[str]:
        return met(case, torch="1.13.1", images=images)

    assert "first-pass-differs" in found(Case())
    assert "first-pass-differs" not in found(Case(warmup=True))
    assert "batch-crash-or-noise" not in found(Case(batching="loop"))
    assert "batch-crash-or-noise" in found(Case(batching="batch"))
    assert "batch-crash-or-noise" not in found(Case(batching="batch"), images=1)


def test_sdxl_entries() -> None:
    half = Case(resolution="1024x1024", dtype="float16")
    sdxl = "StableDiffusionXLPipeline"
    assert met(half, pipeline_class=sdxl) == ["sdxl-vae-float16"]
    assert met(half, pipeline_class=sdxl, device="cuda") == ["sdxl-vae-float16"]
    old = met(half, pipeline_class=sdxl, torch="2.12.0", macos="27.0")
    assert old == ["sdxl-vae-float16", "sdxl-corrupted-macos-27"]
    offloaded = Case(attention_slicing=True, offload="model", dtype="float32")
    assert met(offloaded, pipeline_class=sdxl) == ["baddbmm-nan", "baddbmm-nan-offload"]


def test_dtype_and_macos() -> None:
    brain = Case(dtype="bfloat16")
    assert met(brain, torch="2.2.2", macos="14.3") == ["bfloat16-unsupported", "bfloat16-slow"]
    assert met(brain, torch="2.5.1", macos="13.6") == [
        "bfloat16-unsupported",
        "bfloat16-slow",
        "slowdown-torch-2.5",
    ]
    assert met(brain) == ["bfloat16-slow"]
    assert met(Case(), torch="2.7.0") == ["sdpa-float32-leak"]
    assert met(Case(attention="math"), torch="2.7.0") == ["softmax-nan-large"]
    assert met(Case(dtype="float16"), torch="2.2.1", macos="14.4.1") == ["macos-14.4-solid-colour"]


def test_sizes() -> None:
    at_1024 = Case(resolution="1024x1024", dtype="float16", batching="batch")
    assert "sdpa-over-2-32-elements" not in met(at_1024, images=1)  # exactly 2**32 is not above
    assert "sdpa-over-2-32-elements" in met(at_1024, images=2)
    assert "bmm-over-2-32-elements" not in met(at_1024, images=2)
    plain = msgspec.structs.replace(at_1024, attention="math")
    assert "bmm-over-2-32-elements" in met(plain, images=2)
    assert "bmm-over-2-32-elements" not in met(plain, images=2, macos="14.6")
    single = Case(resolution="768x768", dtype="float32")
    assert "ndarray-over-2-32-bytes" in met(single, torch="2.5.1")
    assert "ndarray-over-2-32-bytes" not in met(single, torch="2.13.0")
    assert "ndarray-over-2-32-bytes" not in met(
        msgspec.structs.replace(single, attention_slicing=True), torch="2.5.1"
    )


def test_scores_of_sd15() -> None:
    """16·L² elements with guidance for 8 heads, L = (H/8)(W/8), for each image of a batch."""
    assert unet_scores(Case(), 4, True, 8).elements == 16 * 4096**2
    assert unet_scores(Case(), 4, True, 8).size_bytes == 2**30
    assert unet_scores(Case(batching="batch"), 4, True, 8).elements == 64 * 4096**2
    assert unet_scores(Case(), 4, False, 8).elements == 8 * 4096**2
    assert unet_scores(Case(resolution="768x512"), 1, True, 8).elements == 16 * (96 * 64) ** 2
    sliced = Case(batching="batch", attention_slicing=True)
    assert unet_scores(sliced, 4, True, 8).elements == 4 * 4096**2
    assert unet_scores(Case(resolution="1024x1024"), 1, True, 10, 16).elements == 20 * 4096**2


def test_scores_of_the_vae() -> None:
    batch = Case(resolution="2048x2048", batching="batch", dtype="float16")
    assert vae_scores(batch, 2).elements == 2 * 65_536**2
    assert vae_scores(msgspec.structs.replace(batch, vae_slicing=True), 2).elements == 65_536**2
    assert vae_scores(msgspec.structs.replace(batch, vae_tiling=True), 2).elements == 2 * 16_384**2
    assert vae_scores(msgspec.structs.replace(batch, batching="loop"), 2).elements == 65_536**2


def test_predicted_overflow() -> None:
    assert predicted_overflow(Case(), 4, True, 8, "2.13.0") == []
    assert predicted_overflow(Case(resolution="768x768"), 1, True, 8, "2.5.1") == [
        (
            "The attention scores in the UNet's self-attention have 1,358,954,496 elements (5.1 "
            "GiB in float32); that reaches 2**32 bytes: Metal is known to end the process there."
        )
    ]
    newer = predicted_overflow(Case(resolution="768x768"), 1, True, 8, "2.13.0+cpu")
    assert newer[0].endswith("there; seen up to torch 2.8.")
    exact = Case(resolution="1024x1024", dtype="float16")
    (sentence,) = predicted_overflow(exact, 1, True, 8, None)
    assert "4,294,967,296 elements (8.0 GiB in float16); that reaches 2**32 elements" in sentence
    assert "without an error" in sentence
    (half,) = predicted_overflow(exact, 1, False, 8, "2.13.0")
    assert "2,147,483,648 elements" in half
    assert "reaches 2**31 elements" in half
    (old,) = predicted_overflow(exact, 1, True, 8, "1.13.1")
    assert "end the process" in old


def test_predicted_overflow_on_torch_1_13_from_2_gib_on() -> None:
    batch = Case(batching="batch")
    assert predicted_overflow(batch, 2, True, 8, "2.13.0") == []
    (sentence,) = predicted_overflow(batch, 2, True, 8, "1.13.1")
    assert "536,870,912 elements (2.0 GiB in float32)" in sentence
    assert "torch 1.12 and 1.13 are known to crash" in sentence


def test_predicted_overflow_slicing_and_tiling_divide() -> None:
    sliced = Case(resolution="1024x1024", dtype="float16", attention_slicing=True)
    assert predicted_overflow(sliced, 4, True, 8, "2.14.0") == []
    both = predicted_overflow(Case(resolution="2048x2048", dtype="float16"), 1, True, 8, "2.15.0")
    assert len(both) == 2
    assert "the VAE's attention have 4,294,967,296 elements" in both[1]
    assert both[0].endswith("seen up to torch 2.14.")
    tiled = Case(resolution="2048x2048", dtype="float16", vae_tiling=True)
    assert len(predicted_overflow(tiled, 1, True, 8, "2.15.0")) == 1


@pytest.mark.parametrize("version", ["not a version", "", "2"])
def test_predicted_overflow_takes_any_version_text(version: str) -> None:
    assert len(predicted_overflow(Case(resolution="768x768"), 1, True, 8, version)) == 1


def test_advice_names_no_torch_that_is_not_made_for_this_macos() -> None:
    issue = next(entry for entry in load_known_issues() if entry.id == "baddbmm-nan")
    assert "2.14 or later" in issue.advice("15.1") == issue.advice(None)
    assert issue.advice("13.6.1") == (
        "Leave attention slicing off: torch 2.14, which repairs it, needs macOS 14."
    )


FLUX = "FluxPipeline"


def test_a_family_that_is_no_unet_meets_no_issue_of_slicing_or_of_stable_diffusion() -> None:
    sliced = Case(attention_slicing=True, dtype="float16")
    assert met(sliced, pipeline_class=FLUX) == [], "there it does nothing"
    assert met(sliced, pipeline_class="LatentConsistencyModelPipeline") == ["baddbmm-nan"]
    large = Case(resolution="2048x2048", attention="math")
    of_sd = {"bmm-over-2-32-elements", "matmul-output-refused", "bmm-long-reduction-m1-m2"}
    assert of_sd <= {*met(large, chip="Apple M1 Max")}
    assert not of_sd & {*met(large, pipeline_class=FLUX)}
    assert met(Case(), pipeline_class=FLUX, torch="2.2.0", macos="14.4") == []
    assert met(Case(), torch="2.2.0", macos="14.4") == ["macos-14.4-solid-colour"]


def test_a_pipeline_that_no_file_names_is_of_no_family() -> None:
    """It was taken for Stable Diffusion, or for XL by its name."""
    odd = "SomethingXLPipeline"
    assert met(Case(dtype="float16"), pipeline_class=odd) == []
    assert met(Case(resolution="2048x2048", attention="math"), pipeline_class=odd) == []
    assert met(Case(attention_slicing=True), pipeline_class=odd) == ["baddbmm-nan"]


def test_an_issue_of_no_family_is_refused() -> None:
    entry = ENTRY + '[[issue.when]]\npipeline = ["sd9"]'
    with pytest.raises(ValueError, match="one: sd9: not a family"):
        parse_known_issues(entry)


def test_predicted_overflow_without_a_unet_is_of_the_vae_alone() -> None:
    case = Case(resolution="2048x2048")
    assert len(predicted_overflow(case, 1, False, 8, "2.15.0")) == 2
    (sentence,) = predicted_overflow(case, 1, False, None, "2.15.0")
    assert "the VAE's attention" in sentence
