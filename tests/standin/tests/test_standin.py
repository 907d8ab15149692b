"""The stand-in gives the CPU's pictures, the real API's answers, and each fault when asked."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import forked  # noqa: E402

forked.load_device(HERE.parent / "sdbench_standin")

import tiny_pipeline  # noqa: E402
from tiny_pipeline import generate  # noqa: E402

from sdbench.worker.pipelines.stack import STACK_CLASSES  # noqa: E402

MIB = 1 << 20


@dataclass(frozen=True)
class Reference:
    """The pipeline on the CPU, and what it makes there. A forked child may do with it what it likes."""

    pipe: Any
    folder: Path
    one: torch.Tensor
    two: torch.Tensor
    sliced: torch.Tensor


@pytest.fixture(scope="session")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pipeline")
    pipe = tiny_pipeline.build(folder)
    pipe.save_pretrained(folder / "saved")
    one, two = generate(pipe), generate(pipe, pictures=2)
    pipe.enable_attention_slicing()
    sliced = generate(pipe, pictures=2)
    pipe.disable_attention_slicing()
    yield Reference(pipe, folder / "saved", one, two, sliced)


def in_child(work: Callable[[], Any], fault: str = "", **environment: str) -> Any:
    """The result of ``work`` on the device; fails the test if it raised or died."""
    child = forked.run(work, SDBENCH_STANDIN_FAULT=fault, **environment)
    assert not child.error, f"{child.error}\n{child.stderr}"
    assert not child.signal and not child.timed_out, child.stderr
    return child.result


# --- the same pictures ------------------------------------------------------------------------------


def test_pictures_are_bit_identical_to_the_cpus(cpu: Reference) -> None:
    def work() -> dict[str, bool]:
        pipe = cpu.pipe.to("mps")
        same = {
            "loop": all(torch.equal(generate(pipe), cpu.one) for _ in range(2)),
            "batch": torch.equal(generate(pipe, pictures=2), cpu.two),
        }
        pipe.enable_attention_slicing()
        same["sliced"] = torch.equal(generate(pipe, pictures=2), cpu.sliced)
        pipe.disable_attention_slicing()
        pipe.to("cpu")
        same["back on the cpu"] = (
            torch.equal(generate(pipe), cpu.one) and torch.mps.current_allocated_memory() == 0
        )
        return same

    assert in_child(work) == {"loop": True, "batch": True, "sliced": True, "back on the cpu": True}


def test_other_ways_to_run_it(cpu: Reference) -> None:
    def work() -> dict[str, bool]:
        pipe = cpu.pipe
        latents = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
        seen: list[Any] = []

        def on_step_end(
            pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]
        ) -> dict[str, Any]:
            seen.append(
                (step, tensors["latents"].device.type, bool(torch.isnan(tensors["latents"]).any()))
            )
            return tensors

        options: list[dict[str, Any]] = [
            {"latents": latents, "pictures": 2},
            {"output_type": "latent"},
            {"guidance_scale": 1.0, "pictures": 2},
            {"callback_on_step_end": on_step_end},
        ]

        def all_of(device: str) -> list[torch.Tensor]:
            pipe.to(device)
            out = [
                generate(pipe, **(o | ({"latents": latents.to(device)} if "latents" in o else {})))
                for o in options
            ]
            pipe.vae.enable_slicing()
            out.append(generate(pipe, pictures=2))
            pipe.vae.disable_slicing()
            return out

        on_cpu, on_mps = all_of("cpu"), all_of("mps")
        same = {
            str(n): torch.equal(a, b) for n, (a, b) in enumerate(zip(on_cpu, on_mps, strict=True))
        }
        same["callback"] = seen == [(s, d, False) for d in ("cpu", "mps") for s in (0, 1)]
        same["numpy"] = pipe(
            "x", num_inference_steps=1, height=64, width=64, output_type="np"
        ).images.shape == (
            1,
            64,
            64,
            3,
        )
        return same

    same = in_child(work)
    assert all(same.values()), same


class RoundedOnce(TorchDispatchMode):
    """What half precision has to be on the device, said once more, for the CPU: see README.md."""

    products = (
        "addmm",
        "baddbmm",
        "bmm",
        "convolution",
        "mm",
        "_scaled_dot_product_flash_attention_for_cpu",
    )

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        if function.__name__.partition(".")[0] not in self.products:
            return function(*arguments, **(keywords or {}))
        half = [t.dtype for t in arguments if isinstance(t, torch.Tensor)][0]
        wide = [t.float() if isinstance(t, torch.Tensor) else t for t in arguments]
        result = function(*wide, **(keywords or {}))
        if isinstance(result, tuple):
            return (result[0].to(half), *result[1:])
        return result.to(half)


SMALL: dict[str, Any] = {"num_inference_steps": 1, "height": 32, "width": 32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_rounded_once(cpu: Reference, dtype: torch.dtype) -> None:
    def work() -> tuple[bool, float]:
        exact = generate(cpu.pipe, **SMALL)
        with RoundedOnce():
            on_cpu = generate(cpu.pipe.to(dtype), **SMALL)
        on_mps = generate(cpu.pipe.to("mps"), **SMALL)
        assert on_mps.dtype == dtype
        return torch.equal(on_mps, on_cpu), float((on_mps.float() - exact).abs().mean())

    same, error = in_child(work)
    assert same and 0 < error < (0.002 if dtype == torch.float16 else 0.02), (same, error)


def test_products_in_half_precision_add_up_in_float32() -> None:
    a, b = torch.randn(1, 64, 64).half(), torch.randn(1, 64, 64).half()
    image, weight = torch.randn(1, 8, 6, 6).half(), torch.randn(4, 8, 3, 3).half()
    calls: dict[str, Callable[..., torch.Tensor]] = {
        "mm": lambda on: on(a)[0] @ on(b)[0],
        "mv": lambda on: on(a)[0] @ on(b)[0, 0],
        "bmm": lambda on: on(a) @ on(b),
        "addmm": lambda on: torch.addmm(on(a)[0], on(a)[0], on(b)[0]),
        "linear": lambda on: torch.nn.functional.linear(on(a), on(b)[0]),
        "baddbmm": lambda on: torch.baddbmm(on(a), on(a), on(b), beta=0),
        "conv": lambda on: torch.nn.functional.conv2d(on(image), on(weight)),
        "sdpa": lambda on: torch.nn.functional.scaled_dot_product_attention(on(a), on(a), on(b)),
        "masked": lambda on: torch.nn.functional.scaled_dot_product_attention(
            on(a), on(a), on(b), attn_mask=on(torch.ones(64, 64).tril().bool())
        ),
    }

    def work() -> list[str]:
        on_mps, on_cpu = lambda t: t.to("mps"), lambda t: t.float() if t.is_floating_point() else t
        wrong = [
            name
            for name, call in calls.items()
            if not torch.equal(call(on_mps).cpu(), call(on_cpu).half())
        ]
        try:
            torch.mm(torch.ones(2, 2, device="mps"), torch.ones(2, 2, device="mps").half())
        except RuntimeError:
            return wrong
        return [*wrong, "mixed types were taken"]

    assert in_child(work) == []
    everything = ",".join(
        f"at-op:op=aten::{op}:effect=scale:scale=1" for op in ("*mm", "convolution")
    )
    assert in_child(work, everything) == [], "nor does it matter that a fault looks on"


@pytest.mark.parametrize(
    "scheduler", [name for name in STACK_CLASSES["diffusers"] if name.endswith("Scheduler")]
)
def test_no_scheduler_brings_float64_to_the_device(cpu: Reference, scheduler: str) -> None:
    """The device refuses it: that a picture is made is the proof, with every scheduler of sdbench."""

    def work() -> float:
        import diffusers

        pipe = cpu.pipe
        pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
        on_cpu = generate(pipe, num_inference_steps=4)  # PNDM needs more than two
        return float((generate(pipe.to("mps"), num_inference_steps=4) - on_cpu).abs().max())

    assert in_child(work) < 1e-4


def test_loading_as_a_worker_does(cpu: Reference) -> None:
    """A fresh process that imports the stand-in first, then loads a saved pipeline and moves it."""
    script = """
