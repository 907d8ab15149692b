"""The models that need no download: what each is for, what it takes, whether it is made already."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdbench.errors import UsageError
from sdbench.models import synthetic
from sdbench.models.builtin import BUILTIN
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.synthetic_model import SyntheticModel
from sdbench.words import did_you_mean

State = Literal["made", "absent", "unchecked", "shipped"]
ASK_BEYOND_BYTES = 5_000_000_000
"""Making a larger model is asked about first."""
_SMALL_BYTES = 100_000_000
_SPARE_BYTES = 1_000_000_000  # left on the disk after a model was made
_FAMILIES = {
    "StableDiffusionPipeline": "Stable Diffusion 1.5",
    "StableDiffusionXLPipeline": "Stable Diffusion XL",
    "LatentConsistencyModelPipeline": "Latent Consistency Model of SD 1.5",
    "StableDiffusion3Pipeline": "Stable Diffusion 3 medium",
    "FluxPipeline": "FLUX.1 schnell",
    "Flux2KleinPipeline": "FLUX.2 klein 4B",
    "ZImagePipeline": "Z-Image",
    "PixArtSigmaPipeline": "PixArt-Sigma",
}


@dataclass(frozen=True)
class OfflineModel:
    """One model that needs no download."""

    name: str
    family: str
    pipeline_class: str
    bytes_on_disk: int
    state: State
    folder: Path
    purpose: str


def offline_models(cache: Path) -> list[OfflineModel]:
    """Those in the package, then the synthetic ones, the small ones first."""
    shipped = [
        OfflineModel(
            name=model.name,
            family=_FAMILIES[model.pipeline_class],
            pipeline_class=model.pipeline_class,
            bytes_on_disk=model.bytes_on_disk,
            state="shipped",
            folder=model.folder,
            purpose="trained: its images can be checked against the prompt",
        )
        for model in BUILTIN.values()
    ]
    made = [
        OfflineModel(
            name=model.name,
            family=_FAMILIES[model.pipeline_class],
            pipeline_class=model.pipeline_class,
            bytes_on_disk=model.bytes_on_disk,
            state=synthetic.look(model, cache),
            folder=synthetic.folder_of(model, cache),
            purpose=_purpose(model),
        )
        for model in sorted(SYNTHETIC.values(), key=lambda model: model.bytes_on_disk)
    ]
    return [*shipped, *made]


def _purpose(model: SyntheticModel) -> str:
    if model.bytes_on_disk < _SMALL_BYTES:
        return "for trials: the same kinds of layers, tiny; an image takes about a second"
    return "for measurements: time and memory of the published model"


def synthetic_model(name: str) -> SyntheticModel:
    """The synthetic model of this name.

    Raises:
        UsageError: there is none.
    """
    if name in SYNTHETIC:
        return SYNTHETIC[name]
    if name in BUILTIN:
        raise UsageError(f"{name} comes with sdbench: it is neither made nor removed")
    raise UsageError(
        f"no model {name!r} that can be made; {did_you_mean(name, SYNTHETIC)}there are "
        f"{', '.join(SYNTHETIC)}"
    )


def free_disk_bytes(cache: Path) -> int:
    """Free space where models are made, whose folder need not be there yet."""
    there = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def require_disk(bytes_on_disk: int, name: str, cache: Path) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        UsageError: it has not.
    """
    free = free_disk_bytes(cache)
    if free < bytes_on_disk + _SPARE_BYTES:
        raise UsageError(
            f"making {name} takes {bytes_on_disk / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB "
            f"are free in {cache}: free disk space, or set SDBENCH_CACHE to another folder"
        )


def question_before_making(bytes_on_disk: int, name: str, cache: Path) -> str | None:
    """What to ask before a large model is made; None for the others."""
    if bytes_on_disk <= ASK_BEYOND_BYTES:
        return None
    return (
        f"making {name} takes {bytes_on_disk / 1e9:.1f} GB of disk, once; "
        f"{free_disk_bytes(cache) / 1e9:.1f} GB are free"
    )
