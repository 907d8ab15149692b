"""The operators a Stable Diffusion pipeline is made of, each tried on a device against the CPU.

Inputs are drawn in float64 from a seed and rounded to the dtype first, so that the reference, the
same operation in float64 on the CPU, answers the same question. What is compared is the relative
distance ||device - reference|| / ||reference||.

How much distance is right follows from the arithmetic. With u half of the dtype's epsilon, storing
inputs of the last steps and the result costs a few u, however long the sum; a sum of K products in
float32 adds about sqrt(K) of float32's own u (rounding errors as a random walk: Higham and Mary
2019, "A new approach to probabilistic rounding error analysis"). So up to

    4 u + 4 sqrt(K) u(float32)            (8 u for attention: scores and weights are rounded too)

an operator is as exact as sums in float32 make it. Some devices sum in the dtype itself, which is
worse and not wrong: up to max(16 u, sqrt(K) u, 2**-9) it counts as less accurate, beyond that as
wrong. (2**-9 is for float32: no less accurate than float16.) Normalisations and softmax are not
longer sums for this purpose: a device that sums them in half precision is wrong.
"""

import functools
import math
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set

if TYPE_CHECKING:
    from .channel import Channel

_FLOAT32_U = 2.0**-24
_TF32_U = 2.0**-11


class Operator(NamedTuple):
    """One operator at one size.

    ``inputs`` draws the operands in float64; ``apply`` runs it on them wherever they are;
    ``reduction`` is the length of its sums, ``steps`` the roundings to the dtype on the way.
    """

    name: str
    inputs: "Callable[[Any], List[Any]]"
    apply: "Callable[..., Any]"
    reduction: int = 1
    steps: int = 4
    reference: "Optional[Callable[..., Any]]" = None
    """Where it is computed otherwise than by ``apply`` in float64."""


