"""The language of builtin/shapes: what a prompt asks for."""

import itertools
import math

import pytest

from sdbench.correctness.scene import (
    PALETTE,
    RELATION_WORDS,
    Item,
    PromptError,
    Relation,
    Scene,
    parse_prompt,
)

RED, BLUE, GREEN = Item("red", "circle"), Item("blue", "star"), Item("green", "ring")


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("a red circle on a white background", Scene("white", (RED,))),
        ("An image of  the red circle on a white background.", Scene("white", (RED,))),
        (
            "a black background with a red circle to the left of a blue star",
            Scene("black", (RED, BLUE), "left of"),
        ),
        (
            "an image of a blue star right of a red circle on an orange background",
            Scene("orange", (RED, BLUE), "left of"),
        ),
        (
            "a red circle below a blue star below a green ring on a white background",
            Scene("white", (GREEN, BLUE, RED), "above"),
        ),
        (
            "a green ring around a red circle on a white background",
            Scene("white", (RED, GREEN), "inside"),
        ),
        (
            "a red circle, a blue star and a green ring on a white background",
            Scene("white", (RED, BLUE, GREEN)),
        ),
    ],
)
def test_prompt_says_what_to_show(prompt: str, scene: Scene) -> None:
    assert parse_prompt(prompt) == scene


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a photo of an astronaut riding a horse on mars", "not of the form"),
        ("a red circle", "not of the form"),
        ("a pink circle on a white background", "not of the form"),
        ("a red circle on a red background", "must differ in colour"),
        ("a red circle above a red star on a white background", "must differ in colour"),
        ("a red circle in a blue star on a white background", "can hold another shape"),
        (
            "a red circle in a blue ring in a green square on a white background",
            "only one shape can be inside",
        ),
        (
            "a red circle above a blue star left of a green ring on a white background",
            "one row or one column",
        ),
    ],
)
def test_other_prompts_are_refused_with_the_reason(prompt: str, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        parse_prompt(prompt)


@pytest.mark.parametrize("relation", RELATION_WORDS)
def test_every_wording_of_a_scene_means_the_scene(relation: Relation) -> None:
    scene = Scene("white", (RED, GREEN), relation)
    for words, _ in RELATION_WORDS[relation]:
        for first in (False, True):
            caption = scene.caption(words, "a drawing of ", background_first=first)
            assert parse_prompt(caption) == scene


def test_colours_are_far_enough_apart_to_be_told() -> None:
    colours = list(PALETTE.values())
    distances = [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        for index, one in enumerate(colours)
        for other in colours[:index]
    ]
    assert min(distances) > 90


def test_no_two_colours_are_nearer_than_the_content_check_assumes() -> None:
    apart = {
        (one, other): math.dist(PALETTE[one], PALETTE[other])
        for one, other in itertools.combinations(PALETTE, 2)
    }
    assert min(apart.values()) >= 92, min(apart, key=apart.__getitem__)
