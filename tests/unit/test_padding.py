"""Batches whose prompts are padded for each other: neither accused nor acquitted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosed_runs import beside_cpu, case, diagnosis, image_of, loaded_run, plan
from factories import make_pass, make_replicate
from quality_factories import (
    Array,
    keep,
    keep_trace,
    latents_of,
    make_floor,
    make_reference,
    noise_picture,
    nudged,
    smooth_picture,
)

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.padding import PADDED
from sdbench.correctness.parity import ParityResult, ReferenceSet
from sdbench.records import Case, Compared, Picture, Replicate

BATCH = Case(resolution="64x64", dtype="float16", batching="batch")


def texts(width: int) -> Any:
    """Embeddings of so many tokens."""
    return {"text.0.0": np.ones((1, width, 5), np.float32)}


# Alone, prompt 1 has 3 tokens and prompt 2 has 7.
YARDSTICK = ReferenceSet(
    {image: make_reference(image, **texts(width)) for image, width in enumerate((3, 7))},
    make_floor(),
)


def made(folder: Path, image: int, picture: Array | None = None, error: float = 0.0) -> Picture:
    """The picture of an image, another one or with an error of that relative size."""
    own = smooth_picture(image) if picture is None else picture
    latents = latents_of(image)[-1]
    if error:
        own, latents = nudged(own, error), nudged(latents, error)
    return keep(folder, own, latents)


def batch(folder: Path, *pictures: Picture, masked: bool | None = False) -> Replicate:
    """A process with a measured and a profiled pass of these, its text 7 tokens wide for both."""
    latents = np.stack([latents_of(0), latents_of(1)])
    own = np.stack([smooth_picture(0), smooth_picture(1)])
    text = np.ones((2, 7, 5), np.float32)
    trace = keep_trace(folder, latents, own, text, name="0.0")
    images = [*pictures]
    profile = make_pass(
        index=0, kind="profile", images=images, trace_sha256=trace, text_masked=masked
    )
    return make_replicate(passes=[make_pass(index=1, images=images), profile])


def compared(folder: Path, replicate: Replicate) -> Compared:
    comparison = ParityResult(Artifacts(folder), trained=False)
    return comparison.compare(replicate, BATCH, YARDSTICK, comparison.padded(replicate, YARDSTICK))


def test_padded_image_that_differs_is_not_called_wrong(tmp_path: Path) -> None:
    found = compared(tmp_path, batch(tmp_path, made(tmp_path, 0, error=0.1), made(tmp_path, 1)))
    assert found.padded_images == [0]
    assert [image.verdict for image in found.images] == ["unknown", "match"]
    assert (found.verdict, found.reason) == ("unknown", PADDED)


def test_image_of_the_longest_prompt_is_judged(tmp_path: Path) -> None:
    """A device that is wrong in batches is wrong there, too."""
    pictures = made(tmp_path, 0, error=0.1), made(tmp_path, 1, error=0.1)
    found = compared(tmp_path, batch(tmp_path, *pictures))
    assert found.images[0].verdict == "unknown"
    assert found.images[1].verdict in ("drift", "broken")
    assert found.verdict == found.images[1].verdict


@pytest.mark.parametrize("picture", [np.zeros((3, 64, 64), np.float32), noise_picture()])
def test_what_no_padding_makes_is_wrong_in_a_padded_image(tmp_path: Path, picture: Array) -> None:
    found = compared(tmp_path, batch(tmp_path, made(tmp_path, 0, picture), made(tmp_path, 1)))
    assert (found.images[0].verdict, found.verdict) == ("broken", "broken")


def test_padded_image_that_came_out_the_same_matches(tmp_path: Path) -> None:
    found = compared(tmp_path, batch(tmp_path, made(tmp_path, 0), made(tmp_path, 1)))
    assert (found.verdict, found.padded_images) == ("match", [0])


@pytest.mark.parametrize("masked", [True, None])
def test_with_a_mask_or_where_that_is_unknown_a_batch_is_judged_as_ever(
    tmp_path: Path, masked: bool | None
) -> None:
    pictures = made(tmp_path, 0, error=0.1), made(tmp_path, 1)
    found = compared(tmp_path, batch(tmp_path, *pictures, masked=masked))
    assert found.padded_images == [] and found.verdict in ("drift", "broken")


def test_finding_names_the_way_to_find_out() -> None:
    def unlike(slot: Any, of: Case) -> Compared:
        padded = image_of(0, "unknown", reason=PADDED) if of.batching == "batch" else image_of(0)
        return beside_cpu(slot, of, [padded, image_of(1)])

    run = loaded_run(config=plan(reference={"budget_s": 600}), compared=unlike)
    (finding,) = diagnosis(run).findings
    assert finding.code == "unfinished" and PADDED in finding.sentence
    assert finding.case_ids == [case(batching="batch").case_id]
    assert "same length" in finding.remedy
