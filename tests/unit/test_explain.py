"""Explaining pasted logs, tracebacks and crash reports of any program."""

import json
import re
from pathlib import Path

import pytest

from sdbench.explain.explain import Explained, explain_text
from sdbench.explain.versions_in_text import versions_in
from sdbench.knowledge.failure_causes import read_failure
from sdbench.knowledge.pasted_log import innermost_message, last_exception, last_words
from sdbench.knowledge.version_ranges import UNKNOWN, Versions

DATA = Path(__file__).parent.parent / "data"
PUBLIC = json.loads((DATA / "explain" / "texts.json").read_text(encoding="utf-8"))
NOT_EXPLAINED = json.loads((DATA / "explain" / "not-explained.json").read_text(encoding="utf-8"))


def explained(text: str, **versions: str) -> Explained:
    return explain_text(text, Versions(**versions))  # type: ignore[arg-type]


def ids(text: str, **versions: str) -> list[str]:
    return [one.id for one in explained(text, **versions).explanations]


def said(found: Explained) -> str:
    return "\n".join(f"{one.cause} {one.remedy}" for one in found.explanations)


@pytest.mark.parametrize("case", PUBLIC, ids=[case["source"] for case in PUBLIC])
def test_public_texts(case: dict[str, str]) -> None:
    words = said(explain_text(case["text"], UNKNOWN))
    assert [one for one in case["must_say"] if not re.search(one, words, re.IGNORECASE)] == []
    assert [one for one in case["must_not_say"] if re.search(one, words, re.IGNORECASE)] == []


@pytest.mark.parametrize("case", PUBLIC, ids=[case["source"] for case in PUBLIC])
def test_the_last_newline_makes_no_difference(case: dict[str, str]) -> None:
    text = case["text"].rstrip()
    assert said(explain_text(text, UNKNOWN)) == said(explain_text(text + "\n", UNKNOWN))


@pytest.mark.parametrize("text", NOT_EXPLAINED)
def test_no_cause_is_named_that_the_text_does_not_show(text: str) -> None:
    """Mistakes in a user's own code, interruptions, other programs, warnings without a failure."""
    assert explain_text(text, UNKNOWN).explanations == []


# --- what a release changes ----------------------------------------------------------------------

LAYER_NORM = (
    "error: input types 'tensor<1x77x1xf16>' and 'tensor<1xf32>' are not broadcast compatible\n"
    "LLVM ERROR: Failed to infer result type(s).\n"
)
VARIANCE = 'loc("varianceEps"("(mpsFileLoc): /x/MPSGraphUtilities.mm":228:0)): ' + LAYER_NORM


def test_mixed_types_are_layer_norm_on_torch_2_0_only() -> None:
    assert "LayerNorm" in said(explained(LAYER_NORM, torch="2.0.1"))
    assert "LayerNorm" not in said(explained(LAYER_NORM, torch="2.3.1"))
    assert "LayerNorm" not in said(explained(LAYER_NORM))
    assert "Use torch 2.1 or later" not in said(explained(VARIANCE, torch="2.3.1"))
    assert "not in this release" in said(explained(VARIANCE, torch="2.3.1"))
    integers = LAYER_NORM.replace("f16", "si64")
    for torch in ("1.12.1", "2.0.1", "2.3.1"):
        assert "LayerNorm" not in said(explained(integers, torch=torch))
        assert "integers" in said(explained(integers, torch=torch))


def test_mps_not_available_names_the_versions_that_do_not_fit() -> None:
    text = "RuntimeError: The MPS backend is supported on MacOS 12.3+."
    assert "torch<2.9" in said(explained(text, torch="2.10.0", macos="13.6"))
    assert "torch<2.5" in said(explained(text, torch="2.5.1", macos="12.7"))
    assert "it came with 1.12" in said(explained(text, torch="1.11.0"))
    assert "torch<" not in said(explained(text, torch="2.5.1", macos="15.1"))
    assert "torch<" not in said(explained(text))


def test_no_gpu_on_a_macos_that_is_new_enough_is_no_question_of_macos() -> None:
    text = "RuntimeError: The MPS backend is supported on {}. Current OS version can be queried"
    for torch, macos, floor in (("2.10.0", "26.3", "macOS 14.0+"), ("2.7.1", "15.3", "MacOS 13+")):
        words = said(explained(text.format(floor), torch=torch, macos=macos))
        assert "sandbox" in words
        assert "Update macOS" not in words and "torch<" not in words


