"""Each check on both its sides, over hand-made facts."""

import re
from typing import Any

import pytest
from doctor_factories import (
    GIB,
    OLD_PACKAGES,
    PACKAGES,
    UNTOLD,
    changed,
    cpu_box,
    cuda_box,
    device,
    mac,
    model,
    no_device,
    recorded,
    torch_facts,
)

from sdbench.doctor import BEFORE_TORCH, WITH_TORCH, Check, DoctorFacts, judge, worst
from sdbench.doctor.checks.commands import install_proven, install_stack
from sdbench.doctor.facts import Limits, TorchFailed
from sdbench.knowledge.memory_limits import HIGH
from sdbench.machine.facts import Unavailable
from sdbench.models.folder_files import Fault


def verdicts(facts: DoctorFacts) -> dict[str, Check]:
    checks = [*judge(BEFORE_TORCH, facts), *judge(WITH_TORCH, facts)]
    found = {check.id: check for check in checks}
    assert len(found) == len(checks), "an id twice"
    return found


def statuses(facts: DoctorFacts) -> dict[str, str]:
    return {name: check.status for name, check in verdicts(facts).items()}


# --- whole machines ------------------------------------------------------------------------------

MAC_ROWS = {
    *("chip", "macos-version", "virtual-machine", "python-arch", "python-version"),
    *("torch-version", "stack-compatible", "memory", "memory-pressure", "swap", "disk", "power"),
    *("thermal", "load", "environment-variables", "model-offline", "torch-imports"),
    *("mps-built", "mps-available", "mps-computes", "known-issues", "stack-imports"),
    "wheel-arch",
}
CUDA_ROWS = {
    *("chip", "python-version", "torch-version", "stack-compatible", "memory", "memory-pressure"),
    *("swap", "disk", "power", "thermal", "load", "gpu", "environment-variables"),
    *("model-offline", "torch-imports", "cuda-built", "cuda-available", "cuda-computes"),
    *("known-issues", "stack-imports"),
}


def test_healthy_mac_passes_all_of_its_checks_and_no_others() -> None:
    assert statuses(mac()) == dict.fromkeys(MAC_ROWS, "pass")


def test_healthy_cuda_machine_passes_all_of_its_checks_and_no_others() -> None:
    assert statuses(cuda_box()) == dict.fromkeys(CUDA_ROWS, "pass")


def test_cpu_machine_is_judged_by_its_threads() -> None:
    rows = CUDA_ROWS - {"gpu", "cuda-built", "cuda-available", "cuda-computes"} | {"torch-threads"}
    assert statuses(cpu_box()) == dict.fromkeys(rows, "pass")


def test_nothing_known_is_nothing_failed_and_no_row_is_lost() -> None:
    facts = mac()
    for part in ("identity", "memory", "power", "gpu", "scheduling"):
        held = getattr(facts.machine, part)
        for field in type(held).__struct_fields__:
            if field != "system":
                alias = "model_id" if field == "model" else field
                facts = changed(facts, **{alias: UNTOLD})
    facts = changed(
        facts,
        thermal=UNTOLD,
        load_1min=UNTOLD,
        free_disk_bytes=UNTOLD,
        results_free_bytes=UNTOLD,
        python=UNTOLD,
        interpreter_architecture=UNTOLD,
        packages=UNTOLD,
        torch=UNTOLD,
        imports=UNTOLD,
        simulated=True,
    )
    found = statuses(facts)
    assert set(found) == MAC_ROWS - {"torch-imports"}
    assert set(found.values()) == {"unknown", "pass"}
    passed = {name for name, status in found.items() if status == "pass"}
    assert passed == {"environment-variables", "model-offline"}


