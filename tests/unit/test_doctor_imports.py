"""Environments whose environment does not import: the innermost cause is named, with what to
install.

Each is a virtual environment of its own with packages of a few lines, which fail as the real ones
do; the child that examines is real. ``tests/stacks`` does the same with real packages.
"""

import importlib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from doctor_factories import changed, cpu_box, mac

from sdbench.doctor import examine as examining
from sdbench.doctor.checks.import_causes import remedy_for
from sdbench.doctor.checks.imports import openmp_runtimes, stack_imports, wheel_architecture
from sdbench.doctor.checks.stack import stack_compatible
from sdbench.doctor.examine import Examination, Request
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.explain.explain import read_log
from sdbench.knowledge.version_ranges import UNKNOWN
from sdbench.machine.facts import Unavailable
from sdbench.process.doctor_events import ImportFailure, ImportTried
from sdbench.process.events import Failed
from sdbench.process.import_failures import explained
from sdbench.worker.imports import describe, innermost

TORCH = """
__version__ = "2.6.0"
class version: cuda = hip = None
class backends: pass
def get_num_threads(): return 1
"""
TRANSFORMERS = (
    "class CLIPTextModel: pass\nCLIPTextModelWithProjection = CLIPTokenizer = CLIPTextModel"
)
DIFFUSERS = """
{first}
class _Lazy: pass
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        exec({inner!r})
    except Exception as error:
        raise RuntimeError("Failed to import diffusers.pipelines because of the following error "
                           "(look up to see its traceback):\\n" + str(error)) from error
    return _Lazy
"""
USUAL = {
    "torch": ("2.6.0", TORCH),
    "transformers": ("5.2.0", TRANSFORMERS),
    "huggingface_hub": ("1.4.0", ""),
    "diffusers": ("0.37.0", DIFFUSERS.format(first="", inner="")),
}
Made = Callable[..., Check]


def diffusers(inner: str = "", first: str = "") -> str:
    """diffusers whose lazy classes run ``inner`` when they are named."""
    return DIFFUSERS.format(first=first, inner=inner)


