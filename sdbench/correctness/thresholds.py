"""Every threshold of the correctness verdicts, each with its ground.

Seen = tried on a 2-core Linux machine with torch 2.13; D = the divergence expected from the noise
floor (:mod:`.floors`).
"""

from dataclasses import dataclass

from sdbench.records import Dtype

MATCH_MULTIPLE = 4.0
"""How many times what rounding explains still counts as the same result.

Seen with the pipeline running freely: latents 0.4 to 1.5 D, images up to 2 of what is expected,
for float32 (batch, sliced attention), float16 and bfloat16 on the CPU, random and trained weights,
DDIM, PNDM, Euler and DPM-Solver. The rest is left to devices that add up in half precision.
"""

UNIT_ROUNDOFF: dict[Dtype, float] = {
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Largest relative error of rounding one number: no floor is below it."""

EIGHT_BIT_STEP = 1 / 255
"""One level of an 8-bit image. Two images that round differently are half of it apart (rms at
most), so that much is always allowed where images are compared as 8-bit files."""

SAME_PICTURE_CORRELATION = 0.8
"""Two images that correlate less than this (per channel, mean removed) show different things."""

SOME_ROUNDING: dict[Dtype, float] = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}
"""Relative error of an image from rounding, taken where the noise floor is not known: seen on
random and trained weights, 2 to 20 steps, and used only to tell what a person would see."""

HIGHEST_FLOOR: dict[Dtype, float] = {"float32": 1e-3, "float16": 0.03, "bfloat16": 0.12}
"""A noise floor above this explains too much: it would acquit what a person sees. Seen: 2.5e-6,
2.5e-3 and 2.5e-2 at most; 1.4 where a floor's own passes drew noise without a seed."""

TILED_MULTIPLE = 4.0
"""How much stronger than plain a change of tones or a seam must be between two images of which
one was decoded in tiles: the VAE's norms are taken over each tile alone, which changes tones by
design. It is not used against the CPU, whose reference is decoded in tiles then."""

AMPLIFIED_SSIM = 0.97
AMPLIFIED_KINDS = ("part", "unlike")
AMPLIFIED_TONES = ("brightness", "contrast", "saturation", "colour-cast", "tones")
AMPLIFIED_LATENTS = 0.5
"""In half precision the steps of a sampler amplify rounding where an image was undecided: one
corner of a shape comes out otherwise, and the rest is the same. Seen on a healthy H100 in 4 of 70
runs, all of the trained model in float16 or bfloat16 (2% to 11% of the image, SSIM 0.978 to
0.997), in images of which others in the same batch matched. It arises in the latents: so the
latents have to differ where the image does, with at least this correlation over their points
(0.56 to 0.86 in the images of OWN_ROUNDING_MULTIPLE). A part that is wrong in the decode alone
is not excused (OWN_LATENTS_SHARE: how that is recognised where the image's rounding was measured).
Such an image still drifts. The SSIM matters only where the image was not made
as rounding alone makes it (OWN_ROUNDING_MULTIPLE): from it on the verdict is unknown. The same
holds for tones that are noticed but not plain (VISIBLE), where the latents differ at least by
OWN_LATENTS_SHARE of what rounding explains: an SD 1.5 of random weights in bfloat16 on an H200
had a cast of 3.2 of 255 levels at 0.4 of its noise floor, and none with attention slicing. Nor are
three free runs of the CPU enough to call such tones a fault: a Stable Diffusion 3 of random weights
there had colours of 109% of the range, five times what three runs gave (two times are noticed),
with latents 1.6 times as far off as theirs, at 0.5 of its floor."""

OWN_ROUNDING_MULTIPLE = 4.0
OWN_ROUNDING_LEVELS = 3.0
OWN_ROUNDING_OF_FLOOR = 2.0
"""How many times the most that rounding alone does to an image, made three times on the CPU, still
is rounding; and from how many levels of error on, or how many times the noise floor where that is
more, a cell of 8x8 pixels (one point of the latents) counts as one that rounding moves.

Seen: 24 images of 8 settings of ``tests/benchmarks/healthy_pictures.py`` (the trained model, 3 to
20 steps, 128 and 192 pixels), each in six free runs of the CPU's emulated rounding from noise one
unit apart, as ``python tests/benchmarks/own_rounding.py`` makes them; a run stands for a healthy
device. Rounding moves the same place in all runs, by amounts that differ fourfold, so one run is
not enough: an image of 20 Euler steps in float16 (seed 13) ended 12 to 60 times beyond what its
forced floor allows in the latents, 5 to 20 levels off in the image, 42 to 129 in its worst cell.
Of the larger of two such runs a third was at most 2.5 times (image), 3.2 (latents) and 3.3 (worst
cell), above 2.3 only where nothing is to be seen. In 2 of some 150 judgements of a run with
something to be seen it was still called wrong (once a part, once tones as a warning): those where
both runs that it was compared with had moved least. True bfloat16 on the CPU (3 steps) was at most
1.6 times as far off as the emulated run from the same noise.

On H200s (189 runs of ``healthy_pictures.py``, 28 images beyond their floor) an image was at most
3.8 times as far off as the larger of two such runs, twice; then a third run was added. With it 1
of 203 runs was still called wrong (seed 131: latents 3.2 times, image 3.8 times as far off, one
cell beyond 4 times): OWN_ROUNDING_TIMES."""

OWN_ROUNDING_TIMES = (3, 9, 27)
OWN_ROUNDING_GROSS = 4.0
OWN_ROUNDING_MULTIPLE_OF_MANY = 3.0
"""How often an image is made on the CPU as rounding alone makes it; and how often in all where the
first times do not explain it, unless the image is so many times beyond what they explain. Then
what counts as rounding is this many times the most of them, as the most of nine is further off
than that of three: so the greater number does not simply excuse more.

With nine, the same image of seed 131 on H200s was called wrong in one of two runs of the same
work: one of the nine images had moved far more than the others, and without such a one among
them the H200's was beyond. Therefore 27.

Seen: image 3 of seed 131 (4 PNDM steps in float16), made twelve times on the CPU: latents 0.007 to
0.072 away, the image 0.004 to 0.034, its worst cell 2 to 49 levels; an H200's were 0.076 and
0.036. Of the largest of three others one was up to 6.5 times as far off in the latents, 4.9 in the
image and 8.5 in the worst cell (beyond 4 in 2% of all choices of three), of the largest of nine
others 1.4, 1.7 and 2.4 times. Image 1 of seed 167 (8 PNDM steps in TF32), made six times: latents
0.007 to 0.065 away, the image 0.003 to 0.027; an H200's were 0.023 and 0.009.
"""

OWN_TONES_MULTIPLE = 3.0
"""The same of what is measured over the whole image: brightness, contrast, casts."""

OWN_LATENTS_SHARE = 0.5
"""Latents that are less than this share of rounding's own distance away cannot have caused a wrong
part of the image: it went wrong in the decode. (A healthy image of an H200 whose
latents were 2.6 times as far off differed in other places than they did by AMPLIFIED_LATENTS.)"""

VISIBLE_ERROR = 0.04
"""Relative error of an image that is seen although rounding explains it (bfloat16 in many steps):
such an image is not called the same."""

FLAT_DEVIATION = 2 * EIGHT_BIT_STEP
"""With less contrast a correlation says nothing; then images are distinguished by their
distance."""

FLAT_PICTURES_APART = 0.1
"""Root mean square distance from which two images, one of them flat, are different images."""

NOISE_CORRELATION = 0.35
"""Neighbouring 8x8 cells of an image that correlate less than this are noise: one cell is one
point of the latents, and the latents of an image are smooth."""

SATURATED_SHARE = 0.99
"""Share of numbers at 0 or 1 from which an image is saturated: overflow, not content."""


NEIGHBOURS_OF_NOISE = 0.3
"""Pixels that correlate less than this with their neighbours are white noise."""

NEIGHBOURS_OF_A_PICTURE = 0.5
"""Above this the image that should have come out is none."""


@dataclass(frozen=True)
class Visible:
    """From where a difference is ``noticed`` by a careful eye, and from where it is ``plain``.

    ``of_rounding`` times what rounding explains (root mean square in levels) is always allowed.
    The other two are conditions of some measures.
    """

    noticed: float
    plain: float
    of_rounding: float
    least_share: float = 0.0
    least_levels: int = 0


# Ground: 60 comparisons of 18 healthy images of 64 to 128 pixels with bfloat16 and float16
# rounding, emulated as for the noise floor (the tiny model with random weights and the trained
# one; plain, sliced and in a batch); the limits were set from 24 of them. In units of what
# rounding explains they reached at most: brightness 0.09, cast 0.25, tones 0.4, bands 0.6, tiles
# 1.2 in one direction, part 5.6, grain 0.75; contrast and saturation 0.3% a level, shift 0.06
# pixels a level. The levels are what is seen beside the right image: 3 of 255 is about one just
# noticeable difference in mid grey.
VISIBLE: dict[str, Visible] = {
    "brightness": Visible(3.0, 8.0, 0.5),
    "contrast": Visible(0.03, 0.10, 0.01),
    "saturation": Visible(0.08, 0.25, 0.01),
    "colour-cast": Visible(3.0, 8.0, 0.8),
    "tones": Visible(4.0, 10.0, 1.2),
    "shift": Visible(0.25, 0.9, 0.1),
    "shift-error": Visible(1.5, 1.5, 1.5),
    "specks": Visible(1e-6, 5e-3, 0.0, least_levels=40),
    "bands": Visible(1.5, 4.0, 1.3, least_share=0.5),
    "tiles": Visible(2.0, 4.0, 2.5),
    "part": Visible(6.0, 12.0, 12.0),
    "pattern": Visible(1.5, 4.0, 1.0, least_share=0.3),
    "grain": Visible(2.5, 6.0, 1.5),
    "blurred": Visible(0.15, 0.3, 0.02),
    "sharpened": Visible(0.2, 0.5, 0.05),
    "posterised": Visible(4.0, 4.0, 0.0, least_levels=4),
    "unlike": Visible(4.0, 8.0, 4.0),
}
