"""Values that strangers may give: hostile texts and numbers, and values of a type at random."""

import types
import typing
from random import Random
from typing import Any, Literal

import msgspec
from fuzz_documents import deep

CANARY = "fuzzcanary"
"""What must never be code, markup or an address in anything that is written."""
SECRET = "hf_" + "f1" * 17
"""What must never be in anything that is made to be shared."""
DEEP = "[" * 100_000

TEXTS = (
    *("", " ", "x", "current", "other", "0", "2.0.0", "64x64", "float16", "latest", "a" * 5000),
    *("100x100", "512", "64x64x64", "512X768", "9999x64", "120%", "10%", "auto", "1e400"),
    f"2; __import__('os').system('{CANARY}'); {CANARY}()",
    f'x"; import os; {CANARY}() #/y',
    f"evil/model\nimport {CANARY}; {CANARY}()\n#",
    f'"""\n{CANARY}()\n"""',
    f"'); {CANARY}(('",
    "x\\",
    "{0}{steps}{__class__} %s %n",
    f"`\n\n# A heading\n\n![x](https://{CANARY}.example/x.png) <{CANARY}>",
    f"<{CANARY} onload=x()></{CANARY}><script>{CANARY}()</script>",
    f"]]> --> </textarea></style></script><{CANARY}>",
    f"' onmouseover={CANARY}() \" onload={CANARY}() x",
    f"[bold]{CANARY}[/bold] [link=https://{CANARY}.example]x[/link] [/]",
    f"| {CANARY} | https://{CANARY}.example @{CANARY} #1",
    f"=cmd|' /C {CANARY}'!A0",
    *("+1\t-1\r@x", "-1+1", "@SUM(1)", "\x1b]0;x\x07\x1b[31mred\x1b[2J", "\x00", "\x7f\x9b31m"),
    *("\u202egnp \u2066x", "\u2028import os\x85\x0b\x0c", "é\u0301ß 漢字 🙂", "\ufeff\ufffe\uffff"),
    *("../../x", "/etc/passwd", "a/../../b", ".", "..", "-rf", "~root/x", "nul\x00byte"),
    *("postgres://u:pw@host/x", f"token {SECRET} end", "nan", "inf", "1e999", "2026-13-45T99:99"),
)
NUMBERS: tuple[Any, ...] = (
    *(0, 1, 2, 3, -1, 7, 64, 255, 1000, 65536, 1 << 31, 1 << 60, (1 << 63) - 1, 1 << 64, 10**30),
    *(0.0, -0.0, 0.5, -0.5, 1e-9, 1e-300, 5e-324, 1.5, 1e9, 1e12, 1e18, 1e300, 1.7e308, -1e308),
    *(float("nan"), float("inf"), -float("inf"), True, False),
)


def any_value(random: Random, depth: int = 0) -> Any:
    """Whatever JSON can hold, hostile with some probability; rarely very large."""
    kind = random.randrange(9 if depth < 2 else 6)
    if kind < 3:
        return random.choice(TEXTS)
    if kind < 5:
        return random.choice(NUMBERS)
    if kind == 5:
        return None
    if kind == 6:
        return [any_value(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 7:
        names = random.choices(TEXTS, k=random.randrange(3))
        return {name: any_value(random, depth + 1) for name in names}
    return deep(random.choice((3, 50, 900, 5000))) if depth == 0 else []


class Typed:
    """Values of annotated types at random: mostly what sdbench itself could write.

    ``digests`` are the names of files that are there; texts are often among ``words``.
    """

    def __init__(self, random: Random, words: list[str], digests: list[str]) -> None:
        self._random = random
        self._words = words or ["x"]
        self._digests = [*digests, "0" * 64]

    def value(self, kind: Any, depth: int = 0) -> Any:
        """One value of that type, as JSON has it."""
        random, origin = self._random, typing.get_origin(kind)
        if origin is typing.Annotated:
            base, *notes = typing.get_args(kind)
            return self._bounded(base, [n for n in notes if isinstance(n, msgspec.Meta)])
        if origin is Literal:
            return random.choice(typing.get_args(kind))
        if origin in (typing.Union, types.UnionType):
            parts = [part for part in typing.get_args(kind) if part is not type(None)]
            if len(parts) < len(typing.get_args(kind)) and random.random() < 0.25:
                return None
            return self.value(random.choice(parts), depth)
        if origin in (list, tuple):
            part = typing.get_args(kind)[0]
            most = 4 if depth < 4 else 2
            return [self.value(part, depth + 1) for _ in range(random.randrange(most))]
        if origin is dict:
            part = typing.get_args(kind)[1]
            names = [self.text() for _ in range(random.randrange(3))]
            return {name: self.value(part, depth + 1) for name in names}
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind, depth)
        return self._plain(kind)

    def struct(self, kind: type[msgspec.Struct], depth: int = 0) -> dict[str, Any]:
        """A table with every field that must be there, and most of the others."""
        document: dict[str, Any] = {}
        tag = kind.__struct_config__.tag
        if tag is not None:
            document[str(kind.__struct_config__.tag_field)] = tag
        for field in msgspec.structs.fields(kind):
            if field.required or self._random.random() < 0.7:
                document[field.encode_name] = self.value(field.type, depth + 1)
        return document

    def text(self) -> str:
        """Often a word that stands somewhere in the same input."""
        choices = self._words if self._random.random() < 0.6 else TEXTS
        return self._random.choice(choices)

    def _plain(self, kind: Any) -> Any:
        random = self._random
        if kind is bool:
            return random.random() < 0.5
        if kind is int:
            return random.choice((0, 1, 2, 3, 5, -1, 100, 10**9, 1 << 40, 1 << 62, -(1 << 62)))
        if kind is float:
            return random.choice((0.0, 1e-12, 0.02, 0.5, 1.0, 2.5, 40.0, 1e6, 1e308, -1.0, 5e-324))
        return self.text() if kind is str else any_value(random, 1)

    def _bounded(self, kind: Any, notes: list[msgspec.Meta]) -> Any:
        random = self._random
        if any(note.pattern for note in notes):
            patterns = "".join(note.pattern or "" for note in notes)
            if "x" in patterns:
                return random.choice(("64x64", "128x128", "512x512", "8192x64", "99999x99999"))
            return random.choice(self._digests)
        edges: list[Any] = []
        for note in notes:
            for edge in (note.ge, note.gt, note.le, note.lt):
                if edge is not None:
                    edges += [kind(edge), kind(edge) - 1] if random.random() < 0.2 else [kind(edge)]
        usual = (0, 1, 2, 3, 4, 1000, 2_000_000_000) if kind is int else (0.0, 0.1, 1.0, 2.0, 60.0)
        return random.choice([*edges, *usual, *usual])