@pytest.fixture
def examined(tmp_path: Path) -> Made:
    """What stack-imports says of an environment with these packages (version, source)."""

    def judged(**packages: tuple[str, str]) -> Check:
        venv.create(tmp_path / "venv", symlinks=True)
        (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
        for name, (version, source) in {**USUAL, **packages}.items():
            (site / name).mkdir()
            (site / name / "__init__.py").write_text(source)
            described = site / f"{name}-{version}.dist-info"
            described.mkdir()
            (described / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
            )
        with Examination(Request(python=str(tmp_path / "venv"))) as examination:
            facts = examination.with_torch(examination.before_torch())
        check = stack_imports(facts)
        assert check is not None
        return check

    return judged


def test_stack_that_imports_passes(examined: Made) -> None:
    check = examined(peft=("0.18.0", ""))
    assert check.status == "pass"
    assert check.found == "huggingface_hub, transformers, peft, diffusers"


def test_package_that_asks_for_what_is_gone_is_named_not_its_victim(examined: Made) -> None:
    check = examined(
        peft=("0.17.1", "from transformers import HybridCache"),
        diffusers=("0.37.0", diffusers("import peft")),
    )
    assert check.status == "fail"
    assert "peft 0.17.1 cannot be imported: ImportError: cannot import name 'HybridCache'" in (
        check.found
    )
    assert "so diffusers cannot be imported either" in check.found
    assert "'peft>=0.18'" in (check.remedy or "")


def test_name_that_the_hubs_client_has_no_more(examined: Made) -> None:
    check = examined(
        diffusers=("0.22.1", "from huggingface_hub import cached_download"),
        huggingface_hub=("0.26.5", ""),
        transformers=("4.46.3", TRANSFORMERS),
    )
    assert check.status == "fail" and "cached_download" in check.found
    assert "diffusers 0.22.1 cannot be imported" in check.found
    assert "diffusers==" in (check.remedy or "") and "huggingface-hub==" in (check.remedy or "")


def test_torchvision_of_another_torch(examined: Made) -> None:
    nms = "raise RuntimeError('operator torchvision::nms does not exist')"
    check = examined(
        torchvision=("0.20.1", nms), diffusers=("0.37.0", diffusers("import torchvision"))
    )
    assert check.status == "fail" and "torchvision::nms" in check.found
    assert "'torchvision==0.21.*'" in (check.remedy or "")
    assert "uninstall" in (check.remedy or "")


def test_what_fails_by_another_is_no_cause_of_its_own(examined: Made) -> None:
    check = examined(
        torchvision=(
            "0.20.1",
            "import torch; raise RuntimeError('torchvision::nms is not there')",
        ),
        transformers=("5.2.0", "raise AttributeError('partially initialized module torchvision')"),
    )
    assert check.found.startswith("torchvision 0.20.1 cannot be imported: RuntimeError")
    assert check.found.endswith("so transformers cannot be imported either")
    assert "\n" not in (check.remedy or "")


def test_import_that_takes_too_long_is_not_called_broken(
    examined: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining, "TORCH_LIMIT_S", 3.0)
    check = examined(diffusers=("0.37.0", "import time; time.sleep(600)"))
    assert check.status == "unknown"
    assert check.found == "import diffusers: no answer within 3 s"


def test_extra_that_fails_alone_is_a_remark(examined: Made) -> None:
    check = examined(bitsandbytes=("0.41.0", "raise RuntimeError('no CUDA setup found')"))
    assert check.status == "warn" and "diffusers can be imported without it" in check.found
    assert "uv pip uninstall --python" in (check.remedy or "")


def test_package_that_refuses_anothers_version(examined: Made) -> None:
    refusal = (
        "raise ImportError('huggingface-hub>=0.34.0,<1.0 is required for a normal functioning of "
        "this module, but found huggingface-hub==1.1.0.')"
    )
    check = examined(transformers=("4.57.3", refusal), huggingface_hub=("1.1.0", ""))
    assert check.status == "fail" and "found huggingface-hub==1.1.0" in check.found
    assert "'huggingface-hub<1.0,>=0.34.0'" in (check.remedy or "")


def test_two_openmp_runtimes_that_end_the_process(examined: Made) -> None:
    abort = (
        "import os, sys\nsys.stderr.write('OMP: Error #15: Initializing libomp.dylib, but found "
        "libiomp5.dylib already initialized.\\n'); sys.stderr.flush(); os.abort()"
    )
    check = examined(diffusers=("0.37.0", abort))
    assert check.status == "fail"
    assert "the process crashed while importing diffusers 0.37.0" in check.found
    assert "OMP: Error #15" in check.found
    assert "all packages from one installer" in (check.remedy or "")


def test_class_that_is_only_a_placeholder(examined: Made) -> None:
    dummy = (
        "class Dummy: _backends = ['torch']\n"
        "Dummy.__module__ = 'transformers.utils.dummy_pt_objects'\n"
        "CLIPTextModel = CLIPTextModelWithProjection = CLIPTokenizer = Dummy"
    )
    check = examined(transformers=("5.2.0", dummy))
    assert check.status == "fail"
    assert "transformers does not accept the torch that is here" in check.found


def test_module_that_is_missing(examined: Made) -> None:
    check = examined(transformers=("5.2.0", "import regex"))
    assert "No module named 'regex'" in check.found
    assert (check.remedy or "").endswith(" regex")


def test_module_that_nobody_knows_is_not_told_to_be_installed(examined: Made) -> None:
    check = examined(transformers=("5.2.0", "import a_name_of_anybodys"))
    assert "No module named 'a_name_of_anybodys'" in check.found
    assert "a_name_of_anybodys" not in (check.remedy or "")
    assert "--reinstall transformers" in (check.remedy or "")


# --- causes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "type_name", "message", "asked_by", "remedy"),
    [
        (
            "numpy",
            "ImportError",
            "(mach-o file, but is an incompatible architecture (have 'x86_64', need 'arm64'))",
            "numpy",
            "Command: uv python install cpython-3.12-macos-aarch64-none",
        ),
        (
            "transformers",
            "ImportError",
            "cannot import name 'AutoModel' from 'transformers' (/Users/me/work/transformers.py)",
            "diffusers",
            "Rename transformers.py",
        ),
        (
            "diffusers",
            "ModuleNotFoundError",
            "No module named 'huggingface_hub.utils._errors'",
            "diffusers",
            "diffusers==0.42.1",
        ),
        ("transformers", "ModuleNotFoundError", "No module named 'PIL'", None, "install --python"),
        ("numpy", "ModuleNotFoundError", "No module named '_ctypes'", "ctypes", "Command: uv venv"),
        (
            "accelerate",
            "ImportError",
            "numpy.core.multiarray failed to import",
            "accelerate",
            "--upgrade --reinstall accelerate",
        ),
        (
            "xformers",
            "OSError",
            "xformers/_C.so: undefined symbol: _ZN3c10",
            "xformers",
            "uv pip uninstall",
        ),
    ],
)
def test_what_to_do_about_a_cause(
    name: str, type_name: str, message: str, asked_by: str | None, remedy: str
) -> None:
    failure = ImportFailure(type=type_name, message=message, asked_by=asked_by)
    assert remedy in remedy_for(name, failure, mac())


