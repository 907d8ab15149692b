"""Steps and iterations a second."""

import pytest
from measured_runs import changed, measured

from sdbench.analysis.iterations import iterations_per_second, iterations_words, steps_of
from sdbench.records import Case, ImageToImage


def test_steps_are_the_run_s_or_the_case_s_own() -> None:
    run = measured().run
    assert steps_of(run, Case()) == run.config["steps"]
    assert steps_of(run, Case(steps=33)) == 33
    unknown = changed(measured(), config={**run.config, "steps": None}).run
    assert steps_of(unknown, Case()) is None


def test_image_to_image_makes_a_share_of_the_steps() -> None:
    loaded = measured()
    config = {**loaded.run.config, "steps": 20, "strength": 0.6}
    image = ImageToImage(pipeline_class="X", input_sha256={})
    assert steps_of(changed(loaded, config=config, image_to_image=image).run, Case()) == 12


@pytest.mark.parametrize(
    ("steps", "seconds", "words"),
    [
        (8, 0.214, "37.4 it/s"),
        (20, 0.107, "187 it/s"),
        (1, 4.0, "0.25 it/s"),
        (None, 1.0, "–"),
        (8, None, "–"),
    ],
)
def test_rate_has_three_figures(steps: int | None, seconds: float | None, words: str) -> None:
    assert iterations_words(iterations_per_second(steps, seconds)) == words
