"""The same noise for an image on every device, in every type, alone or in a batch.

A generator draws other numbers on other devices and in other data types, and one generator for a
batch draws other numbers than one for each image. So all of diffusers draws its noise here while a
call of ours runs: in float32, on the CPU, from a generator for each image. That covers the initial
noise, what a step adds, and what an encoder samples, and needs no knowledge of shapes.
"""

import sys
from typing import Any, Callable, Optional

_NAME = "randn_tensor"


class Noise:
    """The noise of one pipeline call; a context manager around the call.

    ``change`` is applied to the first tensor that is drawn, after it has the type asked for.
    """

    def __init__(
        self, generators: "list[Any]", change: "Optional[Callable[[Any], Any]]" = None
    ) -> None:
        self._generators = generators
        self._change = change

    def __enter__(self) -> "Noise":
        global _current
        _current = self
        return self

    def __exit__(self, *_: Any) -> None:
        global _current
        _current = None

    def draw(self, shape: Any, generator: Any, device: Any, dtype: Any) -> Any:
        """Normal numbers of this shape, each image's from its own generator."""
        import torch

        given = list(generator) if isinstance(generator, (list, tuple)) else [generator]
        each = self._generators if None in given else given
        if len(each) == shape[0]:
            shapes = [(1, *shape[1:])] * len(each)
        else:  # one of several images, or the frames of one
            each, shapes = each[:1], [tuple(shape)]
        noise = torch.cat(
            [
                torch.randn(one, generator=source, dtype=torch.float32)
                for one, source in zip(shapes, each)
            ]
        )
        noise = noise.to(device=device, dtype=dtype)
        change, self._change = self._change, None
        return noise if change is None else change(noise)


_current: "Optional[Noise]" = None


def draw_noise_here() -> None:
    """Replace diffusers' ``randn_tensor`` in every module that holds it.

    Pipelines and schedulers import the function by name. Outside our calls it does what it did.
    Call it again when more of diffusers has been imported.
    """
    source = sys.modules["diffusers.utils.torch_utils"]
    ours = getattr(source, _NAME)
    original = getattr(ours, "__wrapped__", ours)
    if ours is original:
        ours = _replacement(original)
    for name, module in list(sys.modules.items()):
        if name.startswith("diffusers.") and vars(module).get(_NAME) is original:
            setattr(module, _NAME, ours)


def _replacement(original: "Callable[..., Any]") -> "Callable[..., Any]":
    def randn_tensor(
        shape: Any,
        generator: Any = None,
        device: Any = None,
        dtype: Any = None,
        layout: Any = None,
    ) -> Any:
        if _current is not None:
            return _current.draw(shape, generator, device, dtype)
        return original(shape, generator=generator, device=device, dtype=dtype, layout=layout)

    randn_tensor.__wrapped__ = original  # type: ignore[attr-defined]
    return randn_tensor


def generators_for(seed: int, images: "list[int]") -> "list[Any]":
    """A new CPU generator for each image, seeded ``seed`` + its number."""
    import torch

    return [torch.Generator("cpu").manual_seed(seed + image) for image in images]
