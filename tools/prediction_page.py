"""The page of predictions, ``docs/reference/predictions.md``, from the data in the package.

``tools/make_reference.py`` writes it, ``tests/unit/test_predictions.py`` compares it. What is
committed there before a Mac has run is what records are scored against.
"""

from collections.abc import Iterable, Iterator

from sdbench.knowledge.chip_figures import Chip, ChipFigures, Report, load_chip_figures
from sdbench.models.resolve import find_model
from sdbench.plan.config import Config
from sdbench.plan.predicted_memory import predict_memory, target_of
from sdbench.plan.predicted_time import CONFIDENCE, predict_time
from sdbench.records import Case, Dtype, ModelInfo
from sdbench.runner.first_failing_size import FailingSize, first_failing_size
from sdbench.runner.predictions import KnownChip, basis_words, expected_rate, reached, share_of
from sdbench.words import seconds, size

STEPS = 20
WORKS: tuple[tuple[str, str, str, Dtype], ...] = (
    ("SD 1.5, 512x512, float16", "synthetic/sd15", "512x512", "float16"),
    ("SD 1.5, 512x512, float32", "synthetic/sd15", "512x512", "float32"),
    ("SDXL, 1024x1024, float16", "synthetic/sdxl", "1024x1024", "float16"),
)
_NOTE = (
    "<!-- Written by tools/make_reference.py from sdbench/knowledge/chip_figures.toml: change the "
    "data, then run `make goldens`. -->"
)
_SECONDARY = (
    "² A secondary source: not Apple's own page. The rate of a chip with fewer GPU cores is taken "
    "in proportion to them."
)
_INTRODUCTION = f"""\
**Nothing on this page was measured by this project.** The figures are {{basis}}. They are committed
before a Mac has run, so that the first records can be compared with them.

- **Seconds of an image**: the operations of the model, divided by the chip's published float32
  rate times the share of it that public reports reached. Operations are counted from the model's
  shapes, for {STEPS} steps with guidance; text encoders are left out. The share is the geometric
  mean of the reports of the same family and precision. The interval is a t prediction interval on
  logarithms for {CONFIDENCE:.0%} of further machines ([Hahn and Meeker, *Statistical Intervals*,
  1991](https://doi.org/10.1002/9780470316771)). It covers releases of torch, programs and Macs only
  as far as the reports do. With fewer than three reports nothing is predicted: that is so for SDXL
  in float32, for bfloat16, and for transformers such as FLUX. Each figure is for a Mac with enough
  memory; of a case that needs more than the Mac has, `run` predicts no time.
- **Peak memory**: what `run` and `doctor --model` predict, the same for every chip. The interval is
  the margin of 30% that sdbench allows for on `mps`.
- **First failing size**: the first square size, in steps of 64 pixels from 512, at which an image
  with no option set needs more memory than the Mac has, or at which an array of attention scores
  reaches 2³¹ elements. In brackets is the earliest size (30% more memory, or an array of 2³² bytes,
  which was reported to fail up to torch 2.8) and the latest (30% less memory, or 2³² elements).
  *Swaps from* is the size at which it needs more than two thirds of the Mac's memory, where that
  comes first.

`run` on a Mac announces its time from these rates and says so. Time limits do not rely on them.
Each planned case keeps its prediction in `run.json` (`time`), so a later sdbench cannot change it.
`show` compares it with the measured time, and `python tools/score_predictions.py RUN…` scores whole
runs. Runs on the stand-in device, on recorded machines and on virtual Macs are not scored. Of a
chip that is not in the table no time is predicted, and `run` says so."""


