"""What the comparison of images with the CPU's found."""

from typing import Literal

import msgspec

from sdbench.records.case import DeviceKind, Dtype
from sdbench.records.failure import Outcome
from sdbench.records.numbers import Count, Seconds
from sdbench.records.recorded import Recorded

Correctness = Literal["match", "drift", "broken", "unknown"]
Content = Literal["right", "wrong"]
Arithmetic = Literal["float16", "bfloat16", "tf32", "tf32-linear"]
"""How a device rounds more than float32; ``tf32-linear``: linear layers as well as convolutions."""
# Worst first; what is unknown hides nothing that is known.
CORRECTNESS_SEVERITY: tuple[Correctness, ...] = ("broken", "drift", "match", "unknown")
PictureFault = Literal["not-a-number", "black", "saturated", "flat", "noise", "another-picture"]
TracedStage = Literal["text", "latents", "picture"]


class StageDifference(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far a stage's result is from the CPU's; None where numbers are not finite or not there.

    ``rel_l2`` is the distance over the reference's norm, ``expected_rel_l2`` what rounding alone
    explains (the noise floor), ``margin`` the distance over what is allowed: up to 1 it matches.
    """

    stage: TracedStage
    rel_l2: float | None
    max_abs: float | None
    cosine: float | None
    expected_rel_l2: float | None = None
    margin: float | None = None


class Divergence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Distance of the latents from the CPU's after each of some denoising steps (0: the noise)."""

    image: int
    step: list[int]
    rel_l2: list[float | None]
    allowed_rel_l2: list[float | None]


class PictureDifference(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing a person would see between two images that should be the same.

    ``strength`` is in the kind's own unit; a careful eye sees it from ``noticed`` on, anybody from
    ``plain`` on. ``words`` say what it is, with "it" for the image.
    """

    kind: str
    strength: float
    noticed: float
    plain: float
    words: str

    @property
    def is_plain(self) -> bool:
        """Whether anybody sees it."""
        return self.strength >= self.plain


class OwnRounding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far rounding alone takes an image from float32 on the CPU, running freely as a device.

    It was made more than once; each number is the largest of them (``ssim`` the lowest).
    ``part_levels`` is the root mean square, in levels of 255, of the cell of 8x8 pixels that
    changed most, ``moved_share`` the share of the image in which cells changed; ``content`` is
    what was read in each, ``pixels_sha256`` names them in the run's folder. ``arithmetic`` is what
    it was rounded as. ``beyond`` says in which measures the device's image is further off than this
    explains; none: it explains it.
    """

    arithmetic: Arithmetic | None = None

    latents_rel_l2: float | None
    picture_rel_l2: float | None
    ssim: float
    part_levels: float
    moved_share: float
    content: list[Content | None]
    pixels_sha256: list[str]
    beyond: list[str] = []

    @property
    def times(self) -> int:
        """How often it was made."""
        return len(self.content)


class ImageCompared(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One image of one or more passes that made it alike; pass 0 is the profiling pass.

    PSNR in dB (None: identical), SSIM and correlation are over 8-bit images;
    ``reference_pixels_sha256`` names the CPU's image in the run's folder. ``differences`` are
    what a person would see between the two. ``decode_expected_rel_l2`` is what rounding explains
    of the image where the latents are the same; ``reason`` says why nothing could be said.
    ``reference_content`` is whether the CPU's image shows what was asked for. ``own_rounding`` is
    there where an image was beyond its floor in half precision, or visibly different where float32
    may have been TF32; ``own_rounding_missing`` says why it is not, or why the image was not made
    more often.
    """

    image: int
    passes: list[int]
    pixels_sha256: str
    latents_sha256: str
    verdict: Correctness
    margin: float | None = None
    fault: PictureFault | None = None
    latents: StageDifference | None = None
    picture: StageDifference | None = None
    psnr_db: float | None = None
    ssim: float | None = None
    correlation: float | None = None
    reference_pixels_sha256: str | None = None
    differences: list[PictureDifference] = []
    decode_expected_rel_l2: float | None = None
    reason: str | None = None
    reference_content: Content | None = None
    own_rounding: OwnRounding | None = None
    own_rounding_missing: str | None = None

    @property
    def is_of_rounding(self) -> bool:
        """Whether it is beyond the noise floor, and rounding alone changes this image as much."""
        rounding = self.own_rounding
        return self.verdict == "drift" and rounding is not None and not rounding.beyond

    @property
    def latents_are_right(self) -> bool | None:
        """Whether the final latents are the CPU's but for rounding; None where it is unknown."""
        if self.latents is None or self.latents.margin is None:
            return None
        return self.latents.margin <= 1

    @property
    def decode_is_wrong(self) -> bool:
        """Whether the latents are right and the image is further off than they explain."""
        if not self.latents_are_right:
            return False
        off = self.picture.margin if self.picture is not None else None
        return off is None or self.latents is None or off > (self.latents.margin or 0)


class Compared(Recorded, frozen=True, kw_only=True, gc=False, tag="compared"):
    """The comparison of a replicate's images with the CPU's in float32; a later record replaces an
    earlier one.

    ``margin`` is the worst of its images and stages. ``stages`` and ``divergence`` come from the
    profiling pass, where the replicate made one. ``reference`` says where the reference is from.
    ``not_float64`` names modules whose rounding the noise floor does not contain
    (``correctness/floors.py``); None: that is not known, or there was no floor. ``padded_images``
    depend on the other prompts of their batch (``correctness/padding.py``).
    """

    replicate_id: str
    attempt: Count
    case_id: str
    arm: str
    dtype: Dtype
    simulated: bool
    verdict: Correctness
    reason: str | None = None
    margin: float | None = None
    reference: str | None = None
    images: list[ImageCompared] = msgspec.field(default_factory=list)
    stages: list[StageDifference] = msgspec.field(default_factory=list)
    divergence: list[Divergence] = msgspec.field(default_factory=list)
    not_float64: list[str] | None = None
    padded_images: list[Count] = msgspec.field(default_factory=list)


class Preflight(Recorded, frozen=True, kw_only=True, gc=False, tag="checked"):
    """One small image of the trained built-in model, made on the device before a run.

    ``content`` says whether it shows what its prompt asked for, as far as it can be read.
    """

    device: DeviceKind
    dtype: Dtype
    simulated: bool
    outcome: Outcome
    verdict: Correctness
    reason: str | None = None
    margin: float | None = None
    prompt: str
    content: Literal["right", "wrong"] | None = None
    content_reason: str | None = None
    pixels_sha256: str | None = None
    reference_pixels_sha256: str | None = None
    duration_s: Seconds

    @property
    def wrong(self) -> bool:
        """Whether something is known to be wrong."""
        failed = self.outcome not in ("ok", "skipped")
        return failed or self.verdict == "broken" or self.content == "wrong"
