"""Extracts the versions that a pasted log, traceback or crash report states. Pure text parsing.

It reads the lines of ``torch.utils.collect_env`` and ``diffusers-cli env``, pip's and conda's
lists, what ComfyUI and A1111 print when they start, paths of packages and headers of crash
reports. A version in a sentence ("needs torch 2.1", "starting from macOS 13.2") is not a statement
about the machine, so a bare name counts only where a line begins with it.
"""

import re

from sdbench.knowledge.version_ranges import Versions

_NUMBER = (
    r"(?P<version>\d{1,3}(?:\.\d{1,3}){1,3}(?:\.?(?:dev|a|b|rc|post)\d{0,9})?(?:\+[\w.]{1,40})?)"
)
_MAC = r"(?:macOS|MacOS|Mac ?OS ?X?|Darwin macOS)"

# The most explicit first; of each the first match counts.
_TORCH = (
    rf"PyTorch version(?: \(GPU\?\))?: {{0,4}}v?{_NUMBER}",
    rf"(?i)\bpytorch version: {{1,4}}v?{_NUMBER}",
    rf"(?m)^[\s>*|-]{{0,8}}\[(?:pip3|conda)\] torch(?:==|\s{{1,40}}){_NUMBER}",
    rf"(?m)^[\s>*|`-]{{0,8}}(?:py)?torch(?:==| {{1,40}}| ?: ?| ?@ ?|: v)[`'\"v]{{0,2}}{_NUMBER}",
    rf"(?:^|[\s/\"'])torch-{_NUMBER}(?:-cp|\.dist-info)",
    rf"[\"']torch[\"']: ?[\"']{_NUMBER}",
    rf"(?i)\b(?:version of|using|with|on|have|installed) (?:py)?torch(?:==| v?| version ){_NUMBER}",
    rf"[•|,;] {{0,4}}torch(?:: |==| ){_NUMBER}",
)
_MACOS = (
    rf"OS: {_MAC} (?P<version>\d{{2}}(?:\.\d{{1,3}}){{0,2}})",
    rf"OS Version: {{1,20}}{_MAC} (?P<version>\d{{2}}(?:\.\d{{1,3}}){{0,2}})",
    rf"\"os_version\" ?: ?\"{_MAC} (?P<version>\d{{2}}(?:\.\d{{1,3}}){{0,2}})",
    r"\bmacOS-(?P<version>\d{2}(?:\.\d{1,3}){0,2})-",
    r"ProductVersion:\s{1,8}(?P<version>\d{2}(?:\.\d{1,3}){0,2})",
    (
        rf"(?m)^[\s>*|`-]{{0,8}}(?:(?:OS|System|Operating [Ss]ystem|Platform)\W{{1,6}})?{_MAC}"
        r"(?: (?:Monterey|Ventura|Sonoma|Sequoia|Tahoe))?[ :v]{1,4}"
        r"(?P<version>\d{2}(?:\.\d{1,3}){0,2})\b"
    ),
    # ComfyUI, when it starts: Mac Version (15, 3, 2)
    r"Mac Version \((?P<version>\d{2}(?:, \d{1,3}){0,2})\)",
)
_PYTHON = (
    r"Python version: {0,4}(?P<version>3\.\d{1,2}(?:\.\d{1,3})?)",
    r"(?m)^[\s>*|`-]{0,8}(?:INFO:\s{0,8})?[Pp]ython:? (?P<version>3\.\d{1,2}\.\d{1,3})",
    r"/python(?P<version>3\.\d{1,2})/",
    r"/Python\.framework/Versions/(?P<version>3\.\d{1,2})/",
)
_CHIP = (
    r"(?P<version>Apple M\d{1,2}(?: (?:Pro|Max|Ultra)| \(Virtual\))?)(?!\w)",
    r"(?P<version>Intel(?:\(R\))? (?:Core|Xeon)[^\n,|]{0,40})",
)
_ARCHITECTURE = (
    rf"OS: {_MAC} [\d.]{{1,9}} \((?P<version>arm64|x86_64)\)",
    r"\bmacOS-[\d.]{1,9}-(?P<version>arm64|x86_64)-",
    r"Code Type: {1,20}(?P<version>ARM-64|X86-64)",
    r"\"cpuType\" ?: ?\"(?P<version>ARM-64|X86-64)",
)
_ARCHITECTURES = {"ARM-64": "arm64", "X86-64": "x86_64"}
_PACKAGES = (
    *("diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub", "tokenizers"),
    *("peft", "numpy", "torchvision", "torchaudio", "xformers", "bitsandbytes"),
)


def versions_in(text: str) -> Versions:
    """The versions that a text states; None for each that it does not state."""
    architecture = _first(_ARCHITECTURE, text)
    return Versions(
        torch=_first(_TORCH, text),
        macos=_first(_MACOS, text),
        python=_first(_PYTHON, text),
        chip=_first(_CHIP, text),
        architecture=_ARCHITECTURES.get(architecture or "", architecture),
        packages={
            name: version for name in _PACKAGES if (version := _package(name, text)) is not None
        },
    )


def states_software(versions: Versions) -> bool:
    """Whether more is known than Python and the processor, so that a failure can be judged."""
    return bool(versions.torch or versions.macos or versions.packages)


def _first(patterns: tuple[str, ...], text: str) -> str | None:
    for pattern in patterns:
        match = re.search(pattern, text)
        if match is not None:
            return match["version"].replace(", ", ".")
    return None


def _package(name: str, text: str) -> str | None:
    spelled = name.replace("_", "[-_]")
    return _first(
        (
            rf"(?im)^[\s>*|-]{{0,8}}(?:\[pip3\] |\[conda\] )?{spelled}(?:==|\s{{1,40}}){_NUMBER}",
            rf"(?i)[`*-]? ?(?:🤗 )?`?{spelled}`? version: {_NUMBER}",
            rf"\b{spelled}-{_NUMBER}(?:-cp|-py|\.dist-info)",
            rf"(?i)\b{spelled}==?{_NUMBER}(?=[^\w]|$)(?!\s*(?:is required|,))",
        ),
        text,
    )
