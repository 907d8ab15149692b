"""Reading a dead worker's last words and macOS crash reports, on real recordings."""

import json
from pathlib import Path

import pytest

from sdbench.knowledge.crash_reports import read_crash_report
from sdbench.knowledge.failure_causes import fallback_operators, read_failure
from sdbench.knowledge.version_ranges import Versions
from sdbench.records import FailureCause

DATA = Path(__file__).parent.parent / "data"
STDERR = DATA / "mps-stderr"
GIB = 2**30
MIB = 2**20


def tail(name: str) -> str:
    return (STDERR / name).read_text(encoding="utf-8")


def cause_of(text: str, signal: str | None = None) -> FailureCause:
    cause = read_failure(text, None, None, signal)
    assert cause is not None
    return cause


KINDS = {
    "abort.libcxxabi-bad-optional.t2i-adapter95.stderr.txt": "cpp-exception",
    "abort.llvm-broadcast.macos12.5.a1111-2198.tqdm-prefix.stderr.txt": "mlir-broadcast",
    "abort.metal-gpu-timeout.airllm367.zsh.stderr.txt": "gpu-timeout",
    "abort.ndarray-4gib.128gb-ventura.esrgan134.stderr.txt": "ndarray-over-2-32-bytes",
    "abort.ndarray-4gib.m1max.sdapi23.stderr.txt": "ndarray-over-2-32-bytes",
    "abort.ndarray-4gib.m2max-32gb-macos13.0.invokeai2639.stderr.txt": "ndarray-over-2-32-bytes",
    "abort.ndarray-4gib.pytorch146769.stderr.txt": "ndarray-over-2-32-bytes",
    "abort.webui-sh.negpip31.last-line.stderr.txt": "aborted",
    "anec-error-then-buserror.m2-macos14beta.pytorch104642.stderr.txt": "neural-engine-refused",
    "buserror.ml-stable-diffusion8.stderr.txt": "bus-error",
    "commandbuffer.gpu-timeout.intel-amd.pytorch125954.line.txt": "gpu-timeout",
    "commandbuffer.internal-error.m1pro.pytorch125442.stderr.txt": "command-buffer-failed",
    "commandbuffer.out-of-memory.m4mini.koboldcpp1371.stderr.txt": "command-buffer-out-of-memory",
    "invalid-buffer-size.m1ultra-128gb.diffusers5894.stderr.txt": "invalid-buffer-size",
    "kernel-panic.iogpu.exo1972.line.txt": "kernel-panic",
    "killed.after-100-percent.macmini.mflux322.transcript.txt": "killed",
    "killed.exit-9.gemma-tuner19.line.txt": "killed",
    "killed.jetsam.mlx-examples1334.stderr.txt": "killed",
    "killed.m2max.roop162.stderr.txt": "killed",
    "killed.mid-run.coreml.ml-stable-diffusion349.stderr.txt": "killed",
    "oom.128gb.comfyui11584.gib-title-only.txt": "mps-out-of-memory",
    "oom.16gb.comfyui8984.gib-no-prefix.stderr.txt": "mps-out-of-memory",
    "oom.16gb.rlswarm355.with-traceback-tail.stderr.txt": "mps-out-of-memory",
    "oom.24gb.comfyui7440.gib.stderr.txt": "mps-out-of-memory",
    "oom.intel-amd4gb.a1111-11848.stderr.txt": "mps-out-of-memory",
    "oom.intel-amd4gb.a1111-9133.no-period.stderr.txt": "mps-out-of-memory",
    "oom.intel-amd4gb.clip-interrogator74.no-prefix.stderr.txt": "mps-out-of-memory",
    "oom.intel-amd4gb.comfyui2489.cut.stderr.txt": "mps-out-of-memory",
    "oom.m1-8gb-macos14.fooocus980.stderr.txt": "mps-out-of-memory",
    "oom.m1air-16gb-macos13.5.audioldm2-20.stderr.txt": "mps-out-of-memory",
}