def test_bfloat16_on_a_macos_that_has_it_is_an_intel_python() -> None:
    text = "RuntimeError: MPS BFloat16 is only supported on MacOS 14 or newer"
    newer = said(explained(text, torch="2.6.0", macos="15.3"))
    assert "Rosetta" in newer and "this macOS is older" not in newer
    assert "this macOS is older" in said(explained(text, torch="2.6.0", macos="13.6"))


def test_a_build_that_pip_cannot_do_is_no_missing_module() -> None:
    text = (
        "  error: subprocess-exited-with-error\n"
        "  × Getting requirements to build wheel did not run successfully.\n"
        "      ModuleNotFoundError: No module named 'torch'\n"
        "      [end of output]\n"
    )
    assert ids(text) == ["build-needs-module"]
    assert ids("ModuleNotFoundError: No module named 'torch'\n") == ["missing-module"]


def test_channels_of_a_convolution_by_macos() -> None:
    text = "NotImplementedError: Output channels > 65536 not supported at the MPS device."
    assert "Update to macOS 15.1" in said(explained(text, macos="14.6"))
    assert "Update to macOS 15.1" not in said(explained(text, macos="15.2"))


def test_conv3d_is_no_question_of_dtype() -> None:
    text = "RuntimeError: Conv3D is not supported on MPS"
    assert "2.3 or later" in said(explained(text, torch="2.1.1"))
    newer = explained(text, torch="2.6.0").explanations[0]
    assert newer.confidence == "low"
    assert "dtype" not in newer.cause


def test_a_nightly_is_called_one() -> None:
    text = "Failed to create metal library, error: Error Domain=MTLLibraryErrorDomain Code=3"
    assert "nightly" in said(explained(text, torch="2.9.0.dev20250801"))
    assert "nightly" not in said(explained(text, torch="2.9.0"))


def test_old_assertion_on_a_new_torch_is_a_lead_only() -> None:
    text = "Assertion failed: (vals.isSplat()), function getConstantValue"
    assert explained(text, torch="1.14.0.dev20221105").explanations[0].confidence == "medium"
    assert explained(text, torch="2.8.0").explanations[0].confidence == "low"


@pytest.mark.parametrize(
    ("allocated", "other", "leak"),
    [
        ("33.16 GiB", "125.00 GiB", True),
        ("5.05 GB", "2.29 GB", False),
        ("2.10 GB", "3.90 GB", False),  # graphs weigh some GB on any machine
        ("8.93 GB", "120.39 MB", False),
        ("1.20 GiB", "16.00 GiB", True),
    ],
)
def test_memory_that_is_not_torchs(allocated: str, other: str, leak: bool) -> None:
    text = (
        f"RuntimeError: MPS backend out of memory (MPS allocated: {allocated}, other allocations: "
        f"{other}, max allowed: 163.20 GiB). Tried to allocate 10.25 GiB on private pool."
    )
    words = said(explained(text))
    assert ("leak" in words and "Restart" in words) == leak
    assert "Do not set PYTORCH_MPS_HIGH_WATERMARK_RATIO=0" in words


# --- which of several errors ---------------------------------------------------------------------

CHAIN = """Traceback (most recent call last):
  File "/x/diffusers/utils/import_utils.py", line 853, in _get_module
    return importlib.import_module("." + module_name, self.__name__)
  File "/x/diffusers/loaders/unet.py", line 5, in <module>
    from huggingface_hub import cached_download
ImportError: cannot import name 'cached_download' from 'huggingface_hub' (/x/__init__.py)

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "app.py", line 1, in <module>
    from diffusers import StableDiffusionPipeline
RuntimeError: Failed to import diffusers.loaders.unet because of the following error (look up to \
see its traceback):
{inner}
"""


def test_root_of_a_chain() -> None:
    assert ids(CHAIN.format(inner="(told above)")) == ["hub-cached-download"]
    unknown = CHAIN.replace("cached_download", "new_name").format(inner="x")
    assert ids(unknown) == ["hub-mismatch"]
    assert "new_name" in said(explained(unknown))


def test_error_while_an_error_was_handled_comes_first_and_the_other_after_it() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 1, in f\n    x()\n'
        "RuntimeError: Numpy is not available\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n"
        '  File "a.py", line 2, in g\n    y()\n'
        "AssertionError: Torch not compiled with CUDA enabled\n"
    )
    assert ids(text) == ["cuda-on-a-mac", "numpy-2"]


