"""Checks a pipeline folder before anything loads it: is all there that diffusers will ask for?

File names say little: a file may be a Git LFS pointer, half a download, of another variant or for
another library. So the headers of the weights are read, and every JSON file; no tensor is, so a
folder of gigabytes takes milliseconds. Which files are asked for follows diffusers' own loading
(``ModelMixin.from_pretrained``, ``_identify_model_variants``) with the worker's options.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.models.weights import Tensor, WeightsError, look_at_pickle, read_header

PIPELINES: dict[str, tuple[str, ...]] = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder"),
    "StableDiffusionXLPipeline": ("unet", "vae", "text_encoder", "text_encoder_2"),
}
"""Pipeline classes that can be measured, and their components with weights."""

INDEX = "model_index.json"
HALF = "fp16"
"""The variant that the worker loads where the UNet has no other."""

_MOST_JSON_BYTES = 64 << 20
_MOST_ENTRIES = 5000
_CODE_OF_OTHERS = "take a model without code of its own: sdbench never runs a model's code"
DOWNLOAD = "download the model again"
# A tensor that every network of a class has.
LANDMARKS = {
    "UNet2DConditionModel": "conv_in.weight",
    "AutoencoderKL": "decoder.conv_in.weight",
    "CLIPTextModel": "embeddings.token_embedding.weight",
    "CLIPTextModelWithProjection": "embeddings.token_embedding.weight",
}
_PURPOSES = {
    9: "inpainting",
    8: "editing pictures (InstructPix2Pix)",
    5: "depth maps",
    7: "upscaling",
}
# Given to the pipeline as None, so never loaded (worker/pipelines.py).
_NOT_LOADED = {"StableDiffusionPipeline": ("safety_checker", "feature_extractor")}
OTHER_LIBRARIES = {
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".h5": "TensorFlow",
    ".gguf": "GGUF programs",
    ".mlmodelc": "Core ML",
    ".mlpackage": "Core ML",
    ".xml": "OpenVINO",
}
_UNFINISHED = (".incomplete", ".part", ".crdownload", ".aria2", ".download", ".tmp")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


class Fault(NamedTuple):
    """What is wrong with a model, and the way out."""

    what: str
    remedy: str
    blocks: bool = True
    """Whether the pipeline cannot be loaded; else it may be."""


@dataclass(frozen=True)
class Contents:
    """What a folder holds."""

    pipeline_class: str
    weights: tuple[Path, ...]
    """The files that would be loaded; their headers were read."""
    faults: tuple[Fault, ...]

    @property
    def bytes_on_disk(self) -> int:
        """Size of the weights that would be loaded."""
        return sum(path.stat().st_size for path in self.weights)


def read_folder(folder: Path, *, allow_pickle: bool) -> Contents:
    """Read everything that a pipeline would be loaded from, the tensors aside."""
    if not (folder / INDEX).is_file():
        return Contents("", (), (no_pipeline(folder),))
    try:
        index = read_json(folder / INDEX)
        pipeline_class = index["_class_name"]
    except (WeightsError, KeyError) as error:
        reason = "it names no _class_name" if isinstance(error, KeyError) else str(error)
        return Contents("", (), (Fault(f"{INDEX} cannot be read: {reason}", DOWNLOAD),))
    if pipeline_class not in PIPELINES:
        return Contents("", (), (_other_class(pipeline_class, index),))
    reader = _Reader(folder, index, pipeline_class, allow_pickle)
    faults = tuple(reader.faults())
    return Contents(pipeline_class, tuple(reader.weights), faults)


def shown(text: object) -> str:
    """A name that somebody else gave, fit to be printed: one line, no control characters."""
    whole = str(text)
    cleaned = "".join(letter if letter.isprintable() else "?" for letter in whole[:160])
    return cleaned + ("…" if len(whole) > 160 else "")


def entries(folder: Path) -> list[str]:
    """Names in a folder without hidden ones (``._x`` of macOS, ``.DS_Store``), sorted."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in itertools.islice(found, _MOST_ENTRIES)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith("."))


def loaded_variant(folder: Path) -> str | None:
    """The variant that the worker asks for: half precision where the UNet has nothing else."""
    names = entries(folder / "unet")
    plain = any(name.startswith("diffusion_pytorch_model.safetensors") for name in names)
    half = any(f".{HALF}." in name for name in names)
    return HALF if half and not plain else None


