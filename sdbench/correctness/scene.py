"""The little language of ``builtin/shapes``: prompts that say exactly what an image must show.

A prompt names one to three shapes, each with a colour of its own, and the background:

    a red circle on a white background
    an image of a blue star to the right of a green ring on a black background
    a yellow background with a red square, a blue cross and a white triangle

Two or three shapes may stand in a row (left of, right of) or a column (above, below); one of two
may lie inside the other. Colours differ within an image, so that each shape can be identified by
its colour alone. The model is trained on this language and the content check reads it.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Shape = Literal["circle", "square", "triangle", "star", "ring", "cross"]
Relation = Literal["left of", "above", "inside"]

SHAPES: tuple[Shape, ...] = get_args(Shape)
HOLDERS: tuple[Shape, ...] = ("circle", "square", "ring")
"""Shapes with room for another one inside."""

PALETTE: dict[str, tuple[int, int, int]] = {
    "white": (245, 245, 245),
    "black": (20, 20, 20),
    "red": (220, 30, 40),
    "orange": (250, 130, 20),
    "yellow": (250, 220, 40),
    "green": (30, 160, 60),
    "blue": (30, 80, 220),
    "purple": (140, 50, 170),
}
"""Colour names and their 8-bit sRGB values, at least 92 apart."""

# Wordings of each relation: (words, whether the first shape named is the relation's first).
RELATION_WORDS: dict[Relation, tuple[tuple[str, bool], ...]] = {
    "left of": (
        ("left of", True),
        ("to the left of", True),
        ("right of", False),
        ("to the right of", False),
    ),
    "above": (("above", True), ("over", True), ("below", False), ("under", False)),
    "inside": (("inside", True), ("in", True), ("around", False)),
}
OPENINGS = ("", "a picture of ", "a drawing of ", "an image of ")

_MEANING = {
    words: (relation, forward)
    for relation, wordings in RELATION_WORDS.items()
    for words, forward in wordings
}
_ITEM = rf"(?:an?|the) (?:{'|'.join(PALETTE)}) (?:{'|'.join(SHAPES)})"
_JOINT = "|".join(sorted(_MEANING, key=len, reverse=True)) + "|and|,(?: and)?"
_BODY = rf"(?P<body>{_ITEM}(?: ?(?:{_JOINT}) {_ITEM}){{0,2}})"
_GROUND = rf"an? (?P<background>{'|'.join(PALETTE)}) background"
_PROMPTS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:an? (?:picture|drawing|image) of )?{_BODY} on {_GROUND}",
        rf"(?:an? (?:picture|drawing|image) of )?{_GROUND} with {_BODY}",
    )
)
_ITEMS = re.compile(rf"(?:an?|the) ({'|'.join(PALETTE)}) ({'|'.join(SHAPES)})")
_JOINTS = re.compile(rf"({_JOINT}) (?=an? |the )")


class PromptError(ValueError):
    """The prompt is not of the language; the message says why."""


@dataclass(frozen=True)
class Item:
    """A coloured shape."""

    colour: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What an image shows.

    ``relation`` holds between each item and the next: with three items in "left of", the first is
    left of the second and that left of the third. None: the items may be anywhere.
    """

    background: str
    items: tuple[Item, ...]
    relation: Relation | None = None

    def caption(
        self,
        relation_words: str | None = None,
        opening: str = "",
        *,
        background_first: bool = False,
    ) -> str:
        """A prompt that asks for this scene; the wording of the relation may be chosen."""
        items, joint = self.items, None
        if self.relation is not None:
            joint = relation_words or self.relation
            if not _MEANING[joint][1]:
                items = items[::-1]
        words = [f"{_article(str(item))} {item}" for item in items]
        if joint is not None:
            body = f" {joint} ".join(words)
        else:
            body = " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
        ground = f"{_article(self.background)} {self.background} background"
        return opening + (f"{ground} with {body}" if background_first else f"{body} on {ground}")


def parse_prompt(prompt: str) -> Scene:
    """What an image for this prompt must show.

    Raises:
        PromptError: the prompt is not of the language.
    """
    text = " ".join(prompt.lower().split()).rstrip(".")
    match = next((found for form in _PROMPTS if (found := form.fullmatch(text))), None)
    if match is None:
        raise PromptError(
            "not of the form 'a red circle left of a blue star on a white background'"
        )
    body, background = match["body"], match["background"]
    items = tuple(Item(colour, _shape(shape)) for colour, shape in _ITEMS.findall(body))
    colours = [background, *(item.colour for item in items)]
    if len(set(colours)) < len(colours):
        raise PromptError("shapes and background must differ in colour")
    meanings = {_MEANING.get(joint, (None, True)) for joint in _JOINTS.findall(body)}
    if len(meanings) > 1:
        raise PromptError("three shapes must stand in one row or one column, or just be listed")
    relation, forward = meanings.pop() if meanings else (None, True)
    if not forward:
        items = items[::-1]
    if relation == "inside":
        _check_inside(items)
    return Scene(background, items, relation)


def _check_inside(items: tuple[Item, ...]) -> None:
    if len(items) != 2:
        raise PromptError("only one shape can be inside another")
    if items[1].shape not in HOLDERS:
        raise PromptError(f"only {', '.join(HOLDERS)} can hold another shape")


def _shape(name: str) -> Shape:
    return next(shape for shape in SHAPES if shape == name)


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"
