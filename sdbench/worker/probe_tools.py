"""What the probes of known faults have in common."""

from typing import Any, Callable, Optional

# Beyond what float16 and bfloat16 round, far below what was reported of any of these faults.
_TOLERANCE = 2e-2


def drawn(*shape: int) -> Any:
    """Standard normal numbers on the CPU, the same at every call."""
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def wrong(got: Any, want: Any, tolerance: float = _TOLERANCE) -> "Optional[str]":
    """The relative distance ||got - want|| / ||want|| in words if it is beyond the tolerance."""
    import torch

    got, want = got.detach().cpu().double(), want.detach().cpu().double()
    comparable = torch.isfinite(want)  # the CPU of an old torch may have not-a-number of its own
    got, want = got[comparable], want[comparable]
    if not bool(torch.isfinite(got).all()):
        return "the result holds not-a-number"
    distance = float((got - want).norm() / want.norm().clamp_min(1e-30))
    return f"{distance:.2g} away from the CPU" if not distance <= tolerance else None


def compared(
    device: str, apply: "Callable[..., Any]", *operands: Any, dtype: str = "float32"
) -> "Optional[str]":
    """``apply`` on the device in ``dtype`` against the CPU in float32, on the same numbers.

    ``apply`` makes the views it needs, as a copy to a device may lose them.
    """
    import torch

    rounded = [operand.to(getattr(torch, dtype)) for operand in operands]
    want = apply(*(operand.float() for operand in rounded))
    return wrong(apply(*(operand.to(device) for operand in rounded)), want)