def predictions_page() -> str:
    """Times, memory and failing sizes, and what they rest on."""
    figures = load_chip_figures()
    parts = [
        "# Predictions for Macs",
        _NOTE,
        _INTRODUCTION.format(basis=basis_words(figures)),
        "## Seconds of an image",
        _table(("chip, all GPU cores", *(name for name, *_ in WORKS)), _time_rows(figures)),
        "## Peak memory of a process",
        _table(("image", "predicted", "interval"), _memory_rows()),
        "## First failing size",
        _table(("memory", "chips", *(_model_words(work) for work in WORKS)), _size_rows(figures)),
        "## What they rest on",
        "### Published figures of chips",
        _table(
            ("chip", "GPU cores", "float32, TFLOP/s", "memory, GB/s", "memory, GB", "sources"),
            [_chip_row(chip) for chip in _ordered(figures)],
        ),
        _SECONDARY,
        "### Public reports",
        _table(
            ("chip", "image", "reported", "with", "share of peak", "open", "source"),
            [_report_row(report, figures) for report in figures.report],
        ),
        _table(
            ("family, precision", "reports", "mean share", f"{CONFIDENCE:.0%} interval"),
            _share_rows(figures),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _ordered(figures: ChipFigures) -> list[Chip]:
    """By generation, the smallest first."""
    return sorted(figures.chip, key=lambda one: (one.name.split()[1], one.float32_tflops))


def _config() -> Config:
    return Config(steps=STEPS, guidance_scale=7.5, scheduler="ddim", images=1)


def _model(name: str) -> ModelInfo:
    return find_model(name).outline()


def _time_rows(figures: ChipFigures) -> Iterator[tuple[str, ...]]:
    for chip in _ordered(figures):
        cells = []
        for _, name, resolution, dtype in WORKS:
            rate = expected_rate(KnownChip(chip, chip.gpu_cores), _model(name), dtype, figures)
            case = Case(resolution=resolution, dtype=dtype)
            time = None if rate is None else predict_time(_config(), case, _model(name), rate)
            cells.append(
                "–"
                if time is None
                else f"{seconds(time.image_s)} ({seconds(time.low_s).removesuffix(' s')}–"
                f"{seconds(time.high_s)})"
            )
        yield f"{chip.name}, {chip.gpu_cores}", *cells


def _memory_rows() -> Iterator[tuple[str, ...]]:
    for words, name, resolution, dtype in WORKS:
        case = Case(resolution=resolution, dtype=dtype)
        peak = predict_memory(_config(), case, target_of(_model(name), "mps")).process_bytes
        yield words, size(peak), f"{size(peak / 1.3)}–{size(peak * 1.3)}"


def _model_words(work: tuple[str, str, str, Dtype]) -> str:
    words, _, resolution, _ = work
    return words.replace(f" {resolution},", "")


def _size_rows(figures: ChipFigures) -> Iterator[tuple[str, ...]]:
    for gb in sorted({gb for chip in figures.chip for gb in chip.memory_gb}):
        chips = (
            one.name.removeprefix("Apple ") for one in _ordered(figures) if gb in one.memory_gb
        )
        found = (
            first_failing_size(_config(), _model(name), dtype, gb << 30)
            for _, name, _, dtype in WORKS
        )
        yield f"{gb} GB", ", ".join(chips), *map(_size_words, found)


def _size_words(found: FailingSize) -> str:
    if found.fails_from is None:
        return "none up to 4096²"
    words = f"{found.fails_from}² ({found.earliest}²–{found.latest}²), {found.reason}"
    if found.swaps_from is not None and found.swaps_from < found.fails_from:
        words += f"; swaps from {found.swaps_from}²"
    return words


def _chip_row(chip: Chip) -> tuple[str, ...]:
    sources = ", ".join(
        f"[{one.what}]({one.url}){'²' if one.secondary else ''} ({one.date})"
        for one in chip.sources
    )
    bandwidth = "–" if chip.bandwidth_gb_s is None else f"{chip.bandwidth_gb_s:g}"
    memory = ", ".join(map(str, chip.memory_gb))
    return (
        *(chip.name, str(chip.gpu_cores), f"{chip.float32_tflops:g}", bandwidth, memory),
        sources,
    )


def _report_row(report: Report, figures: ChipFigures) -> tuple[str, ...]:
    cores = "" if report.gpu_cores is None else f", {report.gpu_cores} GPU cores"
    family = {"sd": "SD 1 or 2", "sdxl": "SDXL"}[report.family]
    unit = "a step" if report.of == "step" else f"an image of {report.steps} steps"
    return (
        f"{report.chip}{cores}",
        f"{family}, {report.resolution}, {report.dtype}",
        f"{seconds(report.seconds)} {unit}",
        report.stack,
        f"{share_of(report, figures):.0%}",
        report.note or "",
        f"[{report.source.date}]({report.source.url}){'²' if report.source.secondary else ''}",
    )


def _share_rows(figures: ChipFigures) -> Iterator[tuple[str, ...]]:
    groups = dict.fromkeys((one.family, one.dtype) for one in figures.report)
    for family, dtype in groups:
        found = reached(family, dtype, figures)
        if found is not None:
            bounds = f"{found.low:.0%}–{found.high:.0%}"
            yield f"{family}, {dtype}", str(found.reports), f"{found.share:.0%}", bounds


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
