"""Models in one file: recognised by their headers, completed, refused where anything is missing."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import single_files
from factories import Called

from sdbench.errors import ModelError, UsageError
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.checkpoint import Recognised, UnknownTypeError, recognise
from sdbench.models.networks import networks_of
from sdbench.models.resolve import find_model
from sdbench.models.traits import traits_of
from sdbench.models.weights import Tensor

Shapes = dict[str, tuple[int, ...]]
FLUX: Shapes = {
    "img_in.weight": (3072, 64),
    "txt_in.weight": (3072, 4096),
    "vector_in.in_layer.weight": (3072, 768),
    **{
        f"double_blocks.{number}.img_attn.norm.{kind}_norm.scale": (128,)
        for number in range(19)
        for kind in ("key", "query")
    },
    **{f"single_blocks.{number}.linear2.bias": (3072,) for number in range(38)},
}
FLUX2: Shapes = {
    **{name: shape for name, shape in FLUX.items() if not name.startswith("vector_in.")},
    "single_stream_modulation.lin.weight": (9216, 3072),
    "img_in.weight": (3072, 128),
    "txt_in.weight": (3072, 7680),
}
SD3: Shapes = {
    "x_embedder.proj.weight": (1536, 16, 2, 2),
    "context_embedder.weight": (1536, 4096),
    "y_embedder.mlp.0.weight": (1536, 2048),
    "pos_embed": (1, 192 * 192, 1536),
    **{
        f"joint_blocks.{number}.context_block.adaLN_modulation.1.bias": (9216,)
        for number in range(24)
    },
}
SD35_MEDIUM: Shapes = {
    **SD3,
    "pos_embed": (1, 384 * 384, 1536),
    **{f"joint_blocks.{number}.x_block.attn2.ln_q.weight": (64,) for number in range(13)},
}
Z_IMAGE: Shapes = {
    "x_embedder.weight": (3840, 64),
    "final_layer.linear.weight": (64, 3840),
    "cap_embedder.0.weight": (2560,),
    "layers.0.attention.q_norm.weight": (128,),
    **{f"layers.{number}.adaLN_modulation.0.weight": (15360, 256) for number in range(30)},
    **{f"noise_refiner.{number}.attention.out.weight": (3840, 3840) for number in range(2)},
}


def unet(model: str, **changed: tuple[int, ...]) -> Shapes:
    """The shapes of a synthetic model's UNet; only the names that are looked for are original."""
    shapes: Shapes = {}
    for name, shape in SYNTHETIC[model].networks["unet"].parameters():
        original = name.replace("add_embedding.linear_1", "label_emb.0.0")
        shapes[original.replace("conv_in.weight", "input_blocks.0.0.weight")] = shape
    shapes |= {name: shape for name, shape in changed.items() if name in shapes}
    return {f"model.diffusion_model.{name}": shape for name, shape in shapes.items()}


