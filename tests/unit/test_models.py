"""Models: sizes of the architectures, bytes that are the same everywhere, a cache that is safe."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sdbench.errors import ModelError, UsageError
from sdbench.files.user_folders import cache_folder
from sdbench.models import synthetic
from sdbench.models.architecture import parameter_count
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.hub import needed_files
from sdbench.models.resolve import digest_folder, find_model
from sdbench.models.tokenizer import BEGIN, END, byte_symbols, tokenizer_files

TINY = SYNTHETIC["synthetic/tiny"]
BUILD = (
    "import sys; from pathlib import Path; from sdbench.models import synthetic;"
    "from sdbench.models.catalogue import SYNTHETIC;"
    "print(synthetic.ensure(SYNTHETIC['synthetic/tiny'], Path(sys.argv[1])))"
)


def tiny_folder(cache: Path) -> Path:
    return cache / "models" / "synthetic--tiny"


def local_model(cache: Path, folder: Path, **index: Any) -> Path:
    """A pipeline folder of somebody's: synthetic/tiny under another name."""
    shutil.copytree(tiny_folder(cache), folder, ignore=shutil.ignore_patterns(synthetic.MANIFEST))
    document = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**document, **index}))
    return folder


def as_pickles(folder: Path) -> Path:
    """Its weights as files of torch, empty archives: nothing reads more than that they are some."""
    for path in [*folder.rglob("*.safetensors")]:
        name = "pytorch_model.bin" if path.name == "model.safetensors" else f"{path.stem}.bin"
        with zipfile.ZipFile(path.with_name(name), "w") as archive:
            archive.writestr("data.pkl", b"")
        path.unlink()
    return folder


# --- architectures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "network", "parameters"),
    [
        # What the published checkpoints hold.
        ("synthetic/sd15", "unet", 859_520_964),
        ("synthetic/sd15", "vae", 83_653_863),
        ("synthetic/sd15", "text_encoder", 123_060_480),
        ("synthetic/sdxl", "unet", 2_567_463_684),
        ("synthetic/sdxl", "vae", 83_653_863),
        ("synthetic/sdxl", "text_encoder", 123_060_480),
        ("synthetic/sdxl", "text_encoder_2", 694_659_840),
    ],
)
def test_network_has_the_published_size(model: str, network: str, parameters: int) -> None:
    assert parameter_count(SYNTHETIC[model].networks[network]) == parameters


@pytest.mark.parametrize("name", sorted(SYNTHETIC))
def test_parameters_have_distinct_names_and_shapes_without_zeros(name: str) -> None:
    for network in SYNTHETIC[name].networks.values():
        parameters = list(network.parameters())
        assert len({parameter for parameter, _ in parameters}) == len(parameters)
        assert all(math.prod(shape) > 0 for _, shape in parameters)


@pytest.mark.parametrize("name", sorted(SYNTHETIC))
def test_every_network_has_its_configuration_and_place_in_the_index(name: str) -> None:
    model = SYNTHETIC[name]
    index = model.configs["model_index.json"]
    assert index["_class_name"] == model.pipeline_class
    for component in model.networks:
        assert component in index
        assert f"{component}/config.json" in model.configs
    assert index.get("safety_checker", [None, None]) == [None, None]


def test_tiny_has_about_two_million_parameters() -> None:
    assert 1e6 < TINY.parameters < 3e6
    assert TINY.bytes_on_disk == 2 * TINY.parameters


# --- building ------------------------------------------------------------------------------------


def test_tiny_comes_out_byte_for_byte(tiny_cache: Path) -> None:
    folder = tiny_folder(tiny_cache)
    digests = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != synthetic.MANIFEST
    }
    assert synthetic.folder_digest(digests) == TINY.sha256


