"""What a path is that is no pipeline folder, and where the pipeline is."""

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sdbench.files.access import MIB, read_file
from sdbench.models.folder_files import (
    DOWNLOAD,
    INDEX,
    OTHER_LIBRARIES,
    Fault,
    entries,
    read_json,
    shown,
)
from sdbench.models.tensor_names import describe_tensors, how_to_use
from sdbench.models.weights import WeightsError, look_at_pickle, read_header
from sdbench.words import shell

_MOST_WORKFLOW_BYTES = 16 * MIB
_MOST_LOOKED_INTO = 50
_MOST_NAMED = 3


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
            return Fault(
                f"a single file, not a pipeline folder: {name} is {what}",
                f"give the file itself: --model {shell(path)}",
            )
        return Fault(
            f"a single file, not a pipeline folder: {name} holds {what}",
            how_to_use(what),
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
            "take the model's safetensors weights: a folder or a checkpoint",
        )
    if suffix == ".json":
        return _json_file(path, name)
    if suffix in (".zip", ".gz", ".tar", ".7z", ".rar"):
        return Fault(f"an archive: {name}", "unpack it and give the folder in it")
    return Fault(
        f"a single file that is no model: {name}",
        "give a pipeline folder (with a model_index.json), a .safetensors file or a .gguf file",
    )


def _json_file(path: Path, name: str) -> Fault:
    """A workflow names the model that it uses, and holds none."""
    try:
        document = json.loads(read_file(path, _MOST_WORKFLOW_BYTES))
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not _is_workflow(document):
        return Fault(f"a single file that is no model: {name}", "give the folder that it is in")
    return Fault(
        f"a ComfyUI workflow, which is no model: {name}",
        "give the checkpoint that its loader names, as a .safetensors file",
    )


def _is_workflow(document: dict[str, Any]) -> bool:
    """As ComfyUI saves one, or as it exports one for its API."""
    if isinstance(document.get("nodes"), list) and "links" in document:
        return True
    return any(isinstance(node, dict) and "class_type" in node for node in document.values())


def no_pipeline(folder: Path) -> Fault:
    """What a folder without an index is instead, and where the pipeline is."""
    if (folder / INDEX).exists():
        return Fault(f"{INDEX} is not a regular file", DOWNLOAD)
    if os.path.lexists(folder / INDEX):
        return Fault(
            f"{INDEX} is a link to a file that does not exist",
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
    inside = _pipelines_below(folder, names)
    if inside[1:]:
        listed = ", ".join(shown(path) for path in inside[:_MOST_NAMED])
        others = f" and {len(inside) - _MOST_NAMED} more" if inside[_MOST_NAMED:] else ""
        return Fault(
            f"no {INDEX}: {len(inside)} pipelines are in folders below",
            f"give one: {listed}{others}",
        )
    if inside:
        return Fault(
            f"no {INDEX}: the pipeline is in the folder below",
            f"give that one: {shown(inside[0])}",
        )
    if (folder.parent / INDEX).is_file():
        return Fault(
            f"no {INDEX}: this is one component, {shown(folder.name)}, not the whole pipeline",
            f"give the folder above: {shown(folder.parent)}",
        )
    component = _component_class(folder)
    if component is not None:
        return Fault(
            f"no {INDEX}: this is one component, {component}, not a whole pipeline",
            "give the folder of the pipeline that it belongs to",
        )
    files = [name for name in names if name.endswith((".safetensors", ".ckpt"))]
    if files:
        fault = single_file(folder / files[0])
        return Fault(f"no {INDEX}; in it is {fault.what}", fault.remedy)
    around = [folder.name, *names, *_names_below(folder, names)]
    for suffix, library in OTHER_LIBRARIES.items():
        if any(name.endswith(suffix) for name in around):
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


def _names_below(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """Paths of what lies in a folder's folders, and in theirs, relative to it; not all of many."""
    for name in itertools.islice(names, _MOST_LOOKED_INTO):
        for inner in itertools.islice(entries(folder / name), _MOST_LOOKED_INTO):
            yield f"{name}/{inner}"
            for innermost in itertools.islice(entries(folder / name / inner), _MOST_LOOKED_INTO):
                yield f"{name}/{inner}/{innermost}"


def _pipelines_below(folder: Path, names: Sequence[str]) -> list[Path]:
    """The pipeline folders in a folder; only if there are none, those one level deeper."""
    here = [folder / name for name in names if (folder / name / INDEX).is_file()]
    if here:
        return here
    return [
        (folder / name).parent
        for name in _names_below(folder, names)
        if name.count("/") == 2 and name.endswith(f"/{INDEX}")
    ]


def _component_class(folder: Path) -> str | None:
    """The class of a component saved by itself, from its configuration; None if it has none."""
    try:
        config = read_json(folder / "config.json")
    except WeightsError:
        return None
    kinds = config.get("architectures")
    kind = config.get("_class_name") or (kinds[0] if isinstance(kinds, list) and kinds else None)
    return shown(kind) if isinstance(kind, str) else None


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
        main = read_file(root / "refs" / "main", 4096).decode("utf-8").strip()
    except (OSError, ValueError):
        main = ""
    chosen = main if main in names else names[-1]
    return Fault(
        f"{found}, and the pipeline is a snapshot in it",
        f"give the snapshot: {shown(root / 'snapshots' / chosen)}, or its id: "
        f"{shown(_hub_id(root.name))}",
    )
