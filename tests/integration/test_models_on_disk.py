"""Models as people have them on disk: other classes, variants, LoRAs; loaded by real
environments."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import single_files
from conftest import Sdbench

from sdbench.models.resolve import find_model
from sdbench.records.case import Case
from sdbench.runs import load_run

ATTENTION = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2"
Load = Callable[..., Any]


@pytest.fixture
def load(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """The worker's own loading, in this process, in float32 on the CPU."""
    monkeypatch.setenv("SDBENCH_CACHE", str(cache))
    from sdbench.worker.devices import open_device
    from sdbench.worker.pipelines import load

    def loaded(path: Path | str, **job: Any) -> Any:
        case = msgspec.to_builtins(Case(dtype="float32")) | {"width": 512, "height": 512}
        return load(
            {"case": case, "model_path": str(path), "scheduler": "ddim", **job}, open_device("cpu")
        )

    return loaded


def tiny(folder: Path, **index: Any) -> Path:
    """A copy of ``synthetic/tiny`` with changes in its index."""
    shutil.copytree(find_model("synthetic/tiny").prepare().path, folder)
    document = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**document, **index}))
    return folder


def lora_file(path: Path, prefix: str = ATTENTION, width: int = 64) -> Path:
    """A strong LoRA of a layer of ``synthetic/tiny``."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    shapes = {"to_k.lora_A": (4, width), "to_k.lora_B": (32, 4)}
    tensors = {
        f"{prefix}.{name}.weight": torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }
    save_file(tensors, path)
    return path


def test_other_class_is_loaded_with_a_variant_for_each_component(
    load: Load, tmp_path: Path
) -> None:
    folder = tiny(tmp_path / "other", _class_name="StableDiffusionPAGPipeline")
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert find_model(str(folder)).pipeline_class == "StableDiffusionPAGPipeline"
    pipeline = load(folder)
    assert type(pipeline).__name__ == "StableDiffusionPAGPipeline"
    assert pipeline.safety_checker is None
    kinds = {pipeline.text_encoder.dtype, pipeline.unet.dtype, pipeline.vae.dtype}
    assert {str(kind) for kind in kinds} == {"torch.float32"}


def test_half_precision_in_several_files_is_loaded(load: Load, tmp_path: Path) -> None:
    """As diffusers itself saves it: the index is called ``…safetensors.index.fp16.json``."""
    import torch
    from diffusers import UNet2DConditionModel

    folder = tiny(tmp_path / "sharded")
    unet = UNet2DConditionModel.from_pretrained(str(folder / "unet"))
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    unet.save_pretrained(str(folder / "unet"), variant="fp16", max_shard_size="1MB")
    names = {path.name for path in (folder / "unet").iterdir()}
    assert "diffusion_pytorch_model.safetensors.index.fp16.json" in names and len(names) > 3
    assert find_model(str(folder)).components["unet"].class_name == "UNet2DConditionModel"
    loaded = load(folder).unet
    for name, parameter in unet.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter.to(loaded.dtype)), name


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ({"_class_name": "NoSuchPipeline"}, "has no NoSuchPipeline; the model was saved by 0.31.0"),
        ({"_class_name": "DiffusionPipeline"}, "has no DiffusionPipeline"),
        ({"_class_name": "UNet2DConditionModel"}, "has no UNet2DConditionModel"),
        ({"_class_name": "StableDiffusionInpaintPipeline"}, "takes an image to begin with"),
        ({"_class_name": "AnimateDiffPipeline"}, "it makes video"),
        ({"_class_name": "DDPMPipeline"}, "does not take prompt and width and height"),
        ({"unet": ["my_code", "UNet"]}, "never runs a model's own code"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    load: Load, tmp_path: Path, index: dict[str, Any], reason: str
) -> None:
    from sdbench.worker.pipelines import CaseImpossibleError

    with pytest.raises(CaseImpossibleError, match=reason):
        load(tiny(tmp_path / "other", **index))


def test_class_that_came_later_says_with_which_release(load: Load, tmp_path: Path) -> None:
    from sdbench.worker.pipelines import CaseImpossibleError

    folder = tiny(tmp_path / "other", _class_name="NoSuchPipeline")
    with pytest.raises(CaseImpossibleError, match=r"has no NoSuchPipeline; it came with 0\.36"):
        load(folder, pipeline_since="0.36")


def test_lora_that_changes_nothing_or_does_not_fit_is_an_error(load: Load, tmp_path: Path) -> None:
    """What the parent refuses by the header gets here where the header does not say enough."""
    from sdbench.worker.pipelines import CaseImpossibleError

    path = find_model("synthetic/tiny").prepare().path
    transformer = "transformer.transformer_blocks.0.attn"
    for name, file, reason in [
        ("flux", lora_file(tmp_path / "flux.safetensors", transformer), "nothing|does not fit"),
        ("sdxl", lora_file(tmp_path / "sdxl.safetensors", width=2048), "does not fit this model"),
    ]:
        lora = {"path": str(file), "name": name, "weight": 1.0}
        with pytest.raises(CaseImpossibleError, match=f"the LoRA {name} .*({reason})"):
            load(path, loras=[lora])


def test_lora_changes_the_images_and_with_weight_0_does_not(
    sdbench: Sdbench, tmp_path: Path
) -> None:
    """Each of them is compared with a reference that has the same LoRA."""
    file = lora_file(tmp_path / "strong.safetensors")
    config = sdbench.config('[[case]]\nresolution = "64x64"\ndtype = "float32"\n', references=True)
    pixels = {}
    for name, arguments in {
        "plain": [],
        "whole": ["--lora", str(file)],
        "none": ["--lora", f"{file}:0"],
    }.items():
        code, document = sdbench.json("run", config, *arguments)
        (row,) = document["cases"]
        assert (code, row["correct"]) == (0, "match"), row
        loaded = load_run(tmp_path / document["path"])
        pixels[name] = loaded.replicates[0].passes[0].images[0].pixels_sha256
        assert [lora.name for lora in loaded.run.model.loras] == [file.name] * (name != "plain")
    assert pixels["whole"] != pixels["plain"] == pixels["none"]


def test_single_file_gives_the_images_of_its_folder(sdbench: Sdbench, tmp_path: Path) -> None:
    """The same weights: the images are equal bit for bit, and agree with the reference.

    No other test has a run of a file; the folder's is made here because it takes as long to find.
    """
    folder = Path(find_model("synthetic/tiny").prepare().path)
    file = single_files.stable_diffusion(folder, tmp_path / "tiny.safetensors")
    parts = single_files.without(folder, tmp_path / "parts", "unet", "vae", "text_encoder")
    config = sdbench.config('[[case]]\nresolution = "64x64"\ndtype = "float32"\n', references=True)
    pixels = []
    for arguments in (["synthetic/tiny"], [str(file), "--parts", str(parts)]):
        code, document = sdbench.json("run", config, "--model", *arguments)
        (row,) = document["cases"]
        assert (code, row["correct"]) == (0, "match"), row
        loaded = load_run(tmp_path / document["path"])
        pixels.append([one.pixels_sha256 for one in loaded.replicates[0].passes[0].images])
    assert pixels[0] == pixels[1]
    assert sorted(loaded.run.model.in_file) == ["text_encoder", "unet", "vae"]
    assert loaded.run.model.file is not None and loaded.run.model.file.endswith("tiny.safetensors")


@pytest.mark.parametrize(
    ("model", "convert"),
    [
        ("synthetic/tiny-sd3", single_files.sd3_denoiser),
        ("synthetic/tiny-z-image", single_files.z_image_denoiser),
    ],
)
def test_denoiser_alone_is_loaded_with_parts(
    load: Load, tmp_path: Path, model: str, convert: single_files.Convert
) -> None:
    """Every weight is the folder's. diffusers reads FLUX.1 at its published size only."""
    import torch

    made = find_model(model).prepare()
    folder = Path(made.path)
    file = tmp_path / "denoiser.safetensors"
    single_files.saved(file, convert(single_files.weights(folder, "transformer")))
    parts = single_files.without(folder, tmp_path / "parts", "transformer")
    found = find_model(str(file), parts=str(parts)).prepare()
    own = load(folder, scheduler="own")
    one = load(found.path, scheduler="own", single_file=found.file, in_single_file=found.in_file)
    for name, component in own.components.items():
        if hasattr(component, "state_dict"):
            expected, got = component.state_dict(), one.components[name].state_dict()
            assert expected.keys() == got.keys()
            assert all(torch.equal(expected[key], got[key]) for key in expected), name


