"""The rounding error that an operator may make, from the length of its sums.

An operator that adds up K terms rounds K times (pytorch#183621: "reduction depth"). With u half of
the epsilon of the type that it adds up in, and rounding errors as a random walk, the error of a
result y is about

    sqrt(K) · u · x,     x² = y² + sum of the squared terms,

where x stands for the partial sums: those of n terms in random order have the mean square
(n/K)² y² + (n/K)(1 − n/K) · (sum of the squared terms), which is less than x². Sources: Higham and
Mary 2019, "A new approach to probabilistic rounding error analysis", and 2020, "Sharper
probabilistic backward error analysis for basic linear algebra kernels with random data". Storing
operands, steps in between and the result costs a few u of the type under test, however long the
sum. The bound is

    4 u(type) · y + 4 · sqrt(K) · u(float32) · x

relative to y in L2, as the error is. Hardware adds up half precision in float32. A device that adds
up in the type itself, or multiplies in TF32, is coarser and not wrong; for that there is a second
bound, with sqrt(K) · u(type) · x or 4 u(TF32) · x in the place of the second term. Normalisations,
softmax and attention have no such bound in half precision, where to add them up so is a fault; in
float32 attention has one for TF32, as it multiplies.

The terms are the operator's own: a sum of products done with squared operands gives the sum of the
squared products.
"""

import math
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional

import torch

from .channel import finite_or_none

if TYPE_CHECKING:
    from .repeated_call import Call

_STEPS = 4
_FACTOR = 4
_FLOAT32_U = 2.0**-24
_TF32_U = 2.0**-11
# Rows of an attention's scores that are looked at; all of them may take gigabytes.
_ROWS = 128

Named = Dict[str, Any]


class Sums(NamedTuple):
    """What an operator adds up, in float32 on the CPU.

    ``depth`` is the number K of terms, ``size`` the magnitude that is rounded once or a few times
    to the type under test, ``partial`` that of the partial sums, ``result`` the result itself.
    ``plain``: products or a sum, which may be added up in the type itself. ``products`` gives the
    magnitude that is rounded once where operands are rounded to TF32; None: nothing is multiplied.
    """

    depth: int
    size: Any
    partial: Any
    result: Any
    plain: bool = True
    products: "Optional[Callable[[], Any]]" = None


def bounds_of(call: "Call", results: "List[Any]", dtype: Any, tf32: bool) -> "Dict[str, Any]":
    """Depth and bounds of a call; nothing where they are not known for this operator.

    Args:
        call: the call.
        results: what it gives in float32 on the CPU; the first counts.
        dtype: the type under test.
        tf32: whether the device may multiply this in TF32.

    Returns:
        ``depth``; ``bound`` and, where there is one, ``coarse_bound``, both relative to the result
        in L2; ``coarse``, the type that the coarse bound is for.
    """
    family = _FAMILIES.get(call.name)
    if family is None or not results[0].is_floating_point() or not results[0].numel():
        return {}
    try:
        sums = family(call, call.named(torch.float32), results[0].float())
    except (RuntimeError, NotImplementedError, TypeError, KeyError, IndexError):
        return {}  # in a form that is not thought of here
    if sums is None or sums.depth < 1:
        return {}
    half = dtype is not torch.float32
    own = _STEPS * torch.finfo(dtype).eps / 2
    root = math.sqrt(sums.depth)
    found: "Dict[str, Any]" = {"depth": sums.depth, "bound": None}
    found["bound"] = _relative(sums, own, _FACTOR * root * _FLOAT32_U)
    if sums.plain and half:
        found["coarse"] = str(dtype).rpartition(".")[2]
        found["coarse_bound"] = _relative(sums, own, root * torch.finfo(dtype).eps / 2)
    elif tf32 and not half and sums.products is not None:
        found["coarse"] = "tf32"
        in_tf32 = sums._replace(partial=sums.products())
        found["coarse_bound"] = _relative(in_tf32, own, _FACTOR * _TF32_U)
    return found if found["bound"] is not None else {}


def _relative(sums: Sums, of_size: float, of_partial: float) -> "Optional[float]":
    """L2 of the bounds of all elements, divided by that of the result."""
    bound = of_size * sums.size.abs().double() + of_partial * sums.partial.double()
    scale = float(torch.linalg.vector_norm(sums.result.double()))
    return finite_or_none(float(torch.linalg.vector_norm(bound)) / (scale or 1.0))


def _products(depth: "Callable[[Named], int]") -> "Callable[..., Optional[Sums]]":
    """A sum of products of operands, and of what is added to it."""

    def family(call: "Call", named: Named, result: Any) -> "Optional[Sums]":
        squares = call.squared()
        partial = (result.square() + squares).sqrt()
        return Sums(depth(named), result, partial, result, products=lambda: partial)

    return family


def _length(name: str, dim: int) -> "Callable[[Named], int]":
    return lambda named: int(named[name].shape[dim])


