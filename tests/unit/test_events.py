"""What a worker says, checked at the edge: every kind of event, and nothing that is none."""

import json
import os
import typing
from typing import Any

import msgspec
import pytest
from factories import decode_event, make_picture, pass_event

from sdbench.process.events import (
    DECODER,
    CallBegun,
    CallCompared,
    CeilingMeasured,
    Counted,
    DeviceTried,
    Done,
    Event,
    Failed,
    GroupBegun,
    Hello,
    InstrumentRead,
    Loaded,
    Localised,
    MemberEnded,
    PassEnded,
    PassesMade,
    Phase,
    SettingsSeen,
    SignatureRead,
    Stack,
    YardstickRead,
)
from sdbench.process.operator_calls import Argument, Operand, Storage
from sdbench.process.streams import EventLines
from sdbench.records import CountedFlops, Effect, Pass, PromptTokens, Stage
from sdbench.worker.channel import Channel

STAGE = Stage(stage="unet", duration_s=0.5, peak_bytes=3, allocated_bytes=None)
EVENTS: dict[str, Event] = {
    "hello": Hello(
        t=1.5, pid=4711, watchdog_pid=4712, python="3.11.0", forked=True, cores=[0, 1, 5]
    ),
    "phase": Phase(t=2.5, name="pass 1"),
    "stack": Stack(t=3.5, versions={"torch": "2.0.0"}, import_s=3.0, simulated=True),
    "device": DeviceTried(
        t=4.5,
        kind="mps",
        available=False,
        reason="not built: é 🖼",
        facts={"name": "GPU", "cores": [1, 2.5, None]},
        dtypes=["float32", "float16"],
        recommended_max_bytes=5,
        simulated=True,
    ),
    "signature": SignatureRead(
        t=5.0, steps=28, guidance_scale=7.0, image_to_image="FluxImg2ImgPipeline"
    ),
    "group": GroupBegun(t=5.2, processes=4, threads=8),
    "member": MemberEnded(t=5.3, rank=3, exit_code=-9),
    "loaded": Loaded(t=5.5, load_s=0.25, peak_bytes=7),
    "pass": PassEnded(
        t=6.5,
        kind="profile",
        denoiser_calls=20,
        denoiser_samples=40,
        token_widths={"text_encoder": [77]},
        text_masked=False,
        prompt_tokens=[PromptTokens(prompt=0, encoder="text_encoder", tokens=103, read=77)],
        index=2,
        duration_s=1.25,
        images=[make_picture(), make_picture(black=True, mean=None)],
        peak_bytes=1,
        peak_source="mps-allocated",
        allocated_bytes=2,
        driver_bytes=3,
        recommended_max_bytes=4,
        stages=[STAGE],
        trace_sha256="0" * 64,
        trace_missing="no room",
        footprint_bytes=6,
        begin_t=6.25,
        process_peak_bytes=[1, None],
    ),
    "passes": PassesMade(t=6.9, made=12, stopped="median-known"),
    "yardstick": YardstickRead(t=6.9, version=1, before_s=0.01, after_s=0.02, reason="by chance"),
    "settings": SettingsSeen(
        t=6.95,
        effects={"attention_slicing": Effect(effective=False, reason="no network slices")},
        compile_s=12.5,
    ),
    "counted": Counted(
        t=7.0,
        flops=CountedFlops(text_encoder=1, denoising=1 << 60, vae_decode=3, measured_pass=1 << 61),
        reason="only for this test",
    ),
    "ceiling": CeilingMeasured(t=7.1, dtype="float16", flops_per_s=2.5e12, reason="as above"),
    "instrument": InstrumentRead(
        t=7.2, name="clocks", values={"perf_counter_s": 1.5, "raw_s": None}, reason="as above"
    ),
    "error": Failed(t=7.5, type="OSError", message="a\nb", kind="oom", phase="load"),
    "call": CallBegun(
        t=8.0,
        index=5,
        signature="aten::conv2d(…)",
        op="aten::conv2d",
        schema="conv2d(Tensor input) -> Tensor",
        module="unet.conv_in",
        module_class="Conv2d",
        layout="channels_last",
        within=3,
        share=0.5,
        arguments=[Argument(name="input", by_name=False, value={"operand": 0})],
        operands=[Operand(name="input", storage=0, shape=[1, 4], stride=[4, 1], offset=2)],
        storages=[Storage(elements=6, dtype="float16", mean=0.5, deviation=1.5)],
    ),
    "compared": CallCompared(
        t=8.1,
        index=5,
        output=1,
        rel_l2=0.5,
        floor=0.25,
        ratio=2.0,
        nonfinite=3,
        depth=576,
        bound=0.125,
        coarse="float16",
        coarse_bound=0.25,
        error="RuntimeError: no",
        left_out=True,
    ),
    "localised": Localised(t=8.2, skipped={"random": 2}, notes=["TF32 is on"]),
    "done": Done(t=8.5, pss_bytes=700, uss_bytes=500),
}
KINDS = sorted(EVENTS)


