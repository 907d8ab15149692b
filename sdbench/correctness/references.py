"""Where the CPU's images are kept, and by which key they are found.

A folder for each reference: ``image.safetensors`` (a trace, see ``worker/trace.py``) and, for the
image whose settings they were measured at, ``floor-<dtype>.json``; for images that were beyond
their floor, ``rounded-<arithmetic>.safetensors`` (:class:`Rounded`, on the first shelf only). Two
shelves:

*computed* here, keyed by everything that decides the numbers, the versions of torch, diffusers and
transformers included;

*packaged* with sdbench, keyed by everything but versions. Another version's CPU float32 is within
float32's own noise floor of this one's, so the verdict stands; a version that changed what a
scheduler does would show as a difference, and where it came from is said.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.correctness.artifact_files import Tensors, is_finite, load_tensors
from sdbench.correctness.floors import Floor, load_floor
from sdbench.records import Arithmetic, Dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE_SCHEMA = 1
DECIDING_VERSIONS = ("torch", "diffusers", "transformers")
IMAGE_FILE = "image.safetensors"
PACKAGED = Path(__file__).parent / "data"


class ReferenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides one reference image, versions apart."""

    model_sha256: str
    resolution: str
    prompt: str
    seed: int
    steps: int
    guidance_scale: float
    scheduler: str
    vae_tiling: bool = False
    strength: float | None = None
    input_sha256: str | None = None
    """Of the image to begin with; None, and no strength: text-to-image."""

    def key(self, versions: Mapping[str, str] | None = None) -> str:
        """The name of its folder: on the computed shelf with the versions, packaged without."""
        deciding = {name: (versions or {}).get(name) for name in DECIDING_VERSIONS}
        settings = msgspec.structs.asdict(self)
        if not self.vae_tiling:
            del settings["vae_tiling"]  # as it was before references knew of it
        if self.input_sha256 is None:
            del settings["strength"], settings["input_sha256"]  # as before
        content = {
            "schema": REFERENCE_SCHEMA,
            "versions": None if versions is None else deciding,
            **settings,
        }
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:32]


@dataclass(frozen=True)
class Reference:
    """One image as the CPU makes it in float32."""

    tensors: Tensors
    source: str
    folder: Path

    @property
    def latents(self) -> "dict[int, NDArray[Any]]":
        """The latents in the loop's own shape by step; 0 is the noise."""
        kept, latents = self.tensors.kept, self.tensors.arrays["latents"][0]
        return dict(zip(kept, latents, strict=True))

    @property
    def picture(self) -> "NDArray[Any]":
        """(3, height, width): float32 in [0, 1], or 8 bits where it was packaged."""
        picture: NDArray[Any] = self.tensors.arrays["pictures"][0]
        return picture

    @property
    def is_packed(self) -> bool:
        """Whether the image has 8 bits only."""
        return self.picture.dtype.kind == "u"

    @property
    def picture_gain(self) -> float | None:
        """Relative change of the image for a relative change of the final latents."""
        gain = self.tensors.metadata.get("picture_gain")
        return float(gain) if isinstance(gain, (int, float)) else None


@dataclass(frozen=True)
class Rounded:
    """One image as rounding alone changes it: made on the CPU in a device's arithmetic.

    It ran freely, as a device does, and was made more than once, from noise that is one rounding
    unit apart: see ``worker/reference.py``.
    """

    tensors: Tensors

    @property
    def times(self) -> int:
        """How often it was made."""
        return len(self.tensors.arrays["pictures"])

    @property
    def latents(self) -> "list[NDArray[Any]]":
        """The final latents of each time it was made."""
        return list(self.tensors.arrays["latents"][:, -1])

    @property
    def pictures(self) -> "list[NDArray[Any]]":
        """The images (3, height, width), values in [0, 1], of each time it was made."""
        return list(self.tensors.arrays["pictures"])


def floor_file(folder: Path, dtype: Dtype) -> Path:
    """Where a reference's floor of a dtype is."""
    return folder / f"floor-{dtype}.json"


def rounded_file(folder: Path, arithmetic: Arithmetic) -> Path:
    """Where an image is as rounding makes it, in the folder of its reference."""
    return folder / f"rounded-{arithmetic}.safetensors"


def find_reference(
    settings: ReferenceSettings, versions: Mapping[str, str], computed: Path
) -> Reference | None:
    """The reference computed with these versions, else the packaged one, else None.

    A reference that contains NaN or infinity counts as missing: it cannot be compared with.
    """
    for folder, source in _shelves(settings, versions, computed):
        tensors = load_tensors(folder / IMAGE_FILE)
        if tensors is not None and is_finite(tensors):
            made_with = tensors.metadata.get("versions")
            return Reference(tensors, f"{source}, made with {_words(made_with)}", folder)
    return None


def find_floor(
    settings: ReferenceSettings, versions: Mapping[str, str], computed: Path, dtype: Dtype
) -> Floor | None:
    """The noise floor measured at a reference, found as the reference is."""
    for folder, _ in _shelves(settings, versions, computed):
        floor = load_floor(floor_file(folder, dtype))
        if floor is not None:
            return floor
    return None


def load_rounded(path: Path) -> Rounded | None:
    """The image in a file, as rounding makes it; None if it is missing or incomplete.

    One that contains NaN or infinity counts as missing unless it came out so several times: then
    the arithmetic overflows, and making it again would give the same.
    """
    tensors = load_tensors(path)
    if tensors is None or len(tensors.arrays["pictures"]) != len(tensors.arrays["latents"]):
        return None
    return Rounded(tensors) if tensors.metadata.get("overflows") or is_finite(tensors) else None


def _shelves(
    settings: ReferenceSettings, versions: Mapping[str, str], computed: Path
) -> tuple[tuple[Path, str], ...]:
    return (
        (computed / settings.key(versions), "computed here"),
        (PACKAGED / settings.key(), "packaged"),
    )


def _words(versions: Any) -> str:
    if not isinstance(versions, dict):
        return "versions not recorded"
    return ", ".join(f"{name} {versions[name]}" for name in DECIDING_VERSIONS if name in versions)
