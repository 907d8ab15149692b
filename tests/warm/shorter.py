"""What warm processes do with less work, because no test of theirs is about how much it is.

Unit tests and processes that start cold do all of it, and so does what has ``WHOLE`` in its
environment (but for the convolutions).
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any

from import_hook import Replacement

WHOLE = "SDBENCH_TEST_WHOLE"
"""Set to 1, nothing is made shorter."""


def _of_one_step(check_config: Callable[[], Any]) -> Callable[[], Any]:
    def short() -> Any:
        import msgspec

        return msgspec.structs.replace(check_config(), steps=1)

    return short


def _not_at_the_end_of_a_run(inline_svg: Callable[..., str]) -> Callable[..., str]:
    def drawn(figure: Any, *, narrow: bool = False) -> str:
        if sys.argv[1:2] in (["run"], ["resume"], ["rerun"]):
            return '<svg role="img"></svg>'
        return inline_svg(figure, narrow=narrow)

    return drawn


_OPERATORS = "sdbench_worker.operators"
SHORTER: tuple[Replacement, ...] = (
    # Read twice by every worker of two passes, 0.4 s of a core; here each reading is one timing.
    ("sdbench_worker.yardstick", None, "_BUDGET_S", lambda _: 0.001),
    # For every variant of every run, 0.3 s of a core.
    (_OPERATORS, None, "_SIDES", lambda _: ((0.0, 256),)),
    (_OPERATORS, None, "_VECTOR_BYTES", lambda _: {256: 1 << 22}),
    (_OPERATORS, None, "_SHORTEST_TIMING_S", lambda _: 0.002),
    # Before every run on the stand-in: 2 s of a core, and 20 s in half precision.
    ("sdbench.runner.preflight", None, "check_config", _of_one_step),
    # On the page that ends every run, 0.6 s of a core; ``sdbench report`` draws them.
    ("sdbench.report.figures.figure", "Figure", "inline_svg", _not_at_the_end_of_a_run),
)


def convolve_quickly() -> None:
    """Convolutions in half precision, for which torch has a plain loop on processors without bf16.

    That loop takes nine tenths of a worker's time there, thirty times as long as float32. Here the
    operands are float32, and the result is rounded. For other types it is what it was: a product
    with the unfolded image.
    """
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 13):
        return  # which has no ``allow_override``

    def convolve(
        picture: Any, weight: Any, kernel_size: Any, bias: Any, stride: Any, padding: Any
    ) -> Any:
        if picture.dtype in (torch.bfloat16, torch.float16):
            wide = [None if one is None else one.float() for one in (picture, weight, bias)]
            return torch.conv2d(*wide, stride, padding).to(picture.dtype)
        height, width = (
            (size + 2 * around - kernel) // step + 1
            for size, around, kernel, step in zip(
                picture.shape[2:], padding, kernel_size, stride, strict=True
            )
        )
        unfolded = torch.nn.functional.unfold(picture, kernel_size, 1, padding, stride)
        made = weight.flatten(1) @ unfolded
        made = made if bias is None else made + bias[:, None]
        return made.reshape(picture.shape[0], -1, height, width)

    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings(action="ignore"):  # that a kernel is overridden
        library.impl("_slow_conv2d_forward", convolve, "CPU", allow_override=True)
    _KEPT.append(library)


_KEPT: list[Any] = []
"""A library's kernels go with it."""
