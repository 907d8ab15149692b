"""Whether images are those that were recorded, and as far from the CPU's as was recorded."""

import functools
import math
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from sdbench.bundles.format import is_image
from sdbench.bundles.opened import Opened
from sdbench.bundles.refusal import RefusedError
from sdbench.correctness import measures
from sdbench.correctness.arithmetic import arithmetic_of
from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.content import judge
from sdbench.correctness.floors import Floor
from sdbench.correctness.parity import ParityResult, ReferenceSet, worst
from sdbench.correctness.references import (
    PACKAGED,
    Reference,
    ReferenceSettings,
    find_floor,
    find_reference,
)
from sdbench.correctness.stage_differences import picture_stage
from sdbench.models.builtin import BUILTIN
from sdbench.plan.config import Config, work_of
from sdbench.records import (
    CORRECTNESS_SEVERITY,
    Case,
    Compared,
    Dtype,
    ImageCompared,
    Picture,
    Replicate,
    Run,
)
from sdbench.words import counted, shortened

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

# Signature, length and name of the first chunk, width, height.
_HEADER = struct.Struct(">8sL4s2L")
# A bundle has 2 MB of images; a small file can hold an enormous one, and comparing takes gigabytes.
_MOST_PIXELS, _MOST_PIXELS_TOGETHER = 4096 * 4096, 256 * 1024 * 1024
# The images of another release's CPU are the same but for rounding.
_SAME_REFERENCE_CORRELATION = 0.99
_SAME_SHARE, _SAME_DIFFERENCE = 1e-4, 1e-6
# A recorded mean is of unrounded values from 0 to 1, an image has 8 bits.
_SAME_MEAN = 0.01


def check_images(
    bundle: Opened, artifacts: Artifacts, config: Config, *, strictly: bool
) -> list[str]:
    """Compare images with records and with the packaged references; returns what was not compared.

    Args:
        bundle: the bundle.
        artifacts: its images.
        config: the run's configuration.
        strictly: whether this version of sdbench made the verdicts, so that they must be the same.

    Raises:
        RefusedError: picture-differs, record-missing.
    """
    run = bundle.recorded.run
    at_hand = _checked_files(bundle, artifacts)
    recorded = {picture.pixels_sha256 for _, _, picture in _pictures(bundle)}
    _check_verdicts(bundle)
    judged = _Judged(run, artifacts, config, strictly=strictly)
    without: set[str] = set()
    by_id = {entry.replicate_id: entry for entry in bundle.recorded.replicates}
    for record in bundle.recorded.compared:
        without |= judged.check(record, by_id[record.replicate_id])
    _check_statistics(bundle, artifacts, at_hand, judged.matching, strictly=strictly)
    notes = []
    if recorded - at_hand:
        missing = counted(len(recorded - at_hand), "image")
        notes.append(f"{missing} of {len(recorded)}: not in the bundle")
    if without & at_hand:
        notes.append(f"{counted(len(without & at_hand), 'image')}: no reference in the package")
    return notes


def _differs(reason: str) -> RefusedError:
    return RefusedError("picture-differs", reason)


def _checked_files(bundle: Opened, artifacts: Artifacts) -> set[str]:
    """The hashes of all images in the bundle, each of which is what its name says."""
    named = _named(bundle)
    found: set[str] = set()
    total = 0
    for name in filter(is_image, bundle.members):
        pixels = _size(bundle.members[name])
        total += pixels
        if pixels > _MOST_PIXELS or total > _MOST_PIXELS_TOGETHER:
            raise RefusedError("unsafe-archive", f"{name}: more pixels than are read ({pixels:,})")
        digest = name.removeprefix("images/").removesuffix(".png")
        if digest not in named:
            raise _differs(f"{name}: no record names it")
        if artifacts.pixels(digest) is None:
            raise _differs(f"{name}: its pixels are not those of its name")
        found.add(digest)
    return found


def _size(png: bytes) -> int:
    """The pixels that a PNG says it has, in the chunk that comes first; 0 of no PNG."""
    if len(png) < _HEADER.size:
        return 0
    *_, width, height = _HEADER.unpack_from(png)
    return int(width) * int(height)


def _named(bundle: Opened) -> set[str]:
    """Every image that a record names."""
    loaded = bundle.recorded
    names: set[str | None] = {picture.pixels_sha256 for _, _, picture in _pictures(bundle)}
    for check in loaded.checks:
        names |= {check.pixels_sha256, check.reference_pixels_sha256}
    for record in loaded.comparisons:
        for image in record.images:
            names.add(image.reference_pixels_sha256)
            names |= set(image.own_rounding.pixels_sha256 if image.own_rounding else ())
    return {name for name in names if name is not None}