def test_weights_are_a_safetensors_file(tiny_cache: Path) -> None:
    data = (tiny_folder(tiny_cache) / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    assert length % 8 == 0
    parameters = dict(TINY.networks["unet"].parameters())
    assert {name: tuple(entry["shape"]) for name, entry in header.items()} == parameters
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    ends = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    assert [begin for begin, _ in ends] == [0, *(end for _, end in ends[:-1])]
    assert ends[-1][1] == len(data) - 8 - length


def test_building_tells_how_far_it_is(own_cache: Path) -> None:
    told: list[tuple[int, int]] = []
    synthetic.ensure(TINY, own_cache, lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (TINY.bytes_on_disk, TINY.bytes_on_disk)


def test_model_in_the_cache_is_not_built_again(tiny_cache: Path) -> None:
    def never(done: int, total: int) -> None:
        raise AssertionError("built again")

    assert synthetic.ensure(TINY, tiny_cache, never) == tiny_folder(tiny_cache)


def test_two_processes_may_build_at_once(own_cache: Path) -> None:
    command = [sys.executable, "-c", BUILD, str(own_cache)]
    builders = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(*builder.communicate(), builder.returncode) for builder in builders]
    assert [code for _, _, code in ended] == [0, 0], ended
    assert {out.strip() for out, _, _ in ended} == {str(tiny_folder(own_cache))}
    assert synthetic.is_cached(TINY, own_cache)
    folders = [path.name for path in (own_cache / "models").iterdir() if path.is_dir()]
    assert folders == ["synthetic--tiny"]


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "missing",
        "manifest",
        "folder",
        "[]",
        '{"files": 5}',
        '{"files": {"absent": [1, 2]}, "sha256": ""}',
        pytest.param('{"files": {}}'),
        pytest.param(f'{{"files": {{}}, "sha256": "{TINY.sha256}"}}'),
    ],
)
def test_torn_cache_is_rebuilt(own_cache: Path, damage: str) -> None:
    folder = synthetic.ensure(TINY, own_cache)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "missing":
        (folder / "tokenizer" / "vocab.json").unlink()
    elif damage == "manifest":
        (folder / synthetic.MANIFEST).unlink()
    elif damage != "folder":
        (folder / synthetic.MANIFEST).write_text(damage)
    else:
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
    assert not synthetic.is_cached(TINY, own_cache)
    synthetic.ensure(TINY, own_cache)
    assert synthetic.is_cached(TINY, own_cache)
    assert digest_folder_without_manifest(folder) == TINY.sha256


