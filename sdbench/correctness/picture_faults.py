"""What is wrong with an image by itself, and whether two images show the same."""

from typing import TYPE_CHECKING, Any

from sdbench.correctness import measures, picture_measures, thresholds
from sdbench.records import Picture, PictureFault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]


def certain_fault(picture: Picture, pixels: "Pixels | None") -> PictureFault | None:
    """What is wrong whatever the image should show: no reference is needed."""
    if picture.nan_count or picture.inf_count or picture.latents_nonfinite_count:
        return "not-a-number"
    if picture.black:
        return "black"
    if pixels is not None and picture_measures.is_of_one_colour(pixels):
        return "flat"
    if pixels is not None and is_saturated(pixels):
        return "saturated"
    return None


def likely_fault(picture: Picture, pixels: "Pixels | None") -> PictureFault | None:
    """What a trained model's image should never be; random weights make such by design."""
    if picture.flat:
        return "flat"
    if pixels is None:
        return None
    if picture_measures.channel_deviation(pixels) < 255 * thresholds.FLAT_DEVIATION:
        return "flat"
    return "noise" if is_noise(pixels) else None


def is_saturated(pixels: "Pixels") -> bool:
    """Whether nearly all numbers are at one end of the scale or the other."""
    at_an_end = (pixels == 0) | (pixels == 255)
    return float(at_an_end.mean()) >= thresholds.SATURATED_SHARE


def is_noise(pixels: "Pixels") -> bool:
    """Whether the image looks like noise: neither its pixels nor its cells follow each other."""
    pixel = picture_measures.pixel_correlation(pixels)
    if pixel is not None and pixel < thresholds.NEIGHBOURS_OF_NOISE:
        return True
    alike = measures.neighbour_correlation(pixels)
    return alike is not None and alike < thresholds.NOISE_CORRELATION


def same_picture(pixels: "Pixels", reference: "Pixels") -> bool:
    """Whether the two, of the same size, show the same, however inexactly."""
    deviation = min(float(pixels.std()), float(reference.std())) / 255
    if deviation < thresholds.FLAT_DEVIATION:
        return _distance(pixels, reference) < thresholds.FLAT_PICTURES_APART
    alike = measures.correlation(pixels, reference)
    return alike is not None and alike >= thresholds.SAME_PICTURE_CORRELATION


def other_latents(cosine: float | None) -> bool:
    """Whether two final latents with this angle between them are of different images."""
    return cosine is not None and cosine < thresholds.SAME_PICTURE_CORRELATION


def _distance(pixels: "Pixels", reference: "Pixels") -> float:
    """Root mean square difference on a scale from 0 to 1."""
    import numpy as np

    difference = pixels.astype(np.float64) - reference.astype(np.float64)
    return float(np.sqrt((difference**2).mean())) / 255
