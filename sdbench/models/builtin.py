"""The trained model that ships in the package; its card is data/shapes/README.md."""

from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class BuiltinModel:
    """A pipeline folder in the package.

    Its prompts are the language of :mod:`sdbench.correctness.scene`, so that what its images
    show can be checked. ``sha256`` is the digest of all files that a pipeline reads.
    """

    name: str
    folder: Path
    pipeline_class: str
    bytes_on_disk: int
    sha256: str


BUILTIN = {
    model.name: model
    for model in (
        BuiltinModel(
            name="builtin/shapes",
            folder=DATA / "shapes",
            pipeline_class="StableDiffusionPipeline",
            bytes_on_disk=28_118_854,
            sha256="8f31804750a16776456ba16051960471e2626c3e2240dd1bb33cf4774812f0d9",
        ),
    )
}
