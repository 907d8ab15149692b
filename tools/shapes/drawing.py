"""Draw batches of scenes on the device, anti-aliased, from signed distances to the outlines."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

from sdbench.correctness.scene import PALETTE, SHAPES
from sdbench.correctness.shape_outlines import covers
from shapes.scenes import Drawing

MOST_SHAPES = 3
_REACH = 1.25  # the distance fields span [-_REACH, _REACH]
_FIELD = 128
_FINE = 8  # each cell of a field is measured on this many samples a side


@dataclass
class Batch:
    """Drawings as tensors: shape -1 where an image has fewer shapes; bottom shape first."""

    shapes: torch.Tensor  # (n, MOST_SHAPES) int64
    boxes: torch.Tensor  # (n, MOST_SHAPES, 3)
    colours: torch.Tensor  # (n, MOST_SHAPES, 3), in [-1, 1]
    background: torch.Tensor  # (n, 3), in [-1, 1]
    tokens: torch.Tensor  # (n, 77) int64

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(*(value.to(device, non_blocking=True) for value in vars(self).values()))


def as_batch(drawings: list[Drawing], tokens: list[list[int]]) -> Batch:
    """Put drawings into tensors."""
    count = len(drawings)
    shapes = torch.full((count, MOST_SHAPES), -1)
    boxes = torch.ones(count, MOST_SHAPES, 3)
    colours = torch.zeros(count, MOST_SHAPES, 3)
    background = torch.empty(count, 3)
    for row, drawing in enumerate(drawings):
        background[row] = _colour(drawing.scene.background)
        order = list(zip(drawing.scene.items, drawing.boxes, strict=True))
        if drawing.scene.relation == "inside":
            order.reverse()
        for place, (item, box) in enumerate(order):
            shapes[row, place] = SHAPES.index(item.shape)
            boxes[row, place] = torch.tensor(box)
            colours[row, place] = _colour(item.colour)
    return Batch(shapes, boxes, colours, background, torch.tensor(tokens))


def _colour(name: str) -> torch.Tensor:
    return torch.tensor(PALETTE[name]) / 127.5 - 1


def distance_fields() -> torch.Tensor:
    """Signed distance to each outline, negative inside: (shapes, _FIELD, _FIELD)."""
    size = _FIELD * _FINE
    axis = ((np.arange(size) + 0.5) / size * 2 - 1) * _REACH
    x, y = np.meshgrid(axis, axis)
    fields = []
    for shape in SHAPES:
        mask = covers(shape, x, y)
        signed = distance_transform_edt(~mask) - distance_transform_edt(mask)
        coarse = signed.reshape(_FIELD, _FINE, _FIELD, _FINE).mean(axis=(1, 3))
        fields.append(torch.from_numpy(coarse * 2 * _REACH / size).float())
    return torch.stack(fields)


@torch.no_grad()
def draw(batch: Batch, side: int, fields: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, side, side) in [-1, 1]."""
    count = len(batch.background)
    axis = (torch.arange(side, device=fields.device) + 0.5) / side
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    pictures = batch.background[:, :, None, None].expand(count, 3, side, side).contiguous()
    for place in range(MOST_SHAPES):
        shape, box = batch.shapes[:, place], batch.boxes[:, place]
        centre, half = box[:, None, None, :2], box[:, None, None, 2:]
        points = (grid - centre) / half
        distance = functional.grid_sample(
            fields[shape.clamp(min=0)][:, None],
            points / _REACH,
            padding_mode="border",
            align_corners=False,
        )
        alpha = (0.5 - distance * half.permute(0, 3, 1, 2) * side).clamp(0, 1)
        alpha = alpha * (shape >= 0)[:, None, None, None]
        colour = batch.colours[:, place, :, None, None]
        pictures = pictures + alpha * (colour - pictures)
    return pictures