def _other_class(pipeline_class: Any, index: dict[str, Any]) -> Fault:
    name = shown(pipeline_class)
    expected = f"a {name}; expected {' or '.join(PIPELINES)}"
    if name.startswith("Flax"):
        return Fault(
            f"{expected}: it is for Flax", "download the model's PyTorch weights (safetensors)"
        )
    if "unet" in index and any(word in name for word in ("Inpaint", "Img2Img", "Upscale")):
        return Fault(
            f"{expected}: it needs a picture to begin with, and sdbench measures text to picture",
            "take the text-to-image model of the same family",
        )
    return Fault(expected, "take a Stable Diffusion 1.x, 2.x or SDXL model")


class _Reader:
    """One folder with a class that can be measured: its faults, and the weights it loads."""

    def __init__(
        self, folder: Path, index: dict[str, Any], pipeline_class: str, allow_pickle: bool
    ) -> None:
        self._folder = folder
        self._index = index
        self._class = pipeline_class
        self._allow_pickle = allow_pickle
        self._variant = loaded_variant(folder)
        kinds = {name: kind for name in index if (kind := self._class_of(name)) is not None}
        self._read = Read(kinds, {}, {})
        self._elsewhere: list[str] = []
        self.weights: list[Path] = []

    def faults(self) -> Iterator[Fault]:
        """Every fault, the gravest kinds first."""
        networks = PIPELINES[self._class]
        tokenizers = [name.replace("text_encoder", "tokenizer") for name in networks[2:]]
        absent = [name for name in (*networks, *tokenizers, "scheduler") if not self._named(name)]
        if absent:
            yield Fault(
                f"{INDEX} does not name {', '.join(absent)}, which a {self._class} needs",
                "download the whole model again, or add the missing components",
            )
        for component in networks:
            if component not in absent:
                yield from self._network(component)
        yield from self._mixed_variants()
        for component in tokenizers:
            if component not in absent:
                yield from self._tokenizer(component)
        if "scheduler" not in absent:
            yield from self._config("scheduler", "scheduler_config.json")
        yield from self._others({*networks, *tokenizers, "scheduler"})
        yield from misfits(networks, self._read)
        yield from self._names_without_dots()

    def _named(self, component: str) -> bool:
        return self._class_of(component) is not None

    def _class_of(self, component: str) -> str | None:
        """The class that the index gives a component; None where it gives none."""
        entry = self._index.get(component)
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str):
            return entry[1]
        return None

    # --- networks ---------------------------------------------------------------------------

    def _network(self, component: str) -> Iterator[Fault]:
        folder, library = self._folder / component, self._index[component][0]
        if library not in ("diffusers", "transformers"):
            yield Fault(
                f"{component} is of a class in {shown(library)!r}, which is code of the model's",
                _CODE_OF_OTHERS,
            )
            return
        if not folder.is_dir():
            yield Fault(f"the folder {component} is missing", DOWNLOAD)
            return
        yield from self._config(component, "config.json")
        files, fault = self._files(component, library)
        if fault is not None:
            yield fault
            return
        tensors: dict[str, Tensor] = {}
        for path in files:
            name = f"{component}/{shown(path.name)}"
            try:
                if path.suffix == ".safetensors":
                    tensors |= read_header(path)
                else:
                    look_at_pickle(path)
            except WeightsError as error:
                yield Fault(f"{name}: {error}", error.remedy)
                continue
            self.weights.append(path)
        if tensors and all(path in self.weights for path in files):
            self._read.tensors[component] = tensors
            yield from self._landmark(component, tensors)

    def _files(self, component: str, library: str) -> tuple[list[Path], Fault | None]:
        """The files that are loaded for a network, or why there are none."""
        folder = self._folder / component
        names = entries(folder)
        variant = self._variant_of(names)
        stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
        kinds = [(stem, ".safetensors")]
        if self._allow_pickle:
            kinds.append((stem if library == "diffusers" else "pytorch_model", ".bin"))
        for kind in kinds:
            single, index = chosen_files(names, *kind, variant)
            if index is not None and (library == "diffusers" or single is None):
                return self._shards(component, index)
            if single is not None:
                return [folder / single], None
        if variant is None and any(chosen_files(names, *kinds[0], HALF)):
            self._elsewhere.append(component)
            return [], None
        return [], no_weights(component, names, f"{stem}.safetensors", variant)

    def _variant_of(self, names: Sequence[str]) -> str | None:
        """As diffusers decides it for each component: a variant only where one file has it."""
        parts = [name.split(".") for name in names]
        has = any(len(part) > 1 and part[1].startswith(str(self._variant)) for part in parts)
        return self._variant if has else None

    def _mixed_variants(self) -> Iterator[Fault]:
        """Components in half precision only, where the UNet is there in full: neither has all."""
        if not self._elsewhere:
            return
        names = " and ".join(self._elsewhere)
        yield Fault(
            f"{names} {'are' if len(self._elsewhere) > 1 else 'is'} there as {HALF} files only and "
            "the UNet as a plain file: no one variant has all components",
            f"download the plain files of {names} too, or the {HALF} file of the UNet; or rename "
            f"the files: without .{HALF} in the name they count as plain",
        )

    def _shards(self, component: str, index: str) -> tuple[list[Path], Fault | None]:
        """The files that an index names."""
        place = f"{component}/{shown(index)}"
        try:
            named = read_json(self._folder / component / index)["weight_map"].values()
            names = sorted({str(name) for name in named})
        except (WeightsError, KeyError, AttributeError) as error:
            return [], Fault(f"{place} cannot be read: {error}", DOWNLOAD)
        outside = [name for name in names if name != os.path.basename(name)]
        if outside or not names:
            return [], Fault(
                f"{place} names {shown(outside[0]) if outside else 'no file'}, not files beside it",
                DOWNLOAD,
            )
        paths = [self._folder / component / name for name in names]
        missing = [path.name for path in paths if not os.path.lexists(path)]
        if missing:
            return [], Fault(
                f"{component}: {len(missing)} of {len(names)} parts of its weights are missing: "
                f"{shown(', '.join(missing))}",
                "download these files, or the model again",
            )
        return paths, None

    def _landmark(self, component: str, tensors: dict[str, Tensor]) -> Iterator[Fault]:
        kind = self._class_of(component) or ""
        landmark = LANDMARKS.get(kind)
        if landmark is None or any(is_landmark(name, landmark) for name in tensors):
            return
        what = describe_tensors(tensors)
        yield Fault(
            f"{component}: its weights are none of a {kind} (no {landmark}); they are {what}",
            f"put the right file into {component}, or download the model again",
        )

    # --- the rest -----------------------------------------------------------------------------

    def _config(self, component: str, name: str) -> Iterator[Fault]:
        path = self._folder / component / name
        if not os.path.lexists(path):
            yield Fault(f"{component}/{name} is missing", DOWNLOAD)
            return
        try:
            self._read.configs[component] = read_json(path)
        except WeightsError as error:
            yield Fault(f"{component}/{name} cannot be read: {error}", DOWNLOAD)

    def _tokenizer(self, component: str) -> Iterator[Fault]:
        names = entries(self._folder / component)
        again = f"download the folder {component} again: it is small"
        wanted = [name for name in ("vocab.json", "merges.txt") if name not in names]
        if wanted and "tokenizer.json" not in names:
            there = (
                f"{' and '.join(wanted)} missing" if names else "no such folder, or an empty one"
            )
            yield Fault(f"{component}: {there}, so no prompt can be read", again)
            return
        for name in ("vocab.json", "tokenizer.json", "tokenizer_config.json"):
            if name in names:
                try:
                    content = read_json(self._folder / component / name)
                except WeightsError as error:
                    yield Fault(f"{component}/{name} cannot be read: {error}", again)
                    continue
                if name == "vocab.json":
                    self._read.configs[component] = content
        if wanted:
            yield Fault(
                f"{component} has tokenizer.json alone, which transformers before 5 does not read "
                "for a CLIPTokenizer",
                again,
                blocks=False,
            )

    def _others(self, known: set[str]) -> Iterator[Fault]:
        """Components that a run would load although it does not need them."""
        for name in self._index:
            loaded = name not in (*known, *_NOT_LOADED.get(self._class, ()))
            if loaded and self._named(name) and not (self._folder / name).is_dir():
                yield Fault(
                    f"the folder {shown(name)} is missing, and {INDEX} names it",
                    f"{DOWNLOAD}, or write [null, null] for it in {INDEX}",
                )

    def _names_without_dots(self) -> Iterator[Fault]:
        """``p.split(".")[1]`` in diffusers: with a variant it fails at a name without a dot."""
        if self._variant is None:
            return
        for component in self._index:
            for name in entries(self._folder / component):
                if "." not in name:
                    yield Fault(
                        f"{shown(component)}/{shown(name)} has no dot in its name, at which "
                        f"diffusers may fail where the UNet is an {HALF} file",
                        "move it out of the folder",
                        blocks=False,
                    )