def changed_later(path: Path) -> None:
    """Give a file another time of change, as a copy or a backup does."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def test_same_bytes_of_another_time_are_hashed_once_and_kept(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthetic.ensure(TINY, own_cache)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    changed_later(weights)
    status = weights.stat()
    hashed: list[Path] = []
    digest = synthetic.file_digest

    def noting(path: Path) -> str:
        hashed.append(path)
        return digest(path)

    monkeypatch.setattr(synthetic, "file_digest", noting)

    def never(done: int, total: int) -> None:
        raise AssertionError("built again")

    assert synthetic.ensure(TINY, own_cache, never) == folder
    assert weights in hashed
    assert (weights.stat().st_ino, weights.stat().st_mtime_ns) == (
        status.st_ino,
        status.st_mtime_ns,
    )
    hashed.clear()
    assert synthetic.ensure(TINY, own_cache, never) == folder
    assert hashed == []


def test_file_that_cannot_be_hashed_is_not_taken_for_good(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_folder(tiny_cache), tiny_folder(tmp_path))
    changed_later(tiny_folder(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors")

    def failing(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(synthetic, "file_digest", failing)
    assert not synthetic.is_cached(TINY, tmp_path)


def test_model_that_came_while_its_lock_was_waited_for_is_not_built_again(
    tiny_cache: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HeldByAnother:
        """Another process builds the model, then lets go."""

        def __init__(self, name: str) -> None:
            assert name == f"{tiny_folder(own_cache)}.lock"

        def __enter__(self) -> None:
            shutil.copytree(tiny_folder(tiny_cache), tiny_folder(own_cache))

        def __exit__(self, *error: object) -> None:
            pass

    def never(done: int, total: int) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr("filelock.FileLock", HeldByAnother)
    assert synthetic.ensure(TINY, own_cache, never) == tiny_folder(own_cache)


def test_other_bytes_of_the_same_size_are_rebuilt(own_cache: Path) -> None:
    folder = synthetic.ensure(TINY, own_cache)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    changed_later(weights)  # a clock may be too coarse to tell the write from the building
    assert not synthetic.is_cached(TINY, own_cache)
    synthetic.ensure(TINY, own_cache)
    assert weights.read_bytes() == good
    assert digest_folder_without_manifest(folder) == TINY.sha256


def digest_folder_without_manifest(folder: Path) -> str:
    (folder / synthetic.MANIFEST).unlink()
    return digest_folder(folder)


def test_model_that_comes_out_otherwise_is_refused_and_leaves_nothing(own_cache: Path) -> None:
    other = dataclasses.replace(TINY, sha256="0" * 64)
    with pytest.raises(ModelError, match="came out as"):
        synthetic.ensure(other, own_cache)
    assert [path for path in (own_cache / "models").iterdir() if path.is_dir()] == []


def test_cache_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot build synthetic/tiny"):
        synthetic.ensure(TINY, tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv_in.weight", (32, 4, 3, 3)),
        ("proj.weight", (64, 256)),
        ("proj.bias", (64,)),
        ("norm1.weight", (4096,)),
    ],
)
def test_values_are_finite_spread_and_of_the_right_size(name: str, shape: tuple[int, ...]) -> None:
    import numpy as np

    values = np.frombuffer(synthetic.tensor_data(f"synthetic/x/{name}", shape), np.float16)
    numbers = values.astype(np.float64)
    assert len(values) == math.prod(shape)
    assert np.isfinite(numbers).all()
    if name.startswith("norm"):
        assert abs(numbers.mean() - 1) < 0.05
    elif name.endswith("bias"):
        assert np.abs(numbers).max() < 0.1
    else:
        wanted = 1 / math.sqrt(math.prod(shape[1:]))
        assert 0.5 < numbers.std() / wanted < 2.0
        assert abs(numbers.mean()) < wanted / 5


def test_values_depend_on_the_name_and_on_nothing_else() -> None:
    def draw(seed: str) -> bytes:
        return synthetic.tensor_data(seed, (16, 16))

    assert draw("m/unet/a.weight") == draw("m/unet/a.weight")
    assert draw("m/unet/a.weight") != draw("m/unet/b.weight")


def test_large_tensor_is_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = synthetic.tensor_data("m/unet/a.weight", (50, 21))
    monkeypatch.setattr(synthetic, "_CHUNK", 64)
    assert synthetic.tensor_data("m/unet/a.weight", (50, 21)) == whole


# --- tokenizer -----------------------------------------------------------------------------------


def test_every_byte_has_a_symbol_of_its_own() -> None:
    symbols = byte_symbols()
    assert len(set(symbols)) == 256
    assert symbols[:3] == ["!", '"', "#"]  # as the published vocabulary begins
    assert all(symbol.isprintable() and not symbol.isspace() for symbol in symbols)


def test_vocabulary_ends_with_begin_and_end() -> None:
    vocabulary = json.loads(tokenizer_files()["vocab.json"])
    assert len(vocabulary) == 514
    assert (vocabulary[BEGIN], vocabulary[END]) == (512, 513)
    assert vocabulary["a</w>"] == vocabulary["a"] + 256
    assert TINY.configs["text_encoder/config.json"]["eos_token_id"] == vocabulary[END]


def test_second_tokenizer_pads_otherwise() -> None:
    config = json.loads(tokenizer_files(padding="!")["tokenizer_config.json"])
    assert config["pad_token"] == "!"
    assert json.loads(tokenizer_files()["tokenizer_config.json"])["pad_token"] == END


# --- finding -------------------------------------------------------------------------------------


def test_cache_is_where_the_variable_says(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == own_cache
    monkeypatch.delenv("SDBENCH_CACHE")
    assert cache_folder().name == "sdbench"


def test_looking_a_model_up_builds_nothing(own_cache: Path) -> None:
    source = find_model("synthetic/tiny")
    assert source.must_be_built
    assert not own_cache.exists()
    assert source.outline().trained is False


def test_built_model_is_found_with_its_digest(
    tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDBENCH_CACHE", str(tiny_cache))
    source = find_model("synthetic/tiny")
    assert not source.must_be_built
    model = source.prepare()
    assert model.sha256 == TINY.sha256
    assert Path(model.path) == tiny_folder(tiny_cache)


@pytest.mark.parametrize(
    "name", ["synthetic/huge", "nothing", "./absent", "/absent/x", "a/b/c", "x" * 5000]
)
def test_model_that_does_not_exist_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match="no model"):
        find_model(name)


def test_local_folder_is_taken_as_it_is(tiny_cache: Path, tmp_path: Path) -> None:
    folder = local_model(tiny_cache, tmp_path / "mine")
    source = find_model(str(folder))
    assert (source.folder, source.download) == (folder, None)
    assert TINY.bytes_on_disk < source.bytes_on_disk < 1.1 * TINY.bytes_on_disk
    model = source.prepare()
    assert model.trained
    assert model.sha256 == digest_folder(folder)


def test_digest_covers_names_and_contents(tiny_cache: Path, tmp_path: Path) -> None:
    folder = local_model(tiny_cache, tmp_path / "mine")
    before = digest_folder(folder)
    assert digest_folder(folder) == before
    (folder / "README.md").write_text("not read by a pipeline")
    (folder / "unet" / "._config.json").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.json").write_text("hidden")
    assert digest_folder(folder) == before
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"12346")
    changed = digest_folder(folder)
    weights.rename(folder / "unet" / "other.safetensors")
    assert len({before, changed, digest_folder(folder)}) == 3


def test_folder_without_an_index_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model_index\.json"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '"x"'])
def test_index_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "model_index.json").write_text(text)
    with pytest.raises(ModelError, match=r"model_index\.json cannot be read"):
        find_model(str(tmp_path))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("StableDiffusionInpaintPipeline", "it needs an image and a mask to begin with"),
        ("FluxFillPipeline", "it needs an image and a mask to begin with"),
        ("StableDiffusionXLImg2ImgPipeline", "it needs an image to begin with"),
        ("StableDiffusionLatentUpscalePipeline", "it needs an image to begin with"),
        ("QwenImageEditPlusPipeline", "it needs an image to begin with"),
        ("FluxControlNetPipeline", "it needs a control image"),
        ("WanImageToVideoPipeline", "it makes video"),
        ("AnimateDiffPipeline", "it makes video"),
        ("StableAudioPipeline", "it makes audio"),
        ("MarigoldDepthPipeline", "it estimates maps"),
        ("StableCascadePriorPipeline", "it is one half of a pipeline"),
    ],
)
def test_pipelines_for_something_else_are_refused(
    tiny_cache: Path, tmp_path: Path, other: str, reason: str
) -> None:
    folder = local_model(tiny_cache, tmp_path / "other", _class_name=other)
    with pytest.raises(ModelError, match=f"a {other}: {reason}"):
        find_model(str(folder))


def test_components_are_recorded_with_what_they_hold(tiny_cache: Path, tmp_path: Path) -> None:
    """The same from the catalogue, before the model is made, and from the files' headers."""
    folder = local_model(tiny_cache, tmp_path / "mine")
    read = find_model(str(folder)).outline().components
    assert read == find_model("synthetic/tiny").outline().components
    unet = read["unet"]
    assert (unet.class_name, unet.dtype) == ("UNet2DConditionModel", "float16")
    assert unet.parameters == parameter_count(TINY.networks["unet"])
    assert sum(one.bytes for one in read.values()) == TINY.bytes_on_disk
    pickles = find_model(str(as_pickles(folder)), allow_pickle=True).components["unet"]
    assert pickles.parameters is None and pickles.dtype is None and pickles.bytes > 0