import importlib, json, os, sys, time, warnings
warnings.simplefilter("ignore")
start = time.perf_counter()
import torch
torch_s = time.perf_counter() - start
start = time.perf_counter()
preload = importlib.import_module(os.environ["SDBENCH_WORKER_PRELOAD"])
standin_s = time.perf_counter() - start
torch.set_num_threads(1)
from diffusers import StableDiffusionPipeline
from tiny_pipeline import generate
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32, safety_checker=None)
pipe.set_progress_bar_config(disable=True)
generate(pipe)
def seconds(times=3):
    best = 9e9
    for _ in range(times):
        start = time.perf_counter(); generate(pipe); best = min(best, time.perf_counter() - start)
    return best
cpu_s = seconds()
pipe.to("mps")
picture = generate(pipe)
mps_s = seconds()
torch.manual_seed(3)
noise = torch.randn(4, device="mps")
torch.manual_seed(3)
seeded = torch.equal(noise, torch.randn(4, device="mps"))
torch.save(picture, sys.argv[2])
print(json.dumps({"simulated": preload.SDBENCH_SIMULATED, "device": str(pipe.unet.device),
                  "name": torch.backends.mps.get_name(), "cores": torch.backends.mps.get_core_count(),
                  "torch_s": torch_s, "standin_s": standin_s, "cpu_s": cpu_s, "mps_s": mps_s,
                  "seeded": seeded}))
