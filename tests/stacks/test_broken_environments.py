"""Three environments that are valid on paper and do not import, made with the real uv.

Each takes torch and what is right from the environment of the tests, and puts the packages that do
not go together before it: some 30 MB are downloaded, once. That the errors are real is the point:
``tests/unit/test_doctor_imports.py`` has the same and more with packages of a few lines.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Sdbench

from sdbench.stacks.uv import find_uv

PLAN = """
[[case]]
resolution = "64x64"
"""
IMPORT = "from diffusers import StableDiffusionPipeline"


class Broken(NamedTuple):
    """Packages that do not go together, and what has to be said of them."""

    packages: tuple[str, ...]
    cause: str
    """In the words of the error."""
    remedy: str
    explained: tuple[str, ...]
    whole: tuple[str, ...] = ()
    """Packages that are installed with what they need."""


BROKEN = {
    "old-diffusers": Broken(
        (
            *("diffusers==0.22.1", "huggingface_hub==0.26.5"),
            *("transformers==4.46.3", "tokenizers==0.20.3"),
        ),
        "cannot import name 'cached_download' from 'huggingface_hub'",
        "diffusers==",
        ("diffusers", "hub"),
    ),
    "new-transformers": Broken(
        ("diffusers==0.35.1", "transformers==5.0.0", "tokenizers==0.22.1"),
        "cannot import name 'FLAX_WEIGHTS_NAME' from 'transformers.utils'",
        "diffusers==",
        ("diffusers", "transformers"),
        ("huggingface_hub==1.3.0",),
    ),
    "other-torchvision": Broken(
        ("torchvision==0.20.1",),
        "operator torchvision::nms does not exist",
        "torchvision==",
        ("torchvision", "torch"),
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes each environment once; returns its folder."""
    there: dict[str, Path] = {}

    def environment(name: str) -> Path:
        if name not in there:
            there[name] = _make(tmp_path_factory.mktemp(name) / "venv", BROKEN[name])
        return there[name]

    return environment


@pytest.fixture(scope="module")
def sdbench(tmp_path_factory: pytest.TempPathFactory) -> Sdbench:
    """The command line with a cache of its own."""
    folder = tmp_path_factory.mktemp("broken")
    return Sdbench(folder, {"SDBENCH_CACHE": str(folder / "cache")})


def _make(folder: Path, broken: Broken) -> Path:
    uv = str(find_uv())
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    site = next((folder / "lib").glob("python3*/site-packages"))
    base = sysconfig.get_path("purelib")
    # Its own packages come first on the path, the rest is that of the tests.
    (site / "base.pth").write_text(f"import site; site.addsitedir({base!r})\n")
    install = [uv, "pip", "install", "--quiet", "--python", str(folder)]
    if broken.whole:
        subprocess.run([*install, *broken.whole], check=True)
    subprocess.run([*install, "--no-deps", *broken.packages], check=True)
    return folder


def _rows(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in document["checks"]}


@pytest.mark.parametrize("name", BROKEN)
def test_doctor_names_the_innermost_cause(
    made: Callable[[str], Path], sdbench: Sdbench, name: str
) -> None:
    broken = BROKEN[name]
    code, document = sdbench.json("doctor", "--python", made(name), "--model", "synthetic/tiny")
    row = _rows(document)["stack-imports"]
    assert (code, row["status"]) == (1, "fail")
    assert broken.cause in row["found"], row
    assert broken.remedy in row["remedy"]
    # Told from the versions alone too, as of a recording.
    assert _rows(document)["stack-compatible"]["status"] == "fail"


# Needs that an import error ends a run at once (issue 16, point 7).
@pytest.mark.parametrize("name", BROKEN)
def test_run_ends_at_once(made: Callable[[str], Path], sdbench: Sdbench, name: str) -> None:
    plan = sdbench.config(PLAN)
    done = sdbench("run", plan, "--python", made(name), "--device", "cpu", "--set", "replicates=3")
    assert done.returncode == 3, done.stderr
    assert BROKEN[name].cause in done.stderr and "Traceback" not in done.stderr


# Needs `sdbench explain` (issue 16, point 12).
@pytest.mark.parametrize("name", BROKEN)
def test_explain_knows_the_traceback(
    made: Callable[[str], Path], sdbench: Sdbench, name: str, tmp_path: Path
) -> None:
    python = made(name) / "bin" / "python"
    failed = subprocess.run(
        [python, "-c", IMPORT], capture_output=True, text=True, env={**os.environ, "USE_TF": "0"}
    )
    assert failed.returncode == 1 and BROKEN[name].cause in failed.stderr
    pasted = tmp_path / "pasted.txt"
    pasted.write_text(failed.stderr)
    code, document = sdbench.json("explain", pasted)
    words = " ".join(f"{one['cause']} {one['remedy']}" for one in document["explanations"])
    assert code == 0
    assert all(word in words for word in BROKEN[name].explained)
