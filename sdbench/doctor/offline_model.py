"""The model that a run would use, as far as it is known without the network."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sdbench.doctor.facts import ModelFacts
from sdbench.errors import ModelError, UsageError
from sdbench.machine.facts import Unavailable
from sdbench.models.checkpoint import NOT_WHOLE
from sdbench.models.folder import read_folder
from sdbench.models.folder_files import Fault, shown
from sdbench.models.hub import snapshot_in
from sdbench.models.not_a_pipeline import single_file
from sdbench.models.resolve import find_model, place_of, require_hub_id
from sdbench.models.single_file import SUFFIXES
from sdbench.records import ModelInfo
from sdbench.words import counted

_OURS = ("synthetic/", "builtin/")


def find_offline(name: str, *, recorded: bool) -> ModelFacts:
    """Look for a model on this machine only.

    ``recorded``: another machine is judged, so the files on this disk do not count.

    Raises:
        UsageError: sdbench has no such model, or it is neither a path nor a Hub id.
    """
    if name.startswith(_OURS):
        outline = find_model(name).outline()
        made = bool(outline.path) and not recorded
        return ModelFacts(
            outline=outline,
            offline=True,
            note="in the cache" if made else "made locally once, without a network",
            to_make_bytes=0 if made else outline.bytes_on_disk,
        )
    if recorded:
        reason = Unavailable("the recording does not list the models of the machine")
        return ModelFacts(outline=_guess(name), offline=reason, note=reason.unavailable)
    path = place_of(name)
    if path.is_file():
        return _single(name, path)
    try:
        folder = _folder(path) if path.is_dir() else _cached(name, os.environ)
    except ModelError as error:
        return _faulty(name, [Fault(str(error), f"download the model again: {shown(path)}")])
    if folder is None:
        require_hub_id(name)
        return ModelFacts(
            outline=_guess(name),
            offline=False,
            note="neither a folder nor a model in the Hub's cache",
        )
    contents = read_folder(folder, allow_pickle=False)
    faults = list(contents.faults)
    if path.is_dir() and folder != path:
        faults.append(_not_the_snapshot(folder))
    if any(fault.blocks for fault in faults):
        return _faulty(name, faults)
    outline = msgspec.structs.replace(
        _guess(name),
        path=str(folder),
        pipeline_class=contents.pipeline_class,
        bytes_on_disk=contents.bytes_on_disk,
    )
    read = counted(len(contents.weights), "weights file")
    note = (
        f"on this disk, whole: {read} of {contents.bytes_on_disk / 1e9:.2f} GB match their headers"
    )
    return ModelFacts(outline=outline, offline=True, note=note, faults=faults)


def _folder(path: Path) -> Path:
    """The folder, or the snapshot in it where it is a repository of the Hub's cache."""
    return snapshot_in(path, "") or path


def _not_the_snapshot(snapshot: Path) -> Fault:
    """sdbench finds the snapshot; diffusers itself does not load the folder around it."""
    return Fault(
        "this is the folder of a repository in the Hub's cache; sdbench takes the snapshot "
        f"{snapshot.name} in it, and diffusers cannot load it",
        f"give other programs the snapshot: {shown(snapshot)}",
        blocks=False,
    )


def _single(name: str, path: Path) -> ModelFacts:
    """A model in one file; missing parts are detected without ``--parts``."""
    if path.suffix.lower() not in SUFFIXES:
        return _faulty(name, [single_file(path)])
    try:
        source = find_model(name)
    except (ModelError, UsageError) as error:
        what = str(error).removeprefix(f"{name}: ")
        if what.startswith(NOT_WHOLE):
            return _faulty(name, [Fault(what, single_file(path).remedy)])
        remedy = (
            "see docs/how-to/models.md for what --model takes, and for --parts; or convert it to a "
            "folder: diffusers' from_single_file, then save_pretrained"
        )
        return _faulty(name, [Fault(what, remedy)])
    if source.download is not None:
        note = f"a file of {source.pipeline_class}; its tokenizers are downloaded from the Hub"
        return ModelFacts(outline=source.outline(), offline=False, note=note)
    note = f"on this disk, whole: a file of {source.pipeline_class}, which matches its header"
    return ModelFacts(outline=source.outline(), offline=True, note=note)


def _faulty(name: str, faults: list[Fault]) -> ModelFacts:
    note = "; ".join(fault.what for fault in faults)
    return ModelFacts(outline=_guess(name), offline=False, note=note, faults=faults)


def _guess(name: str) -> ModelInfo:
    """A model description that is sufficient for estimates."""
    xl = "xl" in name.lower()
    return ModelInfo(
        name=name,
        path="",
        sha256=None,
        pipeline_class=f"StableDiffusion{'XL' if xl else ''}Pipeline",
        bytes_on_disk=0,
        trained=True,
    )


def _cached(name: str, environment: Mapping[str, str]) -> Path | None:
    """The snapshot of a Hub id in the Hub's cache.

    The Hub's client is not used, because importing it takes longer than all of this.
    """
    cache = _hub_cache(environment) / f"models--{name.replace('/', '--')}"
    try:
        commit = (cache / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    snapshot = cache / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _hub_cache(environment: Mapping[str, str]) -> Path:
    """As huggingface_hub's ``constants.py`` finds it."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return Path(environment[variable]).expanduser()
    if environment.get("HF_HOME"):
        return Path(environment["HF_HOME"]).expanduser() / "hub"
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"
