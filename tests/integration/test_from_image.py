"""Image-to-image through all verbs.

Its runs are its own: no shared run begins with an image.
"""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Sdbench
from test_every_family import ONE_THREAD, localised, through_all_verbs

from sdbench.runs import load_run

MODE = ("--mode", "image-to-image")


@pytest.mark.long
def test_a_run_that_begins_with_an_image(sdbench: Sdbench) -> None:
    """Primed, in a batch and in a loop, from the run to the script; against the same of text."""
    document = through_all_verbs(sdbench, "synthetic/tiny", *MODE, "--set", "steps=4")
    assert (document["mode"], document["strength"]) == ("image-to-image", 0.6)
    loaded = load_run(sdbench.folder / document["path"])
    given = loaded.run.image_to_image
    assert given is not None and given.pipeline_class == "StableDiffusionImg2ImgPipeline"
    assert list(given.input_sha256) == ["64x64"] and len(given.input_sha256["64x64"]) == 64
    (profiled, *_) = [
        one for entry in loaded.replicates for one in entry.passes if one.kind == "profile"
    ]
    stages = [stage.stage for stage in profiled.stages or []]
    assert stages == ["text_encoder", "vae_encode", *["denoising_step"] * 2, "vae_decode"]
    assert all(one.flops is not None and one.flops.vae_encode > 0 for one in loaded.replicates)
    planned = loaded.run.plan.cases[0].memory
    assert planned is not None
    assert [one.stage for one in planned.stages][2] == "vae_encode"

    # Nothing of it is taken for a result of the same run without an image.
    work = (sdbench.folder / "plan.toml", "--set", "steps=4", "--set", "reference.budget_s=0")
    code, other = sdbench.json("run", *work, **ONE_THREAD)
    assert code == 0 and (other["mode"], other["strength"]) == ("text-to-image", None)
    made = [
        {
            picture.pixels_sha256
            for entry in load_run(sdbench.folder / one["path"]).replicates
            for each in entry.of_kind("measured")
            for picture in each.images
        }
        for one in (document, other)
    ]
    assert not made[0] & made[1]
    _, compared = sdbench.json("compare", document["path"], other["path"])
    assert {one["reason"] for one in compared["cases"]} == {"mode-differs"}
    assert {one["verdict"] for one in compared["cases"]} == {"inconclusive"}


@pytest.mark.long
def test_model_that_cannot_begin_with_an_image_is_one_line(sdbench: Sdbench) -> None:
    config = sdbench.config("")
    done = sdbench("run", config, *MODE, "--model", "synthetic/tiny-pixart", "--dry-run")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "no image-to-image pipeline" in done.stderr and "FLUX.2 klein" in done.stderr
    done = sdbench("run", config, *MODE, "--model", "synthetic/tiny-flux2-klein", "--strength", "1")
    assert done.returncode == 0, done.stderr


def test_weak_start_is_made_with_enough_steps_to_prime(sdbench: Sdbench) -> None:
    config = sdbench.config("[matrix]\nwarmup = [true]\nresolution = ['64x64']\n")
    weak = ("--strength", "0.05", "--set", "steps=20")
    code, document = sdbench.json("run", config, *MODE, *weak, **ONE_THREAD)
    assert code == 0 and document["outcomes"] == {"ok": 1}


@pytest.mark.long
@pytest.mark.parametrize("name", ["sdxl", "flux", "sd3", "flux2-klein", "z-image", "lcm"])
def test_every_family_that_begins_with_an_image(sdbench: Sdbench, name: str) -> None:
    model = f"synthetic/tiny-{name}"
    through_all_verbs(sdbench, model, *MODE, "--set", "steps=4")
    localised(sdbench, model, *MODE)


@pytest.mark.long
def test_pipeline_of_no_family_that_diffusers_knows_how_to_begin(
    sdbench: Sdbench, cache: Path
) -> None:
    assert sdbench("models", "make", "synthetic/tiny-sd3").returncode == 0
    folder = sdbench.folder / "guided"
    shutil.copytree(cache / "models" / "synthetic--tiny-sd3", folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusion3PAGPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    document = through_all_verbs(sdbench, str(folder), *MODE, "--set", "steps=4")
    given = load_run(sdbench.folder / document["path"]).run.image_to_image
    assert given is not None and given.pipeline_class is None
    script = (sdbench.folder / "repro" / "repro.py").read_text()
    assert "diffusers.AutoPipelineForImage2Image.from_pretrained" in script


@pytest.mark.long
@pytest.mark.parametrize(
    "setting", ["vae_tiling = [true]", "vae_dtype = ['float32']", "vae_device = ['cpu']"]
)
def test_settings_of_the_vae_hold_for_its_encoding(sdbench: Sdbench, setting: str) -> None:
    text = f"[matrix]\nresolution = ['128x64']\ndtype = ['bfloat16']\n{setting}\n"
    config, steps = sdbench.config(text, references=True), ("--set", "steps=4")
    code, document = sdbench.json("run", config, *MODE, *steps, **ONE_THREAD)
    assert code == 0 and document["outcomes"] == {"ok": 1}
    assert document["cases"][0]["correct"] != "broken"
