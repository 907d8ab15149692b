"""Odd model folders, as people have them: each is named for what it is, with the way out.

Made from ``synthetic/tiny``. The folder itself, whole, is in no fault.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbench.doctor.offline_model import find_offline
from sdbench.errors import ModelError, UsageError
from sdbench.models import synthetic
from sdbench.models.folder import read_folder
from sdbench.models.not_a_pipeline import single_file
from sdbench.models.resolve import find_model
from sdbench.models.weights import WeightsError, read_header

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
Change = Callable[[Path], object]


@pytest.fixture
def tiny(tiny_cache: Path, tmp_path: Path) -> Path:
    """A pipeline folder, whole."""
    folder = tmp_path / "model"
    source = tiny_cache / "models" / "synthetic--tiny"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(synthetic.MANIFEST))
    return folder


def said(folder: Path, *, allow_pickle: bool = False) -> str:
    """All faults with their remedies."""
    faults = read_folder(folder, allow_pickle=allow_pickle).faults
    return "\n".join(f"{fault.what} -> {fault.remedy}" for fault in faults)


def edit(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


def write_safetensors(path: Path, **tensors: list[int]) -> None:
    """A file of zeros in float16 with these shapes."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))


def in_half(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))


def in_shards(folder: Path, keep: int = 2, *, index: bool = True, variant: str = "") -> None:
    """The UNet in two files, of which the first ``keep`` are there; a variant is ``.fp16``."""
    whole = folder / UNET
    tensors = read_header(whole)
    whole.unlink()
    names = sorted(tensors)
    weight_map = {}
    for number in range(2):
        part = f"diffusion_pytorch_model{variant}-0000{number + 1}-of-00002.safetensors"
        mine = names[number::2]
        weight_map.update(dict.fromkeys(mine, part))
        if number < keep:
            shapes = {name: list(tensors[name].shape) for name in mine}
            write_safetensors(folder / "unet" / part, **shapes)
    if index:
        name = f"diffusion_pytorch_model.safetensors.index{variant}.json"
        (folder / "unet" / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def all_in_half_and_in_shards(folder: Path) -> None:
    in_shards(folder, variant=".fp16")
    in_half(folder, VAE, TEXT)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("../../../blobs/0123abcd")


def test_whole_folder_has_no_fault(tiny: Path) -> None:
    contents = read_folder(tiny, allow_pickle=False)
    assert contents.faults == ()
    assert contents.pipeline_class == "StableDiffusionPipeline"
    assert [path.relative_to(tiny).as_posix() for path in contents.weights] == [UNET, VAE, TEXT]


HARMLESS: list[Change] = [
    lambda folder: in_half(folder, UNET),
    lambda folder: in_half(folder, UNET, VAE, TEXT),
    in_shards,
    lambda folder: in_shards(folder, variant=".fp16"),
    all_in_half_and_in_shards,
    lambda folder: replaced(folder / "unet" / "._diffusion_pytorch_model.safetensors", b"x"),
    lambda folder: replaced(folder / "vae" / ".DS_Store", b"x"),
    lambda folder: replaced(folder / "unet" / "diffusion_pytorch_model.bin", b"x"),
    lambda folder: replaced(folder / "unet" / "diffusion_flax_model.msgpack", b"x"),
    lambda folder: shutil.copy(
        folder / VAE, folder / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    ),
    lambda folder: edit(folder / "model_index.json", safety_checker=["x", "SafetyChecker"]),
    lambda folder: edit(folder / "model_index.json", image_encoder=[None, None]),
    lambda folder: (folder / "tokenizer" / "special_tokens_map.json").unlink(),
]


@pytest.mark.parametrize("change", HARMLESS)
def test_what_does_no_harm_is_no_fault(tiny: Path, change: Change) -> None:
    change(tiny)
    assert said(tiny) == ""
    assert "on this disk, whole" in find_offline(str(tiny), recorded=False).note


FAULTY: list[tuple[Change, str, str]] = [
    # (what was done to it, what is wrong, the way out)
    (
        lambda folder: replaced(
            folder / VAE, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 334643\n"
        ),
        "vae/diffusion_pytorch_model.safetensors: a Git LFS pointer of 68 bytes for 334,643 bytes",
        "git lfs pull",
    ),
    (lambda folder: cut(folder / UNET), f"{UNET}: truncated: ", "download this file again"),
    (lambda folder: replaced(folder / TEXT, b""), f"{TEXT}: empty", "download this file again"),
    (
        lambda folder: replaced(folder / TEXT, (folder / TEXT).read_bytes() + b"more"),
        f"{TEXT}: damaged: ",
        "download this file again",
    ),
    (
        lambda folder: replaced(folder / UNET, b"<!DOCTYPE html><html>log in</html>"),
        f"{UNET}: a web page, not weights",
        "licence",
    ),
    (
        lambda folder: replaced(folder / UNET, b"PK\x03\x04" + bytes(100)),
        "a pickle file that was named .safetensors",
        "download the safetensors file",
    ),
    (
        lambda folder: replaced(folder / UNET, bytes([255] * 100)),
        "no safetensors file: its header cannot be read",
        "download",
    ),
    (
        lambda folder: dangling(folder / VAE),
        "not downloaded: a link of the Hub's cache to ../../../blobs/0123abcd",
        "cp -RL",
    ),
    (
        lambda folder: in_half(folder, VAE, TEXT),
        "vae and text_encoder are there as fp16 files only and the UNet as a plain file",
        "without .fp16 in the name",
    ),
    (lambda folder: in_half(folder, TEXT), "text_encoder is there as fp16 files only", "rename"),
    (
        lambda folder: (folder / UNET).rename(
            folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors"
        ),
        "unet has diffusion_pytorch_model.non_ema.safetensors",
        "rename it to diffusion_pytorch_model.safetensors",
    ),
    (
        lambda folder: (folder / VAE).rename(folder / "vae" / "model.safetensors"),
        "vae has model.safetensors, and diffusion_pytorch_model.safetensors is asked for",
        "rename",
    ),
    (
        lambda folder: in_shards(folder, keep=1),
        "unet: 1 of 2 parts of its weights are missing: diffusion_pytorch_model-00002-of-00002",
        "download these files",
    ),
    (lambda folder: in_shards(folder, index=False), "in 2 parts and no index", "index too"),
    (
        lambda folder: replaced(
            folder / "unet" / "diffusion_pytorch_model.safetensors.index.json",
            b'{"weight_map": {"a": "../../secret.safetensors"}}',
        ),
        "names ../../secret.safetensors, not files next to it",
        "download the model again",
    ),
    (
        lambda folder: (
            (folder / UNET).rename(folder / UNET).with_suffix(".safetensors.incomplete")
            and (folder / UNET).rename(folder / f"{UNET}.incomplete")
        ),
        "unet: the download of diffusion_pytorch_model.safetensors.incomplete is not finished",
        "finish the download",
    ),
    (
        lambda folder: (folder / UNET).rename(folder / "unet" / "diffusion_flax_model.msgpack"),
        "for Flax only (*.msgpack)",
        "safetensors",
    ),
    (lambda folder: (folder / UNET).rename(folder / "unet" / "model.onnx"), "for ONNX only", "saf"),
    (
        lambda folder: (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.bin"),
        "unet has no safetensors file; pickle files can run code",
        "--allow-pickle",
    ),
    (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer: no such folder", "small"),
    (
        lambda folder: (folder / "tokenizer" / "merges.txt").unlink(),
        "tokenizer: merges.txt missing, so no prompt can be read",
        "download the folder tokenizer",
    ),
    (
        lambda folder: replaced(folder / "tokenizer" / "vocab.json", b"{"),
        "tokenizer/vocab.json cannot be read: not JSON",
        "download",
    ),
    (
        lambda folder: (folder / "scheduler" / "scheduler_config.json").unlink(),
        "scheduler/scheduler_config.json is missing",
        "download",
    ),
    (lambda folder: (folder / "unet" / "config.json").unlink(), "unet/config.json is", "download"),
    (lambda folder: shutil.rmtree(folder / "vae"), "the folder vae is missing", "download"),
    (
        lambda folder: replaced(
            folder / "model_index.json", b'{"_class_name": "StableDiffusionPipeline"}'
        ),
        "does not name unet, vae, text_encoder, tokenizer, scheduler",
        "download the whole model",
    ),
    (
        lambda folder: edit(folder / "model_index.json", unet=[None, None]),
        "model_index.json does not name unet, which a StableDiffusionPipeline needs",
        "download",
    ),
    (
        lambda folder: edit(folder / "model_index.json", unet=["my_unet", "MyUNet"]),
        "unet is of a class in 'my_unet', which is code supplied with the model",
        "never runs",
    ),
    (
        lambda folder: edit(
            folder / "model_index.json", image_encoder=["transformers", "CLIPVisionModel"]
        ),
        "the folder image_encoder is missing, and model_index.json names it",
        "[null, null]",
    ),
    (
        lambda folder: edit(folder / "model_index.json", _class_name="StableDiffusionInpaint"),
        "a StableDiffusionInpaint: it needs an image and a mask to begin with",
        "text-to-image",
    ),
    *(
        (
            lambda folder, wrong=wrong: edit(folder / "model_index.json", _class_name=wrong),
            f"a {wrong}; expected StableDiffusionPipeline",
            "take a Stable Diffusion",
        )
        for wrong in (["StableDiffusionPipeline"], {"a": 1}, None)
    ),
    (
        lambda folder: edit(folder / "model_index.json", _class_name="FlaxStableDiffusionPipeline"),
        "it is for Flax",
        "PyTorch weights",
    ),
    (
        lambda folder: edit(folder / "unet" / "config.json", in_channels=9),
        "the UNet takes 9 channels and the VAE gives 4: it is made for inpainting",
        "text-to-image",
    ),
    (
        lambda folder: edit(folder / "unet" / "config.json", cross_attention_dim=1024),
        "the UNet expects text of width 1024 and text_encoder gives 64",
        "one model",
    ),
    (
        lambda folder: shutil.copy(folder / VAE, folder / UNET),
        "unet: its weights are not those of UNet2DConditionModel (no conv_in.weight); they are a ",
        "put the right file into unet",
    ),
    (
        lambda folder: write_safetensors(
            folder / UNET, **{"lora_unet_down.lora_up.weight": [4, 4]}
        ),
        "they are a LoRA: a change of a model, not a model",
        "right file",
    ),
    (
        lambda folder: edit(folder / "text_encoder" / "config.json", hidden_size=128),
        "text_encoder/config.json says hidden_size 128, and",
        "download the folder text_encoder",
    ),
]


@pytest.mark.parametrize(("change", "what", "remedy"), FAULTY)
def test_fault_is_named_with_the_way_out(
    tiny: Path, change: Change, what: str, remedy: str
) -> None:
    change(tiny)
    words = said(tiny)
    assert what in words and remedy in words.partition(what)[2]
    with pytest.raises(ModelError) as refused:
        find_model(str(tiny))
    assert "\n" not in str(refused.value)
    facts = find_offline(str(tiny), recorded=False)
    assert facts.offline is False and "whole" not in facts.note


# --- any other pipeline -------------------------------------------------------------------------

T5 = "text_encoder_2/model-0000{}-of-00002.safetensors"


@pytest.fixture
def other(tiny: Path) -> Path:
    """A pipeline of a class that nothing here names, with a transformer and two text encoders."""
    (tiny / "unet").rename(tiny / "transformer")
    for folder in ("text_encoder_2", "tokenizer_2"):
        (tiny / folder).mkdir()
    (tiny / "text_encoder_2" / "config.json").write_text("{}")
    (tiny / "tokenizer_2" / "spiece.model").write_bytes(b"x")
    for number in (1, 2):
        write_safetensors(tiny / T5.format(number), **{f"block.{number}": [8, 4]})
    index = {f"block.{number}": T5.format(number).partition("/")[2] for number in (1, 2)}
    (tiny / "text_encoder_2" / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index})
    )
    document = json.loads((tiny / "model_index.json").read_text())
    del document["unet"]
    changes = {
        "_class_name": "SomethingNewPipeline",
        "transformer": ["diffusers", "SomethingTransformer2DModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
    }
    (tiny / "model_index.json").write_text(json.dumps({**document, **changes}))
    return tiny


def test_any_other_class_is_taken_with_all_its_components(other: Path) -> None:
    contents = read_folder(other, allow_pickle=False)
    assert contents.faults == () and contents.pipeline_class == "SomethingNewPipeline"
    assert set(contents.components) == {"transformer", "vae", "text_encoder", "text_encoder_2"}
    second = contents.components["text_encoder_2"]
    assert (second.bytes, second.parameters) == (2 * 2 * 8 * 4, 2 * 8 * 4)
    assert find_model(str(other)).bytes_on_disk == contents.bytes_on_disk


def test_each_component_has_a_variant_of_its_own(other: Path) -> None:
    in_half(other, TEXT)
    assert said(other) == ""
    assert read_folder(other, allow_pickle=False).components["text_encoder"].bytes > 0
    whole = other / "transformer" / "diffusion_pytorch_model.safetensors"
    shutil.copy(whole, whole.with_suffix(".fp16.safetensors"))
    cut(whole.with_suffix(".fp16.safetensors"))
    assert said(other) == "", "the plain file is loaded where there is one"
    cut(whole)
    assert "transformer/diffusion_pytorch_model.safetensors: truncated" in said(other)


FAULTY_OTHERS: list[tuple[Change, str]] = [
    (lambda folder: (folder / T5.format(2)).unlink(), "text_encoder_2: 1 of 2 parts"),
    (lambda folder: cut(folder / T5.format(1)), f"{T5.format(1)}: empty"),
    (lambda folder: shutil.rmtree(folder / "tokenizer_2"), "tokenizer_2: no such folder"),
    (
        lambda folder: (folder / "tokenizer_2/spiece.model").rename(folder / "tokenizer_2/x.json"),
        "tokenizer_2: its vocabulary is missing",
    ),
    (lambda folder: (folder / "scheduler/scheduler_config.json").unlink(), "scheduler_config"),
    (lambda folder: (folder / "transformer/config.json").unlink(), "transformer/config.json is"),
    (
        lambda folder: edit(folder / "model_index.json", transformer=["own", "Transformer"]),
        "transformer is of a class in 'own', which is code supplied with the model",
    ),
    (
        lambda folder: edit(
            folder / "model_index.json", image_processor=["transformers", "AProcessor"]
        ),
        "the folder image_processor is missing",
    ),
    (
        lambda folder: edit(
            folder / "model_index.json", tokenizer=[None, None], tokenizer_2=[None, None]
        ),
        "names no tokenizer, so it cannot read prompts",
    ),
]


@pytest.mark.parametrize(("change", "what"), FAULTY_OTHERS)
def test_fault_of_another_pipeline_is_named(other: Path, change: Change, what: str) -> None:
    change(other)
    assert what in said(other)
    with pytest.raises(ModelError):
        find_model(str(other))


def test_two_faults_are_both_named_and_the_run_says_how_many(tiny: Path) -> None:
    cut(tiny / UNET)
    cut(tiny / VAE)
    assert said(tiny).count("truncated") == 2
    with pytest.raises(ModelError, match=r"1 more: sdbench doctor --model"):
        find_model(str(tiny))


def test_pickles_are_looked_at_and_never_loaded(tiny: Path) -> None:
    (tiny / UNET).unlink()
    path = tiny / "unet" / "diffusion_pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    assert said(tiny, allow_pickle=True) == ""
    path.write_bytes(path.read_bytes()[:40])
    assert "truncated" in said(tiny, allow_pickle=True)


def test_tokenizer_of_transformers_5_alone_is_a_remark(tiny: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tiny / "tokenizer" / name).unlink()
    (tiny / "tokenizer" / "tokenizer.json").write_text('{"model": {"merges": []}}')
    (fault,) = read_folder(tiny, allow_pickle=False).faults
    assert not fault.blocks and "transformers before 5" in fault.what
    assert find_model(str(tiny)).folder == tiny


def test_name_without_a_dot_is_a_remark_where_half_precision_is_loaded(tiny: Path) -> None:
    (tiny / "unet" / "LICENSE").write_text("")
    assert said(tiny) == ""
    in_half(tiny, UNET)
    assert "unet/LICENSE has no dot in its name" in said(tiny)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read(tiny: Path) -> None:
    (tiny / VAE).chmod(0)
    assert "cannot be read: Permission denied" in said(tiny)


# --- folders and files that are no pipeline ----------------------------------------------------


def cached(folder: Path) -> Path:
    """The same as huggingface_hub keeps it."""
    root = folder.parent / "hub" / "models--someone--tiny"
    (root / "snapshots").mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc123")
    folder.rename(root / "snapshots" / "abc123")
    return root


def test_repository_in_the_cache_names_its_snapshot(tiny: Path) -> None:
    root = cached(tiny)
    for given in (root, root / "snapshots", root / "blobs"):
        words = said(given)
        assert "a repository's folder in the Hub's cache" in words
        assert f"{root}/snapshots/abc123" in words and "its id: someone/tiny" in words
    assert "with 1 repositories" in said(root.parent) and "someone/tiny" in said(root.parent)
    assert said(root / "snapshots" / "abc123") == ""
    (root / "snapshots" / "abc123" / "model_index.json").unlink()
    assert "no snapshot in it has one" in said(root)


def test_link_of_the_cache_to_nothing_is_a_download_that_was_not_finished(tiny: Path) -> None:
    dangling(tiny / UNET)
    words = said(tiny)
    assert f"{UNET}: not downloaded: a link of the Hub's cache to ../../../blobs/" in words
    assert "download the model again; what is there already is kept" in words


def test_placeholder_of_icloud_is_named(tiny: Path) -> None:
    (tiny / UNET).unlink()
    (tiny / "unet" / ".diffusion_pytorch_model.safetensors.icloud").write_bytes(b"bplist00")
    assert "unet: diffusion_pytorch_model.safetensors is in iCloud" in said(tiny)


def test_folders_above_several_pipelines_name_them(tiny: Path, tmp_path: Path) -> None:
    above = tmp_path / "above" / "models"
    above.mkdir(parents=True)
    tiny.rename(above / "one")
    assert f"the pipeline is in the folder below -> give that one: {above}/one" in said(
        above.parent
    )
    shutil.copytree(above / "one", above / "two")
    for given in (above, above.parent):
        words = said(given)
        assert "2 pipelines are in folders below" in words
        assert f"give one: {above}/one, {above}/two" in words


def test_component_saved_by_itself_is_named_by_its_class(tiny: Path, tmp_path: Path) -> None:
    (tiny / "vae").rename(tmp_path / "vae")
    words = said(tmp_path / "vae")
    assert "this is one component, AutoencoderKL, not a whole pipeline" in words
    (tmp_path / "vae" / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    assert "one component, Qwen2ForCausalLM" in said(tmp_path / "vae")


@pytest.mark.parametrize(
    "name", ["original/compiled/Unet.mlmodelc/model.mil", "u.mlpackage/M.json"]
)
def test_core_ml_is_recognised_below_and_by_the_folder_itself(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("")
    for given in (tmp_path, path.parent):
        assert "this folder is for Core ML" in said(given)


def test_link_to_nothing_is_no_id_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tmp_path / "Volumes" / "gone")
    with pytest.raises(UsageError, match=r"a link to \S+, which does not exist") as refused:
        find_model(str(tmp_path / "model"))
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="which does not exist"):
        find_offline(str(tmp_path / "model"), recorded=False)


def test_folder_beside_the_pipeline_points_to_it(tiny: Path) -> None:
    assert f"give that one: {tiny}" in said(tiny.parent)
    words = said(tiny / "unet")
    assert "one component, unet" in words and f"give the folder above: {tiny}" in words


def test_empty_and_foreign_folders(tmp_path: Path) -> None:
    assert "the folder is empty" in said(tmp_path)
    (tmp_path / "Unet.mlmodelc").mkdir()
    assert "for Core ML" in said(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    assert "no model_index.json" in said(tmp_path)


def test_folder_with_a_dangling_index(tiny: Path) -> None:
    dangling(tiny / "model_index.json")
    assert "model_index.json is a link to a file that does not exist" in said(tiny)


WHOLE = {
    "model.diffusion_model.a": [2],
    "first_stage_model.b": [2],
    "cond_stage_model.c": [2],
}


@pytest.mark.parametrize(
    ("name", "tensors", "what", "remedy"),
    [
        ("sd.safetensors", WHOLE, "a whole checkpoint", "give the file itself"),
        (
            "sd.safetensors",
            {name: WHOLE[name] for name in list(WHOLE)[::2]},
            "without its VAE",
            "give the file itself",
        ),
        ("x.safetensors", {"lora_te_q.lora_down.weight": [2]}, "holds a LoRA", "belongs to"),
        ("x.safetensors", {"conv_in.weight": [2]}, "holds a UNet", "belongs to"),
        ("x.safetensors", {"decoder.conv_in.weight": [2]}, "holds a VAE", "belongs to"),
        ("x.safetensors", {"double_blocks.0.a": [2]}, "another family", "belongs to"),
        ("x.safetensors", {"emb_params": [2, 2]}, "a textual inversion", "belongs to"),
        ("x.safetensors", {"lora_te_q.lora_down.weight": [2]}, "holds a LoRA", "--lora FILE"),
        ("x.safetensors", {"ip_adapter.1.to_k_ip.weight": [2]}, "an IP-Adapter", "belongs to"),
        (
            "t5xxl.safetensors",
            {"encoder.block.0.layer.0.SelfAttention.q.weight": [2]},
            "a text encoder (T5)",
            "belongs to",
        ),
        ("q.safetensors", {"model.layers.0.self_attn.q_proj.weight": [2]}, "a language", "belongs"),
        ("u.safetensors", {"model.1.sub.0.RDB1.conv1.0.weight": [2]}, "an upscaler", "belongs to"),
    ],
)
def test_single_file_says_what_it_is(
    tmp_path: Path, name: str, tensors: dict[str, list[int]], what: str, remedy: str
) -> None:
    write_safetensors(tmp_path / name, **tensors)
    fault = single_file(tmp_path / name)
    assert "a single file" in fault.what and what in fault.what and remedy in fault.remedy
    with pytest.raises(UsageError, match=r"not a whole model: a|unknown type"):
        find_model(str(tmp_path / name))
    if "LoRA" in what:
        note = find_offline(str(tmp_path / name), recorded=False)
        assert [fault.remedy for fault in note.faults] == [fault.remedy]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("sd.ckpt", b"PK\x03\x04", "truncated"),
        ("sd.ckpt", b"\x80\x02}q\x00.", "a checkpoint as a pickle file"),
        ("sd.safetensors", b"version https://git-lfs.github.com/spec/v1\nsize 5\n", "LFS pointer"),
        ("sd.safetensors", b"<html>", "a web page"),
        ("sd.zip", b"PK", "an archive"),
        ("w.json", b'{"3": {"class_type": "KSampler"}}', "a ComfyUI workflow, which is no model"),
        ("w.json", b'{"nodes": [], "links": []}', "a ComfyUI workflow"),
        ("w.json", b'{"nodes": 3}', "no model: w.json"),
        ("w.json", b"[" * 100_000, "no model: w.json"),
        ("notes.txt", b"hello", "a single file that is no model"),
    ],
)
def test_other_single_files(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    fault = single_file(tmp_path / name)
    assert what in fault.what and fault.remedy
    if not name.endswith(".safetensors"):
        with pytest.raises(UsageError) as raised:
            find_model(str(tmp_path / name))
        assert "\n" not in str(raised.value)
    assert "neither a folder" not in find_offline(str(tmp_path / name), recorded=False).note


# --- headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b'{"a": {}}',
        b'{"a": 5}',
        b'{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 5]}}',
        b'{"a": {"dtype": "F16", "shape": [2], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F16", "shape": [-2], "data_offsets": [0, -4]}}',
        b'{"a": {"dtype": "F16", "shape": "x", "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F16", "shape": [1e999], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, Infinity]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0.5, 8]}}',
        b'{"a": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}}',
        b"[" * 5000,
    ],
)
def test_header_that_is_none_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(WeightsError):
        read_header(path)


def test_large_file_is_read_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    size = 20_000_000_000  # sparse: takes no disk
    header = {"a": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
    assert read_header(path)["a"].shape == (size // 2,)


@pytest.mark.parametrize("at", ["chat_template.jinja", "tokenizer_config.json"])
def test_chat_template_of_any_size_is_not_run(tiny: Path, at: str) -> None:
    path = tiny / "tokenizer" / at
    loop = "{% for i in range(9) %}" * 20_000
    if at == "tokenizer_config.json":
        loop = json.dumps({**json.loads(path.read_text()), "chat_template": loop})
    path.write_text(loop)
    assert "tokenizer has a chat template of" in said(tiny)
