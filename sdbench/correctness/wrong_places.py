"""Where images are wrong: in which passes, which images, which processes. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sdbench.words import ranges

Pattern = Literal["nowhere", "everywhere", "first-pass", "later-passes", "profile", "at-times"]


class Spot(NamedTuple):
    """One image: the process's number, the pass's (0 is the profiling pass) and the image's."""

    process: int
    number: int
    image: int


@dataclass(frozen=True)
class Place:
    """Where the wrong ones are among those that were looked at.

    ``pattern`` is over passes: ``first-pass`` if only pass 1 is wrong, ``later-passes`` if from one
    pass on all are, ``profile`` if the profiling pass alone is. ``images`` count from 1 and are
    those that are wrong anywhere, ``right_images`` those that are right everywhere.
    """

    pattern: Pattern
    images: list[int]
    right_images: list[int]
    passes: list[int]
    words: str


def place_of(wrong: Mapping[Spot, bool]) -> Place:
    """Describe which spots are wrong; only measured passes count where there are any."""
    spots = {spot: is_wrong for spot, is_wrong in wrong.items() if spot.number > 0}
    if not any(spots.values()):
        only_profile = any(wrong.values())
        spots = dict(wrong)
        if only_profile:
            images = _images(spots, wrong_only=True)
            return Place("profile", images, [], [0], "of the profiling pass")
    if not any(spots.values()):
        return Place("nowhere", [], _images(spots), [], "")
    images = _images(spots, wrong_only=True)
    right_images = [image for image in _images(spots) if image not in images]
    of_those = {spot: is_wrong for spot, is_wrong in spots.items() if spot.image + 1 in images}
    numbers = sorted({spot.number for spot in of_those})
    passes = sorted({spot.number for spot, is_wrong in of_those.items() if is_wrong})
    mixed = {
        number
        for number in passes
        if not all(is_wrong for spot, is_wrong in of_those.items() if spot.number == number)
    }
    pattern, words = _over_passes(numbers, passes, mixed)
    if mixed:
        words += _in_processes(of_those)
    return Place(pattern, images, right_images, passes, words)


def _over_passes(numbers: list[int], passes: list[int], mixed: set[int]) -> tuple[Pattern, str]:
    if passes == numbers:
        if mixed:
            return "at-times", "occasionally"
        return "everywhere", f"of pass {numbers[0]}" if len(numbers) == 1 else "in every pass"
    if passes == [1] and not mixed:
        return "first-pass", "of pass 1, and of no later pass,"
    if not mixed and passes == [number for number in numbers if number >= passes[0]]:
        if len(passes) == 1 and len(numbers) > 2:
            return "at-times", f"of pass {passes[0]} of {len(numbers)}"
        first = f"pass {passes[0] - 1} is" if passes[0] == 2 else f"passes 1 to {passes[0] - 1} are"
        return "later-passes", f"of pass {passes[0]} and later (pass 1 is right)" if (
            passes[0] == 2
        ) else f"of pass {passes[0]} and later ({first} right)"
    return "at-times", f"of pass {listed(passes)} of {len(numbers)}"


def _in_processes(spots: Mapping[Spot, bool]) -> str:
    """``, in 1 of 3 processes``, where whole processes are right."""
    processes = {spot.process for spot in spots}
    wrong = {spot.process for spot, is_wrong in spots.items() if is_wrong}
    return f", in {len(wrong)} of {len(processes)} processes" if wrong != processes else ""


def _images(spots: Mapping[Spot, bool], *, wrong_only: bool = False) -> list[int]:
    return sorted({s.image + 1 for s, is_wrong in spots.items() if is_wrong or not wrong_only})


def listed(numbers: Iterable[int]) -> str:
    """``1, 2, 5 to 9``."""
    return ranges(numbers)