def test_every_recording_is_in_the_table() -> None:
    assert {path.name for path in STDERR.iterdir()} - {"source.txt"} == set(KINDS)


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_recordings(name: str, kind: str) -> None:
    cause = cause_of(tail(name))
    assert cause.kind == kind
    assert cause.remedy
    assert cause.assertion
    assert "/Users/" not in cause.assertion
    assert "BuildRoots" not in cause.assertion


def test_out_of_memory_old_and_new_spelling_are_both_binary() -> None:
    old = cause_of(tail("oom.16gb.rlswarm355.with-traceback-tail.stderr.txt"))
    assert old.asked_bytes == round(1.02 * GIB)
    assert old.allocated_bytes == round(12.74 * GIB)
    assert old.other_bytes == round(4.39 * GIB)
    assert old.limit_bytes == round(18.13 * GIB)
    assert old.pool == "private"
    new = cause_of(tail("oom.24gb.comfyui7440.gib.stderr.txt"))
    assert new.asked_bytes == round(292.5 * MIB)
    assert new.other_bytes == round(17.35 * GIB)
    assert new.limit_bytes == round(27.2 * GIB)
    # two machines of 16 GB, one in each spelling
    same = cause_of(tail("oom.16gb.comfyui8984.gib-no-prefix.stderr.txt"))
    assert same.limit_bytes == old.limit_bytes


def test_out_of_memory_sentence_holds_the_numbers() -> None:
    cause = cause_of(tail("oom.m1-8gb-macos14.fooocus980.stderr.txt"))
    assert "25.0 MiB more" in cause.sentence
    assert "held 8.93 GiB" in cause.sentence
    assert "of 9.07 GiB allowed" in cause.sentence
    assert "freeze" in cause.remedy
    assert cause.kind == "mps-out-of-memory"


def test_out_of_memory_without_its_tail_gives_what_is_there() -> None:
    cause = cause_of(tail("oom.128gb.comfyui11584.gib-title-only.txt"))
    assert cause.asked_bytes is None
    assert cause.pool is None
    assert cause.other_bytes == round(141.24 * GIB)
    assert "an unknown amount more" in cause.sentence


OOM = tail("oom.m1air-16gb-macos13.5.audioldm2-20.stderr.txt")


@pytest.mark.parametrize("kept", range(60, len(OOM), 20))
def test_out_of_memory_cut_at_the_end(kept: int) -> None:
    cause = cause_of(OOM[:kept])
    assert cause.kind == "mps-out-of-memory"
    assert cause.limit_bytes in (None, round(18.13 * GIB))


@pytest.mark.parametrize("lost", [5, 20, 40, 60, 90, 110, 130])
def test_out_of_memory_cut_at_the_start(lost: int) -> None:
    cause = cause_of(OOM[lost:])
    assert cause.kind == "mps-out-of-memory"
    assert cause.asked_bytes == round(4.5 * MIB)
    assert cause.pool == "private"


def test_bar_in_the_middle_of_the_message() -> None:
    bar = "\r 40%|████████      | 12/30 [36:03<53:52, 179.58s/it]"
    for place in range(20, 190, 7):
        cause = cause_of(OOM[:place] + bar + OOM[place:])
        assert (cause.limit_bytes, cause.asked_bytes) == (round(18.13 * GIB), round(4.5 * MIB))


def test_message_broken_over_lines_and_coloured() -> None:
    text = (
        "\x1b[31mMPS backend out of\nmemory (MPS allocated: 8.93\n GB, other "
        "allocations: 120.39 MB)"
    )
    cause = cause_of(text)
    assert cause.allocated_bytes == round(8.93 * GIB)
    assert cause.other_bytes == round(120.39 * MIB)


