"""Kinds of fault that a picture shows by itself, without a reference."""

from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

_ONE_LEVEL = 1.0


class PictureKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault (``black``, ``flat``, ``noise``, …), in a sentence, and how sure it is."""

    kind: str
    sentence: str
    confidence: Literal["high", "medium", "low"]


def kinds_of(pixels: "Pixels") -> list[PictureKind]:
    """The faults that an 8-bit picture (height, width, 3) shows, the surest first."""
    if int(pixels.max()) == 0:
        sentence = "Every pixel of the picture is black."
        return [PictureKind(kind="black", sentence=sentence, confidence="high")]
    if float(pixels.std(axis=(0, 1)).max()) < _ONE_LEVEL:
        sentence = "The whole picture is one colour."
        return [PictureKind(kind="flat", sentence=sentence, confidence="high")]
    return []