class Read(NamedTuple):
    """What was read of each component: its class in the index, its configuration, its tensors."""

    kinds: dict[str, str]
    configs: dict[str, dict[str, Any]]
    tensors: dict[str, dict[str, Tensor]]


def misfits(networks: Sequence[str], read: Read) -> Iterator[Fault]:
    """Whether the components belong together, by their configurations and shapes."""
    unet, vae = read.configs.get("unet", {}), read.configs.get("vae", {})
    inputs, latents = unet.get("in_channels"), vae.get("latent_channels", 4)
    if isinstance(inputs, int) and inputs != latents:
        purpose = _PURPOSES.get(inputs)
        made_for = f": it is made for {purpose}" if purpose else ""
        yield Fault(
            f"the UNet takes {inputs} channels and the VAE gives {latents}{made_for}",
            "take the text-to-image model of the same family",
        )
    texts = [name for name in networks if name.startswith("text_encoder")]
    widths = [read.configs.get(name, {}).get("hidden_size") for name in texts]
    asked = unet.get("cross_attention_dim")
    known = [width for width in widths if isinstance(width, int)]
    told = isinstance(asked, int) and not unet.get("encoder_hid_dim_type")
    if told and len(known) == len(texts) and sum(known) != asked:
        yield Fault(
            f"the UNet expects text of width {asked} and {' and '.join(texts)} give "
            f"{' + '.join(map(str, known))}: they are of different models",
            "take all components from one model",
        )
    for component, key, axis in (
        ("unet", "in_channels", 1),
        ("vae", "latent_channels", 1),
        *((name, "hidden_size", 1) for name in texts),
    ):
        yield from _shape(read, component, key, axis)