INTEL = {"architecture": "x86_64", "chip": "Intel Core i7", "interpreter_architecture": "x86_64"}
NO_MPS = torch_facts(device("mps", available=False, computes=UNTOLD))
OLD_STACK_IN_A_NEW_ENVIRONMENT = (
    "uv venv --python 3.12 .venv-sd && uv pip install --python .venv-sd 'torch<2.3' "
    "diffusers==0.31.0 transformers==4.46.3 tokenizers==0.20.3 huggingface-hub==0.26.5 "
    "accelerate==1.2.1 safetensors==0.8.0 numpy==1.26.4 && sdbench doctor --python .venv-sd"
)
ARM64_PYTHON = (
    "uv python install cpython-3.12-macos-aarch64-none && uv venv --python "
    "cpython-3.12-macos-aarch64-none .venv-arm64 && uv pip install --python .venv-arm64 "
    "'torch<2.9' diffusers"
)
# What differs from a healthy machine: the check, its verdict, a word of what is found, and of the
# remedy.
CASES: list[tuple[DoctorFacts, str, str, str, str]] = [
    # chip
    (mac(architecture="x86_64", chip="Intel Core i7"), "chip", "fail", "Intel Mac", "device cpu"),
    (mac(architecture="x86_64", chip="VirtualApple @ 2.50GHz"), "chip", "pass", "Virtual", ""),
    (mac(architecture=UNTOLD, chip=UNTOLD), "chip", "unknown", "does not report", ""),
    (
        mac(**INTEL, packages={**OLD_PACKAGES, "torch": "2.2.2"}),
        *("chip", "fail", "Intel Mac", "sdbench run quick --device cpu"),
    ),
    (
        mac(**INTEL, packages={}, python="3.13.1"),
        *("chip", "fail", "Intel Mac", f"{OLD_STACK_IN_A_NEW_ENVIRONMENT} && sdbench run quick"),
    ),
    # macOS
    (mac(os_version="12.5"), "macos-version", "fail", "12.5", "Software Update"),
    (mac(os_version="12.2.1", packages={}), "macos-version", "fail", "12.2.1", "Software Update"),
    (
        mac(os_version="12.6.3", packages=OLD_PACKAGES),
        *("macos-version", "warn", "12.6.3", "Software Update"),
    ),
    (mac(os_version="13.0", packages=OLD_PACKAGES), "macos-version", "pass", "13.0", ""),
    (mac(os_version="14.6"), "macos-version", "fail", "14.6", "'torch<2.15'"),
    (
        mac(os_version="13.4", packages={**PACKAGES, "torch": "2.9.1"}),
        *("macos-version", "fail", "13.4", "'torch<2.9'"),
    ),
    (
        mac(os_version="13.0", packages={**PACKAGES, "torch": "2.8.0"}),
        *("macos-version", "pass", "13.0", ""),
    ),
    (
        mac(os_version="15.0", packages={**PACKAGES, "torch": "2.16.0.dev20261101"}),
        *("macos-version", "pass", "15.0", ""),
    ),
    (
        mac(os_version="12.7.6", packages={**PACKAGES, "torch": "2.6.0"}),
        *("macos-version", "fail", "12.7.6", "System Preferences > Software Update, or: uv pip"),
    ),
    (
        mac(os_version="12.7.6", packages={**PACKAGES, "torch": "2.6.0"}),
        *("macos-version", "fail", "12.7.6", "--upgrade 'torch<2.5' diffusers==0.31.0"),
    ),
    (
        mac(os_version="13.6", python="3.14.0", packages={**PACKAGES, "torch": "2.10.0"}),
        *("macos-version", "fail", "13.6", ".venv-sd 'torch<2.9' diffusers"),
    ),
    (mac(os_version="fifteen"), "macos-version", "unknown", "fifteen", ""),
    # a virtual Mac
    (
        *(mac(virtual=True, os_version="15.6"), "virtual-machine", "warn"),
        *("times mean nothing", "sdbench run ci"),
    ),
    (mac(virtual=True), "virtual-machine", "warn", "macOS 26 compute wrong", "macos-15"),
    # Python
    (
        mac(interpreter_architecture="x86_64", os_version="13.4"),
        "python-arch",
        "fail",
        "Rosetta",
        ARM64_PYTHON,
    ),
    (
        mac(interpreter_architecture="x86_64", python="3.10.4"),
        *("python-arch", "fail", "x86_64", "cpython-3.10-macos-aarch64-none"),
    ),
    (
        mac(architecture=UNTOLD, chip=UNTOLD, interpreter_architecture="x86_64"),
        *("python-arch", "unknown", "x86_64; the system does not report", ""),
    ),
    (
        mac(**INTEL, packages={}, python="3.13.1"),
        *("python-version", "fail", "3.13.1", OLD_STACK_IN_A_NEW_ENVIRONMENT),
    ),
    (
        mac(os_version="12.6", packages={}, python="3.13.1"),
        *("python-version", "fail", "3.13.1", "'torch<2.5' diffusers==0.31.0"),
    ),
    (mac(python="3.7.9"), "python-version", "fail", "3.7.9", "uv venv --python 3.12"),
    (
        mac(python="3.9.1", packages={**PACKAGES, "torch": "2.8.0"}),
        *("python-version", "warn", "3.9.1", "uv venv"),
    ),
    (
        mac(python="3.11.1", packages=OLD_PACKAGES),
        *("python-version", "warn", "does not support it", "uv venv"),
    ),
    (mac(python="3.10.1", packages=OLD_PACKAGES), "python-version", "pass", "3.10.1", ""),
    (mac(python="3.15.0"), "python-version", "pass", "3.15.0", ""),
    (mac(python="three"), "python-version", "unknown", "three", ""),
    (
        mac(python=Unavailable("it does not run as a Python: it is a shoe")),
        *("python-version", "fail", "a shoe", "--python PATH"),
    ),
    # torch
    (
        mac(packages={}),
        *("torch-version", "fail", "not installed", "uv pip install --python /opt/venv/bin/python"),
    ),
    (
        mac(packages={}, disposable=True, os_version="13.4"),
        *("torch-version", "fail", "not installed", "uv venv --python 3.12 .venv-sd && uv pip"),
    ),
    (
        mac(packages={}, interpreter_architecture="x86_64", os_version="13.4"),
        *("torch-version", "fail", "not installed", ARM64_PYTHON),
    ),
    (
        mac(packages=OLD_PACKAGES),
        *("torch-version", "warn", "1.13.1", "--upgrade torch diffusers transformers accelerate"),
    ),
    (
        mac(packages=OLD_PACKAGES, os_version="11.6.8", python="3.10.4"),
        *("torch-version", "warn", "1.13.1", "--upgrade 'torch<2.5' diffusers==0.31.0"),
    ),
    (
        mac(packages=UNTOLD, torch=torch_facts(device("mps"), version="2.7.1")),
        *("torch-version", "pass", "2.7.1", ""),
    ),
    (mac(packages={"torch": "1.12.1"}), "torch-version", "fail", "1.12.1", "torch"),
    (mac(packages=OLD_PACKAGES), "torch-version", "warn", "1.13.1", "torch"),
    (cpu_box(packages=OLD_PACKAGES), "torch-version", "pass", "1.13.1", ""),
    (mac(packages={"torch": "2.14.0.dev1+git"}), "torch-version", "pass", "2.14.0.dev1", ""),
    (mac(packages={"torch": "new"}), "torch-version", "unknown", "new", ""),
    # versions that do not work together
    (
        mac(packages={**PACKAGES, "torch": "2.5.1"}),
        *("stack-compatible", "fail", "diffusers 0.42.1 needs torch>=2.6", "diffusers==0.31.0"),
    ),
    (
        mac(packages={**OLD_PACKAGES, "diffusers": "0.35.1"}),
        *("stack-compatible", "fail", "needs torch>=2.1, and 1.13.1", "diffusers==0.31.0"),
    ),
    (
        mac(packages={**OLD_PACKAGES, "numpy": "2.1.0"}),
        *("stack-compatible", "fail", "Numpy is not available", "numpy==1.26.4"),
    ),
    (
        mac(packages={**PACKAGES, "transformers": "4.56.1"}),
        *("stack-compatible", "fail", "needs huggingface-hub<1", "transformers==5.23.0"),
    ),
    (
        mac(packages={**OLD_PACKAGES, "transformers": "5.0.0"}),
        *("stack-compatible", "fail", "needs torch>=2.4", "transformers==4.46.3"),
    ),
    (
        mac(packages={**OLD_PACKAGES, "tokenizers": "0.21.0"}),
        *("stack-compatible", "fail", "needs tokenizers>=0.20,<0.21", "tokenizers==0.20.3"),
    ),
    (
        mac(packages={k: v for k, v in PACKAGES.items() if k != "safetensors"}),
        *("stack-compatible", "fail", "safetensors is missing", "python safetensors"),
    ),
    (
        mac(packages={k: v for k, v in PACKAGES.items() if k != "accelerate"}),
        *("stack-compatible", "warn", "accelerate is missing", "python accelerate"),
    ),
    (
        mac(packages={"torch": "2.0.1", "numpy": "1.26.4"}),
        *("stack-compatible", "fail", "diffusers is missing", "diffusers==0.31.0"),
    ),
    (
        mac(requires={"diffusers": ["safetensors>=0.9"]}),
        *("stack-compatible", "fail", "diffusers 0.42.1 requires safetensors>=0.9", "==0.8.0"),
    ),
    (
        mac(requires={"diffusers": ['torch>=3; extra == "torch"']}),
        *("stack-compatible", "warn", "requires torch>=3", ""),
    ),
    (
        mac(packages=OLD_PACKAGES, requires={"safetensors": ['torch>=2.4; extra == "torch"']}),
        *("stack-compatible", "pass", "diffusers 0.31.0", ""),
    ),
    (
        mac(
            requires={
                "diffusers": [
                    'jax>=9; extra == "flax"',
                    "not a requirement at all",
                    'numpy>=9; sys_platform == "win32"',
                    "unheard-of>=1",
                ]
            }
        ),
        *("stack-compatible", "pass", "diffusers 0.42.1", ""),
    ),
    (mac(packages=OLD_PACKAGES), "stack-compatible", "pass", "diffusers 0.31.0", ""),
    # memory
    (mac(memory_bytes=8 * GIB), "memory", "warn", "tight", "attention_slicing=true"),
    # Not where known-issues says to leave it off.
    (
        mac(memory_bytes=8 * GIB, packages={**PACKAGES, "torch": "2.13.0"}),
        *("memory", "warn", "tight", "image at a time: sdbench run --only batching=loop"),
    ),
    (mac(memory_bytes=16 * GIB), "memory", "pass", "16 GB", ""),
    (mac(memory_bytes=25_297_000_000), "memory", "pass", "24 GB", ""),
    (mac(memory_bytes=2 * GIB), "memory", "fail", "too little", "synthetic/tiny"),
    (mac(available_bytes=2 * GIB), "memory", "warn", "too little", "close other programs"),
    (
        mac(memory_bytes=16 * GIB, model=model("synthetic/sdxl")),
        *("memory", "warn", "tight for synthetic/sdxl", ""),
    ),
    (
        mac(memory_bytes=8 * GIB, model=model("synthetic/sdxl")),
        *("memory", "fail", "too little", "sdbench run --model synthetic/sd15"),
    ),
    (
        mac(gpu_limit_bytes=24 * GIB),
        *("memory", "pass", "the GPU may use 24 GB of it (iogpu.wired_limit_mb is set)", ""),
    ),
    (
        mac(gpu_limit_bytes=2 * GIB),
        *("memory", "warn", "too little", "sudo sysctl iogpu.wired_limit_mb=0"),
    ),
    (
        cpu_box(limits=Limits(memory_bytes=4 * GIB)),
        *("memory", "fail", "allowed by the container", "synthetic/tiny"),
    ),
    (mac(pressure="warn"), "memory-pressure", "warn", "warn, 70%", "Activity Monitor"),
    (cpu_box(pressure="critical"), "memory-pressure", "fail", "critical", "ps -eo"),
    (mac(swap_used_bytes=6_100_000_000), "swap", "pass", "pressure is normal", ""),
    (
        mac(swap_used_bytes=6_100_000_000, pressure=UNTOLD),
        "swap",
        "warn",
        "6.1 GB in use",
        "restart",
    ),
    (
        mac(swap_used_bytes=6_100_000_000, available_bytes=1_000_000_000),
        "swap",
        "warn",
        "6.1 GB in use",
        "restart",
    ),
    (mac(swap_used_bytes=900_000_000), "swap", "pass", "0.9 GB in use", ""),
    (mac(swapped_out_bytes=30_000_000_000), "swap", "pass", "30.0 GB written", ""),
    # disk
    (mac(free_disk_bytes=5_000_000_000), "disk", "fail", "5.0 GB", "min_free_disk_bytes"),
    (mac(results_free_bytes=5_000_000_000), "disk", "fail", "5.0 GB for results", ""),
    (
        mac(free_disk_bytes=11_000_000_000, model=model(to_make_bytes=2_000_000_000)),
        *("disk", "warn", "11.0 GB", "free some disk"),
    ),
    # power, heat, load
    (mac(source="battery"), "power", "warn", "battery, 100% left", "connect the power adapter"),
    (mac(low_power_mode=True), "power", "warn", "low power mode on", "pmset -a lowpowermode 0"),
    (mac(source="ups", low_power_mode=UNTOLD), "power", "pass", "a UPS", ""),
    (mac(thermal="heavy"), "thermal", "warn", "heavy", "cool down"),
    (mac(load_1min=6.0), "load", "pass", "6.0 on 10 cores", ""),  # its GPU makes the images
    (mac(load_1min=11.0), "load", "warn", "11.0 on 10 cores", "top"),
    (mac(nice=10), "scheduling", "warn", "niceness 10", "new terminal"),
    (mac(background=True), "scheduling", "warn", "in the background", "taskpolicy"),
    # GPU
    (cuda_box(memory_used_bytes=140 * GIB), "gpu", "warn", "150.3 GB in use", "nvidia-smi"),
    (cuda_box(memory_total_bytes=2 * GIB), "gpu", "fail", "2.1 GB", "synthetic/tiny"),
    (cuda_box(throttled=["heat (software)"]), "gpu", "warn", "heat", "PERFORMANCE"),
    (cuda_box(throttled=["power limit"]), "gpu", "pass", "throttled: power limit", ""),
    (cuda_box(gpus=UNTOLD, nvidia_driver=True), "gpu", "unknown", "nobody told", ""),
    # variables
    (
        mac(environment={HIGH: "1.0"}),
        *("environment-variables", "fail", "torch refuses", "unset PYTORCH_MPS_HIGH_WATERMARK"),
    ),
    (
        mac(environment={HIGH: "lots", "PYTORCH_ENABLE_MPS_FALLBACK": "1"}),
        *("environment-variables", "fail", "run on the CPU", f"unset {HIGH} PYTORCH_ENABLE_MPS_"),
    ),
    (mac(environment={HIGH: "0.0"}), "environment-variables", "warn", "freeze", "unset"),
    (cpu_box(environment={HIGH: "1.0"}), "environment-variables", "pass", "no such variable", ""),
    (
        mac(environment={"PYTORCH_ENABLE_MPS_FALLBACK": "1", "PYTORCH_MPS_FAST_MATH": "1"}),
        "environment-variables",
        "warn",
        "run on the CPU",
        "unset PYTORCH_ENABLE_MPS_FALLBACK PYTORCH_MPS_FAST_MATH",
    ),
    (
        mac(environment={"PYTORCH_ENABLE_MPS_FALLBACK": "0", "CUDA_VISIBLE_DEVICES": ""}),
        *("environment-variables", "pass", "no such variable", ""),
    ),
    (cuda_box(environment={"CUDA_VISIBLE_DEVICES": ""}), "environment-variables", "warn", "no", ""),
    (
        cpu_box(environment={"OMP_NUM_THREADS": "1"}),
        *("environment-variables", "warn", "1 of 10 cores", "unset OMP_NUM_THREADS"),
    ),
    (cpu_box(environment={"OMP_NUM_THREADS": "10"}), "environment-variables", "pass", "", ""),
    (
        cpu_box(environment={"OMP_NUM_THREADS": "2"}, limits=Limits(cpus=2)),
        *("environment-variables", "pass", "", ""),
    ),
    # the model
    (
        mac(model=model(offline=False, note="neither here nor there")),
        *("model-offline", "warn", "neither here nor there", "synthetic/sd15"),
    ),
    (
        mac(model=model(faults=[Fault("unet/x is torn", "Copy it again."), Fault("odd", "Look.")])),
        *("model-files", "fail", "unet/x is torn; odd", "Copy it again.\nLook."),
    ),
    (
        mac(model=model(faults=[Fault(f"file {n}", "Copy.", blocks=False) for n in range(9)])),
        *("model-files", "warn", "file 5; and 3 more", "Copy."),
    ),
    # torch asked
    (
        mac(torch=TorchFailed(reason="the process died with SIGABRT: boo")),
        *("torch-imports", "fail", "SIGABRT: boo", "--reinstall torch"),
    ),
    (mac(torch=TorchFailed(reason="x")), "mps-computes", "unknown", "not be imported", ""),
    (cpu_box(limits=Limits(cpus=2)), "torch-threads", "warn", "allows 2 of 10", "THREADS=2"),
    (
        cpu_box(torch=torch_facts(threads=2)),
        *("torch-threads", "warn", "2 threads", "OMP_NUM_THREADS=10"),
    ),
    # mps
    (mac(torch=torch_facts(no_device("mps"))), "mps-built", "fail", "without mps", "--reinstall"),
    (mac(torch=torch_facts(no_device("mps"))), "mps-available", "fail", "not built", "--reinstall"),
    (
        mac(torch=torch_facts(no_device("mps")), interpreter_architecture="x86_64"),
        *("mps-built", "fail", "without mps", "macos-aarch64"),
    ),
    (
        mac(torch=torch_facts(no_device("mps")), architecture="x86_64", chip="Intel"),
        *("mps-built", "fail", "without mps", "--device cpu"),
    ),
    (
        mac(
            torch=torch_facts(
                device("mps", available=False, computes=UNTOLD, reason="it needs macOS 12.3")
            )
        ),
        *("mps-available", "fail", "needs macOS 12.3", "Terminal application on the Mac itself"),
    ),
    (
        mac(torch=NO_MPS, packages={**PACKAGES, "torch": "2.9.1"}, os_version="13.4"),
        *("mps-available", "fail", "torch 2.9.1 needs macOS 14.0", "'torch<2.9'"),
    ),
    (
        mac(torch=NO_MPS, interpreter_architecture="x86_64"),
        *("mps-available", "fail", "runs under Rosetta", "macos-aarch64"),
    ),
    (mac(torch=NO_MPS, virtual=True), "mps-available", "fail", "virtual Mac", "--device cpu"),
    (mac(torch=NO_MPS, **INTEL), "mps-available", "fail", "Intel Mac", "--device cpu"),
    (mac(torch=NO_MPS), "mps-available", "fail", "sandbox", "--reinstall torch==2.15.0"),
    (
        mac(torch=NO_MPS, packages={**PACKAGES, "torch": "2.16.0.dev20261101"}),
        *("mps-available", "fail", "sandbox", "--reinstall torch"),
    ),
    (
        mac(torch=torch_facts(device("mps", computes=False, reason="the first operation failed"))),
        *("mps-computes", "fail", "first operation failed", "restart"),
    ),
    (mac(torch=torch_facts()), "mps-built", "unknown", "did not answer for mps", ""),
    # cuda
    (
        cuda_box(torch=torch_facts(no_device("cuda"))),
        *("cuda-built", "warn", "for the CPU only", "--reinstall --torch-backend auto torch"),
    ),
    (
        cuda_box(torch=torch_facts(device("cuda", available=False, reason="check the driver"))),
        *("cuda-available", "fail", "check the driver", "nvidia-smi"),
    ),
    (
        cuda_box(torch=torch_facts(device("cuda", computes=False, reason="busy"))),
        *("cuda-computes", "fail", "busy", "nvidia-smi"),
    ),
]


