"""Prime, measured and profiling passes, exactly as PROTOCOL 4 to 7 say.

A timed pass is what a person waits for: the pipeline call from prompt to pixels on the host. The
copy to the host synchronises. Everything else (hashing, saving, reporting) happens after the clock
has stopped. Stages and steps are timed in a pass of their own, because on an asynchronous device
marks inside a timed pass show when work was handed over, not when it was done.
"""

import time
from typing import Any, Optional

from .devices import Device
from .fingerprints import latents_record, picture_record
from .flops import NetworkCalls
from .pipelines.calls import PipelineCall, pipeline_calls, steps_of_prime
from .pipelines.prompts import PromptTokens
from .pipelines.stages import Stages
from .pipelines.steps import Steps
from .process_group import Group
from .trace import Trace, save_trace


class Passes:
    """All passes of one replicate over one loaded pipeline."""

    def __init__(
        self,
        pipeline: Any,
        device: Device,
        job: "dict[str, Any]",
        group: "Optional[Group]" = None,
    ) -> None:
        """With a ``group`` this process makes its share of each prime and measured pass."""
        self._pipeline = pipeline
        self._group = group
        self._device = device
        self._job = job
        self._case = job["case"]
        self._calls = pipeline_calls(pipeline, job, None if group is None else group.images)
        self._networks = NetworkCalls(pipeline)

    def prime(self) -> "dict[str, Any]":
        """One denoising step at the case's own shape (warm-up on); more where one gives NaN."""
        return self._run("prime", 0, self._calls[:1], steps_of_prime(self._pipeline, self._job))

    def measured(self, index: int) -> "dict[str, Any]":
        """Measured pass ``index``, counted from 1."""
        return self._run("measured", index, self._calls, steps=self._job["steps"])

    def profile(self) -> "dict[str, Any]":
        """One call with the device synchronised at every boundary: where time and memory go.

        What it makes on its way is kept too, to be compared with the CPU's; and what the networks
        are called with, to count operations by.
        """
        stages = Stages(self._pipeline, self._device)
        trace = Trace(self._pipeline, self._calls[0].latents)
        text = PromptTokens(self._pipeline)
        with trace, stages, self._networks, text:
            record = self._run(
                "profile", 0, self._calls[:1], self._job["steps"], stages=stages, trace=trace
            )
        record["denoiser_calls"] = stages.denoiser_calls
        record["denoiser_samples"] = stages.denoiser_samples
        record["token_widths"] = text.widths
        record["text_masked"] = text.masked
        record["prompt_tokens"] = text.counted(self._job["prompts"][: self._job["images"]])
        record["stages"] = stages.ended
        peaks = [stage["peak_bytes"] for stage in record["stages"]]
        record["peak_bytes"] = None if None in peaks else max(peaks)
        return record

    def count_flops(self) -> "dict[str, Any]":
        """The operations of the profiled call and of a measured pass. Offloading ends."""
        pictures = len(self._calls) if self._group is None else self._job["images"]
        return self._networks.count(pictures)

    def _run(
        self,
        kind: str,
        index: int,
        calls: "list[PipelineCall]",
        steps: int,
        stages: "Optional[Stages]" = None,
        trace: "Optional[Trace]" = None,
    ) -> "dict[str, Any]":
        last_latents: "list[Any]" = []
        pictures: "list[Any]" = []

        def step_ended(latents: Any) -> None:
            if trace is not None:
                trace.step(latents)
            if stages is not None:
                stages.step()

        group = None if kind == "profile" else self._group
        if group is not None:
            group.begin(kind, index)
        prepared = [call.prepared(steps) for call in calls]
        watched = None if trace is None else step_ended
        with Steps(self._pipeline, watched) as seen:
            self._device.reset_peak()
            self._device.synchronize()
            if group is not None:
                group.wait()
            begin_t = time.monotonic()
            started = time.perf_counter()
            for call in prepared:
                pictures.append(call().cpu())
                last_latents.append(seen.latents)  # by reference: no copy, no wait
            if stages is not None:
                stages.finish()
            if group is not None:
                group.wait()
            duration_s = time.perf_counter() - started
        peak_bytes, peak_source = self._device.peak_bytes()
        memory = self._device.memory()
        calls[0].check(pictures[0], seen.count)
        if trace is not None:
            trace.begin(seen.first)
        record: "dict[str, Any]" = {
            "kind": kind,
            "index": index,
            "duration_s": duration_s,
            "begin_t": begin_t,
            "peak_bytes": peak_bytes,
            "peak_source": peak_source,
            "allocated_bytes": memory.allocated_bytes,
            "driver_bytes": memory.driver_bytes,
            "recommended_max_bytes": memory.recommended_max_bytes,
            "images": self._describe(pictures, last_latents),
        }
        folder = self._job.get("artifacts")
        if trace is not None and folder is not None:
            record.update(save_trace(folder, *trace.tensors(pictures[0])))
        return record if group is None else group.together(record)

    def _describe(self, pictures: "list[Any]", latents: "list[Any]") -> "list[dict[str, Any]]":
        folder = self._job.get("artifacts")
        records = []
        for picture, latent in zip(_each(pictures), _each(latents)):
            record = picture_record(picture, folder)
            of_latents = latents_record(latent, folder)
            record.update(of_latents, not_kept=record["not_kept"] or of_latents["not_kept"])
            records.append(record)
        return records


def _each(batches: "list[Any]") -> "list[Any]":
    """The items of a list of batched tensors, flattened."""
    return [item for batch in batches for item in batch]