def test_newer_out_of_memory_without_a_limit() -> None:
    """With HIGH_WATERMARK_RATIO=0 torch leaves out the limit (MPSAllocator.mm)."""
    cause = cause_of(
        "RuntimeError: MPS backend out of memory (MPS allocated: 30.00 GiB, other allocations: "
        "1.00 GiB). Tried to allocate 2.00 GiB on shared pool."
    )
    assert (cause.limit_bytes, cause.pool) == (None, "shared")


def test_the_last_of_several_messages_counts() -> None:
    first = tail("oom.24gb.comfyui7440.gib.stderr.txt")
    assert cause_of(first + OOM).limit_bytes == round(18.13 * GIB)


def test_ndarray_assertion_and_limit() -> None:
    cause = cause_of(tail("abort.ndarray-4gib.pytorch146769.stderr.txt"), "SIGABRT")
    assert cause.limit_bytes == 2**32
    assert cause.assertion == (
        "[MPSNDArray initWithDevice:descriptor:isTextureBacked:] Error: total bytes of NDArray "
        "> 2**32"
    )
    assert "slicing" not in cause.remedy  # gives black images before torch 2.14


def test_error_behind_a_bar_on_the_same_line() -> None:
    text = tail("abort.llvm-broadcast.macos12.5.a1111-2198.tqdm-prefix.stderr.txt")
    cause = cause_of(text, "SIGABRT")
    assert cause.assertion == (
        "input types 'tensor<2x1280xf32>' and 'tensor<*xf16>' are not broadcast compatible"
    )


def test_layer_norm_at_float16() -> None:
    cause = cause_of(
        'loc("varianceEps"("(mpsFileLoc): /AppleInternal/Library/MPSGraphUtilities.mm":228:0)):\n'
        "error: input types 'tensor<1x77x1xf16>' and 'tensor<1xf32>' are not broadcast compatible\n"
        "LLVM ERROR: Failed to infer result type(s).\n",
        "SIGABRT",
    )
    assert cause.kind == "mlir-broadcast"
    assert "torch 2.1" in cause.remedy


@pytest.mark.parametrize(
    ("text", "kind", "assertion"),
    [
        (
            (
                "MPSNDArray.mm:705: failed assertion `[MPSTemporaryNDArray "
                "initWithDevice:descriptor:] Error: product of dimension sizes > 2**31'"
            ),
            "tensor-dimension-over-2-31",
            (
                "[MPSTemporaryNDArray initWithDevice:descriptor:] Error: product of dimension "
                "sizes > 2**31"
            ),
        ),
        (
            (
                "libc++abi: terminating due to uncaught exception of type std::runtime_error: "
                "[METAL] Command buffer execution failed: Impacting Interactivity "
                "(0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)"
            ),
            "metal-watchdog",
            (
                "Impacting Interactivity "
                "(0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)"
            ),
        ),
        (
            (
                "*** Terminating app due to uncaught exception 'NSRangeException', reason: "
                "'*** -[__NSArrayM objectAtIndexedSubscript:]: index 4 beyond bounds for empty "
                "array'"
            ),
            "ns-exception",
            (
                "'NSRangeException', reason: '*** -[__NSArrayM objectAtIndexedSubscript:]: index 4 "
                "beyond bounds for empty array'"
            ),
        ),
        (
            (
                "-[IOGPUMetalCommandBuffer validate]:213: failed assertion `commit an already "
                "committed command buffer'\nAbort trap: 6"
            ),
            "command-buffer-state",
            "commit an already committed command buffer",
        ),
        (
            (
                "/AppleInternal/Library/MPSGraphConvolutionOps.mm:346: failed assertion "
                "`sourceTensor rank must be 4'"
            ),
            "metal-assertion",
            "sourceTensor rank must be 4",
        ),
        (
            (
                "Discarded (victim of GPU error/recovery) "
                "(00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)"
            ),
            "gpu-reset-by-another",
            (
                "Discarded (victim of GPU error/recovery) "
                "(00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)"
            ),
        ),
        ("Fatal Python error: Segmentation fault", "segmentation-fault", "Segmentation fault"),
    ],
)
def test_assertions(text: str, kind: str, assertion: str) -> None:
    cause = cause_of(text, "SIGABRT")
    assert (cause.kind, cause.assertion) == (kind, assertion)


