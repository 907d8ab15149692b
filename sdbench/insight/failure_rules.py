"""The words by which a failure is known, and what to say about each: data, and how a rule reads.

Wording of the messages: torch's ``MPSAllocator.mm``, ``MPSFallback.mm``, ``MPSStream.mm`` and
``CUDACachingAllocator.cpp``; assertions and Metal's errors from public bug reports. A message may
be cut at either end and broken by other output, so a rule asks for as few words as identify it,
any white space stands for a blank, and each number is looked for on its own.
"""

import re
from dataclasses import dataclass

from sdbench.schema import FailureCause

_LONGEST_QUOTE = 300


def words(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a pattern in which a blank stands for any white space."""
    return re.compile(pattern.replace(" ", r"\s+"), flags)


# torch's allocators print sizes with two decimals of powers of 1024. Older MPSAllocator.mm called
# them KB, MB, GB (its format_size divides by 1073741824 and appends "GB"), newer releases KiB, MiB,
# GiB; CUDA's was KiB, MiB, GiB always. So both spellings are binary.
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = r"\d{1,15}(?:\.\d{1,6})?\s{0,3}(?:bytes|[KMGT]i?B)"


def _bytes(text: str) -> int:
    """``18.13 GB``, ``292.50 MiB``, ``7664640 bytes``, ``7664640`` as a number of bytes."""
    number = re.match(r"[\d.]+", text)
    assert number is not None
    unit = text[number.end() :].strip()[:1].lower() or "b"
    return round(float(number[0]) * 1024.0 ** _POWERS[unit])


def _gib(value: int | None) -> str:
    """As torch writes it, so that the figure is found again in the error; properly named."""
    if value is None:
        return "an unknown amount"
    if value >= 2**30:
        return f"{value / 2**30:.2f} GiB"
    return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value} bytes"


def _quote(text: str) -> str:
    """One line, without folders: the last part of a path says enough and names nobody."""
    one_line = " ".join(text.split()).strip("` ")
    if one_line.count("'") % 2:
        one_line = one_line.strip("'")
    return re.sub(r"(?:/[^/\s'\"`:]+)+/(?=[^/\s])", "", one_line)[:_LONGEST_QUOTE]


@dataclass(frozen=True)
class Rule:
    """Words to look for and what they mean.

    Named groups of ``pattern`` fill the fields of the same name (``asked`` is a size); ``sizes``
    are looked for separately because the message may be cut before or after any of them.
    """

    kind: str
    pattern: re.Pattern[str]
    sentence: str
    remedy: str
    sizes: tuple[tuple[str, re.Pattern[str]], ...] = ()
    limit_bytes: int | None = None

    def read(self, text: str) -> FailureCause | None:
        """The cause if the words are in the text; of several mentions the last counts."""
        matches = list(self.pattern.finditer(text))
        if not matches:
            return None
        match = matches[-1]
        found = {name: value for name, value in match.groupdict().items() if value}
        for name, pattern in self.sizes:
            values = pattern.findall(text)
            if values:
                found[name] = values[-1]
        return self.cause(found, found.get("quote", match[0]))

    def cause(self, found: dict[str, str], quote: str | None) -> FailureCause:
        """Fill in the sentence."""
        sizes = {
            name: _bytes(found[name]) if name in found else None
            for name in ("asked", "allocated", "other", "limit")
        }
        sizes["limit"] = sizes["limit"] or self.limit_bytes
        amounts = {name: _gib(value) for name, value in sizes.items()}
        operator = found.get("operator")
        return FailureCause(
            kind=self.kind,
            sentence=self.sentence.format(**amounts, operator=operator or "an operator"),
            remedy=self.remedy,
            asked_bytes=sizes["asked"],
            allocated_bytes=sizes["allocated"],
            other_bytes=sizes["other"],
            limit_bytes=sizes["limit"],
            pool=found.get("pool"),
            operator=operator,
            assertion=None if quote is None else _quote(quote),
        )


_LESS_MEMORY = (
    "Use a smaller resolution, float16, one image at a time (batching = loop), VAE slicing or "
    "tiling; close other programs."
)
# Attention slicing would help too, but gives black pictures on mps before torch 2.14 (known issue
# baddbmm-nan), and what is broken is not recommended.
_SMALLER_ATTENTION = (
    "Use a smaller resolution, fewer images in a batch (batching = loop) or float16."
)
_SHORTER_WORK = (
    "Use a smaller resolution or one image at a time, so that each piece of work is shorter; leave "
    "the screen and other programs alone while it runs."
)
_AT = r"(?:\[MPS\w{0,40},?[^\]\n]{0,160}\] Error: )?"
_CODE = r"(?: \([^)\n]{0,120}\)?)?"

# What ends the process, most telling first.
FATAL: tuple[Rule, ...] = (
    Rule(
        "ndarray-over-2-32-bytes",
        words(rf"(?P<quote>{_AT}total bytes of NDArray > 2\*\*32)"),
        "One array would be larger than 4 GiB, which Metal's array type cannot hold; Metal then "
        "ends the process. In Stable Diffusion that array is nearly always the attention scores.",
        _SMALLER_ATTENTION,
        limit_bytes=2**32,
    ),
    Rule(
        "tensor-dimension-over-2-31",
        words(
            rf"(?P<quote>{_AT}product of dimension sizes > 2\*\*31"
            r"|MPSGraph does not support tensor dims larger than INT_MAX)"
        ),
        "One array would have more than 2**31 elements, which Metal cannot address.",
        _SMALLER_ATTENTION,
    ),
    Rule(
        "buffer-not-large-enough",
        words(
            rf"(?P<quote>{_AT}buffer is not large enough\.?"
            r"(?: Must be (?P<asked>\d{1,18}) bytes)?)"
        ),
        "torch handed Metal a buffer smaller than the array it describes ({asked} needed); a fault "
        "of torch's with tensors that are not contiguous, not a lack of memory.",
        "Try another torch release: this came with 2.8 and, long before, with 1.12 and 1.13.",
    ),
    Rule(
        "matmul-over-2-32-elements",
        words(
            r"(?P<quote>Output size of the matrix multiplication is larger than currently "
            r"supported by the MPS backend[^\n]{0,80})"
        ),
        "One matrix product would have more than 2**32 elements, which torch refuses on mps.",
        _SMALLER_ATTENTION,
    ),
    Rule(
        "mlir-broadcast",
        words(
            r"(?P<quote>(?:input types '[^'\n]{1,100}' and )?'[^'\n]{1,100}' are not broadcast "
            r"compatible)"
        ),
        "Metal's graph compiler was given arrays of different types or shapes and ended the "
        "process; torch 2.0 does that in LayerNorm at float16.",
        "Use torch 2.1 or later, or float32.",
    ),
    Rule(
        "mlir-type-inference",
        words(r"(?P<quote>LLVM ERROR: Failed to infer result type)"),
        "Metal's graph compiler rejected a graph that torch built and ended the process.",
        "Try another torch release, or float32.",
    ),
    Rule(
        "ns-exception",
        words(
            r"Terminating app due to uncaught exception "
            r"(?P<quote>'\w{1,80}'(?:, reason: [^\n]{0,260})?)"
        ),
        "A system framework below torch raised an exception that nothing catches.",
        "Try another torch release; `sdbench repro` makes a short script for a bug report.",
    ),
    Rule(
        "metal-watchdog",
        words(rf"(?P<quote>Impacting Interactivity{_CODE}|kIO\w+ImpactingInteractivity)"),
        "macOS stopped the GPU's work because it kept the screen from being drawn for too long.",
        _SHORTER_WORK,
    ),
    Rule(
        "command-buffer-out-of-memory",
        words(rf"(?P<quote>Insufficient Memory{_CODE}|kIO\w+CallbackErrorOutOfMemory)"),
        "Metal had not enough memory to run the work it was given.",
        _LESS_MEMORY,
    ),
    Rule(
        "gpu-timeout",
        words(rf"(?P<quote>Caused GPU Timeout Error{_CODE}|kIO\w+CallbackErrorTimeout)"),
        "macOS stopped the GPU's work because one piece of it took too long.",
        _SHORTER_WORK,
    ),
    Rule(
        "gpu-hang",
        words(rf"(?P<quote>Caused GPU Hang Error{_CODE}|kIO\w+CallbackErrorHang)"),
        "The GPU stopped answering and macOS reset it.",
        _SHORTER_WORK,
    ),
    Rule(
        "gpu-address-fault",
        words(rf"(?P<quote>Caused GPU Address Fault Error{_CODE}|kIO\w+CallbackErrorPageFault)"),
        "A GPU kernel read or wrote memory that is not its own: a fault in torch or Metal.",
        "Try another torch release; `sdbench repro` makes a short script for a bug report.",
    ),
    Rule(
        "gpu-reset-by-another",
        words(
            r"(?P<quote>(?:Discarded|Ignored) \((?:victim of|for causing prior/excessive) GPU "
            rf"errors?(?:/recovery)?\){_CODE}|kIO\w+(?:InnocentVictim|SubmissionsIgnored))"
        ),
        "The GPU was reset because of an earlier fault, of this or another program, and this work "
        "was thrown away with it.",
        "Close other programs that use the GPU, restart the Mac if it keeps happening, run again.",
    ),
    # Code 0000000e reads "Internal Error" on some systems and "Impacting Interactivity" on others.
    Rule(
        "command-buffer-failed",
        words(
            r"(?P<quote>MPS command buffer execution failed[^\n]{0,200}"
            r"|\[METAL\] Command buffer execution failed[^\n]{0,200}"
            r"|Internal Error \([0-9a-f]{8}:[^)\n]{0,80}\)"
            r"|command buffer exited with error status)"
        ),
        "A piece of work on the GPU failed; what it should have computed is missing or wrong.",
        f"Run again; if it stays: {_SHORTER_WORK[0].lower()}{_SHORTER_WORK[1:]}",
    ),
    Rule(
        "command-buffer-state",
        words(
            r"(?:MetalCommandBuffer[^\n]{0,120}failed assertion |_status < )[`']?"
            r"(?P<quote>[^'\n]{0,200})"
        ),
        "torch used a Metal command buffer that was already handed in, so Metal ended the process; "
        "that follows a failed piece of GPU work, or work from two threads at once.",
        "Run again; try another torch release if it stays.",
    ),
    Rule(
        "neural-engine-failed",
        words(r"(?P<quote>ANE evaluation error[^\n]{0,200})", re.IGNORECASE),
        "Metal gave a part of the work to the Neural Engine, which failed or took too long.",
        "Use a newer torch (2.1 or later) and the newest macOS of your version.",
    ),
)

# What Metal writes about a piece of work that failed. Before torch 2.15 nothing is raised then, and
# the process goes on.
GPU_WORK: tuple[Rule, ...] = tuple(
    rule
    for rule in FATAL
    if rule.kind.startswith(("command-buffer-", "gpu-")) or rule.kind == "metal-watchdog"
)

# What Python can catch.
RAISED: tuple[Rule, ...] = (
    Rule(
        "mps-out-of-memory",
        words(
            rf"(?P<quote>MPS backend out of memory|MPS allocated: {_SIZE}"
            rf"|(?:Tried to allocate )?{_SIZE} on (?:private|shared) pool|max allowed: {_SIZE}\))"
        ),
        "Metal's memory limit was reached: {asked} more was asked for while torch held {allocated} "
        "(tensors and its cache) and Metal {other} beside it, of {limit} allowed.",
        _LESS_MEMORY + " Do not set PYTORCH_MPS_HIGH_WATERMARK_RATIO=0 as the message suggests: "
        "without a limit the whole machine can freeze.",
        sizes=(
            ("allocated", words(rf"MPS allocated: ({_SIZE})")),
            ("other", words(rf"other allocations: ({_SIZE})")),
            ("limit", words(rf"max allowed: ({_SIZE})")),
            ("asked", words(rf"Tried to allocate ({_SIZE})")),
            ("asked", words(rf"({_SIZE}) on (?:private|shared) pool")),
            ("pool", words(r"on (private|shared) pool")),
        ),
    ),
    Rule(
        "cuda-out-of-memory",
        words(
            r"(?P<quote>(?:CUDA|HIP) out of memory|CUDA error: out of memory"
            r"|CUBLAS_STATUS_ALLOC_FAILED|(?:torch|cuda)\.OutOfMemoryError)"
        ),
        "The GPU's memory is used up: {asked} more was asked for while torch held {allocated}, of "
        "{limit} on the card.",
        _LESS_MEMORY,
        sizes=(
            ("asked", words(rf"Tried to allocate ({_SIZE})")),
            # torch 2.0 and before; 2.1 and later (2.1 wrote "capacty")
            ("allocated", words(rf"({_SIZE}) already allocated")),
            ("allocated", words(rf"({_SIZE}) is allocated by PyTorch")),
            ("limit", words(rf"({_SIZE}) total capacity")),
            ("limit", words(rf"capaci?ty of ({_SIZE})")),
        ),
    ),
    Rule(
        "cpu-out-of-memory",
        words(
            rf"(?P<quote>DefaultCPUAllocator: (?:not enough|can't allocate) memory"
            rf"(?:: you tried to allocate (?P<asked>\d{{1,18}}) bytes)?"
            rf"|Unable to allocate {_SIZE} for an array|Cannot allocate memory"
            r"|MemoryError\b|std::bad_alloc)"
        ),
        "The system had no memory left for an array on the CPU ({asked} asked for).",
        _LESS_MEMORY,
        sizes=(("asked", words(rf"Unable to allocate ({_SIZE}) for an array")),),
    ),
    Rule(
        "invalid-buffer-size",
        words(rf"(?P<quote>Invalid buffer size: (?P<asked>{_SIZE}))"),
        "One array of {asked} was asked for, more than Metal allows for a single buffer.",
        _SMALLER_ATTENTION,
    ),
    Rule(
        "float64-refused",
        words(
            r"(?P<quote>Cannot convert an? MPS Tensor to float64"
            r"|MPS framework doesn't support float64)"
        ),
        "Something asked for float64 on mps, which Metal does not have.",
        "Use another scheduler (ddim works) or a newer diffusers.",
    ),
    Rule(
        "dtype-refused",
        words(
            r"(?P<quote>\b\w{1,40} is not supported on MPS"
            r"|Trying to convert \w+ to the MPS backend but it does not have support"
            r"|\"\w{1,80}\" not implemented for '\w+')"
        ),
        "This torch cannot compute with the chosen dtype on this device.",
        "Use float32 or, on mps, float16; bfloat16 on mps needs torch 2.3 and macOS 14.",
    ),
    Rule(
        "operator-missing",
        words(
            r"(?P<quote>(?:The operator|Could not run) '(?P<operator>\w+::[\w.]+)' (?:is not "
            r"currently implemented for the MPS|with arguments from the 'MPS' backend))"
        ),
        "{operator} does not exist for mps in this torch.",
        "Use a newer torch, or PYTORCH_ENABLE_MPS_FALLBACK=1 to run it, slowly, on the CPU.",
    ),
    Rule(
        "invalid-watermark",
        words(r"(?P<quote>invalid (?:low|high) watermark ratio(?: [\d.]{1,20})?)"),
        "PYTORCH_MPS_HIGH_WATERMARK_RATIO and PYTORCH_MPS_LOW_WATERMARK_RATIO contradict each "
        "other: LOW, 1.4 if not set, must not be above HIGH, and both lie between 0 and 2.",
        "Unset both, or set LOW too, to the value of HIGH or less.",
    ),
    Rule(
        "mps-not-available",
        words(
            r"(?P<quote>PyTorch is not linked with support for mps devices"
            r"|Torch not compiled with MPS enabled|The MPS backend is supported on MacOS [\d.]+)"
        ),
        "This torch or this system offers no mps.",
        "On a Mac with Apple silicon: an arm64 Python, torch from PyPI, a macOS it supports.",
    ),
    Rule(
        "tensors-on-different-devices",
        words(
            r"(?P<quote>Placeholder storage has not been allocated on MPS device"
            r"|Expected all tensors to be on the same device)"
        ),
        "A part of the model stayed on the CPU while another was on the device.",
        "Without offload this is a fault of the pipeline; try offload = none or a newer diffusers.",
    ),
    Rule(
        "numpy-not-available",
        words(r"(?P<quote>Numpy is not available)"),
        "This torch was built for numpy 1 and found numpy 2.",
        "Install numpy below 2 beside a torch before 2.3.",
    ),
)

_KILLED = Rule(
    "killed",
    re.compile(r"(?P<quote>zsh: killed|Killed: 9|^Killed\s*$|exit code -9\b)", re.MULTILINE),
    "The process was killed from outside without a word; macOS and Linux do that when memory runs "
    "out.",
    _LESS_MEMORY,
)
_BUS_ERROR = Rule(
    "bus-error",
    re.compile(r"(?P<quote>\bbus error\b)", re.IGNORECASE),
    "The process touched memory that is not there: a fault in torch, Metal or a driver.",
    "Try another torch release.",
)
_SEGMENTATION = Rule(
    "segmentation-fault",
    re.compile(r"(?P<quote>\bsegmentation fault\b)", re.IGNORECASE),
    "The process touched memory that is not its own: a fault in torch, Metal or a driver.",
    "Try another torch release.",
)
_ABORTED = Rule(
    "aborted",
    re.compile(r"(?P<quote>zsh: abort|Abort trap: 6|Fatal Python error: Aborted)"),
    "The process ended itself (abort) without saying why.",
    "On macOS the crash report says more; try another torch release.",
)
_TRAPPED = Rule(
    "trapped",
    re.compile(r"(?P<quote>zsh: (?:trace trap|illegal hardware instruction)|Trace/BPT trap)"),
    "The process met an instruction it must not run: a failed check inside a system library, or a "
    "library built for another processor.",
    "Check that Python and torch are built for this processor; try another torch release.",
)

# Words that say that it ended, hardly why.
GENERAL: tuple[Rule, ...] = (
    Rule(
        "metal-assertion",
        words(r"failed assertion [`'](?P<quote>[^`']{1,400})"),
        "A check inside Metal failed, and Metal then ends the process.",
        "Try another torch release; `sdbench repro` makes a short script for a bug report.",
    ),
    Rule(
        "cpp-exception",
        words(
            r"terminating (?:due to|with) uncaught exception(?: of type (?P<quote>[^\n]{1,300}))?"
        ),
        "Code below Python raised an exception that nothing caught.",
        "Try another torch release; `sdbench repro` makes a short script for a bug report.",
    ),
    Rule(
        "kernel-panic",
        words(r"(?P<quote>prepare count underflow)"),
        "The system itself failed in its GPU memory management and restarted the Mac.",
        "Update macOS; use less memory: it happens when the GPU's memory is nearly used up.",
    ),
    _KILLED,
    _BUS_ERROR,
    _SEGMENTATION,
    _ABORTED,
    _TRAPPED,
    Rule(
        "neural-engine-refused",
        words(r"(?P<quote>'anec\.\w+' op [^\n]{0,200})"),
        "Metal tried to give a part of the work to the Neural Engine, whose compiler refused it; "
        "some systems end the process afterwards.",
        "Use a newer torch (2.1 or later) and the newest macOS of your version.",
    ),
)

SIGNALS = {
    "SIGKILL": _KILLED,
    "SIGBUS": _BUS_ERROR,
    "SIGSEGV": _SEGMENTATION,
    "SIGABRT": _ABORTED,
    "SIGTRAP": _TRAPPED,
    "SIGILL": _TRAPPED,
}
