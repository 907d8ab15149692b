"""Which images a report shows, in which order, how large, and what it says of them."""

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from pictured_runs import four_settings, pictured
from quality_factories import Array, noise_picture, nudged, smooth_picture

from sdbench.correctness.artifact_files import Artifacts
from sdbench.records import Slot
from sdbench.report.html.policy import content_security_policy
from sdbench.report.pictures.data_uris import Drawing, Embedder, Shown, difference_of
from sdbench.report.pictures.gallery import Entry, Gallery, gallery_of
from sdbench.report.view import build_report
from sdbench.runs import LoadedRun


def shown(loaded: LoadedRun, **limits: int) -> Gallery:
    return gallery_of(loaded, build_report([loaded]).runs[0], **limits)


def only(gallery: Gallery) -> list[Entry]:
    (group,) = gallery.groups
    return group.entries


def decoded(picture: Shown) -> Array:
    from PIL import Image

    head, _, data = picture.uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (picture.width, picture.height)
        return np.asarray(image.convert("RGB"))


def uris(gallery: Gallery) -> list[str]:
    """Every image that the page will hold, as often as it stands there."""
    found = []
    for group in gallery.groups:
        for entry in group.entries:
            beside = (entry.device, entry.reference, entry.map)
            found += [one.uri for one in beside if one is not None]
    return found


def is_sliced(slot: Slot) -> bool:
    return "sliced" in slot.case_id


def test_the_same_picture_of_all_settings_is_shown_once(tmp_path: Path) -> None:
    (entry,) = only(shown(pictured(tmp_path, lambda slot, index: smooth_picture())))
    assert entry.how_many == "The same image in all 4 settings"
    assert sorted(entry.settings) == ["defaults", "primed", "sliced", "sliced, primed"]
    assert entry.identical and entry.reference is None and entry.difference is None
    assert entry.tone == "good"
    assert "bit-identical to the CPU's image" in entry.measures
    assert entry.device is not None
    expected = np.rint(smooth_picture().transpose(1, 2, 0) * 255).astype(np.uint8)
    assert np.array_equal(decoded(entry.device), expected)


def test_wrong_pictures_come_first_and_say_what_is_wrong(tmp_path: Path) -> None:
    black = np.zeros((3, 64, 64), np.float32)
    loaded = pictured(
        tmp_path,
        lambda slot, index: black if is_sliced(slot) else smooth_picture(),
    )
    wrong, right = only(shown(loaded))
    assert (wrong.tone, right.tone) == ("bad", "good")
    assert wrong.verdict_words == "wrong: black"
    assert wrong.how_many == right.how_many == "The same image in 2 of 4 settings"
    assert wrong.settings == ["sliced", "sliced, primed"]
    assert wrong.device is not None and wrong.reference is not None
    assert "Made on mps (sliced and others)" in wrong.device.alt
    assert "wrong: black" in wrong.device.alt
    assert "prompt “" in wrong.reference.alt
    assert wrong.difference is not None and wrong.difference.largest > 100


def test_pictures_within_rounding_share_an_entry(tmp_path: Path) -> None:
    """Four that differ to the bit: nobody wants to look for differences that cannot be seen."""
    names = ["none"]

    def painter(slot: Slot, index: int) -> Array:
        if slot.case_id not in names:
            names.append(slot.case_id)
        picture = smooth_picture()
        picture[0, 0, names.index(slot.case_id)] += 2 / 255
        return picture

    (entry,) = only(shown(pictured(tmp_path, painter)))
    assert entry.verdict == "match"
    assert entry.how_many == (
        "The same within rounding in all 4 settings (4 with different bits, the most distant is "
        "shown)"
    )
    assert len(entry.settings) == 4
    assert entry.difference is not None
    assert entry.difference.largest == 2
    assert entry.difference.differing == "0.024 %"


def test_a_picture_of_the_first_pass_only_says_so(tmp_path: Path) -> None:
    loaded = pictured(
        tmp_path,
        lambda slot, index: nudged(smooth_picture(), 0.02) if index == 1 else smooth_picture(),
    )
    drifted, right = only(shown(loaded))
    assert drifted.verdict_words == "slightly different"
    assert drifted.how_many == "The same image in all 4 settings, only in pass 1"
    assert drifted.settings[0].endswith("(1 of 2)")
    assert right.how_many.endswith("only in pass 2")
    assert any(words.startswith("PSNR") for words in drifted.measures)


@pytest.mark.parametrize("compared", [True, False])
def test_a_picture_of_something_else_is_wrong_unless_the_cpu_s_is_too(
    tmp_path: Path, compared: bool
) -> None:
    loaded = pictured(
        tmp_path,
        lambda slot, index: smooth_picture(),
        compared=compared,
        picture=lambda slot: {"content": "wrong", "content_reason": "no star found"},
    )
    (entry,) = only(shown(loaded))
    if compared:
        assert entry.tone == "good"
        assert entry.verdict_words == (
            "same as CPU, and, like the CPU's, not as asked: no star found; the cause is the model"
        )
    else:
        assert entry.tone == "bad"
        assert (
            entry.verdict_words == "not as asked: no star found; compared with the CPU: not checked"
        )


def test_a_picture_of_another_size_stands_next_to_the_cpu_s_without_a_difference(
    tmp_path: Path,
) -> None:
    smaller = smooth_picture()[:, ::2, ::2]
    (entry,) = only(shown(pictured(tmp_path, lambda slot, index: smaller)))
    assert entry.tone == "bad"
    assert entry.device is not None and entry.reference is not None
    assert (entry.device.width, entry.reference.width) == (32, 64)
    assert entry.map is None and entry.difference is None