def test_buffer_not_large_enough_gives_its_size() -> None:
    cause = cause_of(
        "MPSNDArray.mm:891: failed assertion `[MPSNDArray, initWithBufferImpl:offset:descriptor:"
        "isForNDArrayAlias:isUserBuffer:] Error: buffer is not large enough. Must be 7664640 bytes",
        "SIGABRT",
    )
    assert (cause.kind, cause.asked_bytes) == ("buffer-not-large-enough", 7_664_640)
    assert "7.3 MiB needed" in cause.sentence


def test_assertion_cut_before_it_says_which() -> None:
    cause = cause_of("MPSNDArray.mm:724: failed assertion `[MPSNDArray initWithDev", "SIGABRT")
    assert (cause.kind, cause.assertion) == ("metal-assertion", "[MPSNDArray initWithDev")


def test_exceptions() -> None:
    def raised(kind: str, message: str) -> FailureCause:
        cause = read_failure("", kind, message, None)
        assert cause is not None
        return cause

    refused = raised(
        "TypeError",
        "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support "
        "float64. Please use float32 instead.",
    )
    assert refused.kind == "float64-refused"
    missing = raised(
        "NotImplementedError",
        "The operator 'aten::_linalg_solve_ex.result' is not currently implemented for the MPS "
        "device. If you want this op to be added in priority",
    )
    assert (missing.kind, missing.operator) == ("operator-missing", "aten::_linalg_solve_ex.result")
    assert missing.sentence.startswith("aten::_linalg_solve_ex.result does not exist for mps")
    older = raised(
        "NotImplementedError", "Could not run 'aten::index' with arguments from the 'MPS' backend."
    )
    assert (older.kind, older.operator) == ("operator-missing", "aten::index")
    watermark = raised("RuntimeError", "invalid low watermark ratio 1.4")
    assert (watermark.kind, watermark.assertion) == (
        "invalid-watermark",
        "invalid low watermark ratio 1.4",
    )
    assert raised("RuntimeError", "Invalid buffer size: 104.25 GB").asked_bytes == round(
        104.25 * GIB
    )
    bfloat16 = raised("TypeError", "BFloat16 is not supported on MPS")
    assert bfloat16.kind == "dtype-refused"
    half = raised("RuntimeError", "\"LayerNormKernelImpl\" not implemented for 'Half'")
    assert half.kind == "dtype-refused"
    assert raised("MemoryError", "").kind == "cpu-out-of-memory"
    failed = raised(
        "RuntimeError",
        "MPS command buffer execution failed (MTLCommandBufferStatusError, code 14): Internal "
        "Error (0000000e:Internal Error)",
    )
    assert failed.kind == "command-buffer-failed"


def test_cuda_out_of_memory_in_both_wordings() -> None:
    old = cause_of(
        "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 4.00 GiB total "
        "capacity; 3.40 GiB already allocated; 0 bytes free; 3.46 GiB reserved in total by PyTorch)"
    )
    assert (old.asked_bytes, old.allocated_bytes, old.limit_bytes) == (
        20 * MIB,
        round(3.4 * GIB),
        4 * GIB,
    )
    new = cause_of(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 27.12 GiB. GPU 0 has a "
        "total capacity of 11.99 GiB of which 0 bytes is free. Of the allocated memory 16.16 GiB "
        "is allocated by PyTorch, and 144.59 MiB is reserved by PyTorch but unallocated."
    )
    assert new.kind == "cuda-out-of-memory"
    assert (new.asked_bytes, new.allocated_bytes, new.limit_bytes) == (
        round(27.12 * GIB),
        round(16.16 * GIB),
        round(11.99 * GIB),
    )


