"""Every threshold of the correctness verdicts, each with its ground.

Seen = tried on a 2-core Linux machine with torch 2.13; D = the divergence expected from the noise
floor (:mod:`.floors`).
"""

from sdbench.schema import Dtype

MATCH_MULTIPLE = 4.0
"""How many times what rounding explains still counts as the same result.

Seen with the pipeline running freely: latents 0.4 to 1.5 D, pictures up to 2 of what is expected,
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
"""One level of an 8-bit picture. Two pictures that round differently are half of it apart (rms at
most), so that much is always allowed where pictures are compared as 8-bit files."""

SAME_PICTURE_CORRELATION = 0.8
"""Two pictures that correlate less than this (per channel, mean removed) show different things."""

FLAT_DEVIATION = 2 * EIGHT_BIT_STEP
"""With less contrast a correlation says nothing; then pictures are told apart by their distance."""

FLAT_PICTURES_APART = 0.1
"""Root mean square distance from which two pictures, one of them flat, are different pictures."""

NOISE_CORRELATION = 0.35
"""Neighbouring 8x8 cells of a picture that correlate less than this are noise: one cell is one
point of the latents, and the latents of a picture are smooth."""

SATURATED_SHARE = 0.99
"""Share of numbers at 0 or 1 from which a picture is saturated: overflow, not content."""