def test_without_the_cpu_pictures_are_shown_alone(tmp_path: Path) -> None:
    loaded = pictured(tmp_path, lambda slot, index: smooth_picture(), compared=False)
    (entry,) = only(shown(loaded))
    assert entry.verdict_words == "not checked"
    assert entry.device is not None and entry.reference is None and not entry.identical
    assert entry.measures == []


@pytest.mark.parametrize("damage", ["gone", "torn", "rubbish"])
def test_a_picture_that_cannot_be_read_is_said_to_be_missing(tmp_path: Path, damage: str) -> None:
    loaded = pictured(tmp_path, lambda slot, index: smooth_picture(), compared=False)
    for file in (tmp_path / "images").iterdir():
        data = file.read_bytes()
        file.unlink()
        if damage != "gone":
            file.write_bytes(data[:60] if damage == "torn" else b"not an image")
    (entry,) = only(shown(loaded))
    assert entry.device is None
    assert entry.missing == "its file is missing or cannot be read"


def test_a_picture_that_was_not_kept_says_why(tmp_path: Path) -> None:
    loaded = pictured(
        tmp_path,
        lambda slot, index: smooth_picture(),
        compared=False,
        picture=lambda slot: {"not_kept": "the disk was full"},
    )
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    (entry,) = only(shown(loaded))
    assert entry.missing == "the disk was full"


def test_random_weights_make_noise_and_the_gallery_says_so(tmp_path: Path) -> None:
    noise = shown(pictured(tmp_path, lambda slot, index: noise_picture(), trained=False))
    assert any("noise by design" in note for note in noise.notes)
    assert shown(pictured(tmp_path, lambda slot, index: smooth_picture())).notes == []


def test_a_run_without_pictures_has_an_empty_gallery(tmp_path: Path) -> None:
    loaded = LoadedRun(
        tmp_path, pictured(tmp_path, lambda slot, index: smooth_picture()).run, [], []
    )
    assert shown(loaded).groups == []


def test_of_too_many_the_worst_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    """Eight processes, all of them another image; one is right."""
    loaded = pictured(
        tmp_path,
        lambda slot, index: smooth_picture() if slot.index == 3 else noise_picture(slot.index),
        config=four_settings(2),
    )
    gallery = shown(loaded, most_shown=3)
    assert [entry.verdict for entry in only(gallery)] == ["broken"] * 3
    assert gallery.left_out[0] == (
        "5 more different images are not shown here: 4 wrong, 1 same as CPU."
    )


@pytest.mark.parametrize("budget_bytes", [0, 5_000, 60_000, 10_000_000])
def test_pictures_stay_within_their_budget(tmp_path: Path, budget_bytes: int) -> None:
    """The CPU's stands beside each of seven: that counts every time."""
    loaded = pictured(
        tmp_path,
        lambda slot, index: smooth_picture() if slot.index == 3 else noise_picture(slot.index),
        config=four_settings(2),
    )
    gallery = shown(loaded, budget_bytes=budget_bytes)
    assert sum(map(len, uris(gallery))) == gallery.size_bytes <= budget_bytes
    dropped = any("for lack of space" in sentence for sentence in gallery.left_out)
    assert dropped == (budget_bytes < 60_000)
    entries = only(gallery)
    assert all((entry.device is None) == (entry.missing is not None) for entry in entries)
    if not budget_bytes:
        assert entries[0].missing == "not shown: it did not fit into the page"


def test_large_pictures_are_shown_smaller_and_beside_each_other_at_one_size() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    embedder = Embedder(Artifacts(Path("/nowhere")), 400_000, 3)
    for number in range(3):
        beside = [Drawing(pixels + number, "device"), Drawing(pixels, "CPU", "of all three")]
        device, reference = embedder.embed(beside) or []
        assert device.width == reference.width < 512
        assert (device.alt, reference.alt) == ("device", "CPU")
        assert device.smaller == f"shown at {device.width}×{device.width}"
    assert 0 < embedder.spent_bytes <= 400_000
    (sentence,) = embedder.left_out()
    assert sentence.startswith("3 images are shown smaller than made")


def test_a_single_pixel_that_differs_is_seen_in_a_smaller_map() -> None:
    """The map is computed from all pixels, and its smaller one keeps the largest."""
    expected = np.full((1024, 1024, 3), 100, np.uint8)
    pixels = expected.copy()
    pixels[700, 300, 1] += 3
    difference = difference_of(pixels, expected, "one pixel")
    assert (difference.largest, difference.brightest, difference.factor) == (3, 4, 64)
    assert "the largest difference is 3 of 255 levels" in difference.drawing.alt
    (shown,) = Embedder(Artifacts(Path("/nowhere")), 100_000, 1).embed([difference.drawing]) or []
    drawn = decoded(shown).sum(axis=2)
    assert shown.width < 1024
    row, column = np.unravel_index(int(drawn.argmax()), drawn.shape)
    scale = 1024 / shown.width
    assert abs(row - 700 / scale) < 2 and abs(column - 300 / scale) < 2
    assert drawn.max() > 400 and np.median(drawn) < 10


def test_the_policy_knows_the_page_s_own_script_and_style_to_the_letter() -> None:
    policy = content_security_policy("a { color: red }", "alert('é')")
    digest = base64.b64encode(hashlib.sha256("alert('é')".encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert policy != content_security_policy("a { color: red }", "alert('e')")
