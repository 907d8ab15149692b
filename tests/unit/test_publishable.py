"""What keeps a run from being published: every reason has its code, and what is unknown is one."""

from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from device_doubles import devices_of
from diagnosed_runs import beside_cpu, image_of, matching
from factories import make_model
from measured_runs import measured, one_case

from sdbench.bundles.evidence import Evidence
from sdbench.bundles.publishable import BlockerCode, Publishable, publishable
from sdbench.bundles.summary import examine
from sdbench.models.builtin import BUILTIN
from sdbench.records import (
    Gate,
    InstrumentLine,
    Preflight,
    Selftest,
    TelemetrySummary,
)
from sdbench.runs import LoadedRun

UTC = "2026-01-02T03:04:05.000+00:00"
TELEMETRY = TelemetrySummary(
    samples=9,
    period_s=1.0,
    cost_share=0.0,
    thermal_peak="nominal",
    other_cpu_share=0.01,
    idle_cpu_share=0.9,
)
GATE = Gate(power_source="ac", low_power_mode=False, thermal="nominal")
FACTS = {"simulated": False, "identity": {"virtual": False}}


VOUCHING = (
    *("clock-a", "sync-a", "memory-host-footprint", "memory-device-allocator"),
    *("picture-a", "load-a"),
)


def line_of(name: str, status: Any = "pass") -> InstrumentLine:
    return InstrumentLine(id=name, status=status, instrument="a", source="b")


def selftest(**fields: Any) -> Selftest:
    known: dict[str, Any] = {
        "made_utc": UTC,
        "sdbench": "0.1.0",
        "machine_id": "x",
        "device": "cpu",
        "simulated": False,
        "duration_s": 1.0,
        "lines": [line_of(name) for name in VOUCHING],
    }
    return Selftest(**{**known, **fields})


def quiet(processes: int = 3, fields: dict[str, Any] | None = None, **run: Any) -> LoadedRun:
    """A run of a real machine that nothing disturbed, as far as its arguments say so."""
    of_process = {"telemetry": TELEMETRY, "gate": GATE, **(fields or {})}
    facts = {"machine_facts": FACTS, "selftest": selftest(), **run}
    loaded = measured(config=one_case(processes), fields=lambda slot: of_process, **facts)
    case = loaded.run.plan.cases[0].case
    loaded.comparisons.extend(matching(slot, case) for slot in loaded.run.plan.slots)
    return loaded


def judged(loaded: LoadedRun, lines_left_out: int = 0) -> Publishable:
    return publishable(examine(loaded), lines_left_out)


def codes(loaded: LoadedRun) -> list[str]:
    return [entry.code for entry in judged(loaded).blockers]


def telemetry(**fields: Any) -> dict[str, Any]:
    return {"telemetry": msgspec.structs.replace(TELEMETRY, **fields)}


def gate(**fields: Any) -> dict[str, Any]:
    return {"gate": msgspec.structs.replace(GATE, **fields)}


def compared(verdict: str) -> LoadedRun:
    loaded = quiet()
    case = loaded.run.plan.cases[0].case
    loaded.comparisons[:] = [
        beside_cpu(slot, case, [image_of(0, verdict)]) for slot in loaded.run.plan.slots
    ]
    return loaded


def checked(verdict: str) -> LoadedRun:
    loaded = quiet()
    loaded.checks.append(
        Preflight(
            device="cpu",
            dtype="float32",
            simulated=False,
            outcome="ok",
            verdict=verdict,  # type: ignore[arg-type]
            prompt="a red circle",
            duration_s=1.0,
        )
    )
    return loaded


def unfinished() -> LoadedRun:
    loaded = quiet(4)
    loaded.attempts.pop()
    return loaded


CUDA = {"device": {"kind": "cuda", "facts": {}}}
MPS = {"device": {"kind": "mps", "facts": {}}}
FAILED = [InstrumentLine(id="power-a", status="fail", instrument="a", source="b")]
PARTLY = [line_of(name, "unknown" if name == "picture-a" else "pass") for name in VOUCHING]
LORA = {"name": "x", "path": "", "sha256": "d" * 64, "weight": 1.0}