def test_missing_component_is_named(tiny_cache: Path, tmp_path: Path) -> None:
    folder = local_model(tiny_cache, tmp_path / "mine")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="vae has no safetensors file"):
        find_model(str(folder))


def test_pickle_is_refused_unless_allowed(tiny_cache: Path, tmp_path: Path) -> None:
    folder = as_pickles(local_model(tiny_cache, tmp_path / "old"))
    with pytest.raises(ModelError, match="only read with --allow-pickle"):
        find_model(str(folder))
    assert 0 < find_model(str(folder), allow_pickle=True).bytes_on_disk < 1000
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="no file that torch saved"):
        find_model(str(folder), allow_pickle=True)


# --- what would be downloaded --------------------------------------------------------------------

PUBLISHED = [
    "README.md",
    "v1-5-pruned.ckpt",
    "v1-5-pruned-emaonly.safetensors",
    "model_index.json",
    "feature_extractor/preprocessor_config.json",
    "safety_checker/config.json",
    "safety_checker/model.fp16.safetensors",
    "safety_checker/model.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
]


def weights(files: list[str]) -> list[str]:
    return [file for file in files if file.endswith((".safetensors", ".bin", ".ckpt"))]


def test_one_copy_of_the_weights_is_taken_and_nothing_unneeded() -> None:
    files = needed_files(PUBLISHED)
    assert weights(files) == [
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert {"model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json"} <= set(
        files
    )
    assert not any(file.startswith(("safety_checker/", "README")) for file in files)
    assert len(set(files)) == len(files)


def test_full_precision_is_taken_where_there_is_no_half() -> None:
    files = needed_files([name for name in PUBLISHED if ".fp16." not in name])
    assert weights(files) == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_pickle_is_taken_only_where_allowed_and_only_for_want_of_better() -> None:
    pickles = ["model_index.json", "unet/diffusion_pytorch_model.bin", "vae/model.safetensors"]
    assert weights(needed_files(pickles)) == ["vae/model.safetensors"]
    assert weights(needed_files(pickles, allow_pickle=True)) == [
        "unet/diffusion_pytorch_model.bin",
        "vae/model.safetensors",
    ]


def test_weights_in_several_files_come_with_their_index() -> None:
    sharded = [
        "unet/config.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    ]
    assert needed_files(sharded) == sharded
