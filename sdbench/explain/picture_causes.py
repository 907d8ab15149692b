"""Maps the kinds of fault that an image shows to their known causes. Pure.

The kind of fault is measured (``correctness/picture_kinds.py``). The cause is a lead: known issues
of these versions and this image size, and the most frequent cause of this kind of fault.
"""

from collections.abc import Sequence

from sdbench.correctness.picture_kinds import PictureKind
from sdbench.explain.explain import Explanation, issue_sources, link_of
from sdbench.explain.picture_files import PictureFile
from sdbench.knowledge.chips import is_one_of
from sdbench.knowledge.known_issues import (
    FindingCode,
    KnownIssue,
    Settings,
    When,
    load_known_issues,
)
from sdbench.knowledge.version_ranges import Versions, release, within

_MOST_ISSUES = 3

_AS_FINDING: dict[str, tuple[FindingCode, ...]] = {
    "black": ("black-output", "nan-output"),
    "not-a-number": ("nan-output", "black-output"),
    "flat": ("wrong-content", "black-output"),
    "noise": ("noise-output",),
}
_USUAL: tuple[FindingCode, ...] = ("wrong-content",)

# What most often makes each kind, and what to try first.
_REMEDIES = {
    "black": (
        "Compute in float32, or only the VAE (A1111: --no-half-vae; SDXL: the VAE "
        "madebyollin/sdxl-vae-fp16-fix) and attention (ComfyUI: --force-upcast-attention); leave "
        "attention slicing off on torch before 2.14. If everything else is right, a safety "
        "checker blacked the image out: that of diffusers replaces images which it classifies as "
        "unsafe."
    ),
    "flat": "Compute in float32, first the VAE alone; check that the VAE belongs to the model.",
    "noise": "Make one image at a time, check that VAE, scheduler and number of steps belong to "
    "the model (distilled models need their own), and try float32.",
    "tiles": "Decode without VAE tiling, or with a larger overlap of tiles.",
}
_USUAL_REMEDY = (
    "Make the same image with the same seed on the CPU: if the image is right there, the device "
    "is the cause. sdbench run does this and reports which setting is wrong."
)


def explain_picture(
    kinds: Sequence[PictureKind], picture: PictureFile, versions: Versions
) -> list[Explanation]:
    """The explanation of each kind of fault, with the known issues that cause such images on these
    versions."""
    found = [_measured(kind) for kind in kinds]
    met: dict[str, KnownIssue] = {}
    for kind in kinds:
        for issue in load_known_issues():
            codes = _AS_FINDING.get(kind.kind, _USUAL)
            if set(codes) & set(issue.symptoms) and _may_meet(issue, picture, versions):
                met.setdefault(issue.id, issue)
    rank = ("verified", "reported", "lead")
    likely = sorted(met.values(), key=lambda issue: rank.index(issue.confidence))
    return found + [_known(issue, picture, versions) for issue in likely[:_MOST_ISSUES]]


def _measured(kind: PictureKind) -> Explanation:
    return Explanation(
        id=f"picture-{kind.kind}",
        cause=kind.sentence,
        remedy=_REMEDIES.get(kind.kind, _USUAL_REMEDY),
        confidence=kind.confidence,
        generic=False,
        source=None,
        links=[],
        since=None,
        until=None,
        quote=None,
    )


def _known(issue: KnownIssue, picture: PictureFile, versions: Versions) -> Explanation:
    """An issue as a possible cause. It is never certain, because the image does not show the
    settings."""
    names = issue_sources([issue])
    condition = _condition([when for when in issue.when if _may_hold(when, picture, versions)])
    return Explanation(
        id=issue.id,
        cause=f"A known issue of these versions causes such images: {issue.title}{condition}.",
        remedy=issue.advice(versions.macos),
        confidence="medium" if issue.confidence == "verified" and not condition else "low",
        generic=False,
        source=", ".join(names) or None,
        links=[link_of(name) for name in names],
        since=None,
        until=issue.fixed_in and f"before {issue.fixed_in}",
        quote=None,
    )


def _may_meet(issue: KnownIssue, picture: PictureFile, versions: Versions) -> bool:
    return any(_may_hold(when, picture, versions) for when in issue.when)


def _may_hold(when: When, picture: PictureFile, versions: Versions) -> bool:
    """Whether the known versions and the known size are compatible with the issue."""
    pixels = picture.width * picture.height
    model = "" if picture.settings is None else " ".join(picture.settings.values.values()).lower()
    return (
        "mps" in when.device
        and bool(when.torch or when.macos)
        and within(when.torch, release(versions.torch))
        and within(when.macos, release(versions.macos))
        and is_one_of(when.chip, versions.chip)
        and (when.min_pixels is None or pixels >= when.min_pixels)
        and (when.max_pixels is None or pixels <= when.max_pixels)
        and (when.pipeline is None or when.pipeline != ("sdxl",) or "xl" in model or not model)
    )


def _condition(whens: Sequence[When]) -> str:
    """``, if attention slicing was on``: the conditions that the image does not show."""
    words = {
        words_ for when in whens for words_ in [_setting_words(when.settings)] if words_ is not None
    }
    if any(when.settings == Settings() for when in whens) or not words:
        return ""
    return ", if " + " or ".join(sorted(words))


def _setting_words(settings: Settings) -> str | None:
    said = []
    if settings.attention_slicing == (True,):
        said.append("attention slicing was on")
    if settings.dtype is not None:
        said.append(f"it was computed in {' or '.join(settings.dtype)}")
    if settings.offload is not None:
        said.append("model offload was on")
    if settings.attention == ("math",):
        said.append("attention was computed without the fused function")
    if settings.warmup == (False,):
        said.append("it was the first image of the process")
    return " and ".join(said) or None
