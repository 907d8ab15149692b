"""The outlines of the shapes, each filling the square [-1, 1] × [-1, 1], y pointing down.

Training draws with them and the content check measures against them, so both mean the same by
"star". Imports numpy only when asked for a mask.
"""

import math
from typing import TYPE_CHECKING

from sdbench.correctness.scene import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Coordinates = NDArray[np.float64]

RING_HOLE = 0.58
"""Inner radius of a ring, of its outer one."""
_ARM = 0.34  # half the width of a cross
_STAR_WAIST = 0.45  # inner radius of a star, of its outer one


def _star() -> list[tuple[float, float]]:
    points = []
    for index in range(10):
        radius = _STAR_WAIST if index % 2 else 1.0
        angle = math.pi * index / 5
        points.append((radius * math.sin(angle), -radius * math.cos(angle)))
    lowest, widest = max(y for _, y in points), max(x for x, _ in points)
    # A regular star is wider than high; stretched so that every shape fills the same square.
    return [(x / widest, (y + 1) / (lowest + 1) * 2 - 1) for x, y in points]


_POLYGONS = {
    "triangle": [(0.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
    "star": _star(),
}


def covers(shape: Shape, x: "Coordinates", y: "Coordinates") -> "Mask":
    """Which of the points (x, y) the shape covers."""
    import numpy as np

    if shape in _POLYGONS:
        return _in_polygon(_POLYGONS[shape], x, y)
    largest, radius = np.maximum(abs(x), abs(y)), np.hypot(x, y)
    if shape == "square":
        return np.asarray(largest <= 1)
    if shape == "circle":
        return np.asarray(radius <= 1)
    if shape == "ring":
        return np.asarray((radius <= 1) & (radius >= RING_HOLE))
    return np.asarray((largest <= 1) & (np.minimum(abs(x), abs(y)) <= _ARM))


def _in_polygon(corners: list[tuple[float, float]], x: "Coordinates", y: "Coordinates") -> "Mask":
    """Even-odd rule: whether a ray to the right crosses the outline an odd number of times."""
    import numpy as np

    inside = np.zeros(np.broadcast(x, y).shape, dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < x1 + (y - y1) / (y2 - y1) * (x2 - x1))
    return inside
