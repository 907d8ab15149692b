"""Images of a batch whose prompt was padded for its neighbours, where the model sees the padding.

Some pipelines pad a batch to its longest prompt and give the denoiser no mask. An image of a
shorter prompt then depends on its neighbours: in the batch it is another image than alone, on every
device. The CPU makes its references alone, so nothing can be said of such an image from the
difference. The image of the longest prompt is not padded and is judged as everywhere.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.correctness.artifact_files import Tensors
from sdbench.correctness.references import Reference
from sdbench.records import ImageCompared, PictureFault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PADDED_BEGINS = "cannot tell: the prompts of this batch have unequal lengths"
"""How the reason begins, in the records of every version."""
PADDED = (
    f"{PADDED_BEGINS} and the model has no mask for the padding, so this image differs from the "
    "one that is made alone, on any device"
)
"""Why an image is not judged by its difference from the one that is made alone."""
# No padding makes these.
_OF_ITSELF: frozenset[PictureFault] = frozenset(
    {"not-a-number", "black", "saturated", "flat", "noise"}
)


def padded_images(trace: Tensors, references: Mapping[int, Reference]) -> frozenset[int]:
    """The images of a batch whose text is of another length there than alone."""
    return frozenset(
        image
        for image, reference in references.items()
        if any(
            _is_padded(image, text, reference.tensors.arrays.get(name))
            for name, text in trace.arrays.items()
            if name.startswith("text.")
        )
    )


def _is_padded(image: int, text: "Array", alone: "Array | None") -> bool:
    """Whether embeddings (images, tokens, channels) have other tokens than those of one image."""
    if alone is None or text.ndim != 3 or alone.ndim != 3 or image >= len(text):
        return False
    return bool(text.shape[2] == alone.shape[2] and text.shape[1] != alone.shape[1])


def without_accusation(entry: ImageCompared) -> ImageCompared:
    """A padded image: what is wrong in itself stays, a difference from the CPU's is no verdict."""
    if entry.verdict not in ("drift", "broken") or entry.fault in _OF_ITSELF:
        return entry
    return msgspec.structs.replace(
        entry,
        verdict="unknown",
        reason=PADDED,
        margin=None,
        fault=None,
        own_rounding=None,
        own_rounding_missing=None,
    )