def test_single_file_that_does_not_fit_is_one_line(load: Load, tmp_path: Path) -> None:
    from sdbench.worker.pipelines import CaseImpossibleError

    folder = Path(find_model("synthetic/tiny").prepare().path)
    file = single_files.stable_diffusion(folder, tmp_path / "x.safetensors", leave_out="unet")
    with pytest.raises(CaseImpossibleError, match=r"diffusers does not load x\.safetensors: "):
        load(folder, single_file=str(file), in_single_file=["unet", "vae", "text_encoder"])


def test_gguf_denoiser_is_compared_with_its_own_weights(sdbench: Sdbench, tmp_path: Path) -> None:
    """The reference has the same quantised weights, so the images agree; no other run has any."""
    folder = Path(find_model("synthetic/tiny-sd3").prepare().path)
    tensors = single_files.sd3_denoiser(single_files.weights(folder, "transformer"))
    bare = {name.removeprefix("model.diffusion_model."): one for name, one in tensors.items()}
    file = single_files.gguf_file(tmp_path / "tiny.gguf", bare, "sd3")
    parts = single_files.without(folder, tmp_path / "parts", "transformer")
    config = sdbench.config('[[case]]\nresolution = "64x64"\ndtype = "float32"\n', references=True)
    code, document = sdbench.json("run", config, "--model", file, "--parts", parts)
    (row,) = document["cases"]
    assert (code, row["correct"]) == (0, "match"), row
    loaded = load_run(tmp_path / document["path"])
    assert loaded.run.model.components["transformer"].dtype == "Q8_0"


