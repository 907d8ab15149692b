"""The catalogue of known issues (``known_issues.toml``), and which of them apply to a case. Pure.

An issue says in ``when`` under which versions and settings it is met; one table that holds in all
its parts is enough. No table at all: the settings of a case do not show whether it
meets the issue (another way of using torch, another model), which is there for ``localise``, for
reports and for reading. ``affects`` says which versions, chips, dtypes and operators a fault is
known of, whether or not a case meets it. ``probe`` names a short computation
(``sdbench/worker/probes.py``) that shows the fault; ``sdbench doctor --deep`` runs them all.
"""

import functools
from collections.abc import Sequence
from importlib import resources
from typing import Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from sdbench.files.toml import parse_toml
from sdbench.knowledge.attention_limits import FIRST_ATTENTION, unet_scores
from sdbench.knowledge.chips import Chip, is_one_of
from sdbench.knowledge.version_ranges import release, within
from sdbench.models.family import family_of, load_families
from sdbench.records import (
    Attention,
    Batching,
    Case,
    DeviceKind,
    Dtype,
    Offload,
    Quantization,
    Scheduler,
    TextEncoder,
    VaeDevice,
    VaeDtype,
)

FindingCode = Literal[
    "first-pass-drift",
    "batch-mismatch",
    "batch-crash",
    "split-mismatch",
    "nan-output",
    "black-output",
    "noise-output",
    "wrong-content",
    "nondeterministic",
    "cpu-mismatch",
    "swap-bound",
    "memory-growth",
    "throttled",
    "not-steady",
    "worker-crash",
    "timeout",
    "oom",
    "memory-guard",
    "slow-first-pass",
    "slicing-hurts",
    "slicing-helps",
    "no-effect-setting",
    "cpu-fallback",
    "known-issue",
    "noisy-host",
    "unfinished",
]
Confidence = Literal["verified", "reported", "lead"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Axis values that trigger an issue; an axis that is not listed may have any value."""

    attention_slicing: tuple[bool, ...] | None = None
    warmup: tuple[bool, ...] | None = None
    batching: tuple[Batching, ...] | None = None
    dtype: tuple[Dtype, ...] | None = None
    vae_slicing: tuple[bool, ...] | None = None
    vae_tiling: tuple[bool, ...] | None = None
    attention: tuple[Attention, ...] | None = None
    offload: tuple[Offload, ...] | None = None
    scheduler: tuple[Scheduler, ...] | None = None
    steps: tuple[int, ...] | None = None
    guidance_scale: tuple[float, ...] | None = None
    vae_dtype: tuple[VaeDtype, ...] | None = None
    vae_device: tuple[VaeDevice, ...] | None = None
    attention_upcast: tuple[bool, ...] | None = None
    compile: tuple[bool, ...] | None = None
    quantization: tuple[Quantization, ...] | None = None
    text_encoder: tuple[TextEncoder, ...] | None = None

    def hold(self, case: Case) -> bool:
        """Whether the case has one of the values on every axis given."""
        return all(
            values is None or getattr(case, axis) in values
            for axis, values in msgspec.structs.asdict(self).items()
        )


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an issue is met: all that is given must hold.

    Versions are PEP 440 specifiers, compared by release: a nightly or local build (``2.14.0.dev1``,
    ``2.13.0+cpu``) counts as the release it is named after. A version that is not known matches no
    specifier, except macOS with ``unknown_macos``. ``chip`` names families of Apple's chips; a chip
    that is not known is of none. ``pipeline`` names families
    (``models/families``); a pipeline that no file lists belongs to none of them. ``min_batch`` is
    images in one call of the denoiser, ``min_score_…`` the size of a UNet's attention scores,
    with guidance where the family has it; of another denoiser they are not known.
    """

    device: tuple[DeviceKind, ...] = ("mps",)
    torch: str = ""
    macos: str = ""
    unknown_macos: bool = False
    chip: tuple[Chip, ...] = ()
    diffusers: str = ""
    pipeline: tuple[str, ...] | None = None
    settings: Settings = Settings()
    min_pixels: int | None = None
    max_pixels: int | None = None
    min_batch: int | None = None
    min_score_elements: int | None = None
    min_score_bytes: int | None = None


class Affects(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fault is known of; what is empty is not limited as far as anybody reported.

    ``torch`` and ``macos`` are PEP 440 specifiers, ``dtype`` names of torch's types, ``operator``
    names in ``torch.ops.aten``.
    """

    torch: str = ""
    macos: str = ""
    chip: tuple[Chip, ...] = ()
    dtype: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()

    def hold(self, torch: str | None, macos: str | None, chip: str | None) -> bool:
        """Whether these versions and this chip are among those it is known of."""
        return (
            within(self.torch, release(torch))
            and within(self.macos, release(macos))
            and is_one_of(self.chip, chip)
        )


class Otherwise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do on releases of macOS for which the torch that repairs an issue is not made."""

    macos: str
    workaround: str


class KnownIssue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One known issue. ``what`` describes it; ``symptoms`` are the codes of the findings that it
    causes.

    ``failures`` are the kinds of failure (ids in ``failure_texts.toml``) as which a crash shows; an
    issue that names some is no explanation of a crash of another kind.

    ``confidence``: verified (a maintainer confirmed it, or several people with a reproduction),
    reported (somebody's careful report), lead (a report that may have another cause).
    """

    id: str
    title: str
    what: str
    workaround: str
    links: tuple[str, ...]
    confidence: Confidence
    symptoms: tuple[FindingCode, ...] = ()
    failures: tuple[str, ...] = ()
    fixed_in: str | None = None
    when: tuple[When, ...] = ()
    affects: Affects | None = None
    probe: str | None = None
    otherwise: tuple[Otherwise, ...] = ()

    def known_of(self, torch: str | None, macos: str | None, chip: str | None) -> bool:
        """Whether it is known of these versions and this chip, whatever the settings."""
        if self.affects is not None:
            return self.affects.hold(torch, macos, chip)
        return any(
            within(when.torch, release(torch))
            and within(when.macos, release(macos))
            and is_one_of(when.chip, chip)
            for when in self.when
        )

    def advice(self, macos: str | None) -> str:
        """What to do on this macOS; None stands for an unknown version or another system."""
        here = release(macos)
        fitting = (one.workaround for one in self.otherwise if within(one.macos, here))
        return next(fitting, self.workaround)

    def shows_as(self, code: str, failure: str | None) -> bool:
        """Whether it may be behind a finding; ``failure`` is the kind of a crash, if known."""
        if code not in self.symptoms:
            return False
        is_crash = code in ("worker-crash", "batch-crash", "oom")
        return not (is_crash and self.failures) or failure in self.failures


class _Catalogue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    issue: tuple[KnownIssue, ...]


@functools.cache
def load_known_issues() -> tuple[KnownIssue, ...]:
    """The catalogue that comes with sdbench."""
    file = resources.files("sdbench.knowledge") / "known_issues.toml"
    return parse_known_issues(file.read_text(encoding="utf-8"))


def parse_known_issues(text: str) -> tuple[KnownIssue, ...]:
    """Decode and check a catalogue.

    Raises:
        ValueError: not TOML, an unknown key or family, a wrong type, a bad specifier, an id twice,
            no link, neither ``when`` nor ``affects``.
    """
    issues = msgspec.convert(parse_toml(text), _Catalogue).issue
    seen: set[str] = set()
    for issue in issues:
        if issue.id in seen:
            raise ValueError(f"{issue.id}: this id is used twice")
        seen.add(issue.id)
        if not issue.links or not all(link.startswith("https://") for link in issue.links):
            raise ValueError(f"{issue.id}: expected at least one link, each starting https://")
        if not issue.when and issue.affects is None:
            raise ValueError(f"{issue.id}: expected a table when or affects")
        specifiers = [one.macos for one in issue.otherwise]
        if issue.affects is not None:
            specifiers += [issue.affects.torch, issue.affects.macos]
        for when in issue.when:
            specifiers += [when.torch, when.macos, when.diffusers]
            unknown = {*(when.pipeline or ())} - load_families().keys()
            if unknown:
                raise ValueError(f"{issue.id}: {min(unknown)}: not a family of pipelines")
        for specifier in specifiers:
            try:
                SpecifierSet(specifier)
            except InvalidSpecifier as error:
                raise ValueError(f"{issue.id}: {error}") from None
    return issues


def matching_issues(
    entries: Sequence[KnownIssue],
    *,
    device: DeviceKind,
    torch: str | None,
    macos: str | None,
    chip: str | None,
    diffusers: str | None,
    case: Case,
    images: int,
    pipeline_class: str,
) -> list[KnownIssue]:
    """The issues a case meets on an environment, in the catalogue's order.

    Versions are those of the interpreter measured, as it reports them; ``chip`` is the machine's,
    as macOS names it (``Apple M5 Max``); None is unknown. ``images`` is images in a pass,
    ``pipeline_class`` diffusers' class name.
    """
    name, family = family_of(pipeline_class)
    if family.denoiser == "transformer":  # diffusers slices the attention of UNets only
        case = msgspec.structs.replace(case, attention_slicing=False)
    situation = _Situation(
        device=device,
        torch=release(torch),
        macos=release(macos),
        chip=chip,
        diffusers=release(diffusers),
        case=case,
        batch=images if case.batching == "batch" else 1,
        family=name,
        guided=family.guided_above is not None,
    )
    return [entry for entry in entries if any(situation.meets(when) for when in entry.when)]


class _Situation(msgspec.Struct, frozen=True, kw_only=True):
    """A case on an environment, versions reduced to releases."""

    device: DeviceKind
    torch: Version | None
    macos: Version | None
    chip: str | None
    diffusers: Version | None
    case: Case
    batch: int
    family: str | None
    guided: bool

    def meets(self, when: When) -> bool:
        return (
            self.device in when.device
            and (when.pipeline is None or self.family in when.pipeline)
            and when.settings.hold(self.case)
            and within(when.torch, self.torch)
            and is_one_of(when.chip, self.chip)
            and within(when.diffusers, self.diffusers)
            and (within(when.macos, self.macos) or (when.unknown_macos and self.macos is None))
            and self._is_of_the_size(when)
        )

    def _is_of_the_size(self, when: When) -> bool:
        pixels, (elements, size_bytes) = self.case.width * self.case.height, self._scores()
        return (
            (when.max_pixels is None or pixels <= when.max_pixels)
            and _reaches(pixels, when.min_pixels)
            and _reaches(self.batch, when.min_batch)
            and _reaches(elements, when.min_score_elements)
            and _reaches(size_bytes, when.min_score_bytes)
        )

    def _scores(self) -> tuple[int | None, int | None]:
        """Elements and bytes of the largest array of attention scores; None if unknown."""
        attention = FIRST_ATTENTION.get(self.family or "")
        if attention is None:
            return None, None
        scores = unet_scores(self.case, self.batch, self.guided, *attention)
        return scores.elements, scores.size_bytes


def _reaches(value: int | None, lowest: int | None) -> bool:
    return lowest is None or (value is not None and value >= lowest)
