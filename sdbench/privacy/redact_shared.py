"""Runs as they may be shown to anybody: before any renderer sees them, so that none can leak.

Out go users' names, hosts, paths, secrets, e-mail addresses, prompts of one's own with the images
made from them, and what workers wrote on their way out. Every text that is not one of a fixed set
is looked at, whatever record it stands in, so a field added later is covered. Numbers, settings,
versions and verdicts stay. Doing it twice changes nothing.
"""

import functools
import getpass
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from sdbench.machine.facts import PRESSURE_LEVELS, THERMAL_LEVELS
from sdbench.models.resolve import OFFLINE
from sdbench.plan.config import Config
from sdbench.plan.read_config import load_config, shipped_configs
from sdbench.records import (
    AXES,
    Compared,
    ImageCompared,
    LoraInfo,
    ModelInfo,
    Pass,
    Picture,
    Preflight,
    Replicate,
    Run,
)
from sdbench.runs import LoadedRun
from sdbench.runs.free_text import map_texts
from sdbench.runs.secrets import PATTERNS

LEFT_OUT = "left out for sharing"
LOCAL_MODEL = "local model"
_SHORTEST_NAME = 3  # a shorter name would blank out ordinary words
_NOBODY = {"root", "shared", "user", "users", "<user>"}
_T = TypeVar("_T")
_Step = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Private:
    """Names of people and computers that no text may hold."""

    users: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def here(cls) -> "Private":
        """Of this user and this computer."""
        host = platform.node()
        return cls(frozenset(_own_names()), frozenset({host, host.split(".")[0]}))


@dataclass(frozen=True)
class Kept:
    """What of a user's own stays nevertheless, because the user asked for it."""

    prompts: bool = False
    pictures: bool = False
    model_name: bool = False


NOTHING_KEPT = Kept()
KEPT_NAMES = {"prompts": "prompts", "pictures": "pictures", "model-name": "model_name"}
"""What a user calls what stays, and the field of :class:`Kept`."""


def shared(
    runs: Sequence[LoadedRun],
    private: Private | None = None,
    *,
    kept: Kept = NOTHING_KEPT,
    salt: str | None = None,
) -> list[LoadedRun]:
    """The runs without what is private; names that stand for something else are the same in all.

    ``path`` becomes the run's id; ``files`` is still where images and timelines are read. With a
    ``salt`` an own prompt or model goes by a hash of both instead of by a number, so that the same
    one goes by the same name whenever the salt is used.
    """
    words = _Words.of(runs, private or Private.here(), kept, salt)
    return [_shared_run(loaded, words) for loaded in runs]


def _shared_run(loaded: LoadedRun, words: "_Words") -> LoadedRun:
    """Every field is scrubbed, so a kind of record added later is too; images need more."""
    run = words.run(loaded.run)
    ids = {
        new.replicate_id: old.replicate_id
        for old, new in zip(loaded.run.plan.slots, run.plan.slots, strict=True)
    }
    prompts = loaded.run.config.get("prompts", [])
    own = [is_own_prompt(prompt) and not words.kept.pictures for prompt in prompts]
    scrub = _Records(words, own)
    texts = {each.name: words.anything(getattr(loaded, each.name)) for each in fields(loaded)}
    reported: dict[str, Any] = {
        "path": Path(run.run_id),
        "run": run,
        "attempts": [scrub.replicate(entry) for entry in loaded.attempts],
        "comparisons": [scrub.compared(entry) for entry in loaded.comparisons],
        "folder": loaded.files,
        "recorded_ids": {new: loaded.recorded_ids.get(old, old) for new, old in ids.items()},
    }
    return LoadedRun(**(texts | reported))


