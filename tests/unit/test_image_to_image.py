"""Image-to-image outside the worker: configuration, plan, references, comparisons, scripts."""

from typing import Any

import msgspec
import numpy as np
import pytest
from factories import make_config, make_model, make_run

from sdbench.analysis.comparability import work_and_place_differ
from sdbench.correctness.references import ReferenceSettings
from sdbench.errors import ConfigError, MachineError, StoreError
from sdbench.models.family import load_families
from sdbench.models.folder_files import INDEX
from sdbench.models.pipeline_class import other_purpose
from sdbench.models.traits import Traits, traits_from
from sdbench.plan.config import Config, steps_made
from sdbench.plan.cost import estimate_slot
from sdbench.plan.for_model import check_mode, needs_signature, resolve_for
from sdbench.plan.predicted_memory import predict_memory, target_of
from sdbench.process.input_image import input_image_sha256
from sdbench.process.picture_job import picture_job
from sdbench.records import Case, ImageToImage, Run
from sdbench.repro.case_script import case_script
from sdbench.runner.compare_pictures import _reader
from sdbench.runner.from_image import image_to_image_of
from sdbench.runner.prepare import check_resumable
from sdbench.runner.reference_maker import ReferenceStore
from sdbench.runs.checks import check_run

KLEIN = traits_from("Flux2KleinPipeline", {})
SD = traits_from("StableDiffusionPipeline", {})
CASE = Case(resolution="64x64")


def config_of(**keys: Any) -> Config:
    return make_config(mode="image-to-image", **{"strength": 0.5, **keys})


def run_of(config: Config, **fields: Any) -> Run:
    run = make_run(config, **fields)
    given = image_to_image_of(config, run.plan, run.model)
    return msgspec.structs.replace(run, image_to_image=given)


