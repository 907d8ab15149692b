"""What a pass produced, reduced to hashes and statistics; the files are kept by content.

Two passes made the same image exactly when their pixel hashes agree. Final latents are hashed
bit for bit in the dtype they were computed in, so they also tell differences that eight bits hide.
"""

import hashlib
import io
import os
from typing import Any, Optional

from .atomic_write import keep_file
from .channel import finite_or_none

_ONE_LEVEL = 1 / 255  # less contrast than this rounds to a single 8-bit level


def picture_record(picture: Any, folder: Optional[str]) -> "dict[str, Any]":
    """Describe one image, a float tensor (3, height, width) on the CPU with values in [0, 1].

    Not-finite values are counted and left out of the statistics; in the stored PNG they are black.
    """
    import numpy as np

    values = picture.detach().float().permute(1, 2, 0).numpy()
    finite = np.isfinite(values)
    known = values[finite]
    clean = np.where(finite, values, 0.0)
    pixels = np.clip(np.rint(clean * 255.0), 0, 255).astype(np.uint8)
    deviation = float(known.std()) if known.size else 0.0
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    not_kept = None
    if folder is not None:
        images = os.path.join(folder, "images")
        not_kept = keep_file(images, f"{digest}.png", lambda: _png(pixels))
    return {
        "pixels_sha256": digest,
        "not_kept": not_kept,
        "nan_count": int(np.isnan(values).sum()),
        "inf_count": int(np.isinf(values).sum()),
        "minimum": finite_or_none(float(known.min())) if known.size else None,
        "maximum": finite_or_none(float(known.max())) if known.size else None,
        "mean": finite_or_none(float(known.mean())) if known.size else None,
        "deviation": finite_or_none(deviation),
        "black": bool(known.size == 0 or known.max() < _ONE_LEVEL),
        "flat": bool(_deviation_of_channels(values, finite) < _ONE_LEVEL),
    }


def _deviation_of_channels(values: Any, finite: Any) -> float:
    """The largest deviation of a channel: one colour is flat, whichever colour it is."""
    channels = [values[..., index][finite[..., index]] for index in range(values.shape[-1])]
    return max((float(channel.std()) for channel in channels if channel.size), default=0.0)


def latents_record(latents: Any, folder: Optional[str]) -> "dict[str, Any]":
    """Describe the final latents of one image: a tensor (channels, height/8, width/8)."""
    import numpy as np
    import torch

    host = latents.detach().cpu().contiguous()
    raw = host.view(torch.int16) if host.dtype in (torch.float16, torch.bfloat16) else host
    array = raw.numpy()
    head = f"{host.dtype}{tuple(host.shape)}".encode()
    digest = hashlib.sha256(head + array.tobytes()).hexdigest()
    not_kept = None
    if folder is not None:
        single = host.float().numpy()
        latents_folder = os.path.join(folder, "latents")
        not_kept = keep_file(latents_folder, f"{digest}.npy", lambda: _npy(np, single))
    return {
        "latents_sha256": digest,
        "not_kept": not_kept,
        "latents_nonfinite_count": int((~torch.isfinite(host)).sum()),
    }


def _png(pixels: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")  # an array carries no metadata
    return file.getvalue()


def _npy(np: Any, array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