@dataclass(frozen=True)
class _Records:
    """Scrubs the records that hold images; ``own`` tells which prompts are the user's."""

    words: "_Words"
    own: list[bool]

    def replicate(self, entry: Replicate) -> Replicate:
        return msgspec.structs.replace(
            self.words.anything(entry),
            passes=[self._pass(one) for one in entry.passes],
            stdout_tail=LEFT_OUT if entry.stdout_tail else "",
            stderr_tail=LEFT_OUT if entry.stderr_tail else "",
        )

    def compared(self, entry: Compared) -> Compared:
        images = [self._beside_cpu(image) for image in entry.images]
        return msgspec.structs.replace(self.words.anything(entry), images=images)

    def _is_own(self, image: int) -> bool:
        return bool(self.own) and self.own[image % len(self.own)]

    def _pass(self, entry: Pass) -> Pass:
        images = [self._picture(number, picture) for number, picture in enumerate(entry.images)]
        entry = msgspec.structs.replace(self.words.anything(entry), images=images)
        if entry.trace_sha256 is None or not any(self.own):
            return entry
        return msgspec.structs.replace(entry, trace_sha256=None, trace_missing=LEFT_OUT)

    def _picture(self, image: int, picture: Picture) -> Picture:
        entry = self.words.anything(picture)
        if not self._is_own(image):
            return entry
        return msgspec.structs.replace(
            entry,
            pixels_sha256=self.words.nameless(picture.pixels_sha256),
            not_kept=f"made from an own prompt, {LEFT_OUT}",
            content_reason=picture.content_reason and LEFT_OUT,
        )

    def _beside_cpu(self, image: ImageCompared) -> ImageCompared:
        entry = self.words.anything(image)
        if not self._is_own(image.image):
            return entry
        reference, rounding = image.reference_pixels_sha256, entry.own_rounding
        nameless = self.words.nameless
        return msgspec.structs.replace(
            entry,
            pixels_sha256=nameless(image.pixels_sha256),
            reference_pixels_sha256=reference and nameless(reference),
            own_rounding=rounding
            and msgspec.structs.replace(
                rounding, pixels_sha256=[nameless(digest) for digest in rounding.pixels_sha256]
            ),
        )


def is_own_prompt(prompt: str) -> bool:
    """Whether a prompt is the user's own: of no shipped configuration, and not hidden already."""
    return prompt not in _shipped_prompts() and not _OWN_PROMPT.fullmatch(prompt)


def _salted(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}{text}".encode()).hexdigest()