def _of_convolution(named: Named) -> int:
    weight = named["weight"]
    outputs = weight.shape[1] * named["groups"] if named["transposed"] else weight.shape[0]
    return int(weight.numel() // outputs)


def _sum(call: "Call", named: Named, result: Any) -> "Optional[Sums]":
    values = named["self"].float()
    depth = values.numel() // result.numel()
    squares = call.squared() / (depth if "mean" in call.name else 1)
    return Sums(depth, result, (result.square() + squares).sqrt(), result)


def _softmax(call: "Call", named: Named, result: Any) -> "Optional[Sums]":
    depth = named["self"].shape[named["dim"]]
    return Sums(int(depth), result, result, result, plain=False)


def _normalised(named: Named, values: Any, result: Any, over: int) -> Sums:
    """(values − mean) / deviation · weight + bias; statistics over the last ``over`` dimensions.

    The mean is a sum of ``values / K``, the variance one of squares; an error of the mean moves all
    results alike, one of the variance in proportion.
    """
    dims = tuple(range(-over, 0))
    depth = math.prod(values.shape[-over:])
    mean = values.mean(dims, keepdim=True)
    deviation = (values - mean).square().mean(dims, keepdim=True).add(named["eps"]).sqrt()
    root_mean_square = values.square().mean(dims, keepdim=True).sqrt()
    of_mean = (mean.abs() + root_mean_square / math.sqrt(depth)) / deviation
    plain = ((values - mean) / deviation).abs()
    partial = of_mean + (root_mean_square / deviation).square() * plain
    return Sums(int(depth), result, partial, result, plain=False)


def _layer_norm(call: "Call", named: Named, result: Any) -> "Optional[Sums]":
    sums = _normalised(named, named["input"].float(), result, len(named["normalized_shape"]))
    return _weighted(sums, named["weight"])


def _group_norm(call: "Call", named: Named, result: Any) -> "Optional[Sums]":
    values = named["input"].float()
    groups = named.get("num_groups") or named["group"]
    split = values.reshape(values.shape[0], groups, -1)
    sums = _normalised(named, split, result, 1)
    weight = named["weight"]
    if weight is not None:
        weight = weight.reshape(1, -1, *[1] * (values.dim() - 2))
    return _weighted(sums, weight)


def _weighted(sums: Sums, weight: Any) -> Sums:
    partial = sums.partial.reshape(sums.result.shape)
    return sums._replace(partial=partial if weight is None else partial * weight.float().abs())


def _attention(call: "Call", named: Named, result: Any) -> "Optional[Sums]":
    """Scores are sums over a head's width, results sums over the tokens, weights rounded between.

    An error of a score changes its weight in proportion. Only some rows are looked at.
    """
    query, key, value = (named[name].float() for name in ("query", "key", "value"))
    if query.shape[:-2] != key.shape[:-2] or named.get("dropout_p", 0.0):
        return None
    step = max(1, query.shape[-2] // _ROWS)
    rows = torch.arange(0, query.shape[-2], step)
    query, width = query[..., rows, :], query.shape[-1]
    scale = named.get("scale") or 1.0 / math.sqrt(width)
    raw = query @ key.transpose(-1, -2)
    squares = query.square() @ key.square().transpose(-1, -2)
    of_scores = (raw.square() + squares).sqrt() * scale
    scores = raw * scale
    mask = named.get("attn_mask")
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], named["query"].shape[-2], key.shape[-2])[..., rows, :]
        if mask.dtype is torch.bool:
            scores = scores.masked_fill(~mask, -math.inf)
        else:
            scores = scores + mask.float()
    if named.get("is_causal"):
        later = torch.arange(key.shape[-2])[None, :] > rows[:, None]
        scores = scores.masked_fill(later, -math.inf)
    weights = scores.softmax(-1)
    got = weights @ value
    depth = int(key.shape[-2])
    # Each weight's error from its score, and the sum of the weighted values.
    share = math.sqrt(width / depth)
    of_sums = ((weights * (1 + share * of_scores)).square() @ value.square() + got.square()).sqrt()
    # Scores and weights may be stored in the type, each rounded once.
    stored = weights * (1 + torch.where(weights > 0, scores, torch.zeros_like(scores)).abs())
    size = got.abs() + (stored.square() @ value.square()).sqrt() / _STEPS

    def products() -> Any:
        return _attention_products(weights, scores, squares.sqrt() * scale, value, got)

    return Sums(depth, size, of_sums, got, plain=False, products=products)


def _attention_products(weights: Any, scores: Any, of_each: Any, value: Any, got: Any) -> Any:
    """The magnitude that is rounded once where queries, keys, weights and values are.

    To first order an error d of a score moves the result by weight · d · (value − result). Rounded
    operands give each score an error of its own, of the size ``of_each``; cut off, they make all
    scores smaller alike.
    """
    shares = (weights * of_each).square()
    apart = shares @ value.square() - 2 * got * (shares @ value)
    apart = apart + got.square() * shares.sum(-1, keepdim=True)
    scaled = weights * torch.where(weights > 0, scores, torch.zeros_like(scores))
    alike = scaled @ value - got * scaled.sum(-1, keepdim=True)
    of_values = weights.square() @ value.square() + got.square()
    return (of_values + apart.clamp(min=0) + alike.square()).sqrt()


_FAMILIES: "Dict[str, Callable[..., Optional[Sums]]]" = {
    "aten::mm": _products(_length("self", -1)),
    "aten::bmm": _products(_length("self", -1)),
    "aten::matmul": _products(_length("self", -1)),
    "aten::addmm": _products(_length("mat1", -1)),
    "aten::baddbmm": _products(_length("batch1", -1)),
    "aten::linear": _products(_length("input", -1)),
    "aten::convolution": _products(_of_convolution),
    "aten::_convolution": _products(_of_convolution),
    "aten::sum": _sum,
    "aten::mean": _sum,
    "aten::softmax": _softmax,
    "aten::_softmax": _softmax,
    "aten::_safe_softmax": _softmax,
    "aten::layer_norm": _layer_norm,
    "aten::native_layer_norm": _layer_norm,
    "aten::group_norm": _group_norm,
    "aten::native_group_norm": _group_norm,
    "aten::scaled_dot_product_attention": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_attention_math": _attention,
}
