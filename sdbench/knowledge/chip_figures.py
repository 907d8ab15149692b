"""Published figures of Apple's chips, and public reports of the times of images on them. Data only.

``chip_figures.toml`` says of every figure where it is from and when that was published. Nothing in
it was measured by this project.
"""

import functools
from importlib import resources
from typing import Literal

import msgspec

from sdbench.files.toml import parse_toml
from sdbench.records import Dtype
from sdbench.records.numbers import Resolution

Precision = Literal["full", "half"]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a figure is from.

    ``date`` is that of publication, or "read" and the day on which a page without a date was read.
    ``secondary``: it is not the maker's, or not that of the person who measured.
    """

    url: str
    date: str
    what: str = ""
    secondary: bool = False


class Chip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A chip with all its GPU cores. ``memory_gb`` are the sizes it is sold with.

    ``bandwidth_gb_s`` is of its memory; None where no source was found. No prediction rests on it.
    """

    name: str
    gpu_cores: int
    float32_tflops: float
    bandwidth_gb_s: float | None = None
    memory_gb: tuple[int, ...]
    sources: tuple[Source, ...]

    def peak_flops_per_s(self, gpu_cores: int | None = None) -> float:
        """Float32 operations per second, in proportion to the GPU cores; None: all of them."""
        return self.float32_tflops * 1e12 * (gpu_cores or self.gpu_cores) / self.gpu_cores


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long somebody's Mac took for a step with guidance, or for a whole image of ``steps``.

    ``note`` names what the source does not say and what was assumed.
    """

    chip: str
    family: Literal["sd", "sdxl"]
    precision: Precision
    resolution: Resolution
    of: Literal["step", "image"]
    seconds: float
    stack: str
    source: Source
    gpu_cores: int | None = None
    steps: int | None = None
    note: str | None = None

    @property
    def dtype(self) -> Dtype:
        """The data type that the precision stands for in a case."""
        return "float32" if self.precision == "full" else "float16"


class ChipFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. ``scored_runs`` is how many runs of real Macs were compared with it."""

    scored_runs: int
    chip: tuple[Chip, ...]
    report: tuple[Report, ...]

    def named(self, name: str | None) -> Chip | None:
        """The chip of exactly that name, as macOS has it; None of any other."""
        return next((one for one in self.chip if one.name == name), None)


@functools.cache
def load_chip_figures() -> ChipFigures:
    """The figures that come with sdbench."""
    file = resources.files("sdbench.knowledge") / "chip_figures.toml"
    return parse_chip_figures(file.read_text(encoding="utf-8"))


def parse_chip_figures(text: str) -> ChipFigures:
    """Decode and check a file.

    Raises:
        ValueError: not TOML, an unknown key, a wrong type, a chip twice, a report of a chip that is
            not listed, of a whole image without its steps, a source without ``https://`` or date.
    """
    figures = msgspec.convert(parse_toml(text), ChipFigures)
    names = [one.name for one in figures.chip]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name}: this chip is listed twice")
    for report in figures.report:
        if report.chip not in names:
            raise ValueError(f"{report.chip}: a report of it, but its figures are not listed")
        if report.of == "image" and report.steps is None:
            raise ValueError(f"{report.chip}: expected steps in a report of a whole image")
        if report.seconds <= 0:
            raise ValueError(f"{report.chip}: expected more than 0 seconds")
    for chip in figures.chip:
        if not chip.sources or min(chip.gpu_cores, chip.float32_tflops, *chip.memory_gb) <= 0:
            raise ValueError(f"{chip.name}: expected sources, and positive figures")
    sources = [source for chip in figures.chip for source in chip.sources]
    for source in [*sources, *(report.source for report in figures.report)]:
        if not source.url.startswith("https://") or not source.date:
            raise ValueError(f"{source.url}: expected https:// and a date")
    return figures