def line(**fields: Any) -> bytes:
    """A line as a worker would write it that does not look at its numbers."""
    return json.dumps(fields).encode()


def test_every_kind_is_among_the_examples_and_every_field_set() -> None:
    assert {type(event) for event in EVENTS.values()} == set(typing.get_args(Event))
    for kind, event in EVENTS.items():
        for field in msgspec.structs.fields(type(event)):
            value = getattr(event, field.name)
            assert field.default is msgspec.NODEFAULT or value != field.default, (kind, field.name)


@pytest.mark.parametrize("kind", KINDS)
def test_event_comes_back_as_it_was(kind: str) -> None:
    encoded = msgspec.json.encode(EVENTS[kind])
    assert json.loads(encoded)["event"] == kind
    assert decode_event(encoded) == EVENTS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_event_through_the_workers_own_channel_is_the_same(kind: str) -> None:
    fields = msgspec.to_builtins(EVENTS[kind])
    reading, writing = os.pipe()
    Channel(writing).send(fields.pop("event"), **fields)  # its own time is overruled by t
    lines = EventLines(DECODER)
    lines.feed(os.read(reading, 65536))
    assert (list(lines.pending), lines.unreadable) == ([EVENTS[kind]], 0)
    for fd in (reading, writing):
        os.close(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_field_of_a_newer_worker_is_passed_over(kind: str) -> None:
    fields = msgspec.to_builtins(EVENTS[kind])
    assert decode_event(line(**fields, invented_later={"a": 1})) == EVENTS[kind]


def test_pass_is_kept_without_what_makes_it_an_event() -> None:
    event = EVENTS["pass"]
    assert isinstance(event, PassEnded)
    kept = event.as_pass()
    assert type(kept) is Pass
    assert {"t", "event", "type"} & set(msgspec.to_builtins(kept)) == set()
    assert {**msgspec.to_builtins(kept), "event": "pass", "t": 6.5} == msgspec.to_builtins(event)


NO_DURATION = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-0.5", "1e10", '"1.0"', "true"]
STAGES = '"stages":[{"stage":"unet","duration_s":%s,"peak_bytes":null,"allocated_bytes":null}]'


@pytest.mark.parametrize("text", [*NO_DURATION, "null"])
@pytest.mark.parametrize(
    "event",
    [
        '{"event":"pass","kind":"measured","index":1,"images":[],"duration_s":%s}',
        '{"event":"loaded","load_s":%s}',
        f'{{"event":"pass","kind":"profile","index":0,"images":[],"duration_s":1,{STAGES}}}',
    ],
    ids=["pass", "loaded", "stage"],
)
def test_duration_that_is_none_is_refused(event: str, text: str) -> None:
    assert decode_event((event % "0.5").encode()) is not None
    assert decode_event((event % text).encode()) is None


@pytest.mark.parametrize("text", NO_DURATION)
def test_import_time_that_is_none_is_refused_but_may_be_unknown(text: str) -> None:
    assert decode_event(b'{"event":"stack","import_s":%s}' % text.encode()) is None
    assert decode_event(b'{"event":"stack","import_s":null}') == Stack()


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1", "1e13", "null", '"now"'])
def test_time_that_is_none_is_refused(text: str) -> None:
    assert decode_event(b'{"event":"done","t":%s}' % text.encode()) is None


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("done", "localised", "stack")]
)
def test_event_without_what_it_must_have_is_refused(kind: str) -> None:
    assert decode_event(line(event=kind)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"event": "passed"},
        {"event": None},
        {"kind": "warm"},
        {"index": 1.5},
        {"index": "first"},
        {"images": [{}]},
        {"images": None},
        {"peak_bytes": "much"},
    ],
    ids=str,
)
def test_pass_with_a_wrong_field_is_refused(changed: dict[str, Any]) -> None:
    assert decode_event(line(**pass_event())) is not None
    assert decode_event(line(**{**pass_event(), **changed})) is None


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b'{"event":"done"',
        b'{"event":"done"}{"event":"done"}',
        b'{"event":"phase","name":"\xff"}',
        b'{"event":"phase","name":"\\udcff"}',
        b"[" * 200_000,
        b'{"event":"device","kind":"cpu","facts":' + b'{"a":' * 50_000,
    ],
    ids=["empty", "byte", "null", "list", "cut", "two", "utf-8", "surrogate", "deep", "deep facts"],
)
def test_line_that_is_no_event_is_none(rubbish: bytes) -> None:
    assert decode_event(rubbish) is None
