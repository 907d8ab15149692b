"""Predicted memory: monotone, without effect where a setting has none, near what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
from factories import make_case, make_config, make_model

from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.networks import Network, networks_of
from sdbench.plan.activations import decode_elements, denoiser_elements, text_elements, tiles
from sdbench.plan.predicted_memory import Target, predict_memory, target_of
from sdbench.records import DeviceKind, MemoryStage, PredictedMemory

DEVICES: tuple[DeviceKind, ...] = ("cpu", "cuda", "mps")
FULL_SIZE = ("sd15", "sdxl", "lcm", "sd3", "flux", "flux2-klein", "z-image")


def target(name: str = "synthetic/sd15", device: DeviceKind = "cuda", **changed: Any) -> Target:
    model = SYNTHETIC[name]
    known = make_model(name, pipeline_class=model.pipeline_class, bytes_on_disk=model.bytes_on_disk)
    return target_of(known, device, **changed)


def predict(
    name: str = "synthetic/sd15",
    device: DeviceKind = "cuda",
    images: int = 1,
    guidance: float = 7.5,
    **settings: Any,
) -> PredictedMemory:
    settings = {"dtype": "float16"} | settings
    config = make_config(images=images, guidance_scale=guidance)
    return predict_memory(config, make_case(**settings), target(name, device))


def peak(stage: MemoryStage, predicted: PredictedMemory) -> int:
    return next(one.peak_bytes for one in predicted.stages if one.stage == stage)


def peaks(predicted: PredictedMemory) -> list[int]:
    return [stage.peak_bytes for stage in predicted.stages]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("short", FULL_SIZE)
@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"resolution": "512x512"}, {"resolution": "1024x1024"}),
        ({"resolution": "512x512"}, {"resolution": "512x768"}),
        ({"batching": "loop"}, {"batching": "batch"}),
        ({"dtype": "float16"}, {"dtype": "float32"}),
    ],
)
def test_more_work_takes_more_in_every_stage(
    short: str, device: DeviceKind, less: dict[str, Any], more: dict[str, Any]
) -> None:
    few, many = (predict(f"synthetic/{short}", device, images=4, **one) for one in (less, more))
    assert all(low <= high for low, high in zip(peaks(few), peaks(many), strict=True))
    assert peak("vae_decode", few) < peak("vae_decode", many)


def test_guidance_doubles_the_images_where_the_family_has_it() -> None:
    plain, guided = (predict(guidance=scale, resolution="768x768") for scale in (1.0, 7.5))
    assert peak("denoising", plain) < peak("denoising", guided)
    flux = [predict("synthetic/flux", guidance=scale) for scale in (1.0, 7.5)]
    assert flux[0] == flux[1]


def test_tiling_has_no_effect_up_to_the_tile() -> None:
    for name, at_tile, above in (
        ("synthetic/sd15", "512x512", "768x512"),
        ("synthetic/sdxl", "1024x1024", "1536x1024"),
        ("synthetic/z-image", "1024x1024", "1024x1040"),
    ):
        assert predict(name, resolution=at_tile) == predict(
            name, resolution=at_tile, vae_tiling=True
        )
        assert peak("vae_decode", predict(name, resolution=above)) > peak(
            "vae_decode", predict(name, resolution=above, vae_tiling=True)
        )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("short", ["sd3", "flux", "flux2-klein", "z-image"])
def test_attention_slicing_has_no_effect_on_transformers(short: str, device: DeviceKind) -> None:
    plain = predict(f"synthetic/{short}", device)
    assert plain == predict(f"synthetic/{short}", device, attention_slicing=True)


def test_attention_slicing_helps_where_scores_are_held_and_costs_where_they_are_not() -> None:
    size: dict[str, Any] = {"resolution": "1024x1024"}
    on_mps, on_cuda = (
        [
            peak("denoising", predict("synthetic/sd15", kind, attention_slicing=sliced, **size))
            for sliced in (False, True)
        ]
        for kind in ("mps", "cuda")
    )
    assert on_mps[1] < on_mps[0]
    assert on_cuda[1] > on_cuda[0]


def test_vae_slicing_has_an_effect_on_a_batch_only() -> None:
    batch: dict[str, Any] = {"batching": "batch", "images": 4}
    assert peak("vae_decode", predict(**batch, vae_slicing=True)) < peak(
        "vae_decode", predict(**batch)
    )
    assert predict(images=4, vae_slicing=True) == predict(images=4)


def test_offloading_takes_less_of_the_device_and_more_of_the_machine() -> None:
    none, model, sequential = (
        predict("synthetic/flux", dtype="bfloat16", offload=how)
        for how in ("none", "model", "sequential")
    )
    assert none.worst.peak_bytes > model.worst.peak_bytes > sequential.worst.peak_bytes
    for stage in ("text_encoder", "denoising", "vae_decode"):
        before, after = (
            next(one.process_bytes for one in predicted.stages if one.stage == stage)
            for predicted in (none, model)
        )
        assert before < after


def test_offloading_saves_nothing_of_a_memory_that_is_shared() -> None:
    none, model = (predict("synthetic/flux", "mps", offload=how) for how in ("none", "model"))
    assert model.worst.peak_bytes < none.worst.peak_bytes
    assert model.process_bytes > 0.85 * none.process_bytes


def test_worst_stage_is_the_decode_of_a_large_image() -> None:
    assert predict(resolution="1024x1024").worst.stage == "vae_decode"
    assert predict("synthetic/flux", offload="model").worst.stage == "denoising"


def test_vae_of_sdxl_decodes_in_float32() -> None:
    half = predict("synthetic/sdxl", resolution="1024x1024")
    other = predict("synthetic/sdxl", resolution="1024x1024", dtype="bfloat16")
    assert peak("vae_decode", half) > peak("vae_decode", other) + 2e9


def test_t5_keeps_a_part_in_float32_in_float16_only() -> None:
    half, brain = (
        peak("load", predict("synthetic/sd3", dtype=dtype)) for dtype in ("float16", "bfloat16")
    )
    assert half > brain + 1e9


@pytest.mark.parametrize(
    ("name", "device", "settings", "measured"),
    [
        # H100, torch 2.11: results/; MB by torch's counters in the profiling pass.
        ("sd15", "cuda", {"dtype": "float16"}, (2193, 2329, 2832)),
        ("sd15", "cuda", {"dtype": "float32"}, (4330, 4602, 5606)),
        ("sd15", "cuda", {"dtype": "float16", "resolution": "768x768"}, (2193, 2506, 3630)),
        (
            *("sd15", "cuda"),
            {"dtype": "float16", "resolution": "768x768", "attention_slicing": True},
            (2193, 3702, 3629),
        ),
        ("sdxl", "cuda", {"dtype": "float16", "resolution": "1024x1024"}, (7094, 7431, 12376)),
        # 2 cores, torch 2.13: resident peaks.
        ("sd15", "cpu", {"dtype": "float32", "resolution": "256x256"}, (5057, 5177, 5328)),
        ("sd15", "cpu", {"dtype": "float32"}, (5065, 5339, 6084)),
        ("sd15", "cpu", {"dtype": "float32", "resolution": "768x768"}, (5305, 5990, 7618)),
        ("tiny", "cpu", {"dtype": "float32", "resolution": "512x512"}, (527, 527, 686)),
    ],
)
def test_stages_are_within_a_tenth_of_what_was_measured(
    name: str, device: DeviceKind, settings: dict[str, Any], measured: tuple[int, int, int]
) -> None:
    predicted = predict(f"synthetic/{name}", device, **settings)
    for stage, megabytes in zip(predicted.stages[1:], measured, strict=True):
        assert stage.peak_bytes / 1e6 == pytest.approx(megabytes, rel=0.1), stage.stage


def test_unknown_networks_take_more_than_known_ones_of_their_size_and_are_named() -> None:
    known = target("synthetic/flux")
    unknown = Target(
        networks=tuple(
            Network(one.name, "SomethingNew", one.parameters, one.stored_bytes)
            for one in known.networks
        ),
        device="cuda",
        pipeline_class="SomethingPipeline",
        guided_above=1.0,
        tokens={},
    )
    config, case = make_config(images=1), make_case(resolution="1024x1024", dtype="bfloat16")
    shapes, sizes = (predict_memory(config, case, one) for one in (known, unknown))
    assert shapes.from_sizes == []
    assert set(sizes.from_sizes) == {one.name for one in known.networks}
    for with_shapes, without in zip(shapes.stages, sizes.stages, strict=True):
        assert without.peak_bytes >= with_shapes.peak_bytes


def test_a_network_that_is_not_here_is_read_from_the_record() -> None:
    model = make_model("someone/else", bytes_on_disk=4_000_000_000)
    (network,) = networks_of(model)
    assert (network.parameters, network.encodes_text) == (2_000_000_000, True)
    config, case = make_config(images=1), make_case(dtype="float16")
    offloaded = make_case(dtype="float16", offload="model")
    found = target_of(model, "cuda")
    # Nothing says which part of it would be on the device when.
    assert all(stage.peak_bytes > 4e9 for stage in predict_memory(config, case, found).stages)
    stages = predict_memory(config, offloaded, found).stages[1:]
    assert all(stage.peak_bytes > 4e9 for stage in stages)


def test_a_folder_is_read_from_its_headers(tmp_path: Path) -> None:
    from sdbench.models import synthetic
    from sdbench.models.resolve import find_model

    folder = synthetic.ensure(SYNTHETIC["synthetic/tiny-sdxl"], tmp_path)
    found = networks_of(find_model(str(folder)).outline())
    assert found == networks_of(find_model("synthetic/tiny-sdxl").outline())


@pytest.mark.parametrize("value", [None, "8", [], [0], [-1, 4], {"a": 1}, 1e400, [[4]], True])
def test_configurations_of_others_break_nothing(value: Any) -> None:
    names = (
        *("block_out_channels", "attention_head_dim", "layers_per_block", "down_block_types"),
        *("sample_size", "hidden_size", "patch_size", "in_channels", "num_layers", "text_config"),
    )
    config = json.loads(json.dumps(dict.fromkeys(names, value)))
    for kind in ("UNet2DConditionModel", "AutoencoderKL", "FluxTransformer2DModel"):
        network = Network("unet", kind, 1000, 2000, config=config)
        text_elements(network, 77)
        assert not tiles(network, 256, 256)
        whole = {"whole_scores": True}
        assert decode_elements(network, 512, 512, tiled=True, **whole).total > 0
        found = denoiser_elements(network, network, 512, 512, 2, 77, sliced=True, **whole)
        assert found.total > 0
