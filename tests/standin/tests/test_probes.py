"""Every probe of a known fault fires on the stand-in with that fault planted, and only then.

A fault is planted by the stand-in where it can (``at-op`` and others), else by replacing a function
of torch, in a child of its own; the probe does not know which.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import forked  # noqa: E402

forked.load_device(HERE.parent / "sdbench_standin")

from sdbench.worker.probes import PROBES  # noqa: E402

VIEWS = "effect=scale:scale=1.5:when=noncontiguous"
ALWAYS = "effect=scale:scale=1.5"


def _at(operator: str, how: str = ALWAYS) -> str:
    return f"at-op:op=aten::{operator}:{how}"


# What the stand-in plants.
FAULTS = {
    "linear-3d-virtual": _at("linear"),
    "linear-many-outputs": _at("linear", f"{ALWAYS}:elements=30000000"),
    "linear-strides-28": _at("linear", VIEWS),
    "linear-bfloat16-transposed-abort": _at("linear", "effect=die:when=noncontiguous"),
    "mm-long-reduction-m1-m2": _at("mm", f"{ALWAYS}:elements=2560000"),
    "bmm-long-reduction-m1-m2": _at("bmm", f"{ALWAYS}:elements=4000000"),
    "baddbmm-nan": "sliced-nan",
    "chunk-then-conv-batch": _at("convolution", f"{VIEWS}:items=rest"),
    "channels-last-conv": _at("convolution", VIEWS),
    "conv-weight-strides": _at("convolution", VIEWS),
    "conv-kernel-256": _at("convolution", f"{ALWAYS}:items=rest"),
    "conv3d-contiguous": _at("convolution", "effect=noise"),
    "conv-channels-over-65536": _at("convolution", f"{ALWAYS}:elements=65537"),
    "conv-after-upsample": _at("convolution"),
    "conv-expanded-kernel-abort": _at("convolution", "effect=die:when=noncontiguous"),
    "sdpa-strides-28": _at("scaled_dot_product_attention", VIEWS),
    "sdpa-permuted-views": _at("scaled_dot_product_attention", VIEWS),
    "sdpa-decode-out-of-bounds": _at("scaled_dot_product_attention", "effect=noise"),
    "sdpa-causal-half": _at("scaled_dot_product_attention"),
    "sdpa-long-half": _at(
        "scaled_dot_product_attention", "effect=scale:scale=1.03:elements=262144"
    ),
    "sdpa-masked-row-nan": _at("scaled_dot_product_attention", "effect=nan"),
    "silu-strides": _at("silu", VIEWS),
    "gelu-strides": _at("gelu", VIEWS),
    "elu-softplus-strides": _at("softplus", VIEWS),
    "layer-norm-slice": "wrong-op:op=layer_norm:scale=1.5",
    "batch-norm-slice": _at("native_batch_norm"),
    "log-softmax-infinite": _at("_log_softmax", "effect=nan"),
    "interpolate-nearest-exact": _at("_upsample_nearest_exact1d"),
    "interpolate-align-corners-nan": _at("upsample_linear1d", "effect=nan"),
    "pad-5d-large": _at("constant_pad_nd", "effect=zero:elements=65536"),
    "stack-of-views": _at("cat"),
}


def _linear_differs_each_time() -> None:
    linear, calls = functional.linear, iter(range(1000))
    functional.linear = lambda *operands: linear(*operands) * (1 + next(calls))


def _conv_refuses() -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("Output channels > 65536 not supported at the MPS device.")

    functional.conv1d = refuse


def _matmul_leaves_a_view() -> None:
    matmul = torch.matmul
    torch.matmul = lambda *operands, out=None: out if out is not None else matmul(*operands)


def _assignment_repeats() -> None:
    def assign(x: Any, index: Any, value: Any) -> None:
        x[index:].fill_(value)
        x[1:].fill_(value)

    torch.Tensor.__setitem__ = assign


def _fill_begins_at_zero() -> None:
    fill = torch.Tensor.fill_

    def wrong(x: Any, value: Any) -> Any:
        whole = x._base if x._base is not None else x
        return fill(whole[: x.numel()], value)

    torch.Tensor.fill_ = wrong


def _masked_fill_ignores_strides() -> None:
    masked_fill = torch.Tensor.masked_fill_

    def wrong(x: Any, mask: Any, value: Any) -> Any:
        return masked_fill(x, mask.t().reshape(mask.shape) if x.is_mps else mask, value)

    torch.Tensor.masked_fill_ = wrong


def _addcdiv_ignores_strides() -> None:
    addcdiv = torch.Tensor.addcdiv_

    def wrong(x: Any, y: Any, z: Any) -> Any:
        return addcdiv(x, y.t().reshape(x.shape) if x.is_mps else y, z)

    torch.Tensor.addcdiv_ = wrong


def _copy_packs() -> None:
    copy = torch.Tensor.copy_
    torch.Tensor.copy_ = lambda x, y: copy(x, y.roll(1))


def _copies_hold_the_last() -> None:
    to, last = torch.Tensor.to, torch.zeros(10)

    def wrong(x: Any, *arguments: Any, non_blocking: bool = False, **keywords: Any) -> Any:
        return to(last if non_blocking else x, *arguments, **keywords)

    torch.Tensor.to = wrong


def _argsort_is_reversed() -> None:
    argsort = torch.Tensor.argsort
    torch.Tensor.argsort = lambda x, dim: argsort(x, dim=dim, descending=True)


def _random_repeats() -> None:
    randn = torch.randn
    torch.randn = lambda *shape, **options: randn(1, *shape[1:], **options).expand(*shape)


def _exponential_gives_zero() -> None:
    torch.Tensor.exponential_ = lambda x: x.zero_()


def _no_pipeline_state() -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("Failed to created pipeline state object, error: …")

    torch.linalg.cholesky_ex = fail


def _no_memory() -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(
            "MPS backend out of memory (MPS allocated: 0 bytes, other allocations: 0 bytes, max "
            "allowed: 7.93 GB). Tried to allocate 256 bytes on private pool."
        )

    torch.zeros = fail


# What is planted in Python: nondeterminism, in-place operators, random numbers, texts.
REPLACED: dict[str, Callable[[], None]] = {
    "linear-nondeterministic-m5": _linear_differs_each_time,
    "conv-65536-refused": _conv_refuses,
    "matmul-out-strided": _matmul_leaves_a_view,
    "macos-144-solid-colour": _assignment_repeats,
    "fill-bool-offset": _fill_begins_at_zero,
    "masked-fill-strides": _masked_fill_ignores_strides,
    "addcdiv-strides": _addcdiv_ignores_strides,
    "copy-to-cpu-strides": _copy_packs,
    "copy-to-cpu-offset": _copy_packs,
    "non-blocking-copy": _copies_hold_the_last,
    "argsort-large": _argsort_is_reversed,
    "random-5d": _random_repeats,
    "exponential-zero": _exponential_gives_zero,
    "virtual-metal-4": _no_pipeline_state,
    "virtual-no-memory": _no_memory,
}
KILLS = {"linear-bfloat16-transposed-abort", "conv-expanded-kernel-abort"}


def _run(name: str, plant: Callable[[], None] | None = None, fault: str = "") -> forked.Child:
    def work() -> str | None:
        with torch.no_grad():
            if plant is not None:
                plant()
            return PROBES[name]("mps")

    environment = {"SDBENCH_STANDIN_FAULT": fault} if fault else {}
    return forked.run(work, **environment)


def test_every_probe_has_its_fault() -> None:
    assert not FAULTS.keys() & REPLACED.keys()
    assert FAULTS.keys() | REPLACED.keys() == PROBES.keys()


def test_no_probe_fires_on_a_healthy_device() -> None:
    def work() -> dict[str, str]:
        with torch.no_grad():
            found = {name: probe("mps") for name, probe in PROBES.items()}
        return {name: words for name, words in found.items() if words is not None}

    child = forked.run(work)
    assert (child.error, child.result) == ("", {})


@pytest.mark.parametrize("name", sorted(PROBES))
def test_a_probe_fires_where_its_fault_is_planted(name: str) -> None:
    child = _run(name, REPLACED.get(name), FAULTS.get(name, ""))
    if name in KILLS:
        assert child.signal == signal.SIGABRT
    else:
        assert (child.error, child.signal) == ("", 0)
        assert child.result, "silent"