@pytest.mark.parametrize(
    "error",
    [
        "ModuleNotFoundError: No module named 'diffusers'",
        "ModuleNotFoundError: No module named 'PIL'",
        "ImportError: cannot import name 'HybridCache' from 'transformers' (/v/transformers.py)",
        "ImportError: cannot import name 'AutoModel' from 'transformers' (/me/transformers.py)",
        "RuntimeError: operator torchvision::nms does not exist",
    ],
)
def test_doctor_run_and_explain_give_one_cause_and_remedy(error: str) -> None:
    (cause,) = read_log(error, UNKNOWN)
    kind, _, message = error.partition(": ")
    failed = Failed(type=kind, message=message, phase="import", causes=[error])
    said = explained(failed, "python")
    assert said.cause == cause.sentence and said.remedy.startswith(cause.remedy)
    tried = ImportTried(name="diffusers", failure=ImportFailure(type=kind, message=message))
    check = stack_imports(changed(mac(), imports=[tried]))
    assert check is not None and check.found.endswith(cause.sentence)
    assert (check.remedy or "").startswith(cause.remedy)


def test_numpy_2_under_an_old_torch_is_put_back() -> None:
    facts = mac(packages={"torch": "2.2.2", "numpy": "2.1.0"})
    failure = ImportFailure(
        type="ImportError", message="A module that was compiled using NumPy 1.x"
    )
    assert remedy_for("torch", failure, facts).endswith("'numpy<2'")


def test_innermost_cause_of_a_chain() -> None:
    try:
        try:
            try:
                importlib.import_module("no_such_module")
            except ImportError as error:
                raise RuntimeError("Failed to import x.y") from error
        except RuntimeError:
            raise ValueError("while handling it") from None
    except ValueError as error:
        assert innermost(error) is error  # `from None` says that the rest is no cause
    try:
        try:
            raise OSError("the disk is gone")
        except OSError:
            raise RuntimeError("Failed to import x")  # noqa: B904
    except RuntimeError as error:
        described = describe(error)
    assert (described["type"], described["message"]) == ("OSError", "the disk is gone")
    assert described["through"] == "Failed to import x"


def test_second_try_is_the_cause_where_the_first_was_optional() -> None:
    try:
        try:
            importlib.import_module("no_such_module")
        except ImportError:
            importlib.import_module("no_such_module_either")
    except ImportError as error:
        assert describe(error)["message"] == "No module named 'no_such_module_either'"


# --- what was not tried is not fine --------------------------------------------------------------


def test_imports_that_were_not_tried_are_unknown() -> None:
    one = [ImportTried(name="numpy", failure=None)]
    for imports in (Unavailable("the child was killed"), one):
        check = stack_imports(changed(mac(), imports=imports))
        assert check is not None and check.status == "unknown"


