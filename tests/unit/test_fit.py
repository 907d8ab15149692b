"""Does it fit: verdicts against the memory that is free, and the command that makes it fit."""

import math
import shlex
from typing import Any

import msgspec
import pytest
from factories import make_facts, make_model

from sdbench.machine.facts import Unavailable
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.resolve import find_model
from sdbench.models.traits import traits_of
from sdbench.plan.fit import Room, fit_of, judge
from sdbench.plan.for_model import family_dtype, resolve_for
from sdbench.plan.order import make_plan
from sdbench.plan.predicted_memory import target_of, with_memory
from sdbench.process.room import room_now
from sdbench.records import DeviceKind, MemoryStage, PredictedMemory, PredictedStage
from sdbench.runner.fit_of_sizes import SizeFit, fit_of_sizes, size_document
from sdbench.runner.memory_fit import MemoryFit, fit_plan, with_command
from sdbench.runner.request import Request, configure

GB = 10**9


def predicted(device: float | None, process: float) -> PredictedMemory:
    stages: tuple[tuple[MemoryStage, float], ...] = (("load", 0.5), ("denoising", 1.0))
    return PredictedMemory(
        stages=[
            PredictedStage(
                stage=stage,
                device_bytes=None if device is None else int(device * share * GB),
                process_bytes=int(process * share * GB),
            )
            for stage, share in stages
        ]
    )


def room(device: DeviceKind = "cpu", **sizes: float | None) -> Room:
    known: dict[str, Any] = {
        name: None if size is None else size * GB for name, size in sizes.items()
    }
    return Room(device, **{"available_bytes": 100 * GB, "total_bytes": 128 * GB} | known)


@pytest.mark.parametrize(
    ("available", "swap", "needed", "fit"),
    [
        (10, 0, 5, "fits"),
        (10, 0, 9.5, "tight"),
        (10, 0, 11, "fails"),  # nowhere to swap to: it is killed
        (10, 4, 11, "swaps"),
        (10, 4, 15, "fails"),
        (10, math.inf, 15, "swaps"),
        (10, math.inf, 130, "fails"),
        (None, 4, 5, "unknown"),
        (None, 4, 130, "fails"),
    ],
)
def test_machine_memory(available: float | None, swap: float, needed: float, fit: str) -> None:
    there = room(available_bytes=available, swap_bytes=swap)
    assert fit_of(judge(predicted(None, needed), there)) == fit


@pytest.mark.parametrize(
    ("free", "limit", "needed", "fit"),
    [
        (10, 16, 5, "fits"),
        (10, 16, 9.5, "tight"),
        (10, 16, 11, "fails"),  # CUDA does not swap
        (None, 16, 5, "unknown"),  # who else is on the GPU is not known
        (None, 16, 17, "fails"),
        (None, None, 1, "unknown"),
    ],
)
def test_cuda_memory(free: float | None, limit: float | None, needed: float, fit: str) -> None:
    there = room("cuda", device_free_bytes=free, device_limit_bytes=limit)
    assert fit_of(judge(predicted(needed, 1), there)) == fit


def test_the_machine_can_be_what_does_not_fit_beside_a_large_gpu() -> None:
    there = room("cuda", available_bytes=8, device_free_bytes=80, device_limit_bytes=80)
    demand = judge(predicted(5, 20), there)
    assert demand is not None and (demand.fit, demand.memory) == ("fails", "machine")


def test_mps_swaps_beyond_what_is_recommended_and_fails_beyond_the_allocators_limit() -> None:
    def fit(device: float) -> str:
        there = room("mps", swap_bytes=math.inf, device_free_bytes=11, device_limit_bytes=18)
        return fit_of(judge(predicted(device, device + 1), there))

    assert [fit(size) for size in (5, 10, 12, 19)] == ["fits", "tight", "swaps", "fails"]


def test_nothing_predicted_is_unknown_and_never_fits() -> None:
    assert fit_of(judge(None, room())) == "unknown"
    assert MemoryFit(room(), {"a": None}).fit == "unknown"
    absent = make_model("someone/else", bytes_on_disk=0)
    config = configure(Request(), "default")
    plan = make_plan(config, "cuda")
    assert with_memory(plan, config, target_of(absent, "cuda")) == plan


# --- how much there is ----------------------------------------------------------------------------


def test_a_gpu_whose_use_is_not_known_promises_nothing() -> None:
    facts = make_facts()
    gpu = msgspec.structs.replace(facts.gpu, memory_used_bytes=Unavailable("no driver"))
    found = room_now(msgspec.structs.replace(facts, gpu=gpu), "cuda", 80 * GB, {})
    assert (found.device_free_bytes, found.device_limit_bytes) == (None, 80 * GB)


def test_what_a_run_holds_and_what_a_container_allows_are_not_free() -> None:
    facts = make_facts()
    memory = msgspec.structs.replace(facts.memory, available_bytes=10 * GB)
    facts = msgspec.structs.replace(facts, memory=memory)
    found = room_now(facts, "cpu", None, {}, limit_bytes=4 * GB, held_bytes=3 * GB)
    assert (found.available_bytes, found.total_bytes) == (7 * GB, 4 * GB)