def test_source_lines_of_a_traceback_are_no_messages() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 1, in f\n'
        '    raise AssertionError("Torch not compiled with CUDA enabled")\n'
        "    ^^^^^^^^^^^^^^^^\n"
        "ValueError: prompt is empty\n"
    )
    found = explained(text)
    assert found.explanations == []
    assert found.unexplained == "ValueError: prompt is empty"


def test_the_frames_of_a_traceback_refine_a_cause() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "a.py", line 9, in <module>\n'
        "    pipe()\n"
        '  File "/x/torch/amp/grad_scaler.py", line 335, in unscale_\n'
        "    inv_scale = self._scale.double()\n"
        "TypeError: Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't "
        "support float64. Please use float32 instead.\n"
    )
    assert "GradScaler" in said(explained(text))
    assert "GradScaler" not in said(explained(text.replace("amp/grad_scaler", "arange")))
    # Those of an earlier exception do not.
    assert "GradScaler" not in said(explained(text + "\n" + text.replace("amp/grad_scaler", "a")))


def test_a_kernel_of_cuda_did_not_run_on_the_cpu() -> None:
    text = "RuntimeError: \"{}\" not implemented for 'Half'"
    assert "ran on the CPU" in said(explained(text.format("addmm_impl_cpu_")))
    assert "ran on the CPU" not in said(explained(text.format("svd_cuda_gesvdj")))


def test_last_exception_counts_though_there_was_noise() -> None:
    text = (
        "OMP: Warning #15: Initializing libomp.dylib, but found libiomp5.dylib already "
        "initialized.\n"
        "RuntimeError: Invalid buffer size: 18.00 GB\n"
    )
    assert ids(text) == ["invalid-buffer-size"]
    assert ids(text + "zsh: segmentation fault  python a.py\n")[0] == "invalid-buffer-size"


def test_a_remark_is_no_cause() -> None:
    noise = (
        "Using a slow image processor as `use_fast` is unset and a slow processor was saved with "
        "this model.\nNo module 'xformers'. Proceeding without it.\n"
    )
    assert ids(noise) == ["no-gpu-warning"]
    assert ids(noise + "RuntimeError: Numpy is not available") == ["numpy-2"]
    assert ids("Using a slow image processor as `use_fast` is unset") == []


@pytest.mark.parametrize(
    "text",
    [
        "zsh: abort      python generate.py\n",
        "zsh: segmentation fault  python generate.py\n",
        "failed assertion `something new'\n",
        "Assertion failed: (x > 0), function f, file a.cpp, line 3.\n",
        "libc++abi: terminating due to uncaught exception of type odd\n",
    ],
)
def test_what_is_not_known_is_marked_as_general(text: str) -> None:
    (one,) = explained(text).explanations
    assert one.generic
    assert one.confidence == "low"
    assert "out of memory" not in one.cause


@pytest.mark.parametrize("text", ["all is well\n", "100%|████| 20/20 [00:10<00:00]\n", "\x00 \n"])
def test_nothing_to_explain(text: str) -> None:
    found = explained(text)
    assert (found.explanations, found.unexplained) == ([], None)


def test_no_other_persons_folders_are_quoted() -> None:
    text = (
        "ImportError: dlopen(/Users/grace/venv/a.so, 0x0002): Library not loaded: "
        "/Users/grace/lib/libx.dylib\n"
    )
    found = explained(text)
    assert "grace" not in said(found)
    assert "grace" not in (found.explanations[0].quote or "")


# --- dead workers are explained by the same engine -----------------------------------------------


def test_worker_killed_by_an_assertion_knows_its_versions() -> None:
    old = read_failure(LAYER_NORM, None, None, "SIGABRT", Versions(torch="2.0.1", dtype="float16"))
    new = read_failure(LAYER_NORM, None, None, "SIGABRT", Versions(torch="2.6.0", dtype="float16"))
    assert old is not None and new is not None
    assert "LayerNorm" in old.sentence and "LayerNorm" not in new.sentence
    assert old.sources


def test_worker_whose_message_passes_on_another_is_explained_by_the_root() -> None:
    message = "Failed to import diffusers.x because of the following error: see above"
    cause = read_failure(CHAIN, "RuntimeError", message, None)
    assert cause is not None and cause.kind == "hub-cached-download"
    alone = read_failure("", "RuntimeError", message, None)
    assert alone is not None and alone.kind == "lazy-import-failed"