def read(shapes: Mapping[str, tuple[int, ...]]) -> Recognised:
    return recognise({name: Tensor("F16", shape) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("shapes", "published"),
    [
        (unet("synthetic/sd15"), "synthetic/sd15"),
        (unet("synthetic/sdxl"), "synthetic/sdxl"),
        (FLUX, "synthetic/flux"),
        (FLUX2 | {"double_blocks.0.a": (1,)}, "synthetic/flux2-klein"),
        (SD3, "synthetic/sd3"),
        (Z_IMAGE, "synthetic/z-image"),
    ],
)
def test_published_models_are_recognised(shapes: Shapes, published: str) -> None:
    found = read(shapes)
    assert (found.layout.published, list(found.held)) == (published, [found.layout.component])
    expected = SYNTHETIC[published].configs[f"{found.layout.component}/config.json"]
    assert found.config is not None
    if published != "synthetic/flux2-klein":  # of which only the widths above are klein's
        same = {key: value for key, value in found.config.items() if key in expected}
        assert same == expected
    prefixed = {f"model.diffusion_model.{name.removeprefix('model.diffusion_model.')}": shape
                for name, shape in shapes.items()}  # fmt: skip
    assert read(prefixed).config == found.config


def test_variants_differ_in_what_the_shapes_say() -> None:
    medium = read(SD35_MEDIUM).config
    assert medium is not None
    assert medium["dual_attention_layers"] == list(range(13))
    assert (medium["qk_norm"], medium["pos_embed_max_size"]) == ("rms_norm", 384)
    assert medium["num_attention_heads"] == 24
    dev = read(FLUX | {"guidance_in.in_layer.weight": (3072, 256)})
    assert dev.config is not None and dev.config["guidance_embeds"]
    assert dev.scheduler["use_dynamic_shifting"] and not read(FLUX).scheduler
    v_prediction = read(unet("synthetic/sdxl") | {"v_pred": (0,), "ztsnr": (0,)})
    assert v_prediction.scheduler == {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
    }


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({}, "unknown type"),
        ({"a": (2,)}, "unknown type: unknown"),
        (
            {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)},
            "not a whole model: a UNet; expected",
        ),
        ({"transformer_blocks.0.attn.to_q.weight": (2, 2)}, "unknown type"),
        ({"unet.down_blocks.0.lora_A.weight": (2, 2)}, "not a whole model: a LoRA.*--lora FILE"),
        (FLUX | {"img_in.weight": (3072, 384)}, "384 channels, and that of FLUX.1 64"),
        (FLUX | {"double_blocks.0.a.scale_weight": ()}, "quantised in a format of another program"),
        (FLUX | {"a.quant_state.bitsandbytes__nf4": (1,)}, "quantised in a format of another"),
        (FLUX | {"img_in.weight": (3072,)}, "unknown type"),
        (
            unet("synthetic/sd15", **{"input_blocks.0.0.weight": (320, 9, 3, 3)}),
            "9 channels.*inpainting",
        ),
        (
            {
                n.removeprefix("model.diffusion_model."): s
                for n, s in unet("synthetic/sd15").items()
            },
            "a UNet alone",
        ),
    ],
)
def test_what_is_unknown_is_no_stable_diffusion(shapes: Shapes, reason: str) -> None:
    with pytest.raises(UnknownTypeError, match=reason):
        read(shapes)


def test_other_shapes_need_a_configuration() -> None:
    """Distilled and enlarged UNets have the layout and not the configuration."""
    shapes = unet("synthetic/sdxl")
    shapes.popitem()
    assert read(shapes).config is None


@pytest.fixture
def tiny(tiny_cache: Path) -> Path:
    return tiny_cache / "models" / "synthetic--tiny"


@pytest.fixture
def whole(tiny: Path, tmp_path: Path) -> Path:
    return single_files.stable_diffusion(tiny, tmp_path / "whole.safetensors")


NETWORKS = ("unet", "vae", "text_encoder")


def test_file_and_parts_make_a_folder_of_configurations(
    whole: Path, tiny: Path, tmp_path: Path
) -> None:
    parts = single_files.without(tiny, tmp_path / "parts", *NETWORKS)
    source = find_model(str(whole), parts=str(parts))
    assert (source.folder, source.download, source.must_be_built) == (None, None, False)
    assert source.tokenizer_folder == parts
    assert traits_of(source).size_multiple is not None
    model = source.prepare()
    folder = Path(model.path)
    assert (model.file, sorted(model.in_file)) == (str(whole), sorted(NETWORKS))
    assert json.loads((folder / "unet/config.json").read_text())["cross_attention_dim"] == 64
    assert (folder / "tokenizer/vocab.json").samefile(tiny / "tokenizer/vocab.json")
    assert not list(folder.rglob("*.safetensors"))
    assert {name: one.parameters for name, one in model.components.items()} == {
        name: one.parameters for name, one in find_model(str(tiny)).components.items()
    }
    assert len(networks_of(model)) == 3
    assert find_model(str(whole), parts=str(parts)).prepare() == model


def test_digest_depends_on_the_file_and_the_parts(whole: Path, tiny: Path, tmp_path: Path) -> None:
    parts = single_files.without(tiny, tmp_path / "parts", *NETWORKS)

    def digest() -> str | None:
        return find_model(str(whole), parts=str(parts)).prepare().sha256

    first = digest()
    data = bytearray(whole.read_bytes())
    data[-1] ^= 1
    whole.write_bytes(data)
    assert digest() != first
    data[-1] ^= 1
    whole.write_bytes(data)
    assert digest() == first
    merges = parts / "tokenizer" / "merges.txt"
    text = merges.read_text()
    merges.unlink()
    merges.write_text(text + "\n")
    assert digest() != first