def test_cpu_out_of_memory() -> None:
    cause = cause_of(
        "RuntimeError: [enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't "
        "allocate memory: you tried to allocate 1125899906842624 bytes. Error code 12"
    )
    assert (cause.kind, cause.asked_bytes) == ("cpu-out-of-memory", 2**50)
    array = cause_of("MemoryError: Unable to allocate 1.50 GiB for an array with shape (1,)")
    assert array.asked_bytes == round(1.5 * GIB)


def test_a_signal_is_told_by_stderr_an_exception_by_itself() -> None:
    assertion = tail("abort.ndarray-4gib.m1max.sdapi23.stderr.txt")
    killed = read_failure(assertion, "ValueError", "invalid low watermark ratio 1.4", "SIGABRT")
    assert killed is not None
    assert killed.kind == "ndarray-over-2-32-bytes"
    noisy = tail("commandbuffer.internal-error.m1pro.pytorch125442.stderr.txt")
    raised = read_failure(noisy, "RuntimeError", OOM, None)
    assert raised is not None
    assert raised.kind == "mps-out-of-memory"


@pytest.mark.parametrize(
    ("signal", "kind"),
    [
        ("SIGKILL", "killed"),
        ("SIGBUS", "bus-error"),
        ("SIGSEGV", "segmentation-fault"),
        ("SIGABRT", "aborted"),
        ("SIGTRAP", "trapped"),
    ],
)
def test_a_signal_without_words(signal: str, kind: str) -> None:
    cause = read_failure(" 40%|████  | 8/20 [00:10<00:15,  1.25s/it]", None, None, signal)
    assert cause is not None
    assert (cause.kind, cause.assertion) == (kind, None)


@pytest.mark.parametrize(
    "text", ["", "\x00" * 50, "Traceback (most recent call last):", "%|" * 40_000, "9" * 70_000]
)
def test_nothing_known_is_none(text: str) -> None:
    assert read_failure(text, None, None, None) is None
    assert read_failure(text, "ValueError", "prompt is empty", "SIGTERM") is None


def test_absurd_numbers_do_not_matter() -> None:
    huge = "9" * 5_000
    cause = cause_of(f"MPS backend out of memory (MPS allocated: {huge} GB, max allowed: 1.5.5 GB)")
    assert cause.kind == "mps-out-of-memory"


def test_fallback_operators_in_the_wording_of_several_releases() -> None:
    text = (
        # torch 1.12, 1.13: behind a bar, on the same line
        "Sampling:   0%|          | 0/1 [00:00<?, ?it/s]/x/embedding_manager.py:152: UserWarning: "
        "The operator 'aten::nonzero' is not currently supported on the MPS backend and will fall "
        "back to run on the CPU. This may have performance implications. (Triggered internally at "
        "/x/work/aten/src/ATen/mps/MPSFallback.mm:11.)\n  placeholder_idx = torch.where(\n"
        # a kernel's own words on an older macOS
        "UserWarning: MPS: grid_sampler_2d op is supported natively starting from macOS 13.2. "
        "Falling back on CPU. This may have performance implications.\n"
        # broken over lines
        "UserWarning: The operator 'aten::sgn.out' is not currently supported\n on the MPS backend "
        "and will fall back to run on the CPU.\n"
        "The operator 'aten::nonzero' is not currently supported on the MPS backend and will fall "
        "back to run on the CPU."
    )
    assert fallback_operators(text) == ["aten::nonzero", "aten::grid_sampler_2d", "aten::sgn.out"]
    assert fallback_operators("'aten::x' is not currently implemented for the MPS device") == []
    assert read_failure(text, None, None, None) is None


REPORT = (DATA / "crash-reports" / "python-abort.mps-convolution.ips").read_text(encoding="utf-8")


