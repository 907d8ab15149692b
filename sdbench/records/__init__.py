"""The records everything speaks, and the history of their schema.

History of ``SCHEMA_VERSION``, which ``run.json`` and every record carry (old ones load forever):

1   first version; later, without a new number because an old reader may leave them out: levels of
    pressure and heat, GPU readings, gate flags, stage times, ``machine_facts``,
    traces of the profiling pass, ``compared``, ``looked`` and ``ceiling`` records,
    ``flops`` of a replicate, ``footprint_bytes`` of a pass, ``prompt_remarks``, ``confidence``,
    ``generic``, ``since``, ``until`` and ``sources`` of a cause, ``differences``,
    ``decode_expected_rel_l2``, ``reason``, ``reference_content``, ``own_rounding`` and
    ``own_rounding_missing`` of a compared image, ``passes_stopped`` and ``yardstick`` of a
    replicate, ``energy`` and ``stolen_cpu_share`` of telemetry, ``begin_t``, ``denoiser_calls`` and
    ``denoiser_samples`` of a pass, ``resolved`` of a run, ``effects`` and ``compile_s`` of a
    replicate

Times are seconds, memory is bytes, timestamps are UTC in ISO 8601. What could not be measured is
None, with a reason beside it. Decoding is strict about types and lenient about unknown fields, so
that a newer record still loads in an older sdbench as far as that one knows it.

Records hold no reference cycles, so the collector leaves them alone (``gc=False``): there may be
millions.
"""

from sdbench.records.case import (
    AXES,
    Arm,
    Attention,
    Batching,
    Case,
    DeviceKind,
    Dtype,
    Offload,
    Quantization,
    Scheduler,
    TextEncoder,
    VaeDevice,
    VaeDtype,
    spelling,
)
from sdbench.records.compared import (
    CORRECTNESS_SEVERITY,
    Arithmetic,
    Compared,
    Content,
    Correctness,
    Divergence,
    ImageCompared,
    OwnRounding,
    PictureDifference,
    PictureFault,
    Preflight,
    StageDifference,
    TracedStage,
)
from sdbench.records.failure import (
    OUTCOME_SEVERITY,
    Confidence,
    CrashReport,
    FailureCause,
    Frame,
    Outcome,
)
from sdbench.records.numbers import Bytes, Clock, Count, FlopsPerSecond, Seconds, UnitSeconds
from sdbench.records.planned import Plan, PlannedCase, Slot, StartMethod
from sdbench.records.recorded import SCHEMA_VERSION
from sdbench.records.replicate import (
    CountedFlops,
    Effect,
    Energy,
    Gate,
    GateFlag,
    Pass,
    PassesStopped,
    PassKind,
    Picture,
    Pressure,
    Replicate,
    Stage,
    Started,
    TelemetrySummary,
    Thermal,
    WaitReason,
    Withdrawn,
    Yardstick,
)
from sdbench.records.run import (
    ComponentInfo,
    InterimAnalysis,
    InterimCase,
    MatmulRate,
    ModelInfo,
    Record,
    RowKey,
    Run,
    Session,
    StackInfo,
    by_row,
)

__all__ = [
    "AXES",
    "CORRECTNESS_SEVERITY",
    "OUTCOME_SEVERITY",
    "SCHEMA_VERSION",
    "Arithmetic",
    "Arm",
    "Attention",
    "Batching",
    "Bytes",
    "Case",
    "Clock",
    "Compared",
    "ComponentInfo",
    "Confidence",
    "Content",
    "Correctness",
    "Count",
    "CountedFlops",
    "CrashReport",
    "DeviceKind",
    "Divergence",
    "Dtype",
    "Effect",
    "Energy",
    "FailureCause",
    "FlopsPerSecond",
    "Frame",
    "Gate",
    "GateFlag",
    "ImageCompared",
    "InterimAnalysis",
    "InterimCase",
    "MatmulRate",
    "ModelInfo",
    "Offload",
    "Outcome",
    "OwnRounding",
    "Pass",
    "PassKind",
    "PassesStopped",
    "Picture",
    "PictureDifference",
    "PictureFault",
    "Plan",
    "PlannedCase",
    "Preflight",
    "Pressure",
    "Quantization",
    "Record",
    "Replicate",
    "RowKey",
    "Run",
    "Scheduler",
    "Seconds",
    "Session",
    "Slot",
    "StackInfo",
    "Stage",
    "StageDifference",
    "StartMethod",
    "Started",
    "TelemetrySummary",
    "TextEncoder",
    "Thermal",
    "TracedStage",
    "UnitSeconds",
    "VaeDevice",
    "VaeDtype",
    "WaitReason",
    "Withdrawn",
    "Yardstick",
    "by_row",
    "spelling",
]