@pytest.mark.parametrize("said_by", ["macos", "torch"])
@pytest.mark.parametrize("recommended", [5 * GB, None])
def test_a_virtual_macs_gpu_has_less_memory_than_metal_recommends(
    said_by: str, recommended: int | None
) -> None:
    facts = make_facts()
    if said_by == "macos":
        identity = msgspec.structs.replace(facts.identity, system="Darwin", virtual=True)
        facts = msgspec.structs.replace(facts, identity=identity)
    virtual_gpu = said_by == "torch"
    found = room_now(facts, "mps", recommended, {}, virtual_gpu=virtual_gpu)
    assert (found.device_free_bytes, found.device_limit_bytes) == (3.0e9, 3.5e9)
    small = room_now(facts, "mps", 10**9, {}, virtual_gpu=virtual_gpu)
    assert (small.device_free_bytes, small.device_limit_bytes) == (1e9, 1.7e9)
    on_cpu = room_now(facts, "cpu", None, {}, virtual_gpu=virtual_gpu)
    assert on_cpu.device_limit_bytes is None


def test_the_mps_allocators_limit_follows_its_variable() -> None:
    limits = [
        room_now(make_facts(), "mps", 10 * GB, environment).device_limit_bytes
        for environment in (
            {},
            {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.0"},
            {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0"},
        )
    ]
    assert limits == [17 * GB, 10 * GB, None]


# --- the command ----------------------------------------------------------------------------------


def fit_of_request(request: Request, device: DeviceKind, there: Room) -> MemoryFit:
    """As ``prepare`` makes it."""
    asked = configure(request, request.config or "default")
    source = find_model(asked.model)
    traits, target = traits_of(source), target_of(source.outline(), device)
    config = resolve_for(asked, traits).config
    plan = make_plan(config, device, request.only, dtype=family_dtype(traits, device))
    plan = with_memory(plan, config, target)
    return with_command(fit_plan(plan, there), request, config, plan, traits, target)


def asked_by(command: str) -> Request:
    """The request of a command line that has --set, --only and --model only."""
    words = shlex.split(command)
    assert words[:2] == ["sdbench", "run"]
    pairs = [*zip(words[3::2], words[4::2], strict=True)]
    return Request(
        config=words[2],
        model=next((value for option, value in pairs if option == "--model"), None),
        overrides=tuple(value for option, value in pairs if option == "--set"),
        only=tuple(value for option, value in pairs if option == "--only"),
    )


@pytest.mark.parametrize("config", ["default", "full"])
@pytest.mark.parametrize("short", ["sd15", "sdxl", "sd3", "flux", "z-image"])
@pytest.mark.parametrize("free", [6, 12, 24])
def test_the_command_makes_a_plan_that_fits(config: str, short: str, free: float) -> None:
    there = room("cuda", device_free_bytes=free, device_limit_bytes=free)
    request = Request(config, model=f"synthetic/{short}", overrides=("images=2",))
    before = fit_of_request(request, "cuda", there)
    assert (before.command is not None) <= (before.fit == "fails")
    if before.command is not None:
        after = fit_of_request(asked_by(before.command), "cuda", there)
        assert after.fit in ("fits", "tight") and after.command is None
    elif before.fit == "fails":
        assert short not in ("sd15", "sdxl")  # these fit anywhere, with the right settings


def test_the_command_keeps_what_was_asked_and_names_the_configuration() -> None:
    there = room("cuda", device_free_bytes=20, device_limit_bytes=20)
    request = Request("full", model="synthetic/flux", only=("warmup=false", "batching=loop"))
    command = fit_of_request(request, "cuda", there).command
    assert command is not None
    again = asked_by(command)
    assert (again.config, again.model) == ("full", "synthetic/flux")
    assert "warmup=false" in again.only
    assert any("offload" in override for override in again.overrides)


def test_where_all_fits_there_is_no_command() -> None:
    found = fit_of_request(Request("default"), "cpu", room())
    assert (found.fit, found.command) == ("fits", None)
    assert set(SYNTHETIC) >= {"synthetic/sd15"}


# --- sizes, as doctor shows them ------------------------------------------------------------------


def sizes(short: str, there: Room) -> list[SizeFit]:
    return fit_of_sizes(find_model(f"synthetic/{short}").outline(), there)


@pytest.mark.parametrize("short", ["sd15", "sdxl", "sd3", "flux", "z-image", "tiny-sd3"])
def test_both_usual_sizes_and_the_familys_own_are_judged(short: str) -> None:
    found = sizes(short, room())
    assert {"512x512", "1024x1024"} <= {one.resolution for one in found}
    peaks = [one.memory.worst.peak_bytes for one in found if one.memory is not None]
    assert peaks == sorted(peaks) and len(peaks) == len(found)
    assert all(len(one.plan.cases) == 1 for one in found)


@pytest.mark.parametrize("free", [6, 12, 24])
def test_what_makes_a_size_fit_is_a_whole_command(free: float) -> None:
    there = room("cuda", device_free_bytes=free, device_limit_bytes=free)
    for one in sizes("sdxl", there):
        assert (one.fit.command is not None) == (one.fit.fit == "fails")
        if one.fit.command is not None:
            words = shlex.split(one.fit.command)
            assert words[:3] == ["sdbench", "run", "full"] and "synthetic/sdxl" in words
            assert f'matrix={{resolution=["{one.resolution}"]}}' in words
            document = size_document(one)
            assert (document["fit"], document["command"]) == ("fails", one.fit.command)


def test_of_a_model_that_is_not_here_nothing_is_promised() -> None:
    found = fit_of_sizes(make_model("someone/else", bytes_on_disk=0, path=""), room())
    assert found and {one.fit.fit for one in found} == {"unknown"}
    assert {size_document(one)["peak_bytes"] for one in found} == {None}