def test_crash_report() -> None:
    report = read_crash_report(REPORT)
    assert report is not None
    assert (report.process, report.os_version) == ("python3.9", "macOS 12.4 (21F79)")
    assert (report.exception_type, report.signal) == ("EXC_CRASH", "SIGABRT")
    assert report.termination == "SIGNAL 6: Abort trap: 6"
    assert report.message == (
        "MPSGraphConvolutionOps.mm:346: failed assertion `sourceTensor rank must be 4'"
    )
    assert report.queue == "metal gpu stream"
    assert [(frame.image, frame.symbol) for frame in report.frames[:2]] == [
        ("libsystem_kernel.dylib", "__pthread_kill"),
        ("libsystem_pthread.dylib", "pthread_kill"),
    ]
    assert report.frames[6].image == "MetalPerformanceShadersGraph"
    assert (report.frames[-2].image, report.frames[-2].symbol) == ("libtorch_cpu.dylib", None)
    assert report.frames[-1].image == "Python"


def test_crash_report_keeps_no_path_and_reads_on_as_a_failure() -> None:
    report = read_crash_report(REPORT)
    assert report is not None
    kept = repr(report)
    assert "USER" not in kept
    assert "iTerm" not in kept
    assert "BuildRoots" not in kept
    cause = read_failure(report.message or "", None, None, report.signal)
    assert cause is not None
    assert (cause.kind, cause.assertion) == ("metal-assertion", "sourceTensor rank must be 4")


def test_crash_report_of_an_objective_c_exception_shows_where_it_was_raised() -> None:
    header, body = REPORT.split("\n", 1)
    document = json.loads(body)
    document["asi"] = {"libsystem_c.dylib": ["abort() called"]}
    document["exceptionReason"] = {
        "name": "NSRangeException",
        "composed_message": "index 4 beyond bounds for empty array",
    }
    document["lastExceptionBacktrace"] = [{"symbol": "objc_exception_throw", "imageIndex": 3}]
    report = read_crash_report(f"{header}\n{json.dumps(document)}")
    assert report is not None
    assert [frame.symbol for frame in report.frames] == ["objc_exception_throw"]
    assert report.message == (
        "uncaught exception 'NSRangeException', reason: index 4 beyond bounds for empty array"
    )


def test_crash_report_cut_while_it_is_written() -> None:
    exception_ends = REPORT.index('"termination"')
    frames_end = REPORT.index('"usedImages"')
    assert read_crash_report(REPORT[:500]) is None
    early = read_crash_report(REPORT[:exception_ends])
    assert early is not None
    assert (early.signal, early.termination, early.frames) == ("SIGABRT", None, [])
    assert early.os_version == "macOS 12.4 (21F79)"
    late = read_crash_report(REPORT[:frames_end])
    assert late is not None
    assert [frame.symbol for frame in late.frames[:1]] == ["__pthread_kill"]
    assert late.frames[0].image is None
    assert late.queue == "metal gpu stream"


@pytest.mark.parametrize("length", range(0, len(REPORT), 97))
def test_crash_report_cut_anywhere_never_raises(length: int) -> None:
    read_crash_report(REPORT[:length])
    read_crash_report(REPORT[length:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]\n[]",
        "null\nnull",
        "{\n" + "[" * 100_000,
        '{"bug_type":"309"}\n{"exception": 5, "termination": "SIGNAL", "threads": {}}',
        '{}\n{"exception": {"type": 3, "signal": []}, "threads": [4], "faultingThread": 9}',
        (
            '{}\n{"exception": {"type": "EXC"}, "faultingThread": -1, "usedImages": 3, '
            '"threads": [{"triggered": true, "frames": [null, {"imageIndex": "x", "symbol": 4}]}]}'
        ),
        '{}\n{"termination": {"code": "x", "namespace": 1, "reasons": [1, null]}, "asi": {"a": 3}}',
    ],
)
def test_crash_report_absurd(text: str) -> None:
    report = read_crash_report(text)
    assert report is None or report.signal is None


def test_crash_report_without_its_first_line() -> None:
    report = read_crash_report(REPORT.split("\n", 1)[1])
    assert report is not None
    assert (report.signal, report.os_version) == ("SIGABRT", None)


# --- virtual Macs: what hosted runners print