def _shape(read: Read, component: str, key: str, axis: int) -> Iterator[Fault]:
    landmark = LANDMARKS.get(read.kinds.get(component, ""), "?")
    said = read.configs.get(component, {}).get(key)
    for name, tensor in read.tensors.get(component, {}).items():
        if is_landmark(name, landmark) and isinstance(said, int) and len(tensor.shape) > axis:
            if tensor.shape[axis] != said:
                yield Fault(
                    f"{component}/config.json says {key} {said}, and {shown(name)} has "
                    f"{tensor.shape[axis]}: weights and configuration are of different models",
                    f"download the folder {component} again",
                )
            vocabulary = read.configs.get(component.replace("text_encoder", "tokenizer"), {})
            if key == "hidden_size" and len(vocabulary) > tensor.shape[0]:
                yield Fault(
                    f"the tokenizer of {component} has {len(vocabulary)} tokens and its "
                    f"weights {tensor.shape[0]}: they are of different models",
                    "download tokenizer and text encoder again, from one model",
                )
            return


def chosen_files(
    names: Sequence[str], stem: str, suffix: str, variant: str | None
) -> tuple[str | None, str | None]:
    """Of the names the one file that holds the weights, and the index of several."""
    indexes = (
        _with_variant(f"{stem}{suffix}.index.json", variant),
        f"{stem}.{variant}{suffix}.index.json",  # as older diffusers wrote it
    )
    single = _with_variant(f"{stem}{suffix}", variant)
    index = next((name for name in indexes if name in names), None)
    return (single if single in names else None), index


def _with_variant(name: str, variant: str | None) -> str:
    """As diffusers and transformers name it: before the last suffix."""
    if variant is None:
        return name
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{variant}.{suffix}"