def _pictures(bundle: Opened) -> Iterator[tuple[Replicate, int, Picture]]:
    for entry in bundle.recorded.attempts:
        for one in entry.passes:
            for number, picture in enumerate(one.images):
                yield entry, number, picture


def _check_statistics(
    bundle: Opened,
    artifacts: Artifacts,
    at_hand: set[str],
    matching: set[tuple[str, int]],
    *,
    strictly: bool,
) -> None:
    """What a worker said of an image is so: its mean, and whether it shows its prompt.

    One that matches the CPU's shows what that shows.
    """
    run = bundle.recorded.run
    prompts = run.config["prompts"]
    readable = strictly and run.model.name in BUILTIN and run.image_to_image is None
    seen: set[tuple[object, ...]] = set()
    for _, number, picture in _pictures(bundle):
        prompt = prompts[number % len(prompts)]
        key = picture.pixels_sha256, picture.mean, picture.content, prompt
        if picture.pixels_sha256 not in at_hand or key in seen:
            continue
        seen.add(key)
        pixels = artifacts.pixels(picture.pixels_sha256)
        assert pixels is not None
        name = picture.pixels_sha256[:12]
        finite = not picture.nan_count and not picture.inf_count and picture.mean is not None
        if finite and abs(float(pixels.mean()) / 255 - (picture.mean or 0.0)) > _SAME_MEAN:
            raise _differs(f"image {name}: its mean is not the recorded one")
        claimed = readable and picture.content == "right"
        if not claimed or (picture.pixels_sha256, number) in matching:
            continue
        if judge(pixels, prompt).content != "right":
            raise _differs(f"image {name} is recorded as showing its prompt, and does not")


def _check_verdicts(bundle: Opened) -> None:
    """The verdict of a process follows from its images, which are those that it made."""
    made: dict[str, dict[tuple[int, str, str], Picture]] = {}
    for entry in bundle.recorded.replicates:
        made[entry.replicate_id] = {
            (number, picture.pixels_sha256, picture.latents_sha256): picture
            for one in entry.passes
            if one.kind != "prime"
            for number, picture in enumerate(one.images)
        }
    for record in bundle.recorded.compared:
        name = shortened(record.replicate_id)
        own = made[record.replicate_id]
        keys = [(one.image, one.pixels_sha256, one.latents_sha256) for one in record.images]
        if not set(keys) <= own.keys():
            raise _differs(f"{name}: an image was compared that its process did not make")
        if not own.keys() <= set(keys):
            raise RefusedError("record-missing", f"{name}: an image has no comparison")
        for key, image in zip(keys, record.images, strict=True):
            if own[key].broken is not None and image.verdict != "broken":
                raise _differs(f"{name}: an image that is {own[key].broken} is not called broken")
            if image.fault is not None and image.verdict != "broken":
                raise _differs(f"{name}: an image with a fault is called {image.verdict}")
        margins = [image.margin for image in record.images]
        margins += [stage.margin for stage in record.stages]
        margin = max((known for known in margins if known is not None), default=None)
        if not _same(record.margin, margin):
            raise _differs(f"{name}: its margin is not the worst of its images and stages")
        if record.verdict == "match" and (margin or 0.0) > 1:
            raise _differs(f"{name} is called a match, with a margin of {margin:.2g}")
        least = worst(image.verdict for image in record.images)
        if _severity(least) < min(_severity(record.verdict), _severity("match")):
            raise _differs(f"{name} is called {record.verdict}, and an image of it {least}")


def _severity(verdict: str) -> int:
    return [*CORRECTNESS_SEVERITY].index(verdict)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def _reference(settings: ReferenceSettings) -> Reference | None:
    # (Nothing in the package has a key with versions, so this finds what is packaged.)
    return find_reference(settings, {}, PACKAGED)


@functools.lru_cache(maxsize=64)
def _floor(settings: ReferenceSettings, dtype: Dtype) -> Floor | None:
    return find_floor(settings, {}, PACKAGED, dtype)


