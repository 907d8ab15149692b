"""Builds the C++ part once per torch version and source, and loads it.

The compiler is called directly: a hash decides whether the library is there, so a later import costs
one stat, where torch.utils.cpp_extension would import setuptools and run ninja each time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

_SOURCES = Path(__file__).with_name("csrc")
_FLAGS = ("-O1", "-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden")


def load() -> None:
    """Loads the device into torch, building it first if this torch and this source have not met before."""
    torch.ops.load_library(str(_built_library()))  # type: ignore[no-untyped-call]


def prepare() -> None:
    """Loads the device and makes it the accelerator, before diffusers is imported.

    torch asks once and remembers the answer. (backends.mps.is_available() would have the side effect that
    torch.manual_seed passes the device by in forked children.)
    """
    load()
    if torch._C._accelerator_getAccelerator() != torch.device("mps"):
        raise RuntimeError(
            "sdbench_standin: import it first, before anything asks torch for its accelerator"
        )


def _cache_folder() -> Path:
    chosen = os.environ.get("SDBENCH_STANDIN_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdbench-standin"


def _key() -> str:
    digest = hashlib.sha256()
    for part in (torch.__version__, str(torch.version.git_version), os.uname().machine, *_FLAGS):
        digest.update(part.encode() + b"\0")
    for source in sorted(_SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _built_library() -> Path:
    folder = _cache_folder()
    library = folder / f"device-torch{torch.__version__.split('+')[0]}-{_key()}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    # Two processes that start together share one build: the second waits, then finds the library.
    with open(folder / "build.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _build(library)
    return library


def _build(library: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise RuntimeError("the stand-in device needs a C++20 compiler (g++, or name one in CXX)")
    root = Path(torch.__file__).parent
    include = root / "include"
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        unfinished = Path(scratch) / library.name
        command = [
            compiler,
            *_FLAGS,
            f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
            f"-ffile-prefix-map={_SOURCES}=sdbench_standin",
            f"-I{include}",
            f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}",
            str(_SOURCES / "device.cpp"),
            f"-L{root / 'lib'}",
            "-lc10",
            "-ltorch_cpu",
            "-o",
            str(unfinished),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"building the stand-in device for torch {torch.__version__} failed:\n{done.stderr[-4000:]}"
            )
        # Renamed into place, so that nobody ever loads half a library.
        os.replace(unfinished, library)
