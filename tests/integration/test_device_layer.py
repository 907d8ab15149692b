"""The mps device layer in real interpreters, beside the table of tests/unit/test_mps_contract.py.

The test's own torch always; torch 1.13.1, the oldest release, where ``SDBENCH_TEST_TORCH113`` names
an interpreter that has it. Neither has Metal here: what is proven is that the layer refuses in
words a user can act on, that every name it takes is there in that release, that nothing it makes is
float64, and that the table says of torch's Python modules what the release really has.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Sdbench

import sdbench.worker

OLD_TORCH = "SDBENCH_TEST_TORCH113"
WORKER = Path(sdbench.worker.__file__).parent
TABLE: dict[str, dict[str, list[str] | None]] = json.loads(
    (Path(__file__).parent.parent / "data" / "mps_api.json").read_text()
)["api"]
MODULES = ("torch.mps", "torch.backends.mps", "torch.accelerator")

# The layer is used once as it is, and once as if the device were there: then tensors for mps are
# made on the CPU, and what torch's own functions say without Metal is kept.
SCRIPT = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from devices import DeviceUnavailableError, open_device
from devices.mps import MPS

def names(module):
    try:
        found = importlib.import_module(module)
    except ImportError:
        return None
    return sorted(name for name in vars(found) if not name.startswith("_"))

answer = {"torch": torch.__version__, "names": {name: names(name) for name in sys.argv[2:]}}
try:
    open_device("mps")
    answer["refused"] = None
except DeviceUnavailableError as error:
    answer["refused"] = str(error)

torch.backends.mps.is_built = torch.backends.mps.is_available = lambda: True
ones = torch.ones
torch.ones = lambda *sizes, device=None, **options: ones(*sizes, **options)
dtypes = set()

class SeeTypes(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if isinstance(result, torch.Tensor):
            dtypes.add(str(result.dtype))
        return result

answer["methods"] = {}
device = MPS()
with SeeTypes():
    for method in ("prove", "synchronize", "reset_peak", "memory", "peak_bytes", "empty_cache",
                   "facts", "supported_dtypes"):
        try:
            answer["methods"][method] = f"gave {getattr(device, method)()!r}"
        except Exception as error:
            answer["methods"][method] = f"{type(error).__name__}: {error}"
answer["dtypes"] = sorted(dtypes)
print(json.dumps(answer))
"""


def interpreters() -> list[Any]:
    old = os.environ.get(OLD_TORCH)
    missing = pytest.mark.skipif(old is None, reason=f"{OLD_TORCH} names no interpreter")
    return [
        pytest.param(sys.executable, id="own torch"),
        pytest.param(old, id="torch 1.13.1", marks=missing),
    ]


@pytest.fixture(scope="module", params=interpreters())
def answer(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the layer did in one interpreter."""
    done = subprocess.run(
        [request.param, "-c", SCRIPT, WORKER, *MODULES],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_torch_without_metal_is_refused_in_words(answer: dict[str, Any]) -> None:
    assert answer["refused"] == (
        f"torch {answer['torch']} is built without mps; only Macs have it: "
        "use --device cuda or --device cpu here"
    )


def test_every_name_taken_is_there(answer: dict[str, Any]) -> None:
    """Metal's own functions (``torch._C``) are missing here; torch's Python names must not be."""
    missing = {
        method: said
        for method, said in answer["methods"].items()
        if said.startswith("AttributeError") and "torch._C" not in said
    }
    assert not missing
    assert answer["methods"]["prove"] == "gave None"
    assert "'float32', 'float16'" in answer["methods"]["supported_dtypes"]
    if answer["torch"].startswith("1.13"):
        assert answer["methods"]["synchronize"] == "gave None", "one element was copied"
        assert "no allocator counters" in answer["methods"]["memory"]
        assert "before torch 2.13" in answer["methods"]["peak_bytes"]
    else:
        assert "MPS" in answer["methods"]["synchronize"], "torch's own function was called"


def test_nothing_is_float64(answer: dict[str, Any]) -> None:
    assert "torch.float32" in answer["dtypes"] and "torch.float64" not in answer["dtypes"]


def test_table_says_what_the_release_has(answer: dict[str, Any]) -> None:
    release = re.split(r"[+]", answer["torch"])[0]
    if release not in TABLE:
        pytest.skip(f"the table has no torch {release}")
    for module in MODULES:
        expected, real = TABLE[release][module], answer["names"][module]
        if expected is None:
            assert real is None
        else:
            assert set(expected) <= set(real), f"{module}: not in the real one"
            later = {name for names in TABLE.values() for name in names[module] or ()}
            assert later - set(expected) <= later - set(real), f"{module}: not in the table"


def test_run_says_it_too(sdbench: Sdbench) -> None:
    done = sdbench("run", "quick", "--device", "mps")
    assert done.returncode == 3 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "is built without mps; only Macs have it: use --device cuda" in done.stderr
