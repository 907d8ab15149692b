"""Whole runs to diagnose, each healthy but for what a test asks for."""

from collections.abc import Callable
from typing import Any

import msgspec
from factories import make_config, make_pass, make_picture, make_replicate, make_run
from measured_runs import steady

from sdbench.correctness.equality import Equality
from sdbench.diagnosis.diagnose import diagnose
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.findings import find
from sdbench.diagnosis.result import Claim, Diagnosis, Finding
from sdbench.plan.config import Config
from sdbench.records import Case, Compared, ImageCompared, Pass, Slot, TelemetrySummary
from sdbench.runs import LoadedRun

Change = Callable[[Slot, Case], dict[str, Any]]
# Where no known issue is in force, so that a finding is told without one.
QUIET = {"torch": "2.99.0", "diffusers": "0.42.1"}
FIRST, AXES = "64x64", ("attention_slicing", "warmup", "batching")


def plan(replicates: int = 3, **document: Any) -> Config:
    """Base, sliced, primed and batch cases at one size, two images per pass."""
    cases = [
        {"resolution": FIRST},
        {"resolution": FIRST, "attention_slicing": True},
        {"resolution": FIRST, "warmup": True},
        {"resolution": FIRST, "batching": "batch"},
    ]
    return make_config(**{"case": cases, "images": 2, "replicates": replicates, **document})


def case(**settings: Any) -> Case:
    """A case of that plan."""
    return Case(resolution=FIRST, **settings)


def loaded_run(
    change: Change = lambda slot, case: {},
    *,
    config: Config | None = None,
    compared: Callable[[Slot, Case], Compared | None] | None = None,
    seconds: Callable[[Slot, Case], float] = lambda slot, case: steady()(slot),
    versions: dict[str, str] | None = None,
    **run_fields: Any,
) -> LoadedRun:
    """Every process of the plan with three even passes, beside the CPU's unless told otherwise."""
    from pathlib import Path

    defaults: dict[str, Any] = {"device": "mps"}
    run = make_run(config or plan(), **{**defaults, **run_fields})
    attempts, records = [], []
    for slot in run.plan.slots:
        of = run.plan.planned(slot.case_id).case
        time = seconds(slot, of)
        fields = {
            "passes": passes((1.1 * time, time, time)),
            "peak_memory_bytes": 1_000_000_000,
            "peak_memory_source": "mps-allocated",
            "versions": QUIET if versions is None else versions,
            **change(slot, of),
        }
        attempts.append(make_replicate(slot, **fields))
        record = (compared or matching)(slot, of)
        if record is not None and attempts[-1].outcome == "ok":
            records.append(record)
    return LoadedRun(Path("results/x"), run, [], attempts, comparisons=records)


def passes(times: tuple[float, ...], images: int = 2, **fields: Any) -> list[Pass]:
    """Measured passes of so many seconds; every pass makes the same images."""
    pictures = [make_picture(pixels_sha256=f"{image}" * 64) for image in range(images)]
    return [
        make_pass(time, index, **{"images": pictures, **fields})
        for index, time in enumerate(times, start=1)
    ]


def matching(slot: Slot, of: Case) -> Compared:
    """A record that says the same as the CPU."""
    return beside_cpu(slot, of, [image_of(0), image_of(1)])


def beside_cpu(slot: Slot, of: Case, images: list[ImageCompared]) -> Compared:
    order = ("broken", "drift", "match", "unknown")
    verdict = min((image.verdict for image in images), key=order.index)
    return Compared(
        replicate_id=slot.replicate_id,
        attempt=1,
        case_id=slot.case_id,
        arm=slot.arm,
        dtype=of.dtype,
        simulated=False,
        verdict=verdict,
        reason=f"it is {verdict}",
        margin=max((image.margin for image in images if image.margin), default=None),
        images=images,
    )


def image_of(image: int, verdict: str = "match", **fields: Any) -> ImageCompared:
    document = {
        "image": image,
        "passes": [1, 2, 3],
        "pixels_sha256": f"{image}" * 64,
        "latents_sha256": "b" * 64,
        "verdict": verdict,
        "margin": {"match": 0.2, "drift": 9.0}.get(verdict),
        **fields,
    }
    return msgspec.convert(document, ImageCompared)


def equality(kind: str, of: Case, verdict: str = "different", **fields: Any) -> Equality:
    plain: dict[str, dict[str, Any]] = {
        "batching": {"batching": "loop"},
        "attention_slicing": {"attention_slicing": False},
        "warmup": {"warmup": False},
    }
    case_ids = [of.case_id]
    if kind in plain:
        case_ids.append(msgspec.structs.replace(of, **plain[kind]).case_id)
    document = {
        "kind": kind,
        "case_ids": case_ids,
        "arm": "current",
        "dtype": of.dtype,
        "verdict": verdict,
        "pictures": 6,
        "images": [1],
        "rel_l2": 0.5,
        "allowed_rel_l2": 1e-5,
        "same_picture": True,
        **fields,
    }
    return msgspec.convert(document, Equality)


def telemetry(**fields: Any) -> TelemetrySummary:
    return TelemetrySummary(samples=100, period_s=0.05, cost_share=0.0, **fields)


def findings(loaded: LoadedRun, *equalities: Equality) -> list[Finding]:
    return find(Evidence.of(loaded, equalities))


def above_info(loaded: LoadedRun, *equalities: Equality) -> list[Finding]:
    return [entry for entry in findings(loaded, *equalities) if entry.severity != "info"]


def codes(loaded: LoadedRun, *equalities: Equality) -> list[str]:
    """Codes above info, worst first."""
    return [entry.code for entry in above_info(loaded, *equalities)]


def diagnosis(loaded: LoadedRun, *equalities: Equality) -> Diagnosis:
    return diagnose(loaded, equalities)


def claim(loaded: LoadedRun, letter: str, *equalities: Equality) -> Claim:
    (found,) = (c for c in diagnosis(loaded, *equalities).claims if c.id == letter)
    return found


def only(of: Case, **fields: Any) -> Change:
    """These fields in the processes of one case."""
    return lambda slot, here: fields if here == of else {}