FORKED = (
    "objc[7]: +[__NSCFConstantString initialize] may have been in progress in another thread when "
    "fork() was called."
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "x\nOMP: Error #15: Initializing libiomp5.dylib, but found libomp.dylib\nzsh: abort\n",
            "OMP: Error #15: Initializing libiomp5.dylib, but found libomp.dylib",
        ),
        (
            " 10%|█  | 2/20 [00:01<00:09]Assertion failed: (vals.isSplat()), function f\n",
            "Assertion failed: (vals.isSplat()), function f",
        ),
        (FORKED + "\n", FORKED),
        ("Traceback (most recent call last):\nValueError: x\n", None),
    ],
)
def test_last_words(text: str, words: str | None) -> None:
    assert last_words(text) == words


def test_innermost_message() -> None:
    lazy = "Failed to import a.b because of the following error (look up to see its traceback):\n"
    assert innermost_message(lazy + lazy + "cannot import name 'X' from 'y'\nmore") == (
        "cannot import name 'X' from 'y'"
    )
    assert innermost_message("bad\nvalue") == "bad"
    assert innermost_message("") == ""


def test_last_exception() -> None:
    assert last_exception("a\ntorch.OutOfMemoryError: no\nFutureWarning: old\n") == (
        "torch.OutOfMemoryError",
        "no",
    )
    assert last_exception("KeyboardInterrupt\n") == ("KeyboardInterrupt", "")
    assert last_exception("an Error: is told here\n") is None


# --- versions that a text states -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "torch", "macos"),
    [
        ("PyTorch version: 2.2.2\nOS: macOS 14.5 (x86_64)\n", "2.2.2", "14.5"),
        (
            "PyTorch version: 1.8.0.dev20201117\nOS: Mac OSX 11.0 (x86_64)\n",
            "1.8.0.dev20201117",
            "11.0",
        ),
        (
            "- Platform: macOS-14.7.4-arm64-arm-64bit\n- PyTorch version (GPU?): 2.6.0 (False)\n",
            "2.6.0",
            "14.7.4",
        ),
        ("[pip3] numpy==1.26.4\n[pip3] torch==2.10.0.dev20251008\n", "2.10.0.dev20251008", None),
        (
            "[conda] torch                     1.8.0a0                  pypi_0    pypi\n",
            "1.8.0a0",
            None,
        ),
        ("pytorch version: 2.5.1\nMac Version (15, 3, 2)\n", "2.5.1", "15.3.2"),
        ("python: 3.10.10  •  torch: 2.0.1  •  xformers: N/A\n", "2.0.1", None),
        ("torch 2.4.1\nmacOS Sonoma 14.6.1\n", "2.4.1", "14.6.1"),
        ("Successfully installed torch-2.1.2 torchvision-0.16.2\n", None, None),
        ('File "/x/torch-2.3.0.dist-info/METADATA"\n', "2.3.0", None),
        ("ProductVersion:\t\t13.6.1\n", None, "13.6.1"),
        # of others, not of this machine
        ("this needs torch>=2.1 and is supported starting from macOS 13.2\n", None, None),
        ("requires torch==2.1.0, but you have another\n", None, None),
        ("The MPS backend is supported on MacOS 12.3+\n", None, None),
        ("Support has been added in macOS 13.3\n", None, None),
        ("built for macOS 13.3 which is newer than running OS\n", None, None),
    ],
)
def test_versions_in_text(text: str, torch: str | None, macos: str | None) -> None:
    found = versions_in(text)
    assert (found.torch, found.macos) == (torch, macos)


def test_more_that_a_text_states() -> None:
    found = versions_in(
        "🤗 Diffusers version: 0.36.0.dev0\n- Transformers version: 4.57.1\n"
        "Python version: 3.11.9 (main)\nOS: macOS 13.7.4 (arm64)\nCPU:\nApple M2 Max\n"
        "[pip3] numpy==2.3.3\n"
    )
    assert found.python == "3.11.9"
    assert (found.chip, found.architecture) == ("Apple M2 Max", "arm64")
    assert found.packages["diffusers"] == "0.36.0.dev0"
    assert (found.packages["transformers"], found.packages["numpy"]) == ("4.57.1", "2.3.3")


