"""Hand-made facts: a healthy Mac and a healthy CUDA machine, from which each test differs."""

from typing import Any

import msgspec

from sdbench.doctor.facts import (
    DeviceFacts,
    DoctorFacts,
    InterpreterFacts,
    ModelFacts,
    TorchFacts,
)
from sdbench.machine.facts import (
    CoreKind,
    Gpu,
    Identity,
    MachineFacts,
    Memory,
    Power,
    Scheduling,
    Unavailable,
)
from sdbench.models.resolve import find_model
from sdbench.process.doctor_events import ImportTried

GIB = 1 << 30
UNTOLD = Unavailable("nobody told")

PACKAGES = {
    "torch": "2.15.0",
    "diffusers": "0.42.1",
    "transformers": "5.23.0",
    "tokenizers": "0.23.3",
    "huggingface-hub": "2.4.0",
    "accelerate": "1.15.0",
    "safetensors": "0.8.0",
    "numpy": "2.4.6",
}
IMPORTED = (
    *("numpy", "safetensors", "tokenizers", "huggingface_hub", "transformers", "accelerate"),
    "diffusers",
)
OLD_PACKAGES = {
    "torch": "1.13.1",
    "diffusers": "0.31.0",
    "transformers": "4.46.3",
    "tokenizers": "0.20.3",
    "huggingface-hub": "0.26.5",
    "accelerate": "1.2.1",
    "safetensors": "0.8.0",
    "numpy": "1.26.4",
}


def device(kind: Any, **changes: Any) -> DeviceFacts:
    """A device that works."""
    fields = {"built": True, "available": True, "computes": True, "name": f"some {kind}"}
    return DeviceFacts(kind=kind, **{**fields, **changes})


def no_device(kind: Any) -> DeviceFacts:
    """A device that this torch was not built with."""
    reason = f"torch is built without {kind}"
    return device(
        kind, built=False, available=False, computes=Unavailable(reason), reason=reason, name=None
    )


def torch_facts(*devices: DeviceFacts, **changes: Any) -> TorchFacts:
    """torch with these devices and the CPU."""
    fields: dict[str, Any] = {"version": "2.15.0", "threads": 10, "import_s": 2.0}
    every: dict[str, DeviceFacts] = {one.kind: one for one in (*devices, device("cpu"))}
    return TorchFacts(devices=every, **{**fields, **changes})


def mac(**changes: Any) -> DoctorFacts:
    """An M4 with 32 GB on macOS 26 and the newest environment; nothing to remark."""
    facts = DoctorFacts(
        machine=MachineFacts(
            simulated=False,
            identity=Identity(
                system="Darwin",
                os_version="26.1",
                os_build="25B78",
                architecture="arm64",
                chip="Apple M4",
                model="Mac16,10",
                cores_physical=10,
                cores_logical=10,
                cores_by_kind=(CoreKind("Performance", 4), CoreKind("Efficiency", 6)),
                gpus=["Apple M4"],
                gpu_cores=10,
                memory_bytes=32 * GIB,
                virtual=False,
                translated=False,
            ),
            memory=Memory(
                available_bytes=16 * GIB,
                pressure="normal",
                free_percent=70,
                compressor_bytes=0,
                swap_used_bytes=0,
                swapped_in_bytes=0,
                swapped_out_bytes=0,
                gpu_limit_bytes=0,
            ),
            power=Power(source="ac", battery_percent=100, low_power_mode=False),
            thermal="nominal",
            gpu=Gpu(
                power_w=UNTOLD,
                temperature_c=UNTOLD,
                memory_used_bytes=UNTOLD,
                memory_total_bytes=UNTOLD,
                throttled=UNTOLD,
            ),
            scheduling=Scheduling(nice=0, background=False),
            load_1min=1.0,
            free_disk_bytes=200_000_000_000,
        ),
        interpreter=InterpreterFacts(
            path="/opt/venv/bin/python",
            python="3.12.8",
            architecture="arm64",
            packages=PACKAGES,
            platforms={"torch": ["macosx_14_0_arm64"], "diffusers": ["any"]},
        ),
        model=model(),
        environment={},
        results_free_bytes=200_000_000_000,
        torch=torch_facts(device("mps", dtypes=["float32", "float16"]), no_device("cuda")),
        imports=[ImportTried(name=name, failure=None) for name in IMPORTED],
        openmp=["/opt/venv/lib/python3.12/site-packages/torch/lib/libomp.dylib"],
    )
    return changed(facts, **changes)


def cuda_box(**changes: Any) -> DoctorFacts:
    """A Linux machine with one NVIDIA GPU."""
    facts = changed(
        mac(),
        system="Linux",
        os_version="Ubuntu 24.04",
        architecture="x86_64",
        chip="AMD EPYC",
        model_id=UNTOLD,
        cores_by_kind=UNTOLD,
        gpus=["NVIDIA H200"],
        gpu_cores=UNTOLD,
        interpreter_architecture="x86_64",
        memory_total_bytes=150 * GIB,
        memory_used_bytes=GIB // 2,
        temperature_c=31.0,
        throttled=[],
        torch=torch_facts(no_device("mps"), device("cuda")),
    )
    return changed(facts, **changes)


def cpu_box(**changes: Any) -> DoctorFacts:
    """A Linux machine without a GPU."""
    torch = torch_facts(no_device("mps"), no_device("cuda"))
    return changed(cuda_box(gpus=UNTOLD, torch=torch), **changes)


def model(name: str = "synthetic/sd15", **changes: Any) -> ModelFacts:
    """A model that is there."""
    fields = {"outline": find_model(name).outline(), "offline": True, "note": "in the cache"}
    return ModelFacts(**{**fields, **changes})


# What another part of the facts calls by the same name.
_ALIASES = {"model_id": ("identity", "model"), "interpreter_architecture": ("", "architecture")}


def changed(facts: DoctorFacts, **changes: Any) -> DoctorFacts:
    """The facts with some of them replaced, wherever they are kept.

    Raises:
        KeyError: no part of the facts has one of that name.
    """
    for name, value in changes.items():
        facts = _replaced(facts, name, value)
    return facts


def _replaced(facts: DoctorFacts, name: str, value: Any) -> DoctorFacts:
    replace, machine = msgspec.structs.replace, facts.machine
    part, field = _ALIASES.get(name, (None, name))
    if name != "interpreter_architecture":
        if part is None and field in DoctorFacts.__struct_fields__:
            return replace(facts, **{field: value})
        if part is None and field in MachineFacts.__struct_fields__:
            return replace(facts, machine=replace(machine, **{field: value}))
        for holder in ("identity", "memory", "power", "gpu", "scheduling"):
            held = getattr(machine, holder)
            if part in (None, holder) and field in type(held).__struct_fields__:
                new = replace(held, **{field: value})
                return replace(facts, machine=replace(machine, **{holder: new}))
    if field not in InterpreterFacts.__struct_fields__:
        raise KeyError(name)
    return replace(facts, interpreter=replace(facts.interpreter, **{field: value}))


def recorded(facts: DoctorFacts) -> DoctorFacts:
    """The same, as if it came from a recording."""
    return changed(facts, simulated=True)