@pytest.mark.parametrize(
    ("facts", "check", "status", "found", "remedy"),
    CASES,
    ids=[f"{case[1]}-{case[2]}-{index}" for index, case in enumerate(CASES)],
)
def test_one_thing_amiss(
    facts: DoctorFacts, check: str, status: str, found: str, remedy: str
) -> None:
    verdict = verdicts(facts)[check]
    assert verdict.status == status, verdict
    assert found in verdict.found
    assert remedy in (verdict.remedy or "")


@pytest.mark.parametrize("facts", [case[0] for case in CASES], ids=range(len(CASES)))
def test_every_verdict_says_all_it_has_to(facts: DoctorFacts) -> None:
    for check in verdicts(facts).values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", check.id)
        assert check.found and check.expected and check.why
        assert (check.remedy is not None) == (check.status in ("warn", "fail")), check
        assert "None" not in check.found + check.expected + check.why + (check.remedy or "")
        assert "Unavailable(" not in check.found


def test_only_a_disk_with_room_for_it_is_told_to_go_below_the_reserve() -> None:
    roomy = verdicts(mac(free_disk_bytes=5_000_000_000))["disk"]
    full = verdicts(mac(free_disk_bytes=5_000_000_000, model=model(to_make_bytes=4_000_000_000)))
    assert roomy.remedy == "free some disk, or: sdbench run --set guard.min_free_disk_bytes=2e9"
    assert full["disk"].remedy == "free some disk"


