"""Probes of known faults in matrix products, convolutions and attention; see :mod:`.probes`."""

from typing import Any, Optional

from .probe_tools import compared, drawn, wrong

# ---------------------------------------------------------------- linear and matrix products


def linear_nondeterministic_m5(device: str) -> "Optional[str]":
    from torch.nn import functional

    x = drawn(2, 13, 1024).bfloat16().to(device)
    weight = drawn(1024, 1024).bfloat16().to(device)
    first = functional.linear(x, weight).cpu()
    for _ in range(5):
        again = functional.linear(x, weight).cpu()
        if not first.equal(again):
            return f"the same call differs by up to {float((first - again).abs().max()):.3g}"
    return None


def linear_3d_virtual(device: str) -> "Optional[str]":
    from torch.nn import functional

    return compared(device, functional.linear, drawn(2, 64, 128), drawn(384, 128), drawn(384))


def linear_many_outputs(device: str) -> "Optional[str]":
    from torch.nn import functional

    return compared(device, functional.linear, drawn(1025, 1), drawn(32769, 1))


def linear_strides_28(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.linear(x, weight.t())

    return compared(device, apply, drawn(8, 48), drawn(48, 64))


def linear_bfloat16_transposed_abort(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.linear(x, weight.t())

    return compared(device, apply, drawn(2, 256, 512), drawn(512, 512), dtype="bfloat16")


def mm_long_reduction_m1_m2(device: str) -> "Optional[str]":
    import torch

    dirty = torch.full((1 << 22,), 1e4).to(device)  # what is read past the end must not be zero
    del dirty
    return compared(device, torch.mm, drawn(64, 40000), drawn(40000, 64))


def bmm_long_reduction_m1_m2(device: str) -> "Optional[str]":
    import torch

    dirty = torch.full((1 << 22,), 1e4).to(device)
    del dirty
    return compared(device, torch.bmm, drawn(2, 64, 32800), drawn(2, 32800, 64))


def baddbmm_nan(device: str) -> "Optional[str]":
    import torch

    left, right = drawn(4, 512, 40).to(device), drawn(4, 40, 512).to(device)
    stale = torch.full((4, 512, 512), float("nan"), device=device)
    del stale  # the allocator gives this memory to empty()
    empty = torch.empty(4, 512, 512, device=device)
    got = torch.baddbmm(empty, left, right, beta=0)
    return wrong(got, torch.bmm(left.cpu(), right.cpu()))


def matmul_out_strided(device: str) -> "Optional[str]":
    import torch

    left, right = drawn(64, 64), drawn(64, 64)
    out = torch.zeros(64, 128, device=device)
    torch.matmul(left.to(device), right.to(device), out=out[:, 32:96])
    return wrong(out[:, 32:96], left @ right)


# ---------------------------------------------------------------- convolution


def chunk_then_conv_batch(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.conv2d(x.chunk(2, dim=1)[1], weight, padding=1)

    return compared(device, apply, drawn(2, 64, 16, 16), drawn(32, 32, 3, 3))


def channels_last_conv(device: str) -> "Optional[str]":
    import torch
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        x = x.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(x[:, :1], weight)

    return compared(device, apply, drawn(1, 2, 8, 8), drawn(3, 1, 1, 1))


def conv_weight_strides(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.conv2d(x, weight[:, :, 1])

    return compared(device, apply, drawn(2, 32, 16, 32), drawn(3, 32, 3, 3, 3))


def conv_kernel_256(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.conv2d(x, weight, groups=8)

    return compared(device, apply, drawn(2, 8, 256, 32), drawn(16, 1, 256, 1))


def conv3d_contiguous(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.conv3d(x, weight, padding=1)

    return compared(device, apply, drawn(1, 16, 8, 8, 8), drawn(16, 16, 3, 3, 3))


def conv_channels_over_65536(device: str) -> "Optional[str]":
    from torch.nn import functional

    return compared(device, functional.conv1d, drawn(1, 1, 3), drawn(65537, 1, 3))


def conv_65536_refused(device: str) -> "Optional[str]":
    from torch.nn import functional

    try:
        functional.conv1d(drawn(1, 4, 66000).to(device), drawn(1, 4, 10).to(device))
    except (NotImplementedError, RuntimeError) as error:
        if "65536" in str(error):
            return str(error).splitlines()[0][:200]
        raise
    return None


def conv_after_upsample(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.conv1d(functional.interpolate(x, scale_factor=2), weight)

    return compared(device, apply, drawn(2, 3, 10), drawn(3, 3, 1))


def conv_expanded_kernel_abort(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(x: Any, weight: Any) -> Any:
        return functional.conv2d(x, weight.expand(-1, 3, -1, -1))

    return compared(device, apply, drawn(2, 3, 16, 16), drawn(1, 1, 3, 11))


# ---------------------------------------------------------------- attention


def _heads(x: Any) -> Any:
    """(batch, tokens, heads, width) as attention takes it, without a copy."""
    return x.transpose(1, 2)


def sdpa_strides_28(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(q: Any, k: Any, v: Any) -> Any:
        return functional.scaled_dot_product_attention(_heads(q), _heads(k), _heads(v))

    return compared(device, apply, *(drawn(1, tokens, 4, 64) for tokens in (8, 64, 64)))


def sdpa_permuted_views(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.permute(1, 2, 0, 3) for x in (q, k, v))
        return functional.scaled_dot_product_attention(q, k, v)

    return compared(device, apply, *(drawn(6, 3, 4, 64) for _ in range(3)))


def sdpa_decode_out_of_bounds(device: str) -> "Optional[str]":
    import torch
    from torch.nn import functional

    stale = torch.full((1 << 20,), float("nan"), device=device)
    del stale  # what is read past the end must not be zero
    sdpa = functional.scaled_dot_product_attention
    return compared(device, sdpa, *(drawn(1, 4, tokens, 128) for tokens in (1, 38, 38)))


def sdpa_causal_half(device: str) -> "Optional[str]":
    from torch.nn import functional

    def apply(q: Any, k: Any, v: Any) -> Any:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    return compared(device, apply, *(drawn(1, 4, 64, 64) for _ in range(3)), dtype="float16")


def sdpa_long_half(device: str) -> "Optional[str]":
    from torch.nn import functional

    sdpa = functional.scaled_dot_product_attention
    operands = [drawn(1, 1, 4096, 64) * scale for scale in (4, 1, 1)]
    return compared(device, sdpa, *operands, dtype="float16")


def sdpa_masked_row_nan(device: str) -> "Optional[str]":
    import torch
    from torch.nn import functional

    def apply(q: Any, k: Any, v: Any) -> Any:
        mask = torch.ones(4, 4, dtype=torch.bool, device=q.device).tril()
        mask[2] = False
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    return compared(device, apply, *(drawn(2, 2, 4, 64) for _ in range(3)))


PRODUCTS = (
    linear_nondeterministic_m5,
    linear_3d_virtual,
    linear_many_outputs,
    linear_strides_28,
    linear_bfloat16_transposed_abort,
    mm_long_reduction_m1_m2,
    bmm_long_reduction_m1_m2,
    baddbmm_nan,
    matmul_out_strided,
    chunk_then_conv_batch,
    channels_last_conv,
    conv_weight_strides,
    conv_kernel_256,
    conv3d_contiguous,
    conv_channels_over_65536,
    conv_65536_refused,
    conv_after_upsample,
    conv_expanded_kernel_abort,
    sdpa_strides_28,
    sdpa_permuted_views,
    sdpa_decode_out_of_bounds,
    sdpa_causal_half,
    sdpa_long_half,
    sdpa_masked_row_nan,
)
