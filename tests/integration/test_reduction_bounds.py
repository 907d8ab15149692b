"""Rounding of real arithmetic is within the bound by reduction depth, and a fault of 1% is not.

torch itself, in this process: no worker is needed to compute an operator once in another way.
"""

import importlib
import math
from collections.abc import Callable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Lazy

torch: Any = Lazy("torch")
bounds: Any = Lazy("sdbench.worker.reduction_bounds")
repeated: Any = Lazy("sdbench.worker.repeated_call")
GEOMETRY = [[1, 1], [1, 1], [1, 1]]  # stride, padding, dilation
HALVES = ["float16", "bfloat16"]
TYPES = ["float32", *HALVES]


def drawn(*shape: int, mean: float = 0.0) -> Any:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator) + mean


def conv(channels: int = 320) -> tuple[Any, list[Any], dict[str, Any]]:
    weight = drawn(16, channels, 3, 3) / math.sqrt(9 * channels)
    image = drawn(1, channels, 16, 16)
    return (
        torch.ops.aten.convolution.default,
        [image, weight, drawn(16), *GEOMETRY, False, [0, 0], 1],
        {},
    )


# Operator, its arguments, and how many terms its sums have.
CALLS: dict[str, tuple[Callable[[], tuple[Any, list[Any], dict[str, Any]]], int]] = {
    "mm": (lambda: (torch.ops.aten.mm.default, [drawn(64, 320), drawn(320, 48)], {}), 320),
    "bmm": (lambda: (torch.ops.aten.bmm.default, [drawn(2, 64, 40), drawn(2, 40, 64)], {}), 40),
    "addmm": (
        lambda: (
            torch.ops.aten.addmm.default,
            [drawn(48), drawn(64, 320), drawn(320, 48)],
            {"alpha": 0.5},
        ),
        320,
    ),
    "baddbmm, its first operand not read": (
        lambda: (
            torch.ops.aten.baddbmm.default,
            [drawn(2, 64, 64), drawn(2, 64, 40), drawn(2, 40, 64)],
            {"beta": 0, "alpha": 0.158},
        ),
        40,
    ),
    "linear": (
        lambda: (torch.ops.aten.linear.default, [drawn(64, 768), drawn(48, 768), drawn(48)], {}),
        768,
    ),
    "convolution": (conv, 2880),
    "transposed convolution": (
        lambda: (
            torch.ops.aten.convolution.default,
            [drawn(1, 32, 8, 8), drawn(32, 4, 3, 3), None, *GEOMETRY, True, [0, 0], 2],
            {},
        ),
        144,
    ),
    "sum": (lambda: (torch.ops.aten.sum.dim_IntList, [drawn(64, 4096), [1]], {}), 4096),
    "mean of what is far from 0": (
        lambda: (torch.ops.aten.mean.dim, [drawn(64, 1024, mean=3.0), [1]], {}),
        1024,
    ),
    "softmax": (
        lambda: (torch.ops.aten._softmax.default, [3 * drawn(64, 1024), -1, False], {}),
        1024,
    ),
    "native_layer_norm": (
        lambda: (
            torch.ops.aten.native_layer_norm.default,
            [drawn(64, 320, mean=0.5), [320], drawn(320), drawn(320), 1e-5],
            {},
        ),
        320,
    ),
    "native_group_norm": (
        lambda: (
            torch.ops.aten.native_group_norm.default,
            [drawn(1, 64, 16, 16, mean=2.0), drawn(64), drawn(64), 1, 64, 256, 32, 1e-5],
            {},
        ),
        512,
    ),
    "group_norm": (
        lambda: (
            torch.ops.aten.group_norm.default,
            [drawn(1, 64, 16, 16), 32, drawn(64), drawn(64)],
            {},
        ),
        512,
    ),
    "attention": (
        lambda: (
            torch.ops.aten.scaled_dot_product_attention.default,
            [drawn(1, 2, 512, 40), drawn(1, 2, 512, 40), drawn(1, 2, 512, 40)],
            {},
        ),
        512,
    ),
    "attention with large scores": (
        lambda: (
            torch.ops.aten.scaled_dot_product_attention.default,
            [4 * drawn(1, 2, 256, 64), 4 * drawn(1, 2, 256, 64), drawn(1, 2, 256, 64)],
            {},
        ),
        256,
    ),
    "causal attention": (
        lambda: (
            torch.ops.aten.scaled_dot_product_attention.default,
            [drawn(1, 2, 77, 64), drawn(1, 2, 77, 64), drawn(1, 2, 77, 64), None, 0.0, True],
            {},
        ),
        77,
    ),
}


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> Any:
    """The type of that name."""
    return getattr(torch, request.param)