def operators(scale: int) -> "List[Operator]":
    """The operators at Stable Diffusion's sizes: SD 1.5 at 512x512, divided by ``scale``.

    The first level of the UNet has 320 channels of 64x64, so 4096 tokens; heads are 40, 80 and 160
    wide. The number of heads is cut to two: heads do not influence each other.
    """
    import torch
    from torch.nn import functional

    side, tokens = 64 // scale, 4096 // scale**2
    found = [
        Operator(
            "matmul",
            lambda draw: [draw(tokens, 320), draw(320, 1280) / math.sqrt(320)],
            torch.matmul,
            reduction=320,
        ),
        Operator(
            "conv2d",
            lambda draw: [draw(1, 320, side, side), draw(320, 320, 3, 3) / math.sqrt(2880)],
            lambda x, weight: functional.conv2d(x, weight, padding=1),
            reduction=2880,
        ),
        Operator(
            "group_norm",
            lambda draw: [draw(1, 320, side, side) + 0.5, draw(320) + 1, draw(320)],
            lambda x, weight, bias: functional.group_norm(x, 32, weight, bias),
        ),
        Operator(
            "layer_norm",
            lambda draw: [draw(1, tokens, 320) + 0.5, draw(320) + 1, draw(320)],
            lambda x, weight, bias: functional.layer_norm(x, (320,), weight, bias),
        ),
        Operator(
            "softmax",
            lambda draw: [3 * draw(2, max(256, tokens // 4), tokens)],
            lambda x: functional.softmax(x, dim=-1),
        ),
        # As sliced attention calls it: the first operand is uninitialised memory, which beta=0
        # must keep out of the result, NaN included.
        Operator(
            "baddbmm beta=0",
            lambda draw: [draw(2, tokens // 4, 40), draw(2, 40, tokens // 4)],
            _baddbmm,
            reduction=40,
            reference=torch.bmm,
        ),
        Operator("gelu", lambda draw: [draw(1, tokens, 1280)], functional.gelu),
        Operator("silu", lambda draw: [draw(1, 320, side, side)], functional.silu),
        Operator(
            "interpolate",
            lambda draw: [draw(1, 320, side // 2, side // 2)],
            lambda x: functional.interpolate(x, scale_factor=2.0, mode="nearest"),
        ),
    ]
    if hasattr(functional, "scaled_dot_product_attention"):
        for width in (40, 80, 160):
            found += _attention(width, tokens)
    return found


def _attention(width: int, tokens: int) -> "Iterator[Operator]":
    """Fused attention, and the same on views as diffusers makes them: (batch, tokens, heads)."""
    from torch.nn import functional

    def contiguous(draw: Any) -> "List[Any]":
        return [draw(1, 2, tokens, width) for _ in range(3)]

    def views(draw: Any) -> "List[Any]":
        return [draw(1, tokens, 2 * width) for _ in range(3)]

    def heads(x: Any) -> Any:
        return x.view(1, tokens, 2, width).transpose(1, 2)

    fused = functional.scaled_dot_product_attention
    yield Operator(f"sdpa {width}", contiguous, fused, width, 8, _plain_attention)
    yield Operator(
        f"sdpa {width} non-contiguous",
        views,
        lambda q, k, v: fused(heads(q), heads(k), heads(v)),
        width,
        8,
        lambda q, k, v: _plain_attention(heads(q), heads(k), heads(v)),
    )


def _plain_attention(query: Any, key: Any, value: Any) -> Any:
    """Attention by its definition, a head at a time so that the scores stay small."""
    import torch

    heads = []
    for index in range(query.shape[1]):
        q, k, v = (x[:, index] for x in (query, key, value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        heads.append(scores.softmax(dim=-1) @ v)
    return torch.stack(heads, dim=1)


def _baddbmm(left: Any, right: Any) -> Any:
    import torch

    shape = (left.shape[0], left.shape[1], right.shape[2])
    # The allocator hands the block that was just given back out again: empty() then holds NaN.
    stale = torch.full(shape, math.nan, dtype=left.dtype, device=left.device)
    del stale
    empty = torch.empty(shape, dtype=left.dtype, device=left.device)
    return torch.baddbmm(empty, left, right, beta=0)


def examine_operators(channel: "Channel", kind: str, skip: "Set[str]") -> None:
    """Try every operator in every dtype of the device, then measure the device's ceilings.

    ``skip`` holds ``dtype/operator`` of what is known already, such as what killed a child before.
    """
    import torch

    from .devices import open_device

    torch.manual_seed(0)
    device = open_device(kind)
    with torch.no_grad():
        rate = _rough_rate(device)
        scale = 1 if rate > _FULL_SIZE_FLOPS_PER_S else 2
        # Half precision is a hundred times slower on a CPU; fewer pixels show as much of it.
        smaller = 2 * scale if device.kind == "cpu" else scale
        for full, small in zip(operators(scale), operators(smaller)):
            for dtype in device.supported_dtypes():
                _try_unless_known(
                    channel, device, full if dtype == "float32" else small, dtype, skip
                )
        for key, measure in _ceilings(device, rate):
            if key not in skip:
                channel.send("trying", key=key)
                channel.send("ceiling", dtype=key.split("/")[0], **measure())


def _try_unless_known(
    channel: "Channel", device: Any, operator: Operator, dtype: str, skip: "Set[str]"
) -> None:
    key = f"{dtype}/{operator.name}"
    if key not in skip:
        channel.send("trying", key=key)
        found = _try(device, operator, dtype)
        channel.send("operator", dtype=dtype, operator=operator.name, **found)


def _try(device: Any, operator: Operator, dtype_name: str) -> "Dict[str, Any]":
    import torch

    dtype = getattr(torch, dtype_name)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rounded = [operand.to(dtype) for operand in operator.inputs(draw)]
    shapes = " ".join("x".join(str(size) for size in operand.shape) for operand in rounded)
    try:
        got = operator.apply(*(operand.to(device.kind) for operand in rounded))
        device.synchronize()
        got = got.cpu().double()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        missing = "not implemented" in str(error) or "not currently implemented" in str(error)
        verdict = "missing" if missing else "raised"
        return {"verdict": verdict, "shape": shapes, "message": str(error).strip()[:300]}
    reference = operator.reference or operator.apply
    expected = reference(*(operand.double() for operand in rounded))
    exact, wrong = tolerances(device.kind, operator, dtype_name)
    finite = bool(torch.isfinite(got).all())
    if not finite:
        return {"verdict": "not-a-number", "shape": shapes}
    distance = float((got - expected).norm() / expected.norm())
    verdict = "right" if distance <= exact else "less-exact" if distance <= wrong else "wrong"
    return {"verdict": verdict, "shape": shapes, "rel_l2": distance, "tolerance": exact}


def tolerances(kind: str, operator: Operator, dtype_name: str) -> "tuple[float, float]":
    """Up to where an operator is right, and from where it is wrong (see the module's text)."""
    import torch

    u = torch.finfo(getattr(torch, dtype_name)).eps / 2
    if kind == "cuda" and dtype_name == "float32" and operator.name == "conv2d":
        # cuDNN multiplies in TF32 unless told not to; pipelines do not tell it.
        u = _TF32_U
    root = math.sqrt(operator.reduction)
    exact = operator.steps * u + 4 * root * _FLOAT32_U
    return exact, max(2.0**-9, 16 * u, root * u, exact)


# Any GPU is beyond this at a first small product; a CPU with few cores is not, and gets less work.
_FULL_SIZE_FLOPS_PER_S = 0.3e12
# From this rate on, this side of the matrices: large enough that the rate no longer grows with it.
_SIDES = ((20e12, 8192), (_FULL_SIZE_FLOPS_PER_S, 4096), (0.0, 1024))
# Beyond every cache: the largest seen are 60 MB on an H200 and 96 MB on Apple silicon.
_VECTOR_BYTES = {8192: 1 << 30, 4096: 1 << 28, 1024: 1 << 27}
_TIMINGS = 7
# Long enough for the clock and for the wait at its end; where a product takes longer, three
# timings are as good as seven.
_SHORTEST_TIMING_S = 0.02
_LONGEST_S = 0.2


def matmul_ceilings(device: Any, dtypes: "List[str]") -> "Iterator[tuple[str, Dict[str, Any]]]":
    """Operations a second of large square products in each dtype, or why there is no such limit."""
    rate = _rough_rate(device)
    for dtype in dtypes:
        if dtype not in device.supported_dtypes():
            yield dtype, {"reason": f"{device.kind} does not compute in {dtype} here"}
        elif dtype != "float32" and _only_float32(device, rate):
            yield dtype, {"reason": f"{dtype} is no limit here: products in float32 are faster"}
        else:
            yield dtype, {"flops_per_s": _matmul_rate(device, dtype, _side(rate))}


def _side(rate: float) -> int:
    return next(side for least, side in _SIDES if rate >= least)


def _only_float32(device: Any, rate: float) -> bool:
    """Half precision on a CPU is no ceiling: seen 40 times slower than float32."""
    return device.kind == "cpu" or rate < _FULL_SIZE_FLOPS_PER_S


def _ceilings(device: Any, rate: float) -> "Iterator[tuple[str, Callable[[], Dict[str, Any]]]]":
    """Matrix product by dtype, and memory bandwidth."""
    side = _side(rate)

    def product(dtype: str) -> "Dict[str, Any]":
        return {"flops_per_s": _matmul_rate(device, dtype, side)}

    def bandwidth() -> "Dict[str, Any]":
        return {"bytes_per_s": _bandwidth(device, _VECTOR_BYTES[side] // 4)}

    dtypes = ("float32",) if _only_float32(device, rate) else device.supported_dtypes()
    for dtype in dtypes:
        yield f"{dtype}/matmul ceiling", functools.partial(product, dtype)
    yield "float32/bandwidth ceiling", bandwidth


def _rough_rate(device: Any) -> float:
    """What the device can do about, to choose sizes by; a single timing will do."""
    return _matmul_rate(device, "float32", 512, timings=1)


def _matmul_rate(device: Any, dtype_name: str, side: int, timings: int = _TIMINGS) -> float:
    """Floating-point operations a second of square products, over several sets of operands."""
    import torch

    sets = [
        [
            torch.randn(side, side, device=device.kind).to(getattr(torch, dtype_name))
            for _ in range(3)
        ]
        for _ in range(2)
    ]

    def product(index: int) -> None:
        left, right, out = sets[index % len(sets)]
        torch.mm(left, right, out=out)

    return 2.0 * side**3 / _median_s(device, product, timings)


def _bandwidth(device: Any, count: int) -> float:
    """Bytes read and written a second by a sum of two vectors."""
    import torch

    left, right, out = (torch.ones(count, device=device.kind) for _ in range(3))
    seconds = _median_s(device, lambda _: torch.add(left, right, out=out))
    return 3.0 * 4 * count / seconds


def _median_s(device: Any, call: "Callable[[int], Any]", timings: int = _TIMINGS) -> float:
    """Seconds a call: median of several timings, each of enough calls and closed by a wait."""

    def timing(calls: int) -> float:
        device.synchronize()
        started = time.perf_counter()
        for index in range(calls):
            call(index)
        device.synchronize()
        return (time.perf_counter() - started) / calls

    timing(2)  # compiles, allocates, touches every page and every set
    one_s = max(timing(1), 1e-6)
    calls = max(1, math.ceil(_SHORTEST_TIMING_S / one_s))
    count = timings if one_s * calls * timings < _LONGEST_S else min(timings, 3)
    return sorted(timing(calls) for _ in range(count))[count // 2]