def no_weights(component: str, names: list[str], wanted: str, variant: str | None) -> Fault:
    """Why a component has nothing to load, from what lies there instead."""
    wanted = _with_variant(wanted, variant)
    safe = [name for name in names if name.endswith(".safetensors")]
    if safe:
        if any("-of-" in name for name in safe):
            return Fault(
                f"{component} has its weights in {len(safe)} parts and no index of them "
                f"({wanted}.index.json)",
                "download the index too, or the model again",
            )
        return Fault(
            f"{component} has {shown(', '.join(safe))}, and {wanted} is asked for",
            f"rename it to {wanted} if it holds the weights of the {component}, or download that "
            "file",
        )
    unfinished = [name for name in names if name.endswith(_UNFINISHED)]
    if unfinished:
        return Fault(
            f"{component}: the download of {shown(unfinished[0])} is not finished",
            "finish the download",
        )
    for suffix, library in OTHER_LIBRARIES.items():
        if any(name.endswith(suffix) for name in names):
            return Fault(
                f"{component} has no safetensors file: its weights are for {library} only "
                f"(*{suffix})",
                "download the model's safetensors weights (another revision or repository may "
                "have them), or convert these with the library they are for",
            )
    if any(name.endswith(_PICKLES) for name in names):
        return Fault(
            f"{component} has no safetensors file; pickle files can run code and are only read "
            "with --allow-pickle",
            "download the safetensors weights; or, where you trust the source: sdbench run "
            "--allow-pickle",
        )
    return Fault(f"{component} has no safetensors file and no other weights", DOWNLOAD)


def is_landmark(name: str, landmark: str) -> bool:
    """Whether a tensor is a landmark; text encoders name theirs with a prefix or without."""
    return name.removeprefix("text_model.") == landmark


def describe_tensors(tensors: dict[str, Tensor]) -> str:
    """What the tensors of a file are, from their names."""
    names = list(tensors)
    whole = {
        part
        for part, beginnings in _CHECKPOINT_PARTS.items()
        if any(name.startswith(beginnings) for name in names)
    }
    if len(whole) > 1:
        missing = [part for part in _CHECKPOINT_PARTS if part not in whole]
        without = f", without its {' and '.join(missing)}" if missing else ""
        return f"a whole checkpoint in the original layout{without}"
    if any(re.search(r"lora[_.]|\.alpha$", name) for name in names):
        return "a LoRA: a change of a model, not a model"
    if any("control_model" in name or "controlnet" in name for name in names):
        return "a ControlNet"
    if any("double_blocks" in name or "joint_blocks" in name for name in names):
        return "a transformer of another family (Flux, SD 3)"
    if len(names) <= 2 and any("emb_params" in name or "clip_" in name for name in names):
        return "a textual inversion: a word, not a model"
    for kind, landmark in LANDMARKS.items():
        if any(is_landmark(name, landmark) for name in names):
            return {"UNet2DConditionModel": "a UNet", "AutoencoderKL": "a VAE"}.get(
                kind, "a text encoder"
            )
    return f"a {next(iter(whole))}" if whole else f"unknown ({len(names)} tensors)"


_CHECKPOINT_PARTS: dict[str, tuple[str, ...]] = {
    "UNet": ("model.diffusion_model.",),
    "VAE": ("first_stage_model.",),
    "text encoder": ("cond_stage_model.", "conditioner.", "text_encoders."),
}


def single_file(path: Path) -> Fault:
    """What can be done with a model in one file, which is not measured as it is."""
    name, suffix = shown(path.name), path.suffix.lower()
    convert = (
        "convert it to a folder with diffusers: StableDiffusionPipeline (SDXL: "
        "StableDiffusionXLPipeline).from_single_file(FILE).save_pretrained(FOLDER), then give the "
        "folder"
    )
    trusted = "a pickle file can run code when it is read, so only where you trust its source"
    if suffix in (".safetensors", ".sft"):
        try:
            what = describe_tensors(read_header(path))
        except WeightsError as error:
            return Fault(f"a single file, {name}, and it is {error}", error.remedy)
        if what.startswith("a whole checkpoint"):
            return Fault(f"a single file, not a pipeline folder: {name} is {what}", convert)
        return Fault(
            f"a single file, not a pipeline folder: {name} holds {what}",
            "from_single_file needs a whole checkpoint (UNet, VAE and text encoder in one file): "
            "give the folder or the checkpoint that this file belongs to",
        )
    if suffix in (".ckpt", ".pt", ".pth", ".bin"):
        try:
            look_at_pickle(path)
        except WeightsError as error:
            return Fault(f"a single file, {name}, and it is {error}", error.remedy)
        return Fault(
            f"a single file, not a pipeline folder: {name} is a checkpoint as a pickle file",
            f"take its safetensors version if there is one; else {convert}; {trusted}",
        )
    library = OTHER_LIBRARIES.get(suffix)
    if library is not None:
        return Fault(
            f"a single file for {library}: {name}",
            "take the model's safetensors weights: a folder, or a checkpoint to convert with "
            "diffusers' from_single_file",
        )
    if suffix in (".zip", ".gz", ".tar", ".7z", ".rar"):
        return Fault(f"an archive: {name}", "unpack it and give the folder in it")
    return Fault(
        f"a single file that is no model: {name}",
        "give a pipeline folder (with a model_index.json), or convert a checkpoint with diffusers' "
        "from_single_file",
    )