def looked_at(name: str, dtype: Any, change: Callable[[Any], Any]) -> dict[str, Any]:
    """Error and bounds of a call whose right result, rounded once to the type, was changed."""
    func, args, kwargs = CALLS[name][0]()
    call = repeated.Call(func, args, kwargs, dtype)
    expected = call.on_cpu(torch.float32)
    exact = repeated.exact_results(call)
    assert exact is not None
    got = [change(exact[0].to(dtype))]
    return {
        **repeated.compare_results(
            got, expected[:1], exact[:1] if dtype is torch.float32 else None
        ),
        **bounds.bounds_of(call, expected, dtype, False),
    }


@pytest.mark.parametrize("dtype", TYPES, indirect=True)
@pytest.mark.parametrize("name", CALLS)
def test_a_right_result_is_within_and_one_that_is_1_percent_too_large_is_not(
    name: str, dtype: Any
) -> None:
    right = looked_at(name, dtype, lambda result: result)
    assert right["depth"] == CALLS[name][1]
    assert right["rel_l2"] < right["bound"]
    least = {torch.float32: 30, torch.float16: 1}.get(dtype)
    if least is None or (least == 1 and name == "attention with large scores"):
        return  # 1% is within the rounding of such a type
    wrong = looked_at(name, dtype, lambda result: result * 1.01)
    assert wrong["rel_l2"] > least * wrong["bound"]


@pytest.mark.parametrize("dtype", TYPES, indirect=True)
@pytest.mark.parametrize("name", CALLS)
def test_what_the_cpu_does_in_the_type_itself_is_within(name: str, dtype: Any) -> None:
    func, args, kwargs = CALLS[name][0]()
    call = repeated.Call(func, args, kwargs, dtype)
    expected = call.on_cpu(torch.float32)
    got = call.on_cpu(dtype)
    found = {
        **repeated.compare_results(got[:1], expected[:1], repeated.exact_results(call)),
        **bounds.bounds_of(call, expected, dtype, False),
    }
    assert found["rel_l2"] <= max(found["bound"], found.get("coarse_bound", 0.0))


@pytest.mark.parametrize("dtype", HALVES, indirect=True)
def test_products_that_are_added_up_in_half_precision_are_within_the_coarse_bound(
    dtype: Any,
) -> None:
    left, right = drawn(16, 2048).to(dtype), drawn(2048, 16).to(dtype)
    total = torch.zeros(16, 16, dtype=dtype)
    for k in range(2048):
        total = total + left[:, k : k + 1] * right[k : k + 1]
    call = repeated.Call(torch.ops.aten.mm.default, [left.float(), right.float()], {}, dtype)
    expected = call.on_cpu(torch.float32)
    found = {
        **repeated.compare_results([total], expected, None),
        **bounds.bounds_of(call, expected, dtype, False),
    }
    assert found["bound"] < found["rel_l2"] < found["coarse_bound"]
    assert found["coarse"] == str(dtype).rpartition(".")[2]


def tf32(values: Any, rounds: bool = True) -> Any:
    bits = values.contiguous().view(torch.int32) + (1 << 12 if rounds else 0)
    return (bits & ~((1 << 13) - 1)).view(torch.float32)


@pytest.mark.parametrize("rounds", [True, False])
def test_products_in_tf32_are_within_the_bound_of_tf32(rounds: bool) -> None:
    func, args, kwargs = conv()
    call = repeated.Call(func, args, kwargs, torch.float32)
    expected = call.on_cpu(torch.float32)
    got = func(tf32(args[0], rounds), tf32(args[1], rounds), *args[2:])
    found = {
        **repeated.compare_results([got], expected, repeated.exact_results(call)),
        **bounds.bounds_of(call, expected, torch.float32, True),
    }
    assert found["coarse"] == "tf32"
    assert found["bound"] < found["rel_l2"] < found["coarse_bound"]
    assert found["coarse_bound"] < 0.005, "a fault of 1% is not taken for TF32"


