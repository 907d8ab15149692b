"""Provides the CPU's images for a run: found, or computed after the last timed process within a
budget."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from sdbench.correctness.arithmetic import own_arithmetic
from sdbench.correctness.floors import Floor
from sdbench.correctness.own_rounding import times_to_make
from sdbench.correctness.parity import ReferenceSet
from sdbench.correctness.references import (
    IMAGE_FILE,
    Reference,
    ReferenceSettings,
    Rounded,
    find_floor,
    find_reference,
    floor_file,
    load_rounded,
    rounded_file,
)
from sdbench.files.user_folders import cache_folder
from sdbench.machine import MemoryProbe
from sdbench.plan.config import Config, work_of
from sdbench.plan.cost import Estimate, estimate_reference
from sdbench.process.environment import PRELOAD, worker_environment
from sdbench.process.events import Event, Failed, Phase
from sdbench.process.executor import Executor, Report, Stop, Task
from sdbench.process.guard import MemoryGuard
from sdbench.process.input_image import input_image_sha256
from sdbench.process.picture_job import picture_job
from sdbench.process.sampler import Sample
from sdbench.records import (
    Arithmetic,
    Case,
    Dtype,
    ModelInfo,
    Scheduler,
    StackInfo,
    StartMethod,
)

# A run must not bring the machine to its knees at the very end (PROTOCOL 18).
_MEMORY_MARGIN = 1.5

# Of a case's settings, those that change its image: the CPU makes the image with them, and without
# all others.
_OF_A_CASE = ("resolution", "vae_tiling", "scheduler", "steps", "guidance_scale")

ImageAsRounded = tuple[Arithmetic, int]
"""An image, by its number from 0, in the arithmetic of a device."""
Showing = Callable[[str, float], None]
"""Told what is being computed and for how many more seconds, about once a second."""


@dataclass(frozen=True)
class Group:
    """Cases that are compared with the same references.

    That is one environment, resolution and VAE tiling, and the same work: None is what the run has.

    VAE tiling changes an image by design (the norms are computed in each tile alone). So for a
    case with VAE tiling the CPU decodes its reference in tiles, too.
    """

    stack: str
    resolution: str
    vae_tiling: bool = False
    scheduler: Scheduler | None = None
    steps: int | None = None
    guidance_scale: float | None = None

    @classmethod
    def of_case(cls, stack: str, case: Case) -> "Group":
        """The group that a case belongs to."""
        return cls(stack, **{name: getattr(case, name) for name in _OF_A_CASE})

    @property
    def case(self) -> Case:
        """What the CPU runs."""
        return Case(**{name: getattr(self, name) for name in _OF_A_CASE})


@dataclass
class ReferenceStore:
    """Finds the references of a configuration, and says why one is missing."""

    config: Config
    model: ModelInfo
    stacks: Mapping[str, StackInfo]
    folder: Path = field(default_factory=lambda: cache_folder() / "references")
    absent: dict[Group, str] = field(default_factory=dict)
    not_rounded: dict[Group, str] = field(default_factory=dict)
    """Why an image of the group could not be made as rounding makes it."""

    def settings(self, group: Group, image: int) -> ReferenceSettings:
        """What decides the pixels of an image."""
        config, case = self.config, group.case
        from_image = config.mode == "image-to-image"
        return ReferenceSettings(
            model_sha256=self.model.sha256 or "",
            resolution=group.resolution,
            prompt=config.prompts[image % len(config.prompts)],
            seed=config.seed + image,
            **work_of(config, case)._asdict(),
            vae_tiling=group.vae_tiling,
            strength=None if config.strength == "auto" else config.strength,
            input_sha256=input_image_sha256(case.width, case.height) if from_image else None,
        )

    def reference(self, group: Group, image: int) -> Reference | None:
        """The reference of an image, if there is one."""
        return find_reference(self.settings(group, image), self._versions(group), self.folder)

    def floor(self, group: Group, dtype: Dtype) -> Floor | None:
        """The noise floor for a dtype, measured on image 0."""
        return find_floor(self.settings(group, 0), self._versions(group), self.folder, dtype)

    def rounded(self, group: Group, arithmetic: Arithmetic, image: int) -> Rounded | None:
        """An image as rounding alone makes it, where that was needed."""
        return load_rounded(rounded_file(self.own_folder(group, image), arithmetic))

    def yardstick(
        self, group: Group, dtype: Dtype, arithmetic: Arithmetic | None = None
    ) -> ReferenceSet:
        """What the group's cases of a dtype are compared with.

        ``arithmetic`` is what may have rounded their results more than float32 does, where it is
        not the data type itself.
        """
        arithmetic = arithmetic or own_arithmetic(dtype)
        references = {
            image: reference
            for image in range(self.config.images)
            if (reference := self.reference(group, image)) is not None
        }
        floor = self.floor(group, dtype)
        absent = self.absent.get(group)
        if floor is None and references:
            absent = absent or f"the rounding error of {dtype} was not measured"
        rounded = {
            image: found
            for image in references
            if arithmetic is not None
            and (found := self.rounded(group, arithmetic, image)) is not None
        }
        return ReferenceSet(
            references,
            floor,
            absent or "not compared with the CPU",
            rounded,
            self.not_rounded.get(group),
            arithmetic,
        )

    def own_folder(self, group: Group, image: int) -> Path:
        """Where the reference of an image computed with these versions goes."""
        return self.folder / self.settings(group, image).key(self._versions(group))

    def untiled_file(self, group: Group, image: int) -> Path | None:
        """The reference of the same image without VAE tiling, if it was computed here.

        Only its decode has to be repeated then. A damaged one, or one with NaN, is not used. An
        input image is encoded in tiles, too, so that nothing is the same.
        """
        if not group.vae_tiling or self.config.mode == "image-to-image":
            return None
        plain = replace(group, vae_tiling=False)
        found, own = self.reference(plain, image), self.own_folder(plain, image)
        return own / IMAGE_FILE if found is not None and found.folder == own else None

    def _versions(self, group: Group) -> dict[str, str]:
        return self.stacks[group.stack].packages


class _Rounds(NamedTuple):
    """An image to make as rounding makes it: ``times`` in all, of which ``there`` are there."""

    arithmetic: Arithmetic
    image: int
    times: int
    there: int


@dataclass(frozen=True)
class _Order:
    """What one worker is to compute for a group: references, floors, and images as rounded."""

    group: Group
    images: tuple[int, ...] = ()
    dtypes: tuple[Dtype, ...] = ()
    rounded: tuple[_Rounds, ...] = ()

    def shorter(self) -> "_Order":
        """Without its last image; one is always left."""
        if len(self.rounded) > 1:
            return replace(self, rounded=self.rounded[:-1])
        return replace(self, images=self.images[:-1]) if len(self.images) > 1 else self


@dataclass
class ReferenceMaker:
    """Computes what a shelf lacks."""

    shelf: ReferenceStore
    executor: Executor
    probe: MemoryProbe
    guard: MemoryGuard
    showing: Showing
    interrupted: Callable[[], bool]
    cores: int
    start: StartMethod
    allow_pickle: bool = False
    clock: Callable[[], float] = time.monotonic
    _deadline: float | None = None

    def make(self, wanted: Mapping[Group, Collection[Dtype]]) -> None:
        """Compute what these groups need, the cheapest first, within the budget.

        Why one was not computed is noted on the shelf.
        """
        self._carry_out(self._in_rounds(self._orders(wanted)), self.shelf.absent)

    def make_rounded(self, wanted: Mapping[Group, Collection[ImageAsRounded]]) -> None:
        """Make these images as rounding alone makes them, within what is left of the budget.

        How often is for :func:`times_to_make` to say. Why one was not made is noted on the shelf;
        a group with such a note is left alone.
        """
        orders = [
            _Order(group, rounded=missing)
            for group, images in wanted.items()
            if group not in self.shelf.not_rounded
            and (missing := tuple(self._rounds(group, sorted(images))))
        ]
        orders.sort(key=lambda order: self._cost(order).duration_s)
        self._carry_out(orders, self.shelf.not_rounded)

    def _rounds(self, group: Group, images: Iterable[ImageAsRounded]) -> Iterator[_Rounds]:
        for arithmetic, image in images:
            made = self.shelf.rounded(group, arithmetic, image)
            times = times_to_make(made)
            if times is not None:
                yield _Rounds(arithmetic, image, times, 0 if made is None else made.times)

    def _carry_out(self, orders: list[_Order], problems: dict[Group, str]) -> None:
        if self._deadline is None:  # one budget for all that is made of a run
            self._deadline = self.clock() + self.shelf.config.reference.budget_s
        deadline = self._deadline
        while orders:
            order = self._affordable(orders.pop(0), deadline, problems)
            later_s = sum(self._cost(other).duration_s for other in orders)
            problem = self._why_not(order, deadline) or self._compute(order, deadline, later_s)
            if problem is not None:
                problems.setdefault(order.group, problem)

    def _orders(self, wanted: Mapping[Group, Collection[Dtype]]) -> list[_Order]:
        """What is missing, by group."""
        orders = []
        for group, dtypes in wanted.items():
            floors = tuple(
                dtype for dtype in sorted(dtypes) if self.shelf.floor(group, dtype) is None
            )
            images = tuple(
                image
                for image in range(self.shelf.config.images)
                if self.shelf.reference(group, image) is None
                or (image == 0 and floors and not self._has_own(group))
            )
            if images or floors:
                orders.append(_Order(group, images, floors))
        return sorted(
            orders, key=lambda order: (order.group.vae_tiling, self._cost(order).duration_s)
        )

    def _in_rounds(self, orders: list[_Order]) -> list[_Order]:
        """All at once if that fits the budget; else first an image of every group."""
        total_s = sum(self._cost(order).duration_s for order in orders)
        if total_s <= self.shelf.config.reference.budget_s:
            return orders
        first = [
            replace(order, images=tuple(image for image in order.images if image == 0))
            for order in orders
        ]
        rest = [
            replace(order, images=tuple(image for image in order.images if image > 0), dtypes=())
            for order in orders
        ]
        return [order for order in (*first, *rest) if order.images or order.dtypes]

    def _has_own(self, group: Group) -> bool:
        """Whether image 0's reference was computed here: floors need the UNet's outputs in it."""
        return (self.shelf.own_folder(group, 0) / IMAGE_FILE).is_file()

    def _cost(self, order: _Order) -> Estimate:
        return estimate_reference(
            self.shelf.config,
            order.group.case,
            self.shelf.model,
            self.cores,
            images=sum(not self.shelf.untiled_file(order.group, one) for one in order.images),
            dtypes=order.dtypes,
            rounded=sum(one.times - one.there for one in order.rounded),
        )

    def _affordable(self, order: _Order, deadline: float, problems: dict[Group, str]) -> _Order:
        """Fewer images where time is short; no float32 floor, which doubles the memory, where only
        that is too much. What is left out is noted.
        """
        lighter = replace(order, dtypes=tuple(name for name in order.dtypes if name != "float32"))
        problem = self._memory_problem(order)
        if problem and (lighter.images or lighter.dtypes) and not self._memory_problem(lighter):
            problems.setdefault(order.group, f"for float32: {problem}")
            order = lighter
        problem = self._time_problem(order, deadline)
        while self._time_problem(order, deadline) and order != (fewer := order.shorter()):
            order = fewer
        if problem:
            problems.setdefault(order.group, problem)
        return order

    def _time_problem(self, order: _Order, deadline: float) -> str | None:
        cost = self._cost(order)
        if self.clock() + cost.duration_s <= deadline:
            return None
        return (
            f"the CPU's images would take about {cost.duration_s:.0f} s, more than the rest of "
            f"reference.budget_s ({self.shelf.config.reference.budget_s:g} s)"
        )

    def _memory_problem(self, order: _Order) -> str | None:
        available = self.probe.system().available_bytes
        needed = _MEMORY_MARGIN * self._cost(order).peak_memory_bytes
        if available is None or available >= needed:
            return None
        return (
            f"the CPU's images would need {needed / 1e9:.1f} GB of free memory, "
            f"{available / 1e9:.1f} GB are free"
        )

    def _why_not(self, order: _Order, deadline: float) -> str | None:
        if self.interrupted():
            return "stopped before the CPU's image was computed"
        return self._time_problem(order, deadline) or self._memory_problem(order)

    def _compute(self, order: _Order, deadline: float, later_s: float) -> str | None:
        """Run the worker; why something may be missing afterwards, or None."""
        began, cost_s = self.clock(), self._cost(order).duration_s
        phase = "starting"

        def supervise(event: Event | None, sample: Sample | None) -> Stop | None:
            nonlocal phase
            if isinstance(event, Phase):
                phase = event.name
            if event is None:
                own_s = max(0.0, began + cost_s - self.clock())
                self.showing(f"{order.group.resolution}, {phase}", own_s + later_s)
            if self.interrupted():
                return Stop("interrupted", "stopped before the CPU's image was computed")
            if self.clock() > deadline:
                return Stop("out-of-time", "reference.budget_s was used up before it was computed")
            return self.guard.judge(sample)

        return _problem(self.executor.run(self._task(order, deadline), supervise))

    def _task(self, order: _Order, deadline: float) -> Task:
        shelf, config = self.shelf, self.shelf.config
        own = shelf.own_folder(order.group, 0)
        job = picture_job(
            config, shelf.model, "cpu", order.group.case, allow_pickle=self.allow_pickle
        )
        job |= {
            "reference": True,
            "items": [
                {
                    "image": image,
                    "path": str((shelf.own_folder(order.group, image) / IMAGE_FILE).absolute()),
                    "untiled": str(file.absolute())
                    if (file := shelf.untiled_file(order.group, image))
                    else None,
                }
                for image in order.images
            ],
            "floors": [
                {
                    "dtype": dtype,
                    "path": str(floor_file(own, dtype).absolute()),
                    "reference": str((own / IMAGE_FILE).absolute()),
                }
                for dtype in order.dtypes
            ],
            "rounded": [
                {
                    "image": one.image,
                    "arithmetic": one.arithmetic,
                    "path": str(
                        rounded_file(
                            shelf.own_folder(order.group, one.image), one.arithmetic
                        ).absolute()
                    ),
                    "times": one.times,
                    "more": one.there > 0,
                }
                for one in order.rounded
            ],
        }
        # A preload brings a stand-in device or a deliberate fault; neither may get into what a
        # device is held against.
        environment = {
            name: value for name, value in worker_environment({}).items() if name != PRELOAD
        }
        return Task(
            replicate_id=f"reference-{order.group.resolution}",
            interpreter=shelf.stacks[order.group.stack].interpreter,
            environment=environment,
            job=job,
            start=self.start,
            timeout_s=max(1.0, deadline - self.clock()),
            telemetry=False,
        )


def _problem(report: Report) -> str | None:
    if report.stop is not None:
        return report.stop.reason
    for event in report.events:
        if isinstance(event, Failed):
            first_line = (event.message.strip().splitlines() or ["no message"])[0]
            return f"computing the CPU's image failed: {event.type}: {first_line}"
    if report.exit_code != 0:
        return f"computing the CPU's image ended with exit status {report.exit_code}"
    return None