def test_which_versions_are_used() -> None:
    own = Versions(torch="2.13.0", macos="15.3", python="3.11.7")
    assert explain_text("PyTorch version: 2.0.1\nerror", own).versions_of == "text"
    assert explain_text("error", own).versions_of == "machine"
    assert explain_text('File "/x/python3.11/site.py", line 1', own).versions_of == "machine"
    other = explain_text('File "/x/python3.9/site.py", line 1', own)
    assert (other.versions_of, other.versions.torch) == ("text", None)
    assert explain_text("error", UNKNOWN).versions_of == "none"


# --- crash reports -------------------------------------------------------------------------------

REPORT = (DATA / "crash-reports" / "python-abort.mps-convolution.ips").read_text(encoding="utf-8")
TEXT_REPORT = """Process:               Python [18752]
Path:                  /Library/Frameworks/Python.framework/Versions/3.8/Resources/Python
Code Type:             {code}
OS Version:            macOS 13.3.1 (22E772610a)

Crashed Thread:        0  Dispatch queue: metal gpu stream

Exception Type:        {kind}
Exception Codes:       0x0000000000000000, 0x0000000000000000

Termination Reason:    Namespace SIGNAL, {reason}

{said}
Thread 0 Crashed::  Dispatch queue: metal gpu stream
0   libsystem_kernel.dylib        \t    0x7ff80a4fe1f2 __pthread_kill + 10
1   libsystem_c.dylib             \t    0x7ff80a45cb45 abort + 123
2   {image}   \t    0x7ffa12345678 {symbol} + 300

Thread 1:
0   libomp.dylib                  \t    0x7ff80a4fe1f2 __kmp_wait + 10
"""


def report(
    said: str = "",
    image: str = "libtorch_cpu.dylib",
    symbol: str = "at::mps::run()",
    kind: str = "EXC_CRASH (SIGABRT)",
    code: str = "ARM-64 (Native)",
    reason: str = "Code 6 Abort trap: 6",
) -> str:
    words = f"Application Specific Information:\n{said}\nabort() called\n" if said else ""
    return TEXT_REPORT.format(
        said=words, image=image, symbol=symbol, kind=kind, code=code, reason=reason
    )


def test_ips_report() -> None:
    found = explained(REPORT)
    (one,) = found.explanations
    assert (one.id, found.versions.macos) == ("metal-assertion", "12.4")
    assert "sourceTensor rank must be 4" in one.cause
    assert "USER" not in said(found)
    around = "Here is the report:\n```\n" + REPORT + "\n```\nthanks\n"
    assert [other.id for other in explained(around).explanations] == ["metal-assertion"]


def test_text_report_with_words() -> None:
    words = (
        "MPSNDArray.mm:78: failed assertion `[MPSNDArrayDescriptor sliceDimension:withSubrange:] "
        "error: dimension index (2) not within number of dimensions (2)'"
    )
    found = explained(report(words))
    assert [one.id for one in found.explanations] == ["slice-out-of-range"]
    assert found.versions.macos == "13.3.1"


def test_text_report_without_words_names_the_library() -> None:
    (one,) = explained(report()).explanations
    assert (one.id, one.generic) == ("aborted", True)
    assert "libtorch_cpu.dylib, in at::mps::run()" in one.cause


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"said": "crashed on child side of fork pre-exec"}, "objc-fork"),
        ({"image": "libomp.dylib", "symbol": "__kmp_suspend_init"}, "openmp-crash"),
        (
            {"kind": "EXC_BAD_ACCESS (SIGSEGV)", "reason": "Code 11 Segmentation fault: 11"},
            "segmentation-fault",
        ),
        ({"kind": "EXC_BAD_ACCESS (SIGBUS)", "reason": "Code 10 Bus error: 10"}, "bus-error"),
        ({"kind": "EXC_CRASH (SIGKILL)", "reason": "Namespace JETSAM, Code 2"}, "killed"),
        (
            {"kind": "EXC_BAD_INSTRUCTION (SIGILL)", "code": "X86-64 (Translated)"},
            "intel-code-under-rosetta",
        ),
        (
            {
                "image": "MetalPerformanceShadersGraph",
                "symbol": "llvm::report_fatal_error(llvm::Twine const&, bool)",
            },
            "graph-compiler-fatal",
        ),
    ],
)
def test_text_reports(changes: dict[str, str], expected: str) -> None:
    assert ids(report(**changes))[0] == expected


@pytest.mark.parametrize("length", range(0, 1400, 111))
def test_cut_reports_never_raise(length: int) -> None:
    explained(report("failed assertion `x'")[:length])
    explained(report("failed assertion `x'")[length:])
    explained(REPORT[:length])