def test_stack_without_gguf_says_so(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdbench.worker.pipelines import CaseImpossibleError

    find = importlib.util.find_spec

    def without_gguf(name: str, package: str | None = None) -> Any:
        return None if name == "gguf" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_gguf)
    path = find_model("synthetic/tiny-sd3").prepare().path
    with pytest.raises(CaseImpossibleError, match="needs the package gguf, which is not installed"):
        load(path, single_file="x.gguf", in_single_file=["transformer"])


LOOP = "{% set x = range(99999) %}{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}"
LOOP += "{% endfor %}{% endfor %}"


@pytest.mark.long
@pytest.mark.parametrize(
    ("template", "outcome"),
    [(LOOP, "timeout"), ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "failed")],
)
def test_chat_template_ends_with_its_worker(
    sdbench: Sdbench, tmp_path: Path, template: str, outcome: str
) -> None:
    """A template that never ends, or reaches outside; no shared run has a hostile model."""
    folder = tmp_path / "hostile"
    shutil.copytree(find_model("synthetic/tiny-z-image").prepare().path, folder)
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    for other in (folder / "tokenizer").glob("*.jinja"):
        other.unlink()
    config = sdbench.config('[[case]]\nresolution = "64x64"\ndtype = "float32"\n')
    code, document = sdbench.json("run", config, "--model", folder, "--set", "timeout_s=25")
    assert code == 1
    assert [one.outcome for one in load_run(tmp_path / document["path"]).replicates] == [outcome]