"""
    picture = cpu.folder.parent / "picture.pt"
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    done = subprocess.run(
        [sys.executable, "-c", script, str(cpu.folder), str(picture)],
        env=os.environ
        | {"PYTHONPATH": path, "SDBENCH_WORKER_PRELOAD": "sdbench_standin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    print("measured:", answer)
    assert answer["simulated"] is True
    assert answer["device"] == "mps:0"
    assert answer["seeded"], (
        "torch.manual_seed seeds the device (not in a forked child: torch skips it there)"
    )
    assert answer["name"] == "Simulated MPS (stand-in)"
    assert torch.equal(torch.load(picture), cpu.one)


# --- tensors ----------------------------------------------------------------------------------------


def test_tensors_behave() -> None:
    def work() -> None:
        host = torch.arange(12.0).reshape(3, 4)
        t = host.to("mps")
        assert type(t) is torch.Tensor and str(t.device) == "mps:0" and t.is_mps
        assert (
            torch.equal(t.cpu(), host) and torch.equal(t, t.clone()) and torch.allclose(t, t + 1e-9)
        )
        view = t[1:, ::2]
        view.add_(100)
        assert torch.equal(t[1:, ::2].cpu(), host[1:, ::2] + 100), "views share memory"
        assert view._base is t and view.data_ptr() == t.data_ptr() + 16
        t.copy_(host)
        assert t.sum().item() == 66.0 and t[2, 3].item() == 11.0 and not torch.isnan(t).any()
        assert torch.equal((t * torch.tensor(2.0)).cpu(), host * 2), "a CPU number is fine"
        assert torch.equal(t[torch.tensor([0, 2])].cpu(), host[[0, 2]]), "CPU indices are fine"
        assert (t + 1).dtype == torch.float32 and (
            torch.ones(2, dtype=torch.int32, device="mps") + 0.5
        ).sum() == 3
        out = torch.empty(0, device="mps")
        torch.add(t, 1, out=out)
        assert torch.equal(out.cpu(), host + 1), "out= may resize"
        strided = torch.empty_strided((3, 4), (1, 3), device="mps")
        assert strided.stride() == (1, 3) and strided.copy_(t).cpu().equal(host)
        assert torch.arange(5, device="mps").tolist() == [0, 1, 2, 3, 4]
        assert torch.full((2,), 3, device="mps").tolist() == [3, 3]
        assert torch.linspace(0, 1, 3, device="mps").tolist() == [0, 0.5, 1]
        assert [part.device.type for part in t.chunk(2, 1)] == ["mps", "mps"]
        assert "mps:0" in repr(t)
        with torch.inference_mode():
            q = torch.randn(1, 2, 8, 4, device="mps")
            assert (
                torch.nn.functional.scaled_dot_product_attention(q, q, q[0:1]).device.type == "mps"
            )
        layer = torch.nn.Linear(4, 2).to("mps")
        layer(t).sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.device.type == "mps"
        assert (
            isinstance(layer.weight, torch.nn.Parameter)
            and layer.to("cpu").weight.device.type == "cpu"
        )
        torch.save(t, "/dev/null")
        in_thread: list[torch.Tensor] = []
        dot = lambda: in_thread.append(torch.ones(2, device="mps") @ torch.ones(2).to("mps"))  # noqa: E731
        thread = threading.Thread(target=dot)
        thread.start()
        thread.join()
        assert in_thread[0].item() == 2

    in_child(work)


def test_random_numbers() -> None:
    def work() -> None:
        torch.mps.manual_seed(3)
        first = torch.randn(4, device="mps")
        torch.mps.manual_seed(3)
        assert torch.equal(first, torch.randn(4, device="mps"))
        state = torch.mps.get_rng_state()
        second = torch.rand(4, device="mps")
        torch.mps.set_rng_state(state)
        assert torch.equal(second, torch.rand(4, device="mps"))
        torch.manual_seed(3)
        on_cpu = torch.randn(4)
        torch.manual_seed(3)
        torch.randn(4, device="mps")
        assert torch.equal(on_cpu, torch.randn(4)), "the device does not use up the CPU's numbers"
        own = torch.randn(4, device="mps", generator=torch.Generator("mps").manual_seed(3))
        assert torch.equal(own, first)

    in_child(work)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "float64 made": (
        lambda: torch.zeros(2, dtype=torch.float64, device="mps"),
        "TypeError: Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
        "Please use float32 instead.",
    ),
    "float64 moved": (
        lambda: torch.zeros(2, dtype=torch.float64).to("mps"),
        "TypeError: Cannot convert a MPS Tensor",
    ),
    "float64 converted": (
        lambda: torch.zeros(2, device="mps").double(),
        "TypeError: Cannot convert a MPS Tensor",
    ),
    "two devices": (
        lambda: torch.zeros(2, device="mps") + torch.zeros(2),
        "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!",
    ),
    "two devices, cpu first": (
        lambda: torch.zeros(2, 2) @ torch.zeros(2, 2, device="mps"),
        "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cpu and mps:0!",
    ),
    "cpu generator": (
        lambda: torch.randn(2, device="mps", generator=torch.Generator()),
        "RuntimeError: Expected a 'mps' device type for generator but found 'cpu'",
    ),
    "numpy": (
        lambda: torch.zeros(2, device="mps").numpy(),
        "TypeError: can't convert mps:0 device type tensor",
    ),
}


def test_what_the_device_refuses() -> None:
    def work() -> dict[str, str]:
        said = {}
        for name, (attempt, _) in REFUSED.items():
            try:
                said[name] = f"nothing, it gave {attempt()}"
            except Exception as error:
                said[name] = f"{type(error).__name__}: {error}"
        return said

    said = in_child(work)
    for name, (_, expected) in REFUSED.items():
        assert said[name].startswith(expected), name


# --- memory -----------------------------------------------------------------------------------------


def test_counters_follow_live_tensors() -> None:
    def work() -> None:
        mps, acc = torch.mps, torch.accelerator
        assert mps.current_allocated_memory() == 0
        a = torch.empty(MIB, dtype=torch.uint8, device="mps")
        b = torch.empty(3 * MIB, dtype=torch.uint8, device="mps")
        assert mps.current_allocated_memory() == acc.memory_allocated() == 4 * MIB
        half = b[: MIB // 2]
        del b
        assert mps.current_allocated_memory() == 4 * MIB, (
            "a view keeps the whole storage, counted once"
        )
        del half
        assert mps.current_allocated_memory() == MIB
        assert mps.driver_allocated_memory() == 4 * MIB, "freed blocks stay cached"
        mps.empty_cache()
        assert mps.driver_allocated_memory() == MIB
        assert acc.max_memory_allocated() == 4 * MIB
        acc.reset_peak_memory_stats()
        assert acc.max_memory_allocated() == MIB
        cycle: list[Any] = [torch.empty(MIB, dtype=torch.uint8, device="mps")]
        cycle.append(cycle)
        del cycle
        import gc

        gc.collect()
        assert mps.current_allocated_memory() == MIB
        a.resize_(2 * MIB)
        assert mps.current_allocated_memory() == 2 * MIB
        assert mps.recommended_max_memory() == 1 << 30
        assert acc.current_accelerator() == torch.device("mps") and mps.device_count() == 1
        mps.synchronize()
        acc.synchronize()

    in_child(work, SDBENCH_STANDIN_MEMORY_BYTES=str(1 << 30))


OOM = re.compile(
    r"RuntimeError: MPS backend out of memory \(MPS allocated: (.+), other allocations: (.+), max allowed: (.+)\)\. "
    r"Tried to allocate (.+) on private pool\. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0\.0 to disable upper limit for "
    r"memory allocations \(may cause system failure\)\."
)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("40.00 MiB", "0 bytes", "170.00 MiB", "150.00 MiB")),
        ({"SDBENCH_STANDIN_API": "2.5.1"}, ("40.00 MB", "0 bytes", "170.00 MB", "150.00 MB")),
        (
            {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.5", "PYTORCH_MPS_LOW_WATERMARK_RATIO": "1.0"},
            ("40.00 MiB", "0 bytes", "150.00 MiB", "150.00 MiB"),
        ),
    ],
)
def test_out_of_memory(environment: dict[str, str], expected: tuple[str, ...]) -> None:
    def work() -> None:
        kept = torch.empty(40 * MIB, dtype=torch.uint8, device="mps")
        torch.empty(150 * MIB, dtype=torch.uint8, device="mps")
        del kept

    child = forked.run(work, SDBENCH_STANDIN_MEMORY_BYTES=str(100 * MIB), **environment)
    found = OOM.fullmatch(child.error)
    assert found and found.groups() == expected, child.error


def test_watermarks() -> None:
    def work() -> None:
        torch.empty(500 * MIB, dtype=torch.uint8, device="mps")
        torch.mps.set_per_process_memory_fraction(0.5)
        torch.empty(60 * MIB, dtype=torch.uint8, device="mps")

    memory = {"SDBENCH_STANDIN_MEMORY_BYTES": str(100 * MIB)}
    child = forked.run(work, PYTORCH_MPS_HIGH_WATERMARK_RATIO="0.0", **memory)
    assert "max allowed: 50.00 MiB" in child.error, "0 lifts the limit until a fraction sets one"
    child = forked.run(work, PYTORCH_MPS_HIGH_WATERMARK_RATIO="0.7", **memory)
    assert child.error == "RuntimeError: invalid low watermark ratio 1.4"


# --- older releases ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "release", ["1.13.1", "2.0.1", "2.1.2", "2.5.1", "2.6.0", "2.10.0", "2.13.0"]
)
def test_api_of_an_older_release(cpu: Reference, release: str) -> None:
    api = json.loads((HERE.parents[1] / "data" / "mps_api.json").read_text())["api"]
    every = {module: {n for r in api.values() for n in r[module] or ()} for module in api["2.13.0"]}

    def work() -> dict[str, Any]:
        import importlib

        facts: dict[str, Any] = {"attribute at first": hasattr(torch, "mps")}
        for name in (
            "torch.mps",
            "torch.backends.mps",
            "torch.accelerator",
            "torch.accelerator.memory",
        ):
            try:
                module = importlib.import_module(name)
                facts[name] = sorted(n for n in every[name] if hasattr(module, n))
            except ImportError:
                facts[name] = None
        facts["reachable"] = hasattr(torch, "mps"), hasattr(torch, "accelerator")
        torch.manual_seed(1)
        torch.seed()
        facts["barrier"] = torch.ones(1, device="mps").cpu().item()
        facts["same"] = torch.equal(generate(cpu.pipe.to("mps")), cpu.one)
        try:
            facts["peak"] = torch.accelerator.max_memory_allocated() > 0
        except Exception as error:
            facts["peak"] = f"{type(error).__name__}: {error}"
        return facts

    facts = in_child(work, SDBENCH_STANDIN_API=release)
    expected = api[release]
    for name in (
        "torch.mps",
        "torch.backends.mps",
        "torch.accelerator",
        "torch.accelerator.memory",
    ):
        assert facts[name] == (None if expected[name] is None else sorted(expected[name])), name
    assert facts["reachable"] == (
        expected["torch.mps"] is not None,
        expected["torch.accelerator"] is not None,
    )
    assert facts["attribute at first"] == (release not in ("1.13.1", "2.0.1"))
    assert facts["barrier"] == 1.0 and facts["same"]
    if release == "2.13.0":
        assert facts["peak"] is True
    elif release == "2.10.0":
        assert "Allocator for mps is not a DeviceAllocator" in facts["peak"]
    else:
        assert facts["peak"].startswith("AttributeError")


def test_bfloat16_came_with_2_3() -> None:
    child = forked.run(
        lambda: torch.zeros(2, dtype=torch.bfloat16, device="mps"), SDBENCH_STANDIN_API="2.1.2"
    )
    assert child.error == "TypeError: BFloat16 is not supported on MPS"


# --- faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "FAULT",
            "nan-afer",
            r".*unknown fault 'nan-afer'; allowed: first-pass-differs, .*, async-error",
        ),
        ("FAULT", "batch-noise,nan-after", r".*nan-after needs passes=…"),
        (
            "FAULT",
            "nan-after:passes=-1",
            r".*nan-after:passes=-1 must be a whole number, 0 or more",
        ),
        ("FAULT", "batch-noise:level=3", r".*batch-noise has no parameter 'level'; allowed: none"),
        ("FAULT", "wrong-op:op=conv3d", r".*must be one of layer_norm, group_norm, softmax, .*"),
        ("FAULT", "at-op:op=aten::mm", r".*at-op needs effect=…"),
        ("FAULT", "at-op:op=aten::mm:effect=odd", r".*must be one of scale, nan, zero, noise, .*"),
        (
            "FAULT",
            "at-op:op=aten::mm:effect=nan:when=late",
            r".*must be of noncontiguous, .*, sev.*",
        ),
        ("FAULT", "at-op:op=aten::mm:effect=die:text=/no", r".*:text=/no must be a text file: .*"),
        ("FAULT", "at-op:op=aten::view:effect=nan", r".*no such operator computes a new tensor.*"),
        ("FAULT", "at-op:op=aten::mmm*:effect=nan", r".*torch .* has no such operator"),
        (
            "FAULT",
            "missing-op:op=sin",
            r".*must be an operator such as aten::sin or aten::add\.Tensor",
        ),
        ("FAULT", "missing-op:op=aten::sine", r".*torch .* has no such operator"),
        ("API", "2.5", r".*unknown release '2\.5'; allowed: 1\.13\.1, 2\.0\.1, .*"),
        ("API", "2.15.0", r".*2\.15\.0 is newer than the installed torch .*"),
        ("MEMORY_BYTES", "16GB", r".*'16GB' must be a whole number above 0"),
    ],
)
def test_mistakes_are_reported_at_import(variable: str, value: str, line: str) -> None:
    child = forked.run(lambda: None, **{f"SDBENCH_STANDIN_{variable}": value})
    assert re.fullmatch(
        rf"sdbench_standin\.fault_spec\.SettingError: SDBENCH_STANDIN_{variable}: {line}",
        child.error,
    )


def test_first_pass_differs(cpu: Reference) -> None:
    def work() -> list[bool]:
        pipe = cpu.pipe.to("mps")
        return [torch.equal(generate(pipe), cpu.one) for _ in range(3)]

    assert in_child(work, "first-pass-differs") == [False, True, True]


def test_batch_noise(cpu: Reference) -> None:
    def work() -> tuple[bool, bool, float, float]:
        pipe = cpu.pipe.to("mps")
        alone = torch.equal(generate(pipe), cpu.one)
        pictures = generate(pipe, pictures=2)
        unguided = generate(pipe, pictures=2, guidance_scale=1.0)
        ideal = generate(cpu.pipe.to("cpu"), pictures=2, guidance_scale=1.0)
        return (
            alone,
            torch.equal(pictures[0], cpu.two[0]) and torch.equal(unguided[0], ideal[0]),
            float((pictures[1] - cpu.two[1]).abs().mean()),
            float((unguided[1] - ideal[1]).abs().mean()),
        )

    alone, first_same, guided_error, unguided_error = in_child(work, "batch-noise")
    assert alone and first_same and guided_error > 0.02 and unguided_error > 0.02, (
        guided_error,
        unguided_error,
    )


def test_batch_abort(cpu: Reference) -> None:
    def work() -> None:
        pipe = cpu.pipe.to("mps")
        print(
            "one picture, guided:",
            torch.equal(generate(pipe), cpu.one),
            file=sys.stderr,
            flush=True,
        )
        generate(pipe, pictures=2, guidance_scale=1.0)

    child = forked.run(work, SDBENCH_STANDIN_FAULT="batch-abort")
    assert child.signal == signal.SIGABRT
    assert "one picture, guided: True" in child.stderr
    assert re.search(
        r"MPSNDArray\.mm:\d+: failed assertion `\[MPSNDArray initWithDevice:.*> 2\*\*32'",
        child.stderr,
    )


def test_sliced_nan(cpu: Reference) -> None:
    def work() -> tuple[bool, bool]:
        pipe = cpu.pipe.to("mps")
        whole = torch.equal(generate(pipe), cpu.one)
        pipe.enable_attention_slicing()
        return whole, bool(torch.isnan(generate(pipe, output_type="latent")).all())

    assert in_child(work, "sliced-nan") == (True, True)


def test_nan_after(cpu: Reference) -> None:
    def work() -> list[bool]:
        pipe = cpu.pipe.to("mps")
        return [bool(torch.isnan(generate(pipe, output_type="latent")).any()) for _ in range(4)]

    assert in_child(work, "nan-after:passes=2") == [False, False, True, True]


def test_wrong_operators() -> None:
    functional = torch.nn.functional
    x, weight = torch.randn(2, 8, 4, 4), torch.randn(8, 8, 3, 3)
    q = torch.randn(1, 4, 2, 8)
    calls: dict[str, Callable[[Callable[[torch.Tensor], torch.Tensor]], torch.Tensor]] = {
        "layer_norm": lambda on: functional.layer_norm(on(x), (4,)),
        "group_norm": lambda on: functional.group_norm(on(x), 2),
        "softmax": lambda on: on(x).softmax(-1),
        "conv2d-noncontiguous": lambda on: functional.conv2d(on(x).transpose(2, 3), on(weight)),
        "sdpa-noncontiguous": lambda on: functional.scaled_dot_product_attention(
            *[on(q).transpose(1, 2)] * 3
        ),
        "conv2d": lambda on: functional.conv2d(on(x), on(weight)),
        "sdpa": lambda on: functional.scaled_dot_product_attention(*[on(q)] * 3),
    }

    def work() -> dict[str, float]:
        ratios = {}
        for name, call in calls.items():
            right, got = call(lambda t: t), call(lambda t: t.to("mps")).cpu()
            ratios[name] = round(float((got / right).median()), 4)
        return ratios

    wrong = ["layer_norm", "group_norm", "softmax", "conv2d-noncontiguous", "sdpa-noncontiguous"]
    fault = ",".join(f"wrong-op:op={op}:scale={1.5 + n / 10}" for n, op in enumerate(wrong))
    expected = {op: 1.5 + n / 10 for n, op in enumerate(wrong)} | {"conv2d": 1.0, "sdpa": 1.0}
    assert in_child(work, fault) == expected
    assert in_child(work, "wrong-op:op=layer_norm") == dict.fromkeys(calls, 1.0) | {
        "layer_norm": 1.05
    }


def test_wrong_operator_changes_the_picture(cpu: Reference) -> None:
    def work() -> bool:
        return torch.equal(generate(cpu.pipe.to("mps")), cpu.one)

    assert in_child(work, "wrong-op:op=sdpa-noncontiguous:scale=1.2") is False


def test_any_operator_can_go_wrong(cpu: Reference) -> None:
    x = torch.randn(2, 8, 4, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    functional = torch.nn.functional
    calls: dict[str, tuple[str, Callable[[Callable[[torch.Tensor], torch.Tensor]], torch.Tensor]]] = {
        "scaled": ("aten::mul:effect=scale:scale=3", lambda on: on(x) * 2),
        "overload": ("aten::add.Tensor:effect=scale:scale=3", lambda on: on(x) + on(x)),
        "pattern": ("aten::*softmax:effect=zero", lambda on: on(x).softmax(-1)),
        "whole": ("aten::linear:effect=nan", lambda on: functional.linear(on(x), on(x[0, 0]))),
        "second result": ("aten::native_layer_norm:effect=noise", lambda on: functional.layer_norm(on(x), (4,))),
        "rest": ("aten::silu:effect=zero:items=rest", lambda on: functional.silu(on(x))),
        "strided": ("aten::silu:effect=zero:when=noncontiguous", lambda on: functional.silu(on(x)[..., :2])),
        "not strided": ("aten::silu:effect=zero:when=noncontiguous", lambda on: functional.silu(on(x))),
        "layout": ("aten::silu:effect=zero:when=channels-last", lambda on: functional.silu(on(last))),
        "other layout": ("aten::silu:effect=zero:when=channels-last", lambda on: functional.silu(on(x)[..., :2])),
        "large": ("aten::silu:effect=zero:elements=256", lambda on: functional.silu(on(x))),
        "small": ("aten::silu:effect=zero:elements=257", lambda on: functional.silu(on(x))),
        "no pass": ("aten::silu:effect=zero:when=batch", lambda on: functional.silu(on(x))),
        "nothing to do": ("aten::dropout:effect=zero", lambda on: functional.dropout(on(x), training=False)),
    }  # fmt: skip

    def work(call: Callable[..., torch.Tensor]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        on_mps = x.to("mps")
        got = call(lambda t: t.to("mps")).cpu()
        return got, call(lambda t: t), on_mps.cpu()

    found: dict[str, str] = {}
    for name, (fault, call) in calls.items():
        got, right, operand = in_child(lambda call=call: work(call), f"at-op:op={fault}")
        assert torch.equal(operand, x), "operands stay what they are"
        found[name] = (
            "right" if torch.equal(got, right)
            else "nan" if got.isnan().all()
            else "zero" if not got.any()
            else "rest zero" if torch.equal(got[0], right[0]) and not got[1:].any()
            else "x3" if torch.equal(got, right * 3)
            else "noise" if float(got.std() / right.std()) == pytest.approx(1, abs=0.2)
            else "?"
        )  # fmt: skip
    assert found == {
        "scaled": "x3",
        "overload": "x3",
        "pattern": "zero",
        "whole": "nan",
        "second result": "noise",
        "rest": "rest zero",
        "strided": "zero",
        "not strided": "right",
        "layout": "zero",
        "other layout": "right",
        "large": "zero",
        "small": "right",
        "no pass": "right",
        "nothing to do": "zero",
    }


def test_every_operator_can_be_watched(cpu: Reference) -> None:
    """A fault that never strikes is at every operator there is, and nothing changes."""
    work = lambda: torch.equal(generate(cpu.pipe.to("mps")), cpu.one)  # noqa: E731
    assert in_child(work, f"at-op:op=aten::*:effect=nan:elements={1 << 50}")


def test_any_operator_can_raise_and_kill(cpu: Reference, tmp_path: Path) -> None:
    def work() -> None:
        pipe = cpu.pipe.to("mps")
        generate(pipe)
        os.write(2, b"one pass\n")
        generate(pipe, pictures=2)

    where = "at-op:op=aten::silu:when=batch:passes=2"
    assert not forked.run(work, SDBENCH_STANDIN_FAULT=f"{where}:effect=raise").error
    where = "at-op:op=aten::silu:when=batch:passes=1"
    child = forked.run(work, SDBENCH_STANDIN_FAULT=f"{where}:effect=raise")
    assert child.error == "RuntimeError: Invalid buffer size: 18.00 GiB"
    words = tmp_path / "words.txt"
    words.write_text("LLVM ERROR: Failed to infer result type(s).\n")
    child = forked.run(work, SDBENCH_STANDIN_FAULT=f"{where}:effect=die:signal=SIGBUS:text={words}")
    assert child.signal == signal.SIGBUS
    assert child.stderr.endswith(f"one pass\n{words.read_text()}")
    child = forked.run(work, SDBENCH_STANDIN_FAULT=f"{where}:effect=zero:text={words}")
    assert not child.error and not child.signal
    assert child.stderr.endswith(f"one pass\n{words.read_text()}"), "told once"


def test_gpu_has_the_name_it_is_given() -> None:
    name = "Apple Paravirtual device"
    assert in_child(torch.backends.mps.get_name, SDBENCH_STANDIN_NAME=name) == name


def test_missing_operator() -> None:
    def work() -> None:
        torch.ones(2, device="mps").cos()
        torch.nn.functional.pixel_shuffle(torch.ones(1, 4, 2, 2, device="mps"), 2)
        torch.ones(2, device="mps").sin()

    child = forked.run(work, SDBENCH_STANDIN_FAULT="missing-op:op=aten::sin")
    assert child.error == (
        "NotImplementedError: The operator 'aten::sin' is not currently implemented for the MPS device. If you want "
        "this op to be added in priority during the prototype phase of this feature, please comment on "
        "https://github.com/pytorch/pytorch/issues/77764. As a temporary fix, you can set the environment variable "
        "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op. WARNING: this will be slower than "
        "running natively on MPS."
    )
    for composite in ("aten::pixel_shuffle", "aten::cos"):
        child = forked.run(work, SDBENCH_STANDIN_FAULT=f"missing-op:op={composite}")
        assert child.error.startswith(
            f"NotImplementedError: The operator '{composite}' is not currently implemented"
        )


def test_missing_operator_with_fallback() -> None:
    def work() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                assert torch.zeros(2, device="mps").sin().sum() == 0
        return [str(w.message) for w in caught]

    said = in_child(work, "missing-op:op=aten::sin", PYTORCH_ENABLE_MPS_FALLBACK="1")
    assert len(said) == 1
    assert said[0].startswith(
        "The operator 'aten::sin' is not currently supported on the MPS backend and will fall back to run on the CPU. "
        "This may have performance implications."
    )


def test_memory_growth_counts_passes(cpu: Reference) -> None:
    """Also the test of what counts as a pass: one per pipeline call, however it is called."""

    def work() -> tuple[list[int], bool]:
        pipe = cpu.pipe.to("mps")
        before = torch.mps.current_allocated_memory()
        with torch.no_grad():
            embedded, unconditional = pipe.encode_prompt("a cat", "mps", 1, True)
        calls: list[dict[str, Any]] = [
            {},
            {},
            {"pictures": 2},
            {"output_type": "latent"},
            {"output_type": "latent", "pictures": 2, "guidance_scale": 1.0},
            {"num_inference_steps": 1},
        ]
        for options in calls:
            generate(pipe, **options)
        pipe.vae.enable_slicing()
        generate(pipe, pictures=2)
        for _ in range(2):
            pipe(
                prompt_embeds=embedded,
                negative_prompt_embeds=unconditional,
                num_inference_steps=2,
                height=64,
                width=64,
                output_type="latent",
            )
        del embedded, unconditional
        grown = torch.mps.current_allocated_memory() - before
        return [grown // MIB, len(calls) + 3], grown % MIB < 4096

    (grown, calls), exact = in_child(work, f"memory-growth:bytes={MIB}")
    assert grown == calls and exact


def test_pressure_slowdown() -> None:
    def work() -> float:
        a = torch.randn(256, 256, device="mps")

        def seconds() -> float:
            start = time.perf_counter()
            for _ in range(40):
                a @ a
            torch.mps.synchronize()
            return time.perf_counter() - start

        seconds()
        relaxed = min(seconds() for _ in range(3))
        kept = torch.empty(8 * MIB, device="mps", dtype=torch.uint8)
        pressed = min(seconds() for _ in range(3))
        del kept
        return pressed / relaxed

    ratio = in_child(work, f"pressure-slowdown:above={4 * MIB}:factor=5")
    assert 2.5 < ratio < 20, ratio


@pytest.mark.parametrize("barrier", ["synchronize", "copy"])
@pytest.mark.parametrize("holds_lock", [False, True])
def test_hang(barrier: str, holds_lock: bool) -> None:
    def work() -> None:
        t = torch.ones(1, device="mps") + 1

        def beat() -> None:
            while True:
                time.sleep(0.02)
                os.write(2, b".")

        threading.Thread(target=beat, daemon=True).start()
        if barrier == "synchronize":
            torch.mps.synchronize()
        else:
            t.cpu()

    child = forked.run(
        work, timeout_s=1.0, SDBENCH_STANDIN_FAULT=f"hang-synchronize:gil={int(holds_lock)}"
    )
    assert child.timed_out
    assert (len(child.stderr) < 3) == holds_lock, "another thread runs only if the lock is free"


def test_hang_in_a_later_pass(cpu: Reference) -> None:
    def work() -> None:
        pipe = cpu.pipe.to("mps")
        generate(pipe)
        torch.mps.synchronize()
        os.write(2, b"first pass done")
        generate(pipe)

    child = forked.run(work, timeout_s=2.0, SDBENCH_STANDIN_FAULT="hang-synchronize:passes=1")
    assert child.timed_out and "first pass done" in child.stderr


def test_async_error(cpu: Reference) -> None:
    def work() -> tuple[bool, str, bool]:
        pipe = cpu.pipe.to("mps")
        first = torch.equal(generate(pipe), cpu.one)
        try:
            latents = pipe(
                "x", num_inference_steps=1, height=64, width=64, output_type="latent"
            ).images
            latents.cpu()
            said = ""
        except RuntimeError as error:
            said = str(error)
        return first, said, torch.equal(generate(pipe), cpu.one)

    first, said, third = in_child(work, "async-error:passes=1")
    assert first and third and said.startswith("MPS command buffer execution failed: ")


# --- building ---------------------------------------------------------------------------------------


def test_two_processes_share_one_build(tmp_path: Path) -> None:
    def built() -> str:
        from sdbench_standin import native

        return str(native._built_library())

    library = in_child(built)
    compiler = tmp_path / "compiler"
    script = f'echo run >> {tmp_path}/runs; sleep 0.3; for last; do :; done; cp {library} "$last"'
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    environment = {"CXX": str(compiler), "SDBENCH_STANDIN_CACHE": str(tmp_path / "cache")}
    children: list[forked.Child] = []
    threads = [
        threading.Thread(target=lambda: children.append(forked.run(built, **environment)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.error for child in children] == ["", ""]
    assert (tmp_path / "runs").read_text() == "run\n"
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".so", ".lock"}