@dataclass
class _Words:
    """What each private word becomes; ``known`` are whole texts, names that stand for one first."""

    prompts: dict[str, str]
    kept: Kept = NOTHING_KEPT
    salt: str | None = None
    _steps: "list[_Step]" = field(default_factory=list)
    _names: re.Pattern[str] | None = None
    _known: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, runs: Sequence[LoadedRun], private: Private, kept: Kept, salt: str | None
    ) -> "_Words":
        """Collect the private words of the runs; those of this machine are given."""
        users = {*private.users, *(name for loaded in runs for name in _users_in(loaded))}
        own = dict.fromkeys(
            prompt
            for loaded in runs
            for prompt in loaded.run.config.get("prompts", [])
            if is_own_prompt(prompt)
        )
        words = cls({}, kept, salt)
        if not kept.prompts:
            for number, prompt in enumerate(own, start=1):
                words.prompts[prompt] = words._named("own prompt", prompt, number)
        words._steps = [
            *(
                (_quoted(prompt), name)
                for prompt, name in words.prompts.items()
                if len(prompt.strip()) > _SHORTEST_NAME and prompt.lower() not in _vocabulary()
            ),
            *PATTERNS,
            _EMAIL,
            _GPU_ID,
            *_PATHS,
            *((_name(host), "<host>") for host in _worth_hiding(private.hosts)),
            (_LOCAL_HOST, "<host>"),
            *((_name(user), "<user>") for user in _worth_hiding(users)),
        ]
        found = [re.escape(name) for name in _worth_hiding(users | private.hosts)]
        if found:
            words._names = re.compile(rf"(?<!\w)(?:{'|'.join(found)})(?!\w)", re.IGNORECASE)
        words._stand_in("arm", (arm.name for loaded in runs for arm in loaded.run.plan.arms))
        words._stand_in("stack", (name for loaded in runs for name in loaded.run.stacks))
        for slot in (slot for loaded in runs for slot in loaded.run.plan.slots):
            renamed = msgspec.structs.replace(slot, arm=words.text(slot.arm))
            words._known[slot.replicate_id] = renamed.replicate_id
        return words

    def _stand_in(self, what: str, names: Iterable[str]) -> None:
        """Private names of variants and environments are numbered, so that they are still told
        apart."""
        all_names = dict.fromkeys(names)
        private = [name for name in all_names if self.text(name) != name]
        free = (f"{what}-{number}" for number in count(1))
        self._known |= zip(private, (name for name in free if name not in all_names), strict=False)

    def _named(self, what: str, text: str, number: int | None = None) -> str:
        """What stands for a private name: a part of its salted hash, else a number."""
        if self.salt is not None:
            return f"{what} {_salted(self.salt, text)[:_HASH_DIGITS]}"
        return what if number is None else f"{what} {number}"

    def nameless(self, digest: str) -> str:
        """A digest that no file has; equal images keep equal ones."""
        return _salted("shared" if self.salt is None else self.salt, digest)

    def text(self, text: str) -> str:
        """A text without private words."""
        if text not in self._known:
            self._known[text] = self._scrubbed(text)
        return self._known[text]

    def _scrubbed(self, text: str) -> str:
        for pattern, replacement in self._steps:
            text = pattern.sub(replacement, text)
        return text

    def anything(self, value: _T) -> _T:
        """The same with every text in it scrubbed that is not one of a fixed set."""
        return map_texts(value, self.text, self._key)

    def _key(self, key: str) -> str:
        """Names of facts are our own and hold names of people only as a whole word."""
        if not _IDENTIFIER.fullmatch(key):
            return self.text(key)
        return key if self._names is None else self._names.sub("<user>", key)

    def run(self, run: Run) -> Run:
        """``run.json``: variants, environments, model and prompts go by names that
        stand for them."""
        model = self._model(run.model)
        plan = self.anything(run.plan)
        config = {
            **self.anything(run.config),
            "model": model.name,
            "lora": [f"{lora.name}:{lora.weight:g}" for lora in model.loras],
            **({"parts": ""} if "parts" in run.config else {}),
            "prompts": [self.prompts.get(one, one) for one in run.config.get("prompts", [])],
            "arm": msgspec.to_builtins(plan.arms),
        }
        return msgspec.structs.replace(
            self.anything(run),
            plan=plan,
            model=model,
            stacks={self.text(name): self.anything(one) for name, one in run.stacks.items()},
            config=config,
        )

    def _model(self, model: ModelInfo) -> ModelInfo:
        loras = [
            msgspec.structs.replace(self.anything(lora), name=self._lora(lora, number), path="")
            for number, lora in enumerate(model.loras, start=1)
        ]
        return msgspec.structs.replace(
            self.anything(model),
            name=self._model_name(model),
            path="",
            loras=loras,
            file=None if model.file is None else "",
        )

    def _model_name(self, model: ModelInfo) -> str:
        if not is_local_model(model):
            return self.text(model.name)
        last = model.name.rstrip("/").rpartition("/")[2]
        return self.text(last) if self.kept.model_name else self._named(LOCAL_MODEL, model.name)

    def _lora(self, lora: LoraInfo, number: int) -> str:
        if self.kept.model_name or _STANDS_FOR_LORA.fullmatch(lora.name):
            return self.text(lora.name)
        return self._named("LoRA", lora.name, number)


def is_local_model(model: ModelInfo) -> bool:
    """Whether its name is a place on a disk, and not one of ours or of the Hub."""
    name = model.name
    if name in OFFLINE or _STANDS_FOR_MODEL.fullmatch(name):
        return False
    if model.file is not None or "models--" in name:  # a file, a folder of the Hub's cache
        return True
    if name.startswith((".", "/", "~", "<")) or name.count("/") != 1:
        return True
    # A relative folder looks like a Hub id; the Hub's cache keeps its models under other names.
    return model.path.endswith(f"/{name}")


