"""Which of a component's files would be loaded, and why there is none.

Follows diffusers' own loading (``ModelMixin.from_pretrained``, ``_identify_model_variants``) with
the worker's options.
"""

from collections.abc import Sequence
from pathlib import Path

from sdbench.models.folder_files import DOWNLOAD, OTHER_LIBRARIES, Fault, entries, shown

HALF = "fp16"
"""The variant that the worker loads where the UNet has no other."""
# The index of a variant, ``…safetensors.index.fp16.json``, begins like these.
_PLAIN = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
_UNFINISHED = (".incomplete", ".part", ".crdownload", ".aria2", ".download", ".tmp")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


def loaded_variant(folder: Path) -> str | None:
    """The variant that the worker asks for: half precision where the UNet has nothing else."""
    names = entries(folder / "unet")
    plain = any(name in _PLAIN for name in names)
    half = any(f".{HALF}." in name for name in names)
    return HALF if half and not plain else None


def own_variant(names: Sequence[str]) -> str | None:
    """The variant of one component by itself: half precision where it has nothing else."""
    weights = [name for name in names if name.endswith((".safetensors", ".safetensors.index.json"))]
    half = [name for name in weights if f".{HALF}." in name or f".{HALF}-" in name]
    return HALF if half and len(half) == len(weights) else None


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