@pytest.mark.parametrize(
    ("openmp", "status"),
    [
        ([], None),
        (["/v/torch/lib/libomp.dylib"], None),
        (["/v/torch/lib/libgomp.so.1", "/v/sklearn/libgomp-a34.so.1"], None),
        (["/v/torch/lib/libomp.dylib", "/opt/homebrew/lib/libomp.dylib"], "warn"),
        (["/v/torch/lib/libiomp5.dylib", "/v/functorch/.dylibs/libomp.dylib"], "warn"),
    ],
)
def test_openmp_runtimes_that_fight(openmp: list[str], status: str | None) -> None:
    check = openmp_runtimes(changed(mac(), openmp=openmp))
    assert (check and check.status) == status


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (["macosx_11_0_arm64"], "pass"),
        (["macosx_10_9_universal2"], "pass"),
        (["macosx_10_9_x86_64", "macosx_11_0_arm64"], "pass"),
        ([], "pass"),
        (["macosx_10_9_x86_64"], "fail"),
    ],
)
def test_wheels_of_another_processor(tags: list[str], status: str) -> None:
    check = wheel_architecture(changed(mac(), platforms={"torch": tags, "numpy": ["any"]}))
    assert check is not None and check.status == status
    assert status == "pass" or "torch 2.15.0 (macosx_10_9_x86_64)" in check.found
    assert wheel_architecture(cpu_box()) is None


# --- by versions alone, as in a recording --------------------------------------------------------

GOOD = {
    "torch": "2.6.0",
    "diffusers": "0.36.0",
    "transformers": "4.57.3",
    "tokenizers": "0.22.1",
    "huggingface-hub": "0.36.0",
    "accelerate": "1.12.0",
    "safetensors": "0.7.0",
    "numpy": "2.2.6",
}


def versions(**packages: str) -> DoctorFacts:
    named = {name.replace("_", "-"): version for name, version in packages.items()}
    return mac(packages={**GOOD, **named})


@pytest.mark.parametrize(
    ("packages", "words", "remedy"),
    [
        (
            {"diffusers": "0.27.2", "huggingface_hub": "0.30.0"},
            "diffusers 0.27.2 needs huggingface-hub<0.26",
            "diffusers==",
        ),
        (
            {"diffusers": "0.31.0", "transformers": "5.0.0", "huggingface_hub": "1.3.0"},
            "diffusers 0.31.0 needs transformers<5",
            "transformers==",
        ),
        (
            {
                "peft": "0.16.0",
                "transformers": "5.2.0",
                "diffusers": "0.37.0",
                "huggingface_hub": "1.4.0",
            },
            "peft 0.16.0 needs transformers<5",
            "--upgrade 'peft>=0.18'",
        ),
        (
            {"torchvision": "0.20.1"},
            "torchvision 0.20.1 does not match torch 2.6.0, which needs torchvision 0.21",
            "'torchvision==0.21.*'",
        ),
        ({"tokenizers": "0.21.4"}, "transformers 4.57.3 needs tokenizers", "tokenizers=="),
        ({"torch": "2.2.2"}, "torch 2.2.2 needs numpy<2", "numpy==1.26.4"),
        ({"huggingface_hub": "1.1.0"}, "transformers 4.57.3 needs huggingface-hub<1", "hub=="),
    ],
)
def test_versions_that_do_not_go_together(
    packages: dict[str, str], words: str, remedy: str
) -> None:
    check = stack_compatible(versions(**packages))
    assert check is not None and check.status == "fail"
    assert words in check.found and remedy in (check.remedy or "")


@pytest.mark.parametrize(
    "packages",
    [
        {},
        {"torchvision": "0.21.3", "peft": "0.17.1"},
        {"diffusers": "0.28.2", "huggingface_hub": "0.25.2", "transformers": "4.46.3",
         "tokenizers": "0.20.3"},
        {"diffusers": "0.35.2", "transformers": "5.0.0", "huggingface_hub": "1.3.0"},
        {"peft": "0.15.2", "transformers": "5.2.0", "huggingface_hub": "1.4.0"},
        {"torch": "2.10.0.dev20250917", "torchvision": "0.25.0.dev20250917"},
        {"diffusers": "0.36.0.dev0"},
    ],
)  # fmt: skip
def test_versions_that_go_together_are_no_clash(packages: dict[str, str]) -> None:
    check = stack_compatible(versions(**packages))
    assert check is not None and check.status == "pass", check