def test_rows_of_a_torch_that_is_not_installed() -> None:
    facts = mac(packages={}, torch=Unavailable("torch is not installed"))
    found = verdicts(facts)
    assert "torch-imports" not in found
    assert found["mps-computes"].found == "torch is not installed"
    assert found["known-issues"].status == "unknown"


def test_cuda_rows_end_where_the_answer_is_no() -> None:
    without = statuses(cuda_box(torch=torch_facts(no_device("cuda"))))
    assert "cuda-built" in without and "cuda-available" not in without
    hidden = statuses(cuda_box(torch=torch_facts(device("cuda", available=False))))
    assert "cuda-available" in hidden and "cuda-computes" not in hidden


def test_stand_in_has_the_rows_of_a_mac_for_its_device() -> None:
    facts = cpu_box(torch=torch_facts(device("mps"), no_device("cuda"), simulated=True))
    found = statuses(facts)
    assert found["mps-computes"] == "pass" and "macos-version" not in found
    assert facts.simulated


def test_whether_a_recorded_mac_computes_is_unknown_a_virtual_one_too() -> None:
    device_facts = device("mps", computes=Unavailable("a recording cannot compute anything"))
    torch = torch_facts(device_facts)
    for virtual in (True, False):
        found = verdicts(recorded(mac(virtual=virtual, torch=torch)))
        assert found["mps-computes"].status == "unknown"