# --- folders that are none of a pipeline ----------------------------------------------------------


def no_pipeline(folder: Path) -> Fault:
    """What a folder without an index is instead, and where the pipeline is."""
    if os.path.lexists(folder / INDEX):
        return Fault(
            f"{INDEX} is a link to a file that is not there",
            "copy the folder with the files that its links name (cp -RL), or download it again",
        )
    cached = next((part for part in (folder, folder.parent) if _is_repository(part)), None)
    if cached is not None:
        return _cached_repository(cached)
    names = entries(folder)
    repositories = [name for name in names if name.startswith("models--")]
    if repositories:
        ids = ", ".join(map(_hub_id, repositories[:5]))
        return Fault(
            f"no {INDEX}: this is the Hub's cache itself, with {len(repositories)} repositories",
            f"give a model in it by its id: {shown(ids)}",
        )
    inside = [name for name in names if (folder / name / INDEX).is_file()]
    if inside:
        return Fault(
            f"no {INDEX}: the pipeline is in the folder below",
            f"give that one: {shown(folder / inside[0])}",
        )
    if (folder.parent / INDEX).is_file():
        return Fault(
            f"no {INDEX}: this is one component, {shown(folder.name)}, not the whole pipeline",
            f"give the folder above: {shown(folder.parent)}",
        )
    files = [name for name in names if name.endswith((".safetensors", ".ckpt"))]
    if files:
        fault = single_file(folder / files[0])
        return Fault(f"no {INDEX}; in it is {fault.what}", fault.remedy)
    for suffix, library in OTHER_LIBRARIES.items():
        if any(name.endswith(suffix) for name in names):
            return Fault(
                f"no {INDEX}: this folder is for {library} (*{suffix})",
                "take the model's folder for diffusers, with safetensors files",
            )
    if not names:
        return Fault(f"no {INDEX}: the folder is empty", DOWNLOAD)
    return Fault(
        f"no {INDEX}, so not a pipeline folder of diffusers",
        "give a folder that was written by save_pretrained() or downloaded from the Hub",
    )


def _is_repository(folder: Path) -> bool:
    """Whether this is how huggingface_hub keeps a repository: blobs, refs and snapshots."""
    return folder.name.startswith("models--") and (folder / "snapshots").is_dir()


def _hub_id(folder_name: str) -> str:
    return folder_name.removeprefix("models--").replace("--", "/")


def _cached_repository(root: Path) -> Fault:
    names = [
        name
        for name in entries(root / "snapshots")
        if (root / "snapshots" / name / INDEX).is_file()
    ]
    found = f"no {INDEX}: this is a repository's folder in the Hub's cache"
    if not names:
        return Fault(
            f"{found}, and no snapshot in it has one",
            f"download the model again: {shown(_hub_id(root.name))}",
        )
    try:
        main = (root / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        main = ""
    chosen = main if main in names else names[-1]
    return Fault(
        f"{found}, and the pipeline is a snapshot in it",
        f"give the snapshot: {shown(root / 'snapshots' / chosen)}, or its id: "
        f"{shown(_hub_id(root.name))}",
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        WeightsError: there is none, and why.
    """
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise WeightsError("too large", DOWNLOAD)
        text = path.read_text(encoding="utf-8")
        if text.startswith("version https://git-lfs"):
            raise WeightsError("a Git LFS pointer", "git lfs install && git lfs pull")
        document = json.loads(text)
    except OSError as error:
        raise WeightsError(error.strerror or "unreadable", DOWNLOAD) from None
    except (ValueError, RecursionError):
        raise WeightsError("not JSON", DOWNLOAD) from None
    if not isinstance(document, dict):
        raise WeightsError("not a JSON object", DOWNLOAD)
    return document
