"""The noise floor: how far rounding alone may take a result from the CPU's float32.

It was measured one step at a time, each from the reference's latents, while what is judged has run
freely from its noise. An error made in one step stays in all later ones, and the steps' errors have
nothing to do with each other: so they are added up as the root of the sum of their squares. Seen on
random and on trained weights, four schedulers, three dtypes: free runs end at 0.4 to 1.5 of that.
(Their plain sum is 2 to 6 times too much after 20 steps.)
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from numpy.typing import NDArray

from sdbench.correctness.thresholds import HIGHEST_FLOOR
from sdbench.files.access import MIB, read_file
from sdbench.records import Dtype

CANNOT_BE_CHECKED = "cannot be checked"
"""How the reason begins where a floor is too high to judge by."""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """Relative L2 errors of one dtype's arithmetic; None where its numbers were not finite.

    ``noise`` is the initial noise's from being cast, ``latents`` each computed step's own (by its
    number from 1), ``picture`` that of decoding the reference's final latents. ``not_float64``
    names the modules that stayed float32 or complex64 where float32 was compared with float64: the
    floor does not contain their rounding. None: an older sdbench did not note them.
    """

    dtype: Dtype
    steps: int
    text: float | None
    noise: float | None
    latents: dict[int, float | None]
    picture: float | None
    picture_max_abs: float | None
    not_float64: tuple[str, ...] | None = None

    @property
    def excess(self) -> str | None:
        """Why nothing can be judged by this floor: it is higher than rounding can be."""
        divergence = self.expected_divergence()
        final = None if divergence is None else float(divergence[-1])
        bound = HIGHEST_FLOOR[self.dtype]
        for name, error in (("text", self.text), ("latents", final), ("picture", self.picture)):
            if error is not None and not error <= bound:
                return (
                    f"{CANNOT_BE_CHECKED}: the noise floor of {self.dtype} came out as {error:.2g} "
                    f"({name}), and rounding alone stays below {bound:g}"
                )
        return None

    def expected_divergence(self) -> "NDArray[Any] | None":
        """Of the latents of a free run: index 0 is the noise, index k after step k.

        Steps not computed take what lies between their neighbours. None where a number overflowed.
        """
        errors = {step: error for step, error in self.latents.items() if error is not None}
        if self.noise is None or not errors or len(errors) < len(self.latents):
            return None
        return _added_up(self.noise, errors, self.steps)

    def expected_picture(self, picture_gain: float | None) -> float | None:
        """Of the decoded image of a free run: the latents' divergence decoded, and the decode.

        ``picture_gain`` is how much of a relative change of the final latents the image shows.
        """
        divergence = self.expected_divergence()
        if divergence is None or self.picture is None or picture_gain is None:
            return None
        return self.picture + picture_gain * float(divergence[-1])


def _added_up(noise: float, errors: dict[int, float], steps: int) -> "NDArray[Any]":
    import numpy as np

    known = sorted(errors)
    each = np.interp(np.arange(1, steps + 1), known, [errors[step] for step in known])
    return np.sqrt(noise**2 + np.concatenate([[0.0], np.cumsum(each**2)]))


def load_floor(path: Path) -> Floor | None:
    """The floor in a file; None if it is missing or incomplete."""
    try:
        return msgspec.json.decode(read_file(path, MIB), type=Floor)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return None
