"""Makes a bare pass next to each pass of sdbench, in the worker itself, in the order ABBA.

A preload (``SDBENCH_WORKER_PRELOAD=in_turn_worker``) of ``fidelity.py --in-turn``. Our passes stay
what they are: ``Passes.measured``, called by the worker, with all that the worker does around it.
The bare pass is a hand-written loop (:class:`_BarePass`) with nothing of sdbench in it. Standard
library only at import, because a preload comes before torch.

What the two share: the process, the device and the modules that hold the weights (UNet, VAE, text
encoder, tokenizer). What they do not share: the pipeline object, the scheduler, the prompts and
latents (equal values, made by each), and everything that sdbench adds to a timed pass: the callback
after each step and the references to latents it keeps. The hooks of the profiling pass, which would
sit on the shared modules, are not installed during measured passes; each pair checks that.
"""

import json
import os
import time
from typing import Any

_NETWORKS = ("text_encoder", "text_encoder_2", "unet", "vae")
# What torch keeps of hooks, and the methods that sdbench's counters replace on an instance.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_METHODS = ("forward", "decode")


class _BarePass:
    """A person's own loop: the same prompts, the same latents, pixels to the host."""

    def __init__(self, pipeline: Any, job: dict[str, Any]) -> None:
        import torch

        case = job["case"]
        self._synchronize = {
            "cuda": torch.cuda.synchronize,
            "mps": getattr(getattr(torch, "mps", None), "synchronize", None),
        }.get(job["device"])
        components = dict(pipeline.components)
        components["scheduler"] = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        options = {"requires_safety_checker": False} if "safety_checker" in components else {}
        self._pipe = type(pipeline)(**components, **options)
        self._pipe.set_progress_bar_config(disable=True)
        self._options = {
            "width": case["width"],
            "height": case["height"],
            "num_inference_steps": job["steps"],
            "guidance_scale": job["guidance_scale"],
            "output_type": "pt",
        }
        shape = (1, 4, case["height"] // 8, case["width"] // 8)
        noise = [
            torch.randn(shape, generator=torch.Generator("cpu").manual_seed(job["seed"] + i)).to(
                getattr(torch, case["dtype"])
            )
            for i in range(job["images"])
        ]
        prompts = [job["prompts"][i % len(job["prompts"])] for i in range(job["images"])]
        self._calls = list(zip(prompts, noise, strict=True))
        if case["batching"] == "batch":
            self._calls = [(prompts, torch.cat(noise))]

    def make(self) -> tuple[float, list[Any]]:
        """Seconds of one pass, and its images."""
        pictures = []
        if self._synchronize is not None:
            self._synchronize()
        started = time.perf_counter()
        for prompt, latents in self._calls:
            pictures.append(self._pipe(prompt, latents=latents, **self._options).images.cpu())
        return time.perf_counter() - started, pictures


class _Pairs:
    """Makes the pairs of this process, when the parent gives it a turn."""

    def __init__(self) -> None:
        self._turns = os.open(os.environ["SDBENCH_IN_TURN_FIFO"], os.O_RDONLY)
        self._turn_pairs = int(os.environ["SDBENCH_IN_TURN_PAIRS"])
        self._file = open(os.environ["SDBENCH_IN_TURN_FILE"], "a", encoding="utf-8")  # noqa: SIM115
        self._bare: _BarePass | None = None

    def make(self, passes: Any, measured: Any, index: int) -> Any:
        """Pass ``index`` of sdbench (counted from 1) and a bare one; returns the former's record.

        Order: ours, bare, then bare, ours, and so on.
        """
        if (index - 1) % self._turn_pairs == 0 and os.read(self._turns, 1) != b"g":
            raise SystemExit("the process that gives out turns is gone")
        if self._bare is None:
            self._bare = _BarePass(passes._pipeline, passes._job)
        _refuse_hooks(passes._pipeline)
        if index % 2 == 1:
            record = measured(passes, index)
            bare_s, pictures = self._bare.make()
        else:
            bare_s, pictures = self._bare.make()
            record = measured(passes, index)
        line = {"index": index, "sdbench_s": record["duration_s"], "bare_s": bare_s}
        if index == 1:
            line["same_pictures"] = _are_same(record, pictures)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        return record


def _refuse_hooks(pipeline: Any) -> None:
    """Raise when something sits on a shared module that the bare pass would pay for as well."""
    for name in _NETWORKS:
        network = getattr(pipeline, name, None)
        if network is None:
            continue
        replaced = [method for method in _METHODS if method in vars(network)]
        hooked = [
            hook for hook in _HOOKS for module in network.modules() if getattr(module, hook, None)
        ]
        if replaced or hooked:
            raise RuntimeError(f"{name} has hooks during a measured pass: {replaced + hooked}")


def _are_same(record: dict[str, Any], pictures: list[Any]) -> bool:
    """Whether both passes made the same pixels: only then have they done the same work."""
    from sdbench_worker.fingerprints import picture_record  # type: ignore[import-not-found]

    bare = [
        picture_record(picture, None)["pixels_sha256"] for batch in pictures for picture in batch
    ]
    return bare == [picture["pixels_sha256"] for picture in record["images"]]


def make_pairs_in_worker() -> None:
    """Put a bare pass next to each measured pass of this worker."""
    import sdbench_worker.passes  # type: ignore[import-not-found]

    measured = sdbench_worker.passes.Passes.measured
    pairs = _Pairs()
    sdbench_worker.passes.Passes.measured = lambda self, index: pairs.make(self, measured, index)


if "SDBENCH_IN_TURN_FIFO" in os.environ and __name__ == "in_turn_worker":
    make_pairs_in_worker()