def test_a_virtual_mac_that_computes_passes_and_its_times_mean_nothing() -> None:
    found = verdicts(mac(virtual=True, os_version="15.6"))
    assert found["mps-computes"].status == "pass"
    assert "it computes, its times mean nothing" in found["mps-computes"].found
    assert found["virtual-machine"].status == "warn" and found["known-issues"].status == "pass"
    assert "no GPU" not in " ".join(check.found for check in found.values())


@pytest.mark.parametrize("virtual", [True, False])
def test_a_gpu_that_does_not_compute_is_not_helped_by_a_restart_of_a_virtual_mac(
    virtual: bool,
) -> None:
    reason = "on mps a small linear layer (1.3) differs from the CPU's"
    torch = torch_facts(device("mps", computes=False, reason=reason))
    found = verdicts(mac(virtual=virtual, torch=torch))["mps-computes"]
    assert (found.status, found.found) == ("fail", reason)
    assert ("macos-15" in (found.remedy or "")) == virtual
    assert ("restart the Mac" in (found.remedy or "")) != virtual


@pytest.mark.parametrize(
    ("macos", "torch", "issue"),
    [
        ("26.1", "2.13.0", "A virtual Mac with macOS 26 computes wrong"),
        ("26.1", "2.8.0", "A virtual Mac with macOS 26 computes wrong"),
        ("26.1", "2.14.0", "torch 2.14 fails on a virtual Mac with macOS 26"),
        ("15.6", "2.13.0", None),
        ("15.6", "2.14.0", None),
    ],
)
@pytest.mark.parametrize("chip", ["Apple M1 (Virtual)", "Apple M4 Pro", "Apple M9 Extreme"])
def test_virtual_macs_that_are_known_to_be_wrong_are_named_whatever_their_chip(
    chip: str, macos: str, torch: str, issue: str | None
) -> None:
    facts = mac(virtual=True, chip=chip, os_version=macos, packages={**PACKAGES, "torch": torch})
    found = verdicts(facts)
    said = f"{found['known-issues'].found} {found['known-issues'].remedy}"
    if issue is None:
        assert "irtual" not in said
        assert "macos-15" not in (found["virtual-machine"].remedy or "")
    else:
        assert issue in said and "macos-15" in said
        assert "macos-15" in (found["virtual-machine"].remedy or "")
    real = verdicts(mac(chip="Apple M1", os_version=macos, packages={**PACKAGES, "torch": torch}))
    assert "virtual" not in f"{real['known-issues'].found} {real['known-issues'].remedy}"


