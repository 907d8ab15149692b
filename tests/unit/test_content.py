"""The reader of images, on images drawn here: right ones, and wrong ones of every kind."""

import numpy as np
import pytest
from drawn_scenes import Box, draw_scene, with_noise

from sdbench.correctness.content import judge
from sdbench.correctness.scene import PALETTE, SHAPES, Item, Scene, Shape

LEFT: Box = (0.27, 0.5, 0.18)
RIGHT: Box = (0.73, 0.5, 0.18)
PROMPT = "a red circle left of a blue star on a white background"
SCENE = Scene("white", (Item("red", "circle"), Item("blue", "star")), "left of")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [64, 128, 192, 256])
def test_every_shape_is_read_in_every_colour_and_size(shape: Shape, side: int) -> None:
    colours = list(PALETTE)
    for index, colour in enumerate(colours):
        scene = Scene(colours[index - 1], (Item(colour, shape),))
        half = (0.16, 0.25, 0.36)[index % 3]
        pixels = draw_scene(scene, [(0.45, 0.52, half)], side)
        assert judge(pixels, scene.caption()).reason is None
        assert judge(with_noise(pixels, 10), scene.caption()).reason is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("other", SHAPES)
def test_no_shape_passes_for_another(shape: Shape, other: Shape) -> None:
    drawn = Scene("white", (Item("red", shape),))
    asked = Scene("white", (Item("red", other),))
    verdict = judge(draw_scene(drawn, [(0.5, 0.5, 0.2)], 128), asked.caption())
    assert verdict.content == ("right" if shape == other else "wrong")


@pytest.mark.parametrize("holder", ["circle", "square", "ring"])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_shape_inside_another_is_read(shape: Shape, holder: Shape) -> None:
    scene = Scene("green", (Item("black", shape), Item("yellow", holder)), "inside")
    pixels = draw_scene(scene, [(0.5, 0.5, 0.14), (0.5, 0.5, 0.4)], 128)
    assert judge(pixels, scene.caption()).reason is None
    beside = draw_scene(scene, [(0.15, 0.15, 0.12), (0.6, 0.6, 0.3)], 128)
    assert judge(beside, scene.caption()).reason == (
        f"the black {shape} is not inside the yellow {holder}"
    )


@pytest.mark.parametrize("side", [128, 192, 256])
def test_three_in_a_column(side: int) -> None:
    items = Item("red", "cross"), Item("black", "star"), Item("white", "ring")
    scene = Scene("blue", items, "above")
    boxes: list[Box] = [(0.5, 0.2, 0.12), (0.53, 0.5, 0.12), (0.46, 0.8, 0.12)]
    pixels = draw_scene(scene, boxes, side)
    assert judge(pixels, scene.caption()).reason is None
    swapped = draw_scene(scene, boxes[::-1], side)
    assert judge(swapped, scene.caption()).reason == "the red cross is not above the black star"


def test_relation_is_what_was_asked() -> None:
    assert judge(draw_scene(SCENE, [LEFT, RIGHT], 128), PROMPT).content == "right"
    verdict = judge(draw_scene(SCENE, [RIGHT, LEFT], 128), PROMPT)
    assert verdict.reason == "the red circle is not left of the blue star"
    either = "a red circle and a blue star on a white background"
    assert judge(draw_scene(SCENE, [RIGHT, LEFT], 128), either).content == "right"


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (Scene("black", SCENE.items), "the background is black, not white"),
        (Scene("white", SCENE.items[:1]), "there is nothing blue"),
        (
            Scene("white", (Item("green", "circle"), SCENE.items[1])),
            "something green is there that was not asked for",
        ),
        (
            Scene("white", (Item("red", "square"), SCENE.items[1])),
            "what is red is a square, not a circle",
        ),
    ],
)
def test_what_is_wrong_is_said(drawn: Scene, reason: str) -> None:
    boxes = [LEFT, RIGHT][: len(drawn.items)]
    assert judge(draw_scene(drawn, boxes, 128), PROMPT).reason == reason


@pytest.mark.parametrize(("side", "told"), [(8, False), (11, True)])
def test_a_speck_of_another_colour_counts_from_half_a_percent_of_the_picture(
    side: int, told: bool
) -> None:
    pixels = draw_scene(SCENE, [LEFT, RIGHT], 128).copy()
    pixels[8 : 8 + side, 60 : 60 + side] = PALETTE["green"]
    reason = judge(pixels, PROMPT).reason
    assert reason == ("something green is there that was not asked for" if told else None)


def test_a_second_one_of_the_same_is_wrong() -> None:
    pixels = draw_scene(Scene("white", (Item("red", "circle"),)), [(0.25, 0.25, 0.15)], 128)
    pixels = np.minimum(pixels, pixels[::-1, ::-1])
    verdict = judge(pixels, "a red circle on a white background")
    assert verdict.reason == "what is red is none of the shapes, not a circle"


@pytest.mark.parametrize("kind", ["noise", "black", "grey", "noisy", "half", "colours swapped"])
def test_broken_pictures_are_wrong(kind: str) -> None:
    good = draw_scene(SCENE, [LEFT, RIGHT], 128)
    half = good.copy()
    half[64:] = 0
    pictures = {
        "noise": np.random.default_rng(1).integers(0, 256, good.shape).astype(np.uint8),
        "black": np.zeros_like(good),
        "grey": np.full_like(good, 128),
        "noisy": with_noise(good, 60),
        "half": half,
        "colours swapped": good[:, :, ::-1],
    }
    verdict = judge(pictures[kind], PROMPT)
    assert (verdict.content, verdict.reason is None) == ("wrong", False)


def test_other_prompts_get_no_verdict_but_the_reason() -> None:
    verdict = judge(draw_scene(SCENE, [LEFT, RIGHT], 64), "a photo of a cat")
    assert verdict.content is None
    assert verdict.reason is not None and "not of the form" in verdict.reason
