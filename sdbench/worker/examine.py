"""Looks at the interpreter it is run by: ``python <path of this file> WHAT --events FD``.

``packages`` lists what is installed, with the standard library alone and without importing any of
it; ``torch`` imports torch, tries its devices and imports what a run imports (:mod:`.imports`);
``operators`` tries the operators of a pipeline
(:mod:`.operators`), ``probes`` those known faults that ``--names`` names (:mod:`.probes`). Nothing
is installed or changed. Python 3.8 and later: people's older environments can be examined too.
"""

import argparse
import contextlib
import importlib
import importlib.util
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Dict, List

if TYPE_CHECKING:
    from .channel import Channel


def _leave_path() -> str:
    """Python puts a script's folder on the path, where our modules could shadow others'."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != here]
    return here


def main(arguments: "List[str]") -> None:
    """Answer one question on the event pipe and end without the interpreter's shutdown."""
    parser = argparse.ArgumentParser(prog="sdbench examination")
    parser.add_argument("what", choices=["packages", "torch", "operators", "probes"])
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True, help="seconds until it ends itself")
    parser.add_argument("--names", nargs="*", default=[])
    parser.add_argument("--device")
    parser.add_argument("--skip", nargs="*", default=[])
    options = parser.parse_args(arguments)
    signal.alarm(options.limit)  # whatever hangs, and whether or not anybody still waits
    from .channel import Channel
    from .watchdog import die_with_parent

    die_with_parent(options.parent)
    channel = Channel(options.events)
    status = 0
    try:
        if options.what == "packages":
            channel.send("packages", **packages(options.names))
        elif options.what == "torch":
            _examine_torch(channel)
        elif options.what == "probes":
            from .probes import examine_probes

            _import_torch(channel)
            examine_probes(channel, options.device, options.names)
        else:
            from .operators import examine_operators

            _import_torch(channel)
            examine_operators(channel, options.device, set(options.skip))
        channel.send("done")
    except BrokenPipeError:
        status = 1  # nobody is left to tell
    except BaseException as error:
        channel.send("failed", type=type(error).__name__, message=str(error)[:2000])
        status = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def packages(names: "List[str]") -> "Dict[str, Any]":
    """This Python, which of these packages it has, and what they need of each other.

    Names are normalised: ``huggingface-hub``.
    """
    import platform

    python = {
        "python": platform.python_version(),
        "architecture": platform.machine(),
    }
    try:
        from importlib import metadata
    except ImportError:  # before Python 3.8, for which there is no torch that is of use here
        return dict(python, packages=None, requires={}, platforms={})
    found: Dict[str, str] = {}
    requires: Dict[str, List[str]] = {}
    platforms: Dict[str, List[str]] = {}
    for name in names:
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        described = package.metadata  # parsed anew whenever it is asked for
        # A half-removed package leaves a folder behind, without metadata and so without version.
        # (Item access raises KeyError where importlib_metadata has taken the standard one's place.)
        found[name] = str((described.get_all("Version") or ["unknown"])[0])
        lines = described.get_all("Requires-Dist") or package.requires or []
        requires[name] = [line for line in lines if _package_in(line) in names]
        platforms[name] = re.findall(
            r"^Tag: \S+-(\S+)$", package.read_text("WHEEL") or "", re.MULTILINE
        )[:20]
    return dict(python, packages=found, requires=requires, platforms=platforms)


def _package_in(requirement: str) -> str:
    """Normalised name of the package that a requirement (PEP 508) is about."""
    name = re.match(r"[A-Za-z0-9._-]*", requirement)
    return re.sub(r"[-_.]+", "-", name[0] if name else "").lower()


def _import_torch(channel: "Channel") -> None:
    """Preloads first: they bring stand-in devices."""
    from .job import import_preloads, preload_names

    started = time.perf_counter()
    preloads = import_preloads(preload_names())
    import torch

    simulated = any(getattr(module, "SDBENCH_SIMULATED", False) for module in preloads)
    channel.send(
        "torch",
        version=str(torch.__version__),
        import_s=time.perf_counter() - started,
        threads=torch.get_num_threads(),
        simulated=simulated,
    )


def _examine_torch(channel: "Channel") -> None:
    if importlib.util.find_spec("torch") is None:
        channel.send("absent")
        return
    _import_torch(channel)
    for kind in ("mps", "cuda", "cpu"):
        channel.send("trying", key=kind)
        channel.send("device", kind=kind, **_try_device(kind))
    from .imports import examine_imports

    examine_imports(channel)


def _try_device(kind: str) -> "Dict[str, Any]":
    from .devices import DeviceUnavailableError, open_device

    said = _said_of(kind)
    try:
        device = open_device(kind)
        errors = {
            "matrix product": _matrix_product_error(kind),
            "linear layer": _linear_error(kind),
        }
        name = device.facts().get("name")
        said["name"] = None if name is None else str(name)
        said["dtypes"] = list(device.supported_dtypes())
        said["memory_bytes"] = device.memory().recommended_max_bytes
    except DeviceUnavailableError as error:
        computes = False if said["available"] else None
        return dict(said, computes=computes, reason=str(error)[:2000])
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        return dict(said, computes=False, reason=message[:2000])
    wrong = [
        f"{what} ({error:.2g})" for what, error in errors.items() if not error < _LARGEST_ERROR
    ]
    if not wrong:
        return dict(said, computes=True)
    reason = (
        f"on {kind} a small {' and a small '.join(wrong)} differs from the CPU's: the device or "
        "its driver computes wrongly"
    )
    return dict(said, computes=False, reason=reason)


def _said_of(kind: str) -> "Dict[str, Any]":
    """What torch says by itself, which is no proof."""
    import torch

    if kind == "cpu":
        return {"built": True, "available": True}
    if kind == "cuda":
        built = torch.version.cuda is not None or getattr(torch.version, "hip", None) is not None
        return {"built": built, "available": built and torch.cuda.is_available()}
    backend: Any = getattr(torch.backends, "mps", None)
    if backend is None or not backend.is_built():
        return {"built": False, "available": False}
    return {"built": True, "available": bool(backend.is_available())}


# Reduced-precision arithmetic that a device may choose for float32 (TF32) stays below 1e-3.
_LARGEST_ERROR = 1e-2


def _matrix_product_error(kind: str) -> float:
    """Relative distance between the device's product of two small matrices and the CPU's."""
    import torch

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(64, 64, generator=generator) for _ in range(2))
    expected = left @ right
    got = (left.to(kind) @ right.to(kind)).cpu()
    return float((got - expected).norm() / expected.norm())


def _linear_error(kind: str) -> float:
    """As above, of a linear layer with a bias and an input of three dimensions.

    Virtual Macs with macOS 26 compute it wrong (pytorch#192934), and matrix products right.
    """
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 64, 128), (384, 128), (384,))
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    expected = functional.linear(*inputs)
    got = functional.linear(*(one.to(kind) for one in inputs)).cpu()
    return float((got - expected).norm() / expected.norm())


def _start() -> None:
    """Become a module of the worker's package, as a worker does."""
    here = _leave_path()
    path = os.path.join(here, "__main__.py")
    spec = importlib.util.spec_from_file_location("sdbench_worker_start", path)
    assert spec is not None and spec.loader is not None
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    start.register_package()
    importlib.import_module("sdbench_worker.examine").main(sys.argv[1:])


if __name__ == "__main__":
    _start()