# --- what is private ------------------------------------------------------------------------------

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_HASH_DIGITS = 12
_OWN_PROMPT = re.compile(rf"own prompt (?:\d+|[0-9a-f]{{{_HASH_DIGITS}}})")
_STANDS_FOR_MODEL = re.compile(rf"{LOCAL_MODEL}(?: [0-9a-f]{{{_HASH_DIGITS}}})?")
_STANDS_FOR_LORA = re.compile(rf"LoRA (?:\d+|[0-9a-f]{{{_HASH_DIGITS}}})")
# What NVIDIA calls one single GPU: as good as a serial number.
_GPU_ID: _Step = (re.compile(r"\b(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<gpu>")
_EMAIL: _Step = (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>")


def _place(found: re.Match[str]) -> str:
    """URLs stay, paths go."""
    url = found["url"]
    return str(url) if url and not url.lower().startswith("file:") else "<path>"


# In a path a space is part of it where a slash follows within a few words.
_STEP = r"(?:[^\s'\"`<>|:;,()\[\]{}*]|<\w+>|[ ](?=(?:[^\s'\":/]+[ ]){0,2}[^\s'\":/]*/[^\s/]))"
_PATHS: list[_Step] = [
    (
        re.compile(
            r"(?P<url>\b[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"`]+)"
            r"|(?P<quoted>(?<=['\"`])(?:~|\.{1,2}|<home>|[A-Za-z]:)?[/\\][^'\"`\n]+(?=['\"`]))"
            r"|(?P<plain>(?<![\w.~/>])(?:~[\w.-]*|\.{1,2}|<home>|\$HOME)?/(?=[^\s/])"
            rf"{_STEP}+)"
            r"|(?P<windows>(?<!\w)(?:[A-Za-z]:|\\)\\[^\s'\"<>|,;]+)"
            r"|(?P<encoded>%2F(?:Users|home)%2F[^\s'\"<>|,;&]+)"
        ),
        _place,
    )
]
_LOCAL_HOST = re.compile(
    r"(?i)(?<![\w.-])[a-z0-9][\w-]*(?:\.[\w-]+)*\.(?:local|lan|internal|intranet|corp)(?![\w-])"
)
_HOME = re.compile(r"(?:/Users/|/home/|\\Users\\|\\\\Users\\\\)([^/\\\s:'\"<>]+)")


def _users_in(loaded: LoadedRun) -> Iterator[str]:
    """Whose home folders the records name: another machine's user is not known otherwise."""
    records = [loaded.run, loaded.attempts, loaded.comparisons, loaded.checks, loaded.warnings]
    yield from _HOME.findall(msgspec.json.encode(records).decode())


def _own_names() -> Iterator[str]:
    """The login, the full name and the home folder of this user; nothing of a system's account."""
    if os.getuid() == 0:
        return
    try:
        yield getpass.getuser()
        import pwd

        yield pwd.getpwuid(os.getuid()).pw_gecos.split(",")[0]
    except (OSError, KeyError):  # no entry for this user id, as in some containers
        pass
    yield Path.home().name


def _worth_hiding(names: Iterable[str]) -> list[str]:
    """Longest first. Words of our own name nobody, and results need them."""
    return sorted(
        (
            name
            for name in names
            if len(name) >= _SHORTEST_NAME
            and name.lower() not in _NOBODY | {"localhost"}
            and name.lower() not in _vocabulary()
        ),
        key=lambda name: (-len(name), name),
    )


def _name(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9<]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE)


def _quoted(prompt: str) -> re.Pattern[str]:
    """A prompt however it is spaced, cased or escaped."""
    spellings = dict.fromkeys([prompt, repr(prompt)[1:-1], json.dumps(prompt)[1:-1]])
    found = [r"\s+".join(re.escape(word) for word in spelling.split()) for spelling in spellings]
    return re.compile(rf"(?<!\w)(?:{'|'.join(found)})(?!\w)", re.IGNORECASE)


@functools.cache
def _shipped_prompts() -> frozenset[str]:
    """Prompts that are everybody's."""
    shipped = [load_config(name).prompts for name in shipped_configs()]
    return frozenset(prompt for prompts in (Config().prompts, *shipped) for prompt in prompts)


@functools.cache
def _vocabulary() -> frozenset[str]:
    """Names and values of the schema: a user called like one is not given away by it."""
    found: set[str] = set()
    for record in (Run, Replicate, Compared, Preflight, Config):
        found |= set(_words_of(inspect.type_info(record)))
    found |= {*PRESSURE_LEVELS, *THERMAL_LEVELS}  # in the records they are free texts
    return frozenset({*found, *(axis.slug for axis in AXES.values()), "current"})


def _words_of(reported: inspect.Type) -> Iterator[str]:
    if isinstance(reported, inspect.LiteralType):
        yield from (str(value) for value in reported.values)
    elif isinstance(reported, inspect.StructType):
        for entry in reported.fields:
            yield entry.name
            yield from _words_of(entry.type)
    elif isinstance(reported, inspect.UnionType):
        for one in reported.types:
            yield from _words_of(one)
    elif isinstance(reported, inspect.CollectionType):
        yield from _words_of(reported.item_type)
    elif isinstance(reported, inspect.TupleType):
        for one in reported.item_types:
            yield from _words_of(one)
