"""The version sets that are shipped, and reading their locks."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sdbench.errors import MachineError, UsageError
from sdbench.plan.read_config import configs_folder
from sdbench.stacks.catalogue import (
    PLATFORMS,
    REQUIRED,
    ShippedStack,
    departures,
    lock_path,
    parse_lock,
    read_lock,
    shipped_stack,
    shipped_stacks,
    this_platform,
)

STACKS = [*shipped_stacks().values()]
# What torch itself asks for, which may come and go with it; the libraries of CUDA besides.
TORCHS_OWN = {
    *("torch", "triton", "sympy", "mpmath", "networkx", "jinja2", "markupsafe"),
    *("setuptools", "wheel"),
}
LOCKS = [
    pytest.param(stack, platform, id=f"{stack.name}-{platform}")
    for stack in STACKS
    for platform in PLATFORMS
]


def is_torchs_own(name: str) -> bool:
    return name in TORCHS_OWN or name.startswith("nvidia-")


# --- what is shipped -----------------------------------------------------------------------------


@pytest.mark.parametrize(("stack", "platform"), LOCKS)
def test_lock_has_all_that_a_worker_imports(stack: ShippedStack, platform: str) -> None:
    versions = read_lock(lock_path(stack, platform)).versions
    assert {canonicalize_name(name) for name in REQUIRED} <= versions.keys()
    assert versions["torch"] == stack.torch
    assert stack.name == "torch-" + ".".join(stack.torch.split(".")[:2])
    assert set(stack.disk_bytes) == set(PLATFORMS)


@pytest.mark.parametrize(("stack", "platform"), LOCKS)
def test_lock_is_of_the_tested_set(stack: ShippedStack, platform: str) -> None:
    tested = (configs_folder() / "constraints" / f"{stack.versions}.txt").read_text()
    pinned: dict[str, str] = {}
    for line in tested.splitlines():
        requirement = Requirement(line) if not line.startswith("#") else None
        python = {"python_version": stack.python, "python_full_version": f"{stack.python}.9"}
        if requirement and (not requirement.marker or requirement.marker.evaluate(python)):
            pinned[canonicalize_name(requirement.name)] = next(iter(requirement.specifier)).version
    for name, version in read_lock(lock_path(stack, platform)).versions.items():
        if not is_torchs_own(name) and name in pinned:
            assert (name, version) == (name, pinned[name])


@pytest.mark.parametrize("platform", PLATFORMS)
def test_torch_alone_differs_between_the_two_old_stacks(platform: str) -> None:
    one, other = (shipped_stack(name) for name in ("torch-1.13", "torch-2.5"))
    old, new = (read_lock(lock_path(stack, platform)).versions for stack in (one, other))
    differing = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    assert {name for name in differing if not is_torchs_own(name)} == set()
    assert "torch" in differing
    assert one.python == other.python


@pytest.mark.parametrize(("stack", "platform"), LOCKS)
def test_every_file_has_its_hash_and_none_an_address(stack: ShippedStack, platform: str) -> None:
    text = lock_path(stack, platform).read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    unhashed = re.findall(r"^([a-z0-9-]+)==\S+$", text, re.M)
    # On Linux torch's builds for the CPU go by the same version and are other files.
    assert unhashed == (["torch"] if platform == "linux-x86_64" else [])


def test_stack_that_is_not_shipped() -> None:
    with pytest.raises(UsageError, match=r"no environment 'torch-9'.*torch-1\.13, torch-2\.5"):
        shipped_stack("torch-9")


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [("Darwin", "arm64", "macos-arm64"), ("Linux", "x86_64", "linux-x86_64")],
)
def test_platform(
    system: str, machine: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert this_platform() == expected


def test_platform_without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(MachineError, match="this Python is macos-x86_64"):
        this_platform()


# --- reading a lock ------------------------------------------------------------------------------


def test_lock_with_and_without_hashes() -> None:
    text = (
        "# made by a tool\n"
        "torch==1.13.1\n"
        "Huggingface_Hub==0.26.5 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "    # via diffusers\n"
        "\n"
        "numpy==1.26.4 ; python_version < '3.12'  # a remark\n"
    )
    assert parse_lock(text) == {"torch": "1.13.1", "huggingface-hub": "0.26.5", "numpy": "1.26.4"}


@pytest.mark.parametrize(
    "line", ["torch", "torch>=1.13", "torch==1.13.1,<2", "-r other.txt", "torch @ file:///x.whl"]
)
def test_line_that_pins_nothing_is_told(line: str) -> None:
    with pytest.raises(ValueError, match="is not name==version"):
        parse_lock(f"numpy==1.26.4\n{line}\n")


def test_lock_that_is_not_there() -> None:
    with pytest.raises(MachineError, match=r"torch-1\.13-beos\.txt.*install sdbench again"):
        read_lock(lock_path(shipped_stack("torch-1.13"), "beos"))


# --- installed against locked --------------------------------------------------------------------

INSTALLED: dict[str, str] = {canonicalize_name(name): "1.0" for name in REQUIRED}
LOCK = INSTALLED | {"nvidia-cudnn": "8"}


def test_build_for_the_cpu_is_the_same_version_and_needs_less() -> None:
    assert departures(LOCK, INSTALLED | {"torch": "1.0+cpu"}) == []
    assert departures(LOCK, LOCK) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"numpy": "2.0"}, "numpy is 2.0 instead of 1.0"),
        ({"torch": "1.0.1"}, "torch is 1.0.1 instead of 1.0"),
        ({"pip": "26"}, "pip 26 is not in the lock"),
    ],
)
def test_other_version_or_package_is_a_departure(change: dict[str, str], words: str) -> None:
    assert departures(LOCK, INSTALLED | change) == [words]


def test_missing_package_is_a_departure() -> None:
    found = {name: version for name, version in INSTALLED.items() if name != "huggingface-hub"}
    assert departures(LOCK, found) == ["huggingface_hub is not installed"]
