"""Where the verdict on an image's content goes: record, row, table, exit code."""

from pathlib import Path

import pytest
from drawn_scenes import draw_scene
from factories import make_config, make_pass, make_picture, make_replicate, make_run, summarise
from PIL import Image
from rich.console import Console

from sdbench.analysis.run_summary import RunSummary
from sdbench.cli.run_output import fails_on
from sdbench.correctness.artifact_files import pixels_digest
from sdbench.correctness.scene import Item, Scene
from sdbench.errors import ModelError, UsageError
from sdbench.models.builtin import BUILTIN, BuiltinModel
from sdbench.models.resolve import find_model
from sdbench.records import Picture
from sdbench.report.terminal.tables import render_summary
from sdbench.report.view.summary_words import picture_words
from sdbench.runner.read_pictures import with_content

SCENE = Scene("white", (Item("red", "circle"),))
PIXELS = draw_scene(SCENE, [(0.5, 0.5, 0.25)], 64)
STORED = pixels_digest(PIXELS)
PROMPTS = (SCENE.caption(), "a blue circle on a white background")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with one stored image: a red circle on white."""
    (tmp_path / "images").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "images" / f"{STORED}.png")
    return tmp_path


def judged(folder: Path, *pictures: Picture, model: str = "builtin/shapes") -> list[Picture]:
    replicate = make_replicate(passes=[make_pass(images=list(pictures))])
    return with_content(replicate, model, PROMPTS, folder).passes[0].images


def test_each_picture_is_held_against_its_own_prompt(folder: Path) -> None:
    first, second, third = judged(folder, *[make_picture(pixels_sha256=STORED)] * 3)
    assert (first.content, second.content, third.content) == ("right", "wrong", "right")
    assert second.content_reason == "it shows something red that was not asked for"


def test_other_models_pictures_are_not_read(folder: Path) -> None:
    (picture,) = judged(folder, make_picture(), model="synthetic/tiny")
    assert (picture.content, picture.content_reason) == (None, None)


def test_picture_that_is_not_stored_gets_no_verdict_but_the_reason(folder: Path) -> None:
    (picture,) = judged(folder, make_picture(pixels_sha256="c" * 64))
    assert picture.content is None
    assert picture.content_reason == "the image could not be read"


def test_not_finite_is_wrong_whatever_the_stored_picture_shows(folder: Path) -> None:
    (picture,) = judged(folder, make_picture(nan_count=1))
    assert picture.content == "wrong"


def test_only_measured_passes_are_judged(folder: Path) -> None:
    images = [make_picture(pixels_sha256=STORED)]
    passes = [
        make_pass(kind="prime", index=0, images=images),
        make_pass(images=images),
        make_pass(kind="profile", index=0, images=images),
    ]
    replicate = with_content(make_replicate(passes=passes), "builtin/shapes", PROMPTS, folder)
    found = [entry.images[0].content for entry in replicate.passes]
    assert found == [None, "right", None]


def summary_of(*pictures: Picture) -> RunSummary:
    run = make_run(make_config(matrix={"resolution": ["64x64"]}, replicates=1))
    passes = [make_pass(images=list(pictures))]
    replicate = make_replicate(run.plan.slots[0], passes=passes)
    return summarise(run, [replicate], "results/x")


RIGHT = make_picture(content="right")
WRONG = make_picture(content="wrong", content_reason="there is nothing red")


def test_one_wrong_picture_makes_the_case_wrong() -> None:
    (row,) = summary_of(RIGHT, WRONG).cases
    assert row.content == "wrong"
    assert row.content_reason == "1 of 2 images, the first: there is nothing red"
    assert row.correct == "unknown"  # that is said beside the CPU's images only


def test_case_is_right_when_all_its_pictures_are() -> None:
    (row,) = summary_of(RIGHT, RIGHT).cases
    assert (row.content, row.content_reason) == ("right", None)
    (row,) = summary_of(RIGHT, make_picture(content_reason="the prompt is odd")).cases
    assert (row.content, row.content_reason) == (None, "the prompt is odd")
    (row,) = summary_of(make_picture()).cases
    assert row.content_reason == "only the images of builtin/shapes can be read"


def test_fail_on_wrong_means_wrong_content_too() -> None:
    assert fails_on(summary_of(RIGHT, WRONG), ("wrong",)) == 1
    assert fails_on(summary_of(RIGHT, WRONG), ("skipped",)) == 0
    assert fails_on(summary_of(RIGHT, RIGHT), ("wrong",)) == 0


def test_table_says_it_in_plain_words() -> None:
    assert picture_words(summary_of(RIGHT).cases[0]) == "as asked"
    assert picture_words(summary_of(WRONG).cases[0]) == "not as asked"
    assert picture_words(summary_of(make_picture()).cases[0]) == "not checked"
    console = Console(record=True, width=200)
    render_summary(summary_of(WRONG), console)
    assert "not what the prompt asks for – 1 of 1 images" in console.export_text()


def test_shipped_model_is_there_and_as_it_was_shipped() -> None:
    source = find_model("builtin/shapes")
    assert source.folder == BUILTIN["builtin/shapes"].folder and source.download is None
    info = source.prepare()
    assert info.sha256 == BUILTIN["builtin/shapes"].sha256 and info.trained
    with pytest.raises(UsageError, match="there are builtin/shapes"):
        find_model("builtin/absent")


def test_damaged_package_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = BUILTIN["builtin/shapes"]
    other = BuiltinModel(real.name, real.folder, real.pipeline_class, real.bytes_on_disk, "0" * 64)
    monkeypatch.setitem(BUILTIN, real.name, other)
    with pytest.raises(ModelError, match="install sdbench again"):
        find_model("builtin/shapes").prepare()
