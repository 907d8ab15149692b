"""Probes of known faults in all but products and convolutions; see :mod:`.probes`."""

from typing import Any, Optional

from .probe_tools import compared, drawn, wrong

# ---------------------------------------------------------------- activations, normalisation


def silu_strides(device: str) -> "Optional[str]":
    from torch.nn import functional

    return compared(device, lambda x: functional.silu(x.transpose(1, 2)), drawn(1, 64, 500))


def gelu_strides(device: str) -> "Optional[str]":
    from torch.nn import functional

    return compared(device, lambda x: functional.gelu(x.transpose(1, 2)), drawn(1, 64, 500))


def elu_softplus_strides(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any) -> Any:
        x = x.moveaxis(0, 1)
        return functional.elu(x) + functional.softplus(x)

    return compared(device, apply, drawn(64, 50))


def layer_norm_slice(device: str) -> "Optional[str]":
    from torch.nn import functional

    return compared(device, lambda x: functional.layer_norm(x[1:3], (64,)), drawn(3, 64))


def batch_norm_slice(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any) -> Any:
        return functional.batch_norm(x[2:], None, None, training=True)

    return compared(device, apply, drawn(4, 8, 6, 6) + drawn(4, 1, 1, 1))


def log_softmax_infinite(device: str) -> "Optional[str]":
    import torch

    row = torch.tensor([[-16.9, 74.6, -245.6, 57.9, -59.8, 26.3, -27.4, 71.3, 57.6, 54.1]])
    return compared(device, lambda x: x.log_softmax(dim=-1), row)


# ---------------------------------------------------------------- resizing, joining, copying


def interpolate_nearest_exact(device: str) -> "Optional[str]":
    import torch
    from torch.nn import functional

    def apply(x: Any) -> Any:
        return functional.interpolate(x, size=(11,), mode="nearest-exact")

    return compared(device, apply, torch.arange(20.0).reshape(1, 1, 20))


def interpolate_align_corners_nan(device: str) -> "Optional[str]":
    import torch
    from torch.nn import functional

    def apply(x: Any) -> Any:
        return functional.interpolate(x, 3, mode="linear", align_corners=True)

    return compared(device, apply, torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1))


def pad_5d_large(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any) -> Any:
        return functional.pad(x, (0, 0, 0, 0, 2, 0))

    return compared(device, apply, drawn(1, 1, 4, 256, 256))


def stack_of_views(device: str) -> "Optional[str]":
    import torch

    def apply(x: Any) -> Any:
        return torch.stack((x[:, :1], x[:, -1:]), dim=-1)

    return compared(device, apply, torch.tensor([[1.0, 2.0]]))


def macos_144_solid_colour(device: str) -> "Optional[str]":
    import torch

    x = torch.zeros(3, device=device)
    x[1] = 1
    x[2] = 3
    return wrong(x, torch.tensor([0.0, 1.0, 3.0]))


def fill_bool_offset(device: str) -> "Optional[str]":
    import torch

    x = torch.zeros(16, dtype=torch.bool, device=device)
    x[1:].fill_(True)
    wrong = int((x.cpu() != (torch.arange(16) > 0)).sum())
    return f"{wrong} of 16 elements are wrong" if wrong else None


def masked_fill_strides(device: str) -> "Optional[str]":
    import torch

    def apply(x: Any) -> Any:
        mask = (x > 0).t()
        return torch.zeros_like(mask, dtype=torch.float32).masked_fill_(mask, 1.0)

    return compared(device, apply, torch.tensor([[-1.0, -1, 1, 1], [1, 1, 1, 1]]))


def addcdiv_strides(device: str) -> "Optional[str]":
    def apply(x: Any, y: Any, z: Any) -> Any:
        return x.clone().t().addcdiv_(y.t(), z.t())

    return compared(device, apply, drawn(2, 3), drawn(2, 3) + 1, drawn(2, 3).abs() + 1)


def copy_to_cpu_strides(device: str) -> "Optional[str]":
    import torch

    parent = torch.zeros(20)
    source = torch.arange(20.0, device=device)[::2]
    parent[::2].copy_(source)
    return wrong(parent[::2], torch.arange(0.0, 20, 2))


def copy_to_cpu_offset(device: str) -> "Optional[str]":
    import torch

    target = torch.zeros(8)
    target[4:].copy_(torch.arange(1, 5, dtype=torch.int32, device=device))
    return wrong(target, torch.tensor([0.0, 0, 0, 0, 1, 2, 3, 4]))


def non_blocking_copy(device: str) -> "Optional[str]":
    import torch

    sources = [torch.full((10,), float(index)) for index in range(50)]
    copies = [source.clone().to(device, non_blocking=True) for source in sources]
    return wrong(torch.stack(copies), torch.stack(sources))


def argsort_large(device: str) -> "Optional[str]":
    x = drawn(3, (1 << 22) + 1)
    order = x.to(device).argsort(dim=0).cpu()
    wrong = int((x.gather(0, order).diff(dim=0) < 0).sum())
    return f"{wrong} pairs are in the wrong order" if wrong else None


# ---------------------------------------------------------------- random numbers, virtual Macs


def random_5d(device: str) -> "Optional[str]":
    import torch

    x = torch.randn(2, 1, 8, 8, 8, device=device).cpu()
    return "both halves hold the same random numbers" if x[0].equal(x[1]) else None


def exponential_zero(device: str) -> "Optional[str]":
    import torch

    zeros = 0
    for _ in range(32):  # of 2**25 numbers about 34 were 0 where it is wrong, 2 at most may be
        zeros += int((torch.empty(1 << 20, device=device).exponential_() == 0).sum())
    return f"{zeros} of 33,554,432 numbers are exactly 0" if zeros > 12 else None


def virtual_metal_4(device: str) -> "Optional[str]":
    import torch

    try:
        torch.linalg.cholesky_ex(torch.eye(64, device=device) * 2)
    except RuntimeError as error:
        if "pipeline state" in str(error):
            return str(error).splitlines()[0][:200]
        raise
    return None


def virtual_no_memory(device: str) -> "Optional[str]":
    import torch

    try:
        torch.zeros(64, device=device)
    except RuntimeError as error:
        if "MPS allocated: 0 bytes" in str(error):
            return str(error).splitlines()[0][:200]
        raise
    return None


ELEMENTS = (
    silu_strides,
    gelu_strides,
    elu_softplus_strides,
    layer_norm_slice,
    batch_norm_slice,
    log_softmax_infinite,
    interpolate_nearest_exact,
    interpolate_align_corners_nan,
    pad_5d_large,
    stack_of_views,
    macos_144_solid_colour,
    fill_bool_offset,
    masked_fill_strides,
    addcdiv_strides,
    copy_to_cpu_strides,
    copy_to_cpu_offset,
    non_blocking_copy,
    argsort_large,
    random_5d,
    exponential_zero,
    virtual_metal_4,
    virtual_no_memory,
)