@pytest.mark.parametrize(
    ("keys", "place", "words"),
    [
        ({"strength": 0.5}, "strength", 'expected only with mode = "image-to-image"'),
        ({"mode": "image-to-image", "strength": 0}, "strength", "from 0.01 to 1, got 0"),
        ({"mode": "image-to-image", "strength": 1.5}, "strength", "from 0.01 to 1, got 1.5"),
        ({"mode": "image-to-image", "strength": "much"}, "strength", "'auto' or a number"),
        ({"mode": "inpaint"}, "mode", "'text-to-image' or 'image-to-image'"),
    ],
)
def test_configuration_that_says_something_else_is_refused(
    keys: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make_config(**keys)
    assert f"{place}: " in str(error.value) and words in str(error.value)


def test_strength_is_resolved_for_the_family() -> None:
    config = config_of(strength="auto")
    assert resolve_for(config, SD).config.strength == 0.6
    assert resolve_for(config, KLEIN).config.strength == 1
    assert resolve_for(make_config(), SD).config.strength == "auto"


def refusal(config: Config, traits: Traits) -> str:
    with pytest.raises(ConfigError) as error:
        check_mode(config, [CASE], traits)
    return str(error.value)


def test_what_the_family_cannot_do_is_said_in_one_line() -> None:
    check_mode(config_of(steps=2), [CASE], SD)
    check_mode(make_config(steps=1), [CASE], SD)
    assert "no step" not in refusal(config_of(steps=1), SD)
    assert "got 1 steps × strength 0.5" in refusal(config_of(steps=1), SD)
    assert "takes no strength" in refusal(config_of(), KLEIN)
    without = msgspec.structs.replace(SD.family, title="Old", image_to_image=None)
    line = refusal(config_of(), Traits("OldPipeline", "old", without, 8))
    assert "\n" not in line and "Old has no image-to-image pipeline" in line
    able = [one.title for one in load_families().values() if one.image_to_image is not None]
    assert all(title in line for title in able) and len(able) > 5


def test_class_without_a_family_is_asked_of_the_stack() -> None:
    other = traits_from("OtherPipeline", {})
    assert needs_signature(config_of(steps=2, guidance_scale=1), other)
    assert not needs_signature(make_config(steps=2, guidance_scale=1), other)
    assert not needs_signature(config_of(), SD)


def test_folder_of_an_image_to_image_class_is_told_what_to_do() -> None:
    fault = other_purpose("StableDiffusionXLImg2ImgPipeline")
    assert fault is not None
    assert INDEX in fault.remedy and "StableDiffusionXLPipeline" in fault.remedy
    assert "--mode image-to-image" in fault.remedy
    assert other_purpose("Flux2KleinPipeline") is None


def test_worker_is_told_of_it_and_else_gets_the_job_it_had() -> None:
    keys = {"mode", "strength", "image_to_image"}
    plain = picture_job(make_config(), make_model(), "cpu", CASE, allow_pickle=False)
    job = picture_job(config_of(), make_model(), "cpu", CASE, allow_pickle=False)
    assert job == {
        **plain,
        "mode": "image-to-image",
        "strength": 0.5,
        "image_to_image": "StableDiffusionImg2ImgPipeline",
    }
    assert not keys & plain.keys()


def test_plan_counts_the_steps_that_are_made_and_the_encoding() -> None:
    config, model = config_of(steps=20), make_model("synthetic/sd15")
    assert steps_made(config, CASE) == 10
    assert steps_made(make_config(steps=20), CASE) == 20
    times = [
        estimate_slot(one, CASE, model, "cpu", 2, "spawn")
        for one in (make_config(steps=20), config)
    ]
    assert times[1] < times[0]
    target = target_of(model, "cpu")
    stages = [
        [stage.stage for stage in predict_memory(one, CASE, target).stages]
        for one in (make_config(), config)
    ]
    assert stages[0] == ["load", "text_encoder", "denoising", "vae_decode"]
    assert stages[1] == ["load", "text_encoder", "vae_encode", "denoising", "vae_decode"]


def test_reference_of_text_to_image_has_the_key_that_it_had() -> None:
    settings = ReferenceSettings(
        model_sha256="0" * 64,
        resolution="64x64",
        prompt="a prompt",
        seed=0,
        steps=4,
        guidance_scale=7.5,
        scheduler="ddim",
    )
    assert settings.key() == "1c8f175b396a9f0d93070c6d1a837c05"
    from_image = msgspec.structs.replace(settings, strength=1.0, input_sha256="1" * 64)
    other = msgspec.structs.replace(from_image, input_sha256="2" * 64)
    assert len({settings.key(), from_image.key(), other.key()}) == 3


def test_other_beginnings_are_other_work() -> None:
    plain, run = make_run(), run_of(config_of())
    assert "mode-differs" not in work_and_place_differ(run, run_of(config_of()))
    assert "mode-differs" in work_and_place_differ(plain, run)
    assert "mode-differs" in work_and_place_differ(run, run_of(config_of(strength=0.6)))
    given = run.image_to_image
    assert given is not None
    other = ImageToImage(
        pipeline_class=given.pipeline_class, input_sha256=dict.fromkeys(given.input_sha256, "0")
    )
    drawn = msgspec.structs.replace(run, image_to_image=other)
    assert "mode-differs" in work_and_place_differ(run, drawn)


def test_run_whose_parts_contradict_each_other_is_refused() -> None:
    run = run_of(config_of())
    assert check_run(run, "run.json") == []
    auto = msgspec.structs.replace(run, config={**run.config, "strength": "auto"})
    for broken in (
        msgspec.structs.replace(run, image_to_image=None),
        msgspec.structs.replace(make_run(), image_to_image=run.image_to_image),
        auto,
    ):
        with pytest.raises(StoreError, match=r"image_to_image|config\.strength"):
            check_run(broken, "run.json")


def test_run_is_not_resumed_with_another_input_image() -> None:
    run = run_of(config_of())
    given = run.image_to_image
    assert given is not None
    other = ImageToImage(
        pipeline_class=given.pipeline_class, input_sha256=dict.fromkeys(given.input_sha256, "0")
    )
    with pytest.raises(MachineError, match="draws another input image"):
        check_resumable(msgspec.structs.replace(run, image_to_image=other))


def test_what_such_a_picture_shows_is_not_judged_by_the_prompt() -> None:
    """The built-in model's images of text are; these hold what is in no prompt."""
    config = config_of(
        model="builtin/shapes",
        prompts=["a red circle to the left of a blue star on a white background"],
    )
    run = run_of(config, model=make_model("builtin/shapes", trained=True))
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    read = [
        _reader(one, ReferenceStore(config, one.model, one.stacks))(0, pixels)
        for one in (msgspec.structs.replace(run, image_to_image=None), run)
    ]
    assert read[0] is not None and read[1] is None


def test_script_draws_the_same_input_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    run = run_of(make_config(mode="image-to-image", strength=0.5, case=[{"resolution": "72x128"}]))
    text = case_script(run, run.plan.cases[0].case, run.plan.arms[0])
    begin, end = text.index("import inspect, numpy"), text.index("def draw(")
    names: dict[str, Any] = {"WIDTH": 72, "HEIGHT": 128}
    exec(text[begin:end], names)  # a script that this test has just written
    image = names["IMAGE"]
    assert isinstance(image, Image.Image) and image.size == (72, 128)
    import hashlib

    assert hashlib.sha256(image.tobytes()).hexdigest() == input_image_sha256(72, 128)
    assert "StableDiffusionImg2ImgPipeline.from_pretrained" in text and "strength=0.5" in text
    assert "safety_checker=None" in text
