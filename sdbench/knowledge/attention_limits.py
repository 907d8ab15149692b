"""Predicts how large the attention scores of a case get and which limits of Metal they reach. Pure.

Attention compares every token with every other one: a layer's scores have (samples × heads) × L²
elements, L = (height / 8) × (width / 8) in the first layer of SD 1.5's UNet. torch's mps backend
computes most of them as one array, and Metal's arrays have limits: 2**32 bytes (pytorch#143859,
# 49261), 2**31 elements (pytorch#84039), 2**32 elements, beyond which results are silently wrong
# (pytorch#179352, #197636).
"""

from dataclasses import dataclass

from sdbench.knowledge.version_ranges import release
from sdbench.records import Case

PIXELS_PER_LATENT = 8
FIRST_ATTENTION: dict[str, tuple[int, int]] = {
    "sd": (8, PIXELS_PER_LATENT),
    "lcm": (8, PIXELS_PER_LATENT),
    "sdxl": (10, 2 * PIXELS_PER_LATENT),
}
"""Heads, and pixels a token stands for, in the first self-attention of a family's UNet."""
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Scores:
    """One array of attention scores."""

    place: str
    elements: int
    size_bytes: int


def unet_scores(
    case: Case,
    images: int,
    guidance: bool,
    heads: int,
    pixels_per_token: int = PIXELS_PER_LATENT,
) -> Scores:
    """The largest array of scores in the UNet.

    ``heads`` and ``pixels_per_token`` are those of its first self-attention (``FIRST_ATTENTION``):
    SDXL's first level has none. Attention slicing ("auto") takes half the heads of
    one sample at a time, whatever the batch (diffusers' ``SlicedAttnProcessor``).
    """
    samples = _batch(case, images) * (2 if guidance else 1)
    slices = max(1, heads // 2) if case.attention_slicing else samples * heads
    tokens = (case.width // pixels_per_token) * (case.height // pixels_per_token)
    return _scores("the UNet's self-attention", slices * tokens**2, case)


def vae_scores(case: Case, images: int) -> Scores:
    """The scores in the VAE's decoder: one head over all latent pixels, never sliced."""
    batch = 1 if case.vae_slicing else _batch(case, images)
    tokens = (case.width // PIXELS_PER_LATENT) * (case.height // PIXELS_PER_LATENT)
    if case.vae_tiling:  # a tile is 64 × 64 latent pixels in SD 1.5, 128 × 128 in SDXL
        tokens = min(tokens, 128 * 128)
    return _scores("the VAE's attention", batch * tokens**2, case)


def predicted_overflow(
    case: Case,
    images: int,
    guidance: bool,
    heads: int | None,
    torch: str | None,
    *,
    pixels_per_token: int = PIXELS_PER_LATENT,
) -> list[str]:
    """One sentence for each array of attention scores that reaches a limit of Metal; mps only.

    ``heads`` is None where the denoiser is no UNet: then only the VAE's scores are known. ``torch``
    is the version of the interpreter measured, None if unknown. An array exactly at a
    limit counts: multiples of it were seen to abort (A1111 PR#5796).
    """
    found = [vae_scores(case, images)]
    if heads is not None:
        found.insert(0, unet_scores(case, images, guidance, heads, pixels_per_token))
    version = release(torch)
    sentences = []
    for scores in found:
        consequence = _consequence(scores, None if version is None else version.release)
        if consequence is not None:
            sentences.append(
                f"The attention scores in {scores.place} have {scores.elements:,} elements "
                f"({scores.size_bytes / 2**30:.1f} GiB in {case.dtype}); {consequence}."
            )
    return sentences


def _batch(case: Case, images: int) -> int:
    return images if case.batching == "batch" else 1


def _scores(place: str, elements: int, case: Case) -> Scores:
    return Scores(place, elements, elements * _BYTES[case.dtype])


def _consequence(scores: Scores, torch: tuple[int, ...] | None) -> str | None:
    """What is known to happen at the highest limit reached, in this release."""
    if scores.elements >= 2**32:
        if torch is not None and torch < (2, 4):
            return "that reaches 2**32 elements: Metal is known to end the process there"
        seen = "" if torch is None or torch < (2, 15) else "; seen up to torch 2.14"
        return f"that reaches 2**32 elements: wrong images without an error are known there{seen}"
    if scores.elements >= 2**31:
        return (
            "that reaches 2**31 elements: ended processes and wrong images without an error are "
            "known there"
        )
    if scores.size_bytes >= 2**32:
        seen = "" if torch is None or torch < (2, 9) else "; seen up to torch 2.8"
        return f"that reaches 2**32 bytes: Metal is known to end the process there{seen}"
    if scores.size_bytes >= 2**31 and torch is not None and torch < (2,):
        return "that reaches 2**31 bytes, where torch 1.12 and 1.13 are known to crash"
    return None