BLOCKED: list[tuple[str, Callable[[], LoadedRun]]] = [
    ("simulated", lambda: quiet(simulated=True, selftest=selftest(simulated=True))),
    ("simulated", lambda: quiet(machine_facts={**FACTS, "simulated": True})),
    ("simulated", lambda: quiet(machine_facts={"identity": {"virtual": False}})),
    ("virtual", lambda: quiet(machine_facts={**FACTS, "identity": {"virtual": True}})),
    ("virtual", lambda: quiet(fields={"device": {"kind": "mps", "facts": {"virtualised": True}}})),
    ("virtual-unknown", lambda: quiet(machine_facts={"simulated": False})),
    ("preload", lambda: quiet(preload=["faults"])),
    ("preload", lambda: quiet(environment={"SDBENCH_WORKER_PRELOAD": "faults"})),
    ("planted-fault", lambda: quiet(environment={"SDBENCH_PLANTED_FAULTS": "black"})),
    ("unfinished", unfinished),
    ("few-processes", lambda: quiet(2)),
    ("throttled", lambda: quiet(fields=telemetry(thermal_peak="moderate"))),
    ("throttled", lambda: quiet(fields=gate(low_power_mode=True))),
    ("throttled", lambda: quiet(fields=gate(flags=["background"]))),
    ("throttled-unknown", lambda: quiet(fields=telemetry(thermal_peak=None))),
    ("throttled-unknown", lambda: quiet(fields={**MPS, **gate(low_power_mode=None)})),
    ("throttled-unknown", lambda: quiet(fields=CUDA)),
    ("on-battery", lambda: quiet(fields=gate(power_source="battery"))),
    ("on-battery", lambda: quiet(fields=gate(power_source="ups"))),
    ("power-unknown", lambda: quiet(fields=gate(power_source=None))),
    ("other-load", lambda: quiet(fields=telemetry(other_cpu_share=0.5, idle_cpu_share=0.1))),
    ("other-load", lambda: quiet(fields=gate(flags=["load"]))),
    ("load-unknown", lambda: quiet(fields=telemetry(other_cpu_share=None))),
    ("beside-others", lambda: quiet(devices=devices_of(2))),
    ("memory-pressure", lambda: quiet(fields=gate(flags=["pressure"]))),
    ("slept", lambda: quiet(fields={"slept": True})),
    ("unknown-model", lambda: quiet(model=make_model("~/wedding"))),
    ("unknown-model", lambda: quiet(model=make_model("local model"))),
    ("unknown-model", lambda: quiet(model=make_model("owner/model", revision=None))),
    ("unknown-model", lambda: quiet(model=make_model("builtin/shapes", sha256="0" * 64))),
    (
        "unknown-model",
        lambda: quiet(
            model=msgspec.convert(
                msgspec.to_builtins(make_model()) | {"loras": [LORA]}, type(make_model())
            )
        ),
    ),
    ("selftest-missing", lambda: quiet(selftest=None)),
    ("selftest-missing", lambda: quiet(selftest=selftest(device="mps"))),
    ("selftest-failed", lambda: quiet(selftest=selftest(lines=FAILED))),
    ("selftest-unknown", lambda: quiet(selftest=selftest(lines=PARTLY))),
    ("selftest-unknown", lambda: quiet(selftest=selftest(lines=[]))),
    ("pictures-unchecked", lambda: compared("unknown")),
    ("pictures-wrong", lambda: compared("broken")),
    ("pictures-wrong", lambda: checked("broken")),
]


def test_a_quiet_run_of_a_real_machine_is_publishable() -> None:
    assert judged(quiet()) == Publishable(ok=True, blockers=[])
    mains = gate(power_source=None, unavailable={"battery_percent": "there is no battery"})
    assert codes(quiet(fields=mains)) == []
    seen = telemetry(thermal_peak=None, gpu_temperature_peak_c=50.0)
    assert codes(quiet(fields={**CUDA, **seen})) == []
    shapes = BUILTIN["builtin/shapes"]
    assert codes(quiet(model=make_model(shapes.name, sha256=shapes.sha256))) == []
    assert codes(quiet(model=make_model("owner/model", revision="abc"))) == []
    assert codes(checked("match")) == []


@pytest.mark.parametrize(
    ("code", "made"), BLOCKED, ids=[f"{c}-{i}" for i, (c, _) in enumerate(BLOCKED)]
)
def test_each_reason_blocks_by_itself(code: str, made: Callable[[], LoadedRun]) -> None:
    answer = judged(made())
    assert not answer.ok
    assert [entry.code for entry in answer.blockers] == [code]
    for entry in answer.blockers:
        assert entry.sentence.endswith(".") and entry.remedy.endswith((".", ")."))


def test_lines_that_are_no_records_block() -> None:
    assert [entry.code for entry in judged(quiet(), 1).blockers] == ["damaged"]


@pytest.mark.parametrize(
    ("evidence", "code"),
    [(Evidence(0, 0), "pictures-missing"), (Evidence(1, 1), "times-unchecked")],
)
def test_a_bundle_without_evidence_blocks(evidence: Evidence, code: str) -> None:
    found = publishable(examine(quiet()), evidence=evidence).blockers
    assert [entry.code for entry in found] == [code]
    assert publishable(examine(quiet()), evidence=Evidence(1, 0)).ok


def test_a_run_in_which_nothing_was_measured_says_so() -> None:
    loaded = quiet()
    loaded.attempts.clear()
    loaded.comparisons.clear()
    assert codes(loaded) == ["unfinished", "nothing-measured"]


def test_the_most_serious_stands_first() -> None:
    loaded = quiet(2, machine_facts={"simulated": True}, selftest=None, preload=["x"])
    found = codes(loaded)
    order = get_args(BlockerCode)
    assert found == sorted(found, key=order.index) and found[0] == "simulated"


def test_every_code_is_tried_here() -> None:
    tried = {code for code, _ in BLOCKED} | {"damaged", "nothing-measured", "newer-schema"}
    tried |= {"pictures-missing", "times-unchecked"}
    assert tried == set(get_args(BlockerCode))


def test_a_run_of_a_newer_schema_blocks() -> None:
    loaded = quiet()
    object.__setattr__(loaded, "schema", 99)
    assert codes(loaded) == ["newer-schema"]