NO_MEMORY = "this virtual machine has no GPU memory"
CAPPED = "limited to 1024 MB for the GPU"
LIMIT = "Metal's memory limit was reached"


@pytest.mark.parametrize("chip", [None, "Apple M1 (Virtual)", "Apple Paravirtual device"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        # actions/runner-images#9918, kitzeslab/opensoundscape#850, newer units
        (
            (
                "allocated: 0 bytes, other allocations: 0 bytes, max allowed: 7.93 GB). Tried to "
                "allocate 256 bytes on private pool."
            ),
            NO_MEMORY,
        ),
        (
            (
                "allocated: 0 bytes, other allocations: 0 bytes, max allowed: 1.70 GB). Tried to "
                "allocate 0 bytes on private pool."
            ),
            NO_MEMORY,
        ),
        (
            (
                "allocated: 0 bytes, other allocations: 384.00 KiB, max allowed: 7.93 GiB). Tried "
                "to allocate 256 bytes on shared pool."
            ),
            NO_MEMORY,
        ),
        # actions/runner-images#11899
        ("allocated: 1024.00 MB). Tried to allocate 256 bytes on shared pool.", CAPPED),
    ],
)
def test_a_virtual_mac_without_gpu_memory_is_not_called_too_large_an_image(
    text: str, words: str, chip: str | None
) -> None:
    message = f"MPS backend out of memory (MPS {text} Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0"
    cause = read_failure("", "RuntimeError", message, None, Versions(chip=chip))
    assert cause is not None and cause.kind == "mps-out-of-memory"
    assert words in cause.sentence and "virtual" in cause.sentence
    assert "macos-15" in cause.remedy and "--device cpu" in cause.remedy
    assert "smaller" not in cause.remedy and "WATERMARK" not in cause.remedy


@pytest.mark.parametrize(
    "text",
    [
        # One array that is larger than all that is allowed.
        (
            "allocated: 0 bytes, other allocations: 0 bytes, max allowed: 9.07 GB). Tried to "
            "allocate 12.00 GB on private pool."
        ),
        # A limit that somebody set.
        (
            "allocated: 0 bytes, other allocations: 384.00 KB, max allowed: 384.00 KB). Tried to "
            "allocate 256 bytes on private pool."
        ),
        (
            "allocated: 72.40 GB, other allocations: 15.71 GB, max allowed: 81.60 GB). Tried to "
            "allocate 256 bytes on shared pool."
        ),
        (
            "allocated: 1024.00 MB, other allocations: 5.00 GB, max allowed: 6.00 GB). Tried to "
            "allocate 256 bytes on shared pool."
        ),
    ],
)
def test_a_full_real_mac_is_not_called_a_virtual_one(text: str) -> None:
    cause = cause_of(f"RuntimeError: MPS backend out of memory (MPS {text}")
    assert cause.sentence.startswith(LIMIT) and "virtual" not in cause.sentence


def test_a_virtual_mac_that_is_full_has_less_memory_than_torch_says() -> None:
    text = (
        "RuntimeError: MPS backend out of memory (MPS allocated: 3.40 GB, other allocations: "
        "1.71 GB, max allowed: 7.93 GB). Tried to allocate 1.20 GB on private pool."
    )
    virtual = read_failure(text, None, None, None, Versions(chip="Apple M1 (Virtual)"))
    assert virtual is not None and "about 3.5 GB" in virtual.sentence
    assert cause_of(text).sentence.startswith(LIMIT)


def test_metal_4_on_a_virtual_mac_is_named_with_the_image_that_works() -> None:
    """pytorch#196582."""
    for part in ("unsupported deferred-static-alloca-size", "undefined cooperative_tensor"):
        cause = cause_of(f'RuntimeError: Failed to created pipeline state object, error: "{part}"')
        assert cause.kind == "metal-pipeline-state"
        assert "virtual Mac with macOS 26" in cause.sentence and "macos-15" in cause.remedy