def test_what_a_file_lacks_comes_from_the_parts(tiny: Path, tmp_path: Path) -> None:
    file = single_files.stable_diffusion(tiny, tmp_path / "no-vae.safetensors", leave_out="vae")
    parts = single_files.without(tiny, tmp_path / "parts", "unet", "text_encoder")
    model = find_model(str(file), parts=str(parts)).prepare()
    assert sorted(model.in_file) == ["text_encoder", "unet"]
    assert (Path(model.path) / "vae" / "diffusion_pytorch_model.safetensors").is_file()
    assert set(model.components) == set(NETWORKS)


def test_every_missing_part_is_named_with_where_to_get_it(tiny: Path, tmp_path: Path) -> None:
    file = single_files.header_only(tmp_path / "flux.safetensors", FLUX)
    with pytest.raises(UsageError) as raised:
        find_model(str(file))
    said = str(raised.value)
    for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae"):
        assert f" {part}" in said
    assert "hf download black-forest-labs/FLUX.1-schnell" in said and "\n" not in said
    (tmp_path / "parts").mkdir()
    with pytest.raises(UsageError, match="--parts has no "):
        find_model(str(file), parts=str(tmp_path / "parts"))
    bare = single_files.stable_diffusion(tiny, tmp_path / "bare.safetensors", leave_out="vae")
    with pytest.raises(
        UsageError, match="other shapes than the published model's; give the folder"
    ):
        find_model(str(bare))


def test_tokenizers_of_published_models_are_a_small_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    shapes = unet("synthetic/sdxl") | {
        "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
        "conditioner.embedders.0.transformer.text_model.a": (1,),
        "conditioner.embedders.1.model.b": (1,),
    }
    file = single_files.header_only(tmp_path / "xl.safetensors", shapes)
    source = find_model(str(file))
    assert source.pipeline_class == "StableDiffusionXLPipeline"
    assert source.download is not None and source.download.size_bytes == 3_200_000
    assert source.download.repository == "stabilityai/stable-diffusion-xl-base-1.0"
    assert source.download.revision is not None and len(source.download.revision) == 40
    assert "tokenizer_2/vocab.json" in source.download.files
    assert source.single is not None
    text = source.single.configs["text_encoder_2/config.json"]
    assert (text["eos_token_id"], text["bos_token_id"]) == (2, 0)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ("unet/config.json", UsageError, "cross_attention_dim 99, and .* has 64"),
        ("model_index.json", UsageError, "names another unet"),
        ("tokenizer/vocab.json", ModelError, "--parts: tokenizer: vocab.json missing"),
    ],
)
def test_parts_of_another_model_are_refused(
    whole: Path, tiny: Path, tmp_path: Path, change: str, error: type[Exception], reason: str
) -> None:
    parts = single_files.without(tiny, tmp_path / "parts", *NETWORKS)
    path = parts / change
    document = json.loads(path.read_text())
    path.unlink()
    if change == "unet/config.json":
        path.write_text(json.dumps(document | {"cross_attention_dim": 99}))
    elif change == "model_index.json":
        path.write_text(json.dumps(document | {"unet": ["their_code", "UNet"]}))
    with pytest.raises(error, match=reason):
        find_model(str(whole), parts=str(parts))


def test_wrong_parts_are_wrong_usage(whole: Path, tmp_path: Path) -> None:
    for folder in (str(tmp_path / "none"), str(whole), "a\0b", "x" * 5000):
        with pytest.raises(UsageError, match="no such folder"):
            find_model(str(whole), parts=folder)
    with pytest.raises(UsageError, match="only a model in one file takes it"):
        find_model("synthetic/tiny", parts=str(tmp_path))


@pytest.mark.parametrize("verb", ["run", "localise"])
def test_unknown_file_is_one_line_and_exit_code_2(tmp_path: Path, call: Called, verb: str) -> None:
    file = single_files.header_only(tmp_path / "x.safetensors", {"a": (2,)})
    code, out, err = call(verb, "--model", str(file))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "unknown type: unknown (1 tensors); expected a whole checkpoint" in err


def test_file_that_cannot_be_read_is_an_error(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(ModelError, match="truncated"):
        find_model(str(tmp_path / "cut.safetensors"))
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(UsageError, match="no model"):
        find_model(str(tmp_path / "pipe.safetensors"))