def test_remedies_of_a_recording_name_no_interpreter() -> None:
    found = verdicts(recorded(mac(packages={})))
    assert found["torch-version"].remedy == (
        "uv pip install torch diffusers transformers accelerate"
    )


def test_path_with_a_blank_is_quoted() -> None:
    facts = mac(packages={}, path="/my venv/bin/python")
    assert "--python '/my venv/bin/python'" in (verdicts(facts)["torch-version"].remedy or "")


# --- known issues --------------------------------------------------------------------------------


def issues_of(**changes: Any) -> Check:
    return verdicts(mac(**changes))["known-issues"]


def test_known_issues_are_those_of_the_versions() -> None:
    old = issues_of(packages=OLD_PACKAGES, os_version="13.4")
    assert old.status == "warn"
    assert "The first pass gives an image different" in old.found
    assert "https://github.com/huggingface/diffusers/issues/372" in old.why
    new = issues_of()
    assert new.status == "pass" and "first pass" not in new.found


def test_each_known_issue_has_a_line_with_its_link_and_one_with_what_helps() -> None:
    found = issues_of(packages={**PACKAGES, "torch": "2.10.0"})
    assert found.remedy is not None
    lines = found.why.splitlines()
    assert len(lines) == len(found.remedy.splitlines()) == int(found.found.split(":")[0])
    assert all("https://" in line for line in lines)


def test_known_issues_of_mps_are_none_of_a_cpus() -> None:
    assert verdicts(cpu_box(packages=OLD_PACKAGES))["known-issues"].status == "pass"


# --- all together --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "overall"),
    [
        ([], "pass"),
        (["pass", "unknown"], "pass"),
        (["pass", "warn", "unknown"], "warn"),
        (["warn", "fail", "pass"], "fail"),
    ],
)
def test_overall_status(found: list[Any], overall: str) -> None:
    checks = [Check(id="x", status=one, found="", expected="", why="") for one in found]
    assert worst(checks) == overall


@pytest.mark.parametrize(
    "facts",
    [
        mac(packages={name: PACKAGES[name] for name in PACKAGES if name != "torch"}),
        mac(python="3.9.6"),
        mac(interpreter_architecture="x86_64", translated=True),
    ],
    ids=["no torch", "an old Python", "translated"],
)
def test_versions_that_were_run_together_need_a_torch_that_can_stay(facts: DoctorFacts) -> None:
    assert install_proven(facts) == install_stack(facts)
    assert "torch==2.15.0" not in install_proven(facts)
    kept = install_proven(mac(), "ftfy")
    assert "diffusers==" in kept and kept.endswith(" ftfy") and " torch" not in kept
