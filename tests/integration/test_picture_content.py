"""The trained model in the package: real images, read and judged; faults that spoil them."""

import json
from pathlib import Path

from conftest import Sdbench
from test_mps_standin import _arms, _standin
from test_mps_standin import pytestmark as standin_only

from sdbench.models.builtin import BUILTIN
from sdbench.runs import load_run

PLAN = """
model = "builtin/shapes"
steps = 8
guidance_scale = 3.0
passes = 1
start = "spawn"
prompts = [
  "a red circle to the left of a blue star on a white background",
  "a yellow star inside a purple ring on a black background",
]
reference = { budget_s = 0 }
"""
CASE = """
[[case]]
resolution = "128x128"
batching = "batch"
attention_slicing = true
dtype = "float32"
"""


def _plan(sdbench: Sdbench, more: str = "") -> Path:
    path = sdbench.folder / "shapes.toml"
    path.write_text(PLAN + CASE + more)
    return path


def test_pictures_show_what_was_asked_for(sdbench: Sdbench) -> None:
    options = ("--set", "images=2", "--set", "replicates=1", "--device", "cpu")
    done = sdbench("run", _plan(sdbench), *options, "--fail-on", "wrong", "--label", "x")
    assert done.returncode == 0, done.stderr
    assert "as asked" in done.stdout and "noise by design" not in done.stdout
    pictures = [line for line in done.stdout.splitlines() if line.startswith("Image: ")]
    assert len(pictures) == 2 and "a yellow star inside a purple ring" in pictures[1]
    for line in pictures:
        name = line.removeprefix("Image: ").split(" – ")[0]
        assert (sdbench.folder / name).is_file()


def test_what_a_wrong_picture_costs(sdbench: Sdbench) -> None:
    """One step is not enough: the image is no number and not black, and wrong all the same."""
    options = ("--set", "images=1", "--set", "replicates=1", "--set", "steps=1")
    arguments = ("run", _plan(sdbench), *options, "--device", "cpu")
    code, document = sdbench.json(*arguments)
    (row,) = document["cases"]
    assert (code, row["outcome"], row["content"]) == (0, "ok", "wrong")
    assert row["content_reason"].startswith("1 of 1 images, the first: ")
    code, _ = sdbench.json(*arguments, "--fail-on", "wrong")
    assert code == 1


@standin_only
def test_faults_that_leave_a_plausible_picture_are_caught(sdbench: Sdbench) -> None:
    """Finite, colourful, of normal contrast, and not what was asked for."""
    faults = {
        "healthy": "",
        "batch-noise": "batch-noise",
        "softmax": "wrong-op:op=softmax:scale=3",
    }
    arms = _arms(**{name: {"SDBENCH_STANDIN_FAULT": fault} for name, fault in faults.items()})
    options = ("--set", "images=2", "--set", "replicates=1", "--device", "mps")
    code, document = sdbench.json("run", _plan(sdbench, arms), *options, **_standin())
    assert code == 0 and document["simulated"] is True
    content = {row["arm"]: row["content"] for row in document["cases"]}
    assert content == {name: "right" if name == "healthy" else "wrong" for name in faults}
    loaded = load_run(sdbench.folder / document["path"])
    (noisy,) = (entry for entry in loaded.replicates if entry.arm == "batch-noise")
    first, second = noisy.of_kind("measured")[0].images
    assert (first.content, second.content) == ("right", "wrong")  # only items after the first
    for replicate in loaded.replicates:
        assert not any(picture.broken for picture in replicate.of_kind("measured")[0].images)


def test_shipped_files_are_small_and_safe() -> None:
    model = BUILTIN["builtin/shapes"]
    weights = list(model.folder.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in weights) == model.bytes_on_disk < 30e6
    found = {path.suffix for path in model.folder.rglob("*") if path.is_file()}
    assert found == {".json", ".txt", ".md", ".safetensors"}  # no pickle
    index = json.loads((model.folder / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