class _Judged:
    """Judges the images of one run again, by the references in the package."""

    def __init__(self, run: Run, artifacts: Artifacts, config: Config, *, strictly: bool) -> None:
        self._run, self._artifacts, self._config = run, artifacts, config
        self._strictly = strictly
        self._parity = ParityResult(artifacts, trained=run.model.trained)
        self._measured: set[tuple[object, ...]] = set()
        self.matching: set[tuple[str, int]] = set()
        """Images, with their number, that match the package's reference."""

    def check(self, record: Compared, replicate: Replicate) -> set[str]:
        """Returns images for which there is no reference.

        Raises:
            RefusedError: picture-differs.
        """
        case = self._run.plan.planned(record.case_id).case
        found = {image.image: self._reference_of(case, image.image) for image in record.images}
        references = {image: one for image, one in found.items() if one is not None}
        again: dict[tuple[int, str, str], ImageCompared] = {}
        at_hand = any(
            self._artifacts.pixels(one.pixels_sha256) is not None for one in record.images
        )
        if references and at_hand:
            yardstick = ReferenceSet(
                references,
                _floor(self._settings(case, 0), case.dtype),
                arithmetic=arithmetic_of(self._run, replicate, case),
            )
            compared = self._parity.compare(replicate, case, yardstick)
            again = {_key(image): image for image in compared.images}
        for image in record.images:
            if self._artifacts.pixels(image.pixels_sha256) is None:
                continue
            after = again.get(_key(image))
            named = image.reference_pixels_sha256
            if after is not None and named == after.reference_pixels_sha256:
                _compare_distances(record, image, after)
            elif named is not None:
                self._check_distance(record, image, case, references.get(image.image))
            if after is not None:
                self._check_verdict(record, image, after)
        return {image.pixels_sha256 for image in record.images if found[image.image] is None}

    def _settings(self, case: Case, image: int) -> ReferenceSettings:
        config = self._config
        from_image = self._run.begins_with(case.resolution)
        return ReferenceSettings(
            model_sha256=self._run.model.sha256 or "",
            resolution=case.resolution,
            prompt=config.prompts[image % len(config.prompts)],
            seed=config.seed + image,
            **work_of(config, case)._asdict(),
            vae_tiling=case.vae_tiling,
            strength=from_image.get("strength"),
            input_sha256=from_image.get("input_sha256"),
        )

    def _reference_of(self, case: Case, image: int) -> Reference | None:
        return None if case.quantization != "none" else _reference(self._settings(case, image))

    def _check_distance(
        self, record: Compared, image: ImageCompared, case: Case, reference: Reference | None
    ) -> None:
        """The distance from a reference that is in the bundle, and is the CPU's image."""
        key = image.pixels_sha256, image.reference_pixels_sha256, image.psnr_db, image.ssim
        pixels = self._artifacts.pixels(image.pixels_sha256)
        expected = self._artifacts.pixels(image.reference_pixels_sha256 or "")
        if pixels is None or expected is None or expected.shape != pixels.shape:
            return
        if key in self._measured:
            return
        self._measured.add(key)
        packaged = None if reference is None else measures.to_pixels(reference.picture)
        if packaged is not None and not _alike(packaged, expected):
            raise _differs(
                f"{_called(record, image)}: its reference is not the CPU's image of these settings"
            )
        again = msgspec.structs.replace(
            image,
            picture=picture_stage(pixels, expected, None, case),
            psnr_db=measures.peak_signal_to_noise_db(pixels, expected),
            ssim=measures.structural_similarity(pixels, expected),
        )
        _compare_distances(record, image, again)

    def _check_verdict(self, record: Compared, before: ImageCompared, after: ImageCompared) -> None:
        """No verdict is better than the one that the package's reference gives.

        What only rounding explains (``own_rounding``) cannot be judged without its images.
        """
        if after.verdict == "match":
            self.matching.add((before.pixels_sha256, before.image))
        if before.own_rounding is not None:
            return
        acquitted = before.verdict in ("match", "drift") and after.verdict == "broken"
        if self._strictly and (record.reference or "").startswith("packaged"):
            acquitted |= (before.verdict, after.verdict) == ("match", "drift")
        if acquitted:
            raise _differs(
                f"{_called(record, before)} is called {before.verdict}, and compared with the "
                f"CPU's it is {after.verdict}"
            )


def _key(image: ImageCompared) -> tuple[int, str, str]:
    return image.image, image.pixels_sha256, image.latents_sha256


def _called(record: Compared, image: ImageCompared) -> str:
    return f"image {image.pixels_sha256[:12]} of {shortened(record.case_id)}"


def _compare_distances(record: Compared, before: ImageCompared, after: ImageCompared) -> None:
    for name, recorded, again in (
        ("distance", _rel_l2(before), _rel_l2(after)),
        ("psnr_db", before.psnr_db, after.psnr_db),
        ("ssim", before.ssim, after.ssim),
    ):
        if not _same(recorded, again):
            raise _differs(
                f"{_called(record, before)}: {name} from the CPU's is {again}, recorded is "
                f"{recorded}"
            )


def _rel_l2(image: ImageCompared) -> float | None:
    return None if image.picture is None else image.picture.rel_l2


def _alike(one: "Array", other: "Array") -> bool:
    if one.shape != other.shape:
        return False
    alike = measures.correlation(one, other)
    return alike is None or alike >= _SAME_REFERENCE_CORRELATION


def _same(before: float | None, again: float | None) -> bool:
    if before is None or again is None:
        return before is again
    return math.isclose(before, again, rel_tol=_SAME_SHARE, abs_tol=_SAME_DIFFERENCE)