@pytest.mark.parametrize("rounds", [True, False])
@pytest.mark.parametrize("name", ["attention", "attention with large scores"])
def test_attention_in_tf32_is_within_the_bound_of_tf32(name: str, rounds: bool) -> None:
    func, args, kwargs = CALLS[name][0]()
    query, key, value = (tf32(one, rounds) for one in args[:3])
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    got = tf32(scores.softmax(-1), rounds) @ value
    call = repeated.Call(func, args, kwargs, torch.float32)
    expected = call.on_cpu(torch.float32)
    found = {
        **repeated.compare_results([got], expected, repeated.exact_results(call)),
        **bounds.bounds_of(call, expected, torch.float32, True),
    }
    assert found["coarse"] == "tf32"
    assert found["rel_l2"] < found["coarse_bound"]
    assert found["coarse_bound"] < 0.006, "a fault of 1% is not taken for TF32"
    if name == "attention":  # with large scores float32's own bound is nearly as wide
        assert found["bound"] < found["rel_l2"]


def test_what_multiplies_nothing_has_no_bound_of_tf32() -> None:
    for name in ("sum", "softmax", "native_layer_norm"):
        func, args, kwargs = CALLS[name][0]()
        call = repeated.Call(func, args, kwargs, torch.float32)
        found = bounds.bounds_of(call, call.on_cpu(torch.float32), torch.float32, True)
        assert found["bound"] and "coarse" not in found, name


def test_where_tf32_may_multiply_every_call_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the worst of each operator alone: a call without one would be wrong on every NVIDIA GPU.
    The device is this CPU, with operands rounded to TF32."""

    def on_device(self: Any, _device: Any) -> Any:
        args, kwargs = self._rebuilt("cpu", torch.float32, tf32)
        return [self._func(*args, **kwargs)]

    localise: Any = importlib.import_module("sdbench.worker.localise")
    monkeypatch.setattr(repeated.Call, "on_device", on_device)
    monkeypatch.setattr(localise, "_multiplies_in_tf32", lambda *_: True)
    owners = SimpleNamespace(now=lambda: ("unet.conv", "Conv2d"), share_done=lambda: 0.5)
    reported: list[dict[str, Any]] = []
    channel = SimpleNamespace(send=lambda word, **fields: reported.append({"word": word, **fields}))
    job = {"compute_dtype": "float32", "first": 0, "avoid": [], "capture": None}
    func, args, _kwargs = conv()
    other = args[0] * 2 + 1
    with localise._Repeater(SimpleNamespace(kind="cpu"), owners, job, channel):
        func(*args)
        func(other, *args[1:])
    found = [one for one in reported if one["word"] == "compared"]
    assert len(found) == 4, "twice as it is, and once in each of two layouts"
    for one in found:
        assert one["bound"] < one["rel_l2"] < one["coarse_bound"], one


def test_the_bound_grows_with_the_depth_and_not_with_the_number_of_results() -> None:
    def bound(rows: int, depth: int) -> float:
        call = repeated.Call(
            torch.ops.aten.mm.default, [drawn(rows, depth), drawn(depth, 32)], {}, torch.float32
        )
        found = bounds.bounds_of(call, call.on_cpu(torch.float32), torch.float32, False)
        assert found["depth"] == depth
        return float(found["bound"])

    assert bound(64, 4096) / bound(64, 256) == pytest.approx(4, rel=0.25)
    assert bound(512, 256) == pytest.approx(bound(64, 256), rel=0.05)


@pytest.mark.parametrize(
    ("func", "args"),
    [
        ("gelu.default", lambda: [drawn(8, 8)]),
        ("add.Tensor", lambda: [drawn(8), drawn(8)]),
        ("argmax.default", lambda: [drawn(8)]),
        ("upsample_nearest2d.default", lambda: [drawn(1, 2, 4, 4), [8, 8]]),
    ],
)
def test_of_other_operators_no_bound_is_known(func: str, args: Callable[[], list[Any]]) -> None:
    operator = attrgetter(func)(torch.ops.aten)
    call = repeated.Call(operator, args(), {}, torch.float16)
    assert bounds.bounds_of(call, call.on_cpu(torch.float32), torch.float16, False) == {}


def test_a_form_that_is_not_thought_of_has_no_bound() -> None:
    query, key = drawn(1, 4, 8, 16), drawn(1, 2, 8, 16)
    args = [query, key, key, None, 0.0, False]
    options = {"enable_gqa": True}
    call = repeated.Call(
        torch.ops.aten.scaled_dot_product_attention.default, args, options, torch.float32
    )
    assert bounds.bounds_of(call, call.on_cpu(torch.float32), torch.float32, False) == {}
