"""Prime, measured and profiling passes, exactly as PROTOCOL 4 to 7 say.

A timed pass is what a person waits for: the pipeline call from prompt to pixels on the host. The
copy to the host synchronises. Everything else (hashing, saving, reporting) happens after the clock
has stopped. Stages and steps are timed in a pass of their own, because on an asynchronous device
marks inside a timed pass show when work was handed over, not when it was done.
"""

import time
from typing import Any, Callable, Optional

from .devices import Device
from .fingerprints import latents_record, picture_record
from .flops import NetworkCalls
from .pipelines import torch_dtype
from .trace import Trace, save_trace


class Passes:
    """All passes of one replicate over one loaded pipeline."""

    def __init__(self, pipeline: Any, device: Device, job: "dict[str, Any]") -> None:
        self._pipeline = pipeline
        self._device = device
        self._job = job
        self._case = job["case"]
        self._calls = pipeline_calls(pipeline, job)
        self._networks = NetworkCalls(pipeline)

    def prime(self) -> "dict[str, Any]":
        """One denoising step at the case's own shape (warm-up on)."""
        return self._run("prime", 0, self._calls[:1], steps=1)

    def measured(self, index: int) -> "dict[str, Any]":
        """Measured pass ``index``, counted from 1."""
        return self._run("measured", index, self._calls, steps=self._job["steps"])

    def profile(self) -> "dict[str, Any]":
        """One call with the device synchronised at every boundary: where time and memory go.

        What it makes on its way is kept too, to be held against the CPU's; and what the networks
        are called with, to count operations by.
        """
        stages = _Stages(self._pipeline, self._device)
        trace = Trace(self._pipeline, self._calls[0]["latents"])
        with trace, stages, self._networks:
            record = self._run(
                "profile", 0, self._calls[:1], self._job["steps"], stages=stages, trace=trace
            )
        record["stages"] = stages.ended
        peaks = [stage["peak_bytes"] for stage in record["stages"]]
        record["peak_bytes"] = None if None in peaks else max(peaks)
        return record

    def count_flops(self) -> "dict[str, Any]":
        """The operations of the profiled call and of a measured pass; takes the weights away."""
        return self._networks.count(len(self._calls))

    def _run(
        self,
        kind: str,
        index: int,
        calls: "list[dict[str, Any]]",
        steps: int,
        stages: "Optional[_Stages]" = None,
        trace: "Optional[Trace]" = None,
    ) -> "dict[str, Any]":
        last_latents: "list[Any]" = [None] * len(calls)
        pictures: "list[Any]" = []

        def keep_latents(which: int) -> "Callable[..., dict[str, Any]]":
            def callback(
                _pipeline: Any, _step: int, _timestep: Any, tensors: "dict[str, Any]"
            ) -> "dict[str, Any]":
                last_latents[which] = tensors["latents"]  # by reference: no copy, no wait
                if trace is not None:
                    trace.step(tensors["latents"])
                if stages is not None:
                    stages.end("denoising_step")
                return tensors

            return callback

        callbacks = [keep_latents(which) for which in range(len(calls))]
        self._device.reset_peak()
        self._device.synchronize()
        begin_t = time.monotonic()
        started = time.perf_counter()
        for call, callback in zip(calls, callbacks):
            output = self._pipeline(
                **call, num_inference_steps=steps, callback_on_step_end=callback
            )
            pictures.append(output.images.cpu())
        if stages is not None:
            stages.end("vae_decode")
        duration_s = time.perf_counter() - started
        peak_bytes, peak_source = self._device.peak_bytes()
        memory = self._device.memory()
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
        return record

    def _describe(self, pictures: "list[Any]", latents: "list[Any]") -> "list[dict[str, Any]]":
        folder = self._job.get("artifacts")
        records = []
        for picture, latent in zip(_each(pictures), _each(latents)):
            record = picture_record(picture, folder)
            of_latents = latents_record(latent, folder)
            record.update(of_latents, not_kept=record["not_kept"] or of_latents["not_kept"])
            records.append(record)
        return records


def pipeline_calls(pipeline: Any, job: "dict[str, Any]") -> "list[dict[str, Any]]":
    """The pipeline calls of one pass: one with all images, or one for each.

    The noise of image i is drawn in float32 by a CPU generator of its own, seeded seed + i,
    then cast: a generator draws other numbers in other dtypes, and on other devices.
    """
    import torch

    case = job["case"]
    width, height = case["width"], case["height"]
    dtype = torch_dtype(case["dtype"])
    channels = pipeline.unet.config.in_channels
    scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    prompts, noise = [], []
    for index in range(job["images"]):
        generator = torch.Generator("cpu").manual_seed(job["seed"] + index)
        shape = (1, channels, height // scale, width // scale)
        noise.append(torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype))
        prompts.append(job["prompts"][index % len(job["prompts"])])
    if case["batching"] == "batch":
        groups = [(prompts, torch.cat(noise))]
    else:
        groups = [([prompt], latents) for prompt, latents in zip(prompts, noise)]
    return [
        {
            "prompt": texts,
            "latents": latents,
            "width": width,
            "height": height,
            "guidance_scale": job["guidance_scale"],
            "output_type": "pt",
        }
        for texts, latents in groups
    ]


def _each(batches: "list[Any]") -> "list[Any]":
    """The items of a list of batched tensors, flattened."""
    return [item for batch in batches for item in batch]


class _Stages:
    """Times the text encoder, every denoising step and the VAE decode, synchronised at each end."""

    def __init__(self, pipeline: Any, device: Device) -> None:
        self._pipeline = pipeline
        self._device = device
        self._hook: Any = None
        self.ended: "list[dict[str, Any]]" = []
        self._mark_s = 0.0
        self._mark_t = 0.0

    def __enter__(self) -> "_Stages":
        self._hook = self._pipeline.unet.register_forward_pre_hook(self._begin_denoising)
        self._restart()
        return self

    def __exit__(self, *_: Any) -> None:
        self._hook.remove()

    def _begin_denoising(self, *_: Any) -> None:
        if not self.ended:
            self.end("text_encoder")

    def _restart(self) -> None:
        self._device.synchronize()
        self._device.reset_peak()
        self._mark_t = time.monotonic()  # the clock that the parent's samples are on
        self._mark_s = time.perf_counter()

    def end(self, stage: str) -> None:
        """A stage is over; the next one begins."""
        self._device.synchronize()
        duration_s = time.perf_counter() - self._mark_s
        peak_bytes, _ = self._device.peak_bytes()
        memory = self._device.memory()
        self.ended.append(
            {
                "stage": stage,
                "begin_t": self._mark_t,
                "duration_s": duration_s,
                "peak_bytes": peak_bytes,
                "allocated_bytes": memory.allocated_bytes,
            }
        )
        self._restart()
