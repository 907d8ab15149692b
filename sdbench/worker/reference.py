"""References on the CPU in float32, and how far rounding alone may take a picture from them.

*Reference*: the very pipeline that is measured, on the CPU, in float32, in a loop, nothing sliced,
from the same noise. Its trace (:mod:`.trace`) also holds the UNet's outputs.

*Noise floor*: the same call once more in another arithmetic, forced back to the reference's latents
after every step, so that each step's error is its own. For float32 the arithmetic is float64. For
float16 and bfloat16 it is float32 with the weights and the output of every leaf module rounded to
that type, because the CPU's own half kernels are absent on torch 1.13 and 40 times slower than
float32 on 2.13; between two calls of the UNet, where guidance and the scheduler compute, the type
itself is used, as on a device (PNDM's sum of four outputs makes rounding seven times larger). Only
a few steps are computed; on the others the UNet's output is the reference's, which keeps schedulers
with a memory (PNDM, DPM-Solver) on the reference's path too.

*Rounded*: an image as the CPU makes it in the arithmetic of that floor, but running freely, as a
device does. Made only where a picture is beyond its floor: a trained model can be undecided about
an image, and then rounding alone changes it more than forced steps can show. It is made several
times, all but the first from latents that are one rounding unit away, because one such picture is
only one of those that rounding may lead to. For float32 on an NVIDIA GPU the arithmetic is TF32
(:mod:`.rounding`).
"""

import contextlib
import gc
import json
import os
from typing import Any, Callable, Iterator, Optional

from .atomic_write import write_whole
from .channel import finite_or_none
from .devices import Device
from .passes import pipeline_calls
from .pipelines import apply_settings, import_stack, load, torch_dtype
from .rounding import Rounding, loaded_as, rounding_of, run
from .trace import Trace, on_host, serialised, spread

_FLOOR_STEPS = 4
# How much a change of the final latents changes the picture is read off a change this large, in
# units of their norm: well above float32's rounding, well below what another picture would be.
_NUDGE = 1e-2
# A CPU can give NaN now and then, too: torch 1.13's smallest baddbmm reads uninitialised memory
# (pytorch#96037). What comes out three times in a row is the model's own.
_ATTEMPTS = 3


def make_references(job: "dict[str, Any]", device: Device, begin: "Callable[[str], None]") -> None:
    """Compute what the job asks for; each file is there as a whole as soon as it is computed.

    ``job`` has, beyond what a pass needs: ``items``, each ``{"image", "path", "untiled"}``, the
    references to make (``untiled``: the file of one that has only to be decoded as this case's
    VAE does, or None); ``floors``, each ``{"dtype", "path", "reference"}``, noise floors of image
    0, whose reference is there by then; and ``rounded``, each ``{"image", "arithmetic", "path",
    "times", "more"}``, the images to make as rounding makes them, so many times in all (``more``:
    the file has some already).

    Raises:
        ArithmeticError: a reference came out as NaN or infinite each time; all else was made.
    """
    versions = import_stack()
    _silence()  # half precision on the CPU is never run, only loaded
    not_numbers: "list[int]" = []
    if job["items"]:
        begin("load")
        pipeline = _loaded(job, device)
        calls = pipeline_calls(pipeline, job)
        for item in job["items"]:
            begin(f"image {item['image'] + 1}")
            for _ in range(_ATTEMPTS):
                tensors, metadata = _reference(
                    pipeline, calls[item["image"]], job["steps"], item["untiled"]
                )
                if _is_finite(tensors):
                    write_whole(
                        item["path"], serialised(tensors, dict(metadata, versions=versions))
                    )
                    break
            else:
                not_numbers.append(item["image"])
        del pipeline
    for item in job["floors"]:
        if not os.path.exists(item["reference"]):
            continue  # it came out as NaN
        gc.collect()  # the last pipeline, before the next one is loaded
        begin(f"noise floor of {item['dtype']}")
        floor = _noise_floor(job, device, item["dtype"], item["reference"])
        write_whole(item["path"], json.dumps(floor, allow_nan=False).encode())
    for arithmetic in sorted({item["arithmetic"] for item in job.get("rounded", [])}):
        gc.collect()
        begin(f"load for {arithmetic}")
        pipeline = _loaded(_of_dtype(job, loaded_as(arithmetic)), device)
        with rounding_of(arithmetic, pipeline) as rounding:
            calls = pipeline_calls(rounding.pipeline, job)
            for item in job["rounded"]:
                if item["arithmetic"] == arithmetic:
                    begin(f"image {item['image'] + 1} as {arithmetic} rounds it")
                    tensors = _rounded(rounding, calls[item["image"]], job["steps"], item)
                    metadata = {
                        "kept": list(range(tensors["latents"].shape[1])),
                        "arithmetic": arithmetic,
                        "versions": versions,
                        "overflows": not _is_finite(tensors),
                    }
                    write_whole(item["path"], serialised(tensors, metadata))
    if not_numbers:
        images = ", ".join(str(image + 1) for image in not_numbers)
        raise ArithmeticError(
            f"image {images} came out as not a number (NaN) on the CPU, {_ATTEMPTS} times in a row"
        )


def _of_dtype(job: "dict[str, Any]", dtype: str) -> "dict[str, Any]":
    """The job with its case in another type: what the weights are rounded to as they are loaded."""
    return dict(job, case=dict(job["case"], dtype=dtype))


def _loaded(job: "dict[str, Any]", device: Device) -> Any:
    pipeline = load(job, device)
    apply_settings(pipeline, job["case"])
    return pipeline


def _silence() -> None:
    import diffusers

    diffusers.utils.logging.set_verbosity_error()


def _reference(
    pipeline: Any, call: "dict[str, Any]", steps: int, untiled: "Optional[str]"
) -> "tuple[dict[str, Any], dict[str, Any]]":
    if untiled is None:
        tensors = _sampled(pipeline, call, steps)
    else:
        tensors = _decoded(pipeline, call, steps, untiled)
    gain = _picture_gain(pipeline, call, steps, tensors)
    kept = list(range(len(tensors["unet"]) + 1))
    return tensors, {"kept": kept, "picture_gain": finite_or_none(gain)}


def _sampled(pipeline: Any, call: "dict[str, Any]", steps: int) -> "dict[str, Any]":
    import torch

    outputs: "list[Any]" = []
    hook = pipeline.unet.register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output[0])
    )
    trace = Trace(pipeline, call["latents"])
    try:
        with trace:
            pictures = run(pipeline, call, steps, trace.step)
    finally:
        hook.remove()
    tensors, _ = trace.tensors(pictures)
    tensors["latents"] = torch.stack(trace.latents, dim=1)  # all, however many
    tensors["unet"] = torch.stack(outputs)
    return tensors


def _decoded(pipeline: Any, call: "dict[str, Any]", steps: int, untiled: str) -> "dict[str, Any]":
    from safetensors.torch import load_file

    reference = load_file(untiled)
    with _Forced(pipeline, reference, computed=set()) as forced:
        pictures = run(pipeline, call, steps, forced.step)
    return dict(reference, pictures=on_host(pictures))


def _is_finite(tensors: "dict[str, Any]") -> bool:
    import torch

    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def _picture_gain(
    pipeline: Any, call: "dict[str, Any]", steps: int, reference: "dict[str, Any]"
) -> float:
    """Relative change of the picture for a relative change of the final latents."""
    import torch

    final = reference["latents"][:, -1]
    generator = torch.Generator("cpu").manual_seed(0)
    direction = torch.randn(final.shape, generator=generator)
    nudge = direction * (_NUDGE * final.norm() / direction.norm())
    with _Forced(pipeline, reference, computed=set(), final=final + nudge) as forced:
        pictures = run(pipeline, call, steps, forced.step)
    return _relative(on_host(pictures), reference["pictures"]) / _NUDGE


def _noise_floor(
    job: "dict[str, Any]", device: Device, dtype: str, reference_path: str
) -> "dict[str, Any]":
    """One teacher-forced call: relative errors of the text, the noise, some steps, the decode."""
    import torch
    from safetensors.torch import load_file

    reference = load_file(reference_path)
    pipeline = _loaded(_of_dtype(job, dtype), device)
    (call, *_) = pipeline_calls(pipeline, job)  # in float32, as the job's case is
    rounding = None if dtype == "float32" else Rounding(pipeline, torch_dtype(dtype))
    if rounding is None:
        pipeline.to(torch.float64)
    latents = call["latents"].to(torch.float64 if rounding is None else torch_dtype(dtype))
    call = dict(call, latents=latents)

    def rounded(tensor: Any) -> Any:
        return tensor if rounding is None else rounding.rounded(tensor)

    steps = reference["unet"].shape[0]
    computed = set(spread(steps, _FLOOR_STEPS))
    errors: "dict[int, float]" = {}
    trace = Trace(pipeline, call["latents"])

    def after(number: int, latents: Any) -> None:
        if number - 1 in computed:
            errors[number] = _relative(latents, reference["latents"][:, number])

    default = torch.get_default_dtype()
    # Old transformers fill their mask with the least number of the weights' type, in the default.
    torch.set_default_dtype(torch.float64 if rounding is None else torch.float32)
    try:
        with (
            trace,
            rounding or contextlib.nullcontext(),
            _Forced(pipeline, reference, computed, reported=after) as forced,
        ):
            pictures = rounded(run(pipeline, call, job["steps"], forced.step))
    finally:
        torch.set_default_dtype(default)
    tensors, _ = trace.tensors(pictures)
    text = [name for name in tensors if name.startswith("text.")]
    return {
        "dtype": dtype,
        "steps": steps,
        "text": finite_or_none(
            max(_relative(rounded(tensors[name]), reference[name]) for name in text)
        ),
        "noise": finite_or_none(_relative(call["latents"], reference["latents"][:, 0])),
        "latents": {str(number): finite_or_none(error) for number, error in errors.items()},
        "picture": finite_or_none(_relative(tensors["pictures"], reference["pictures"])),
        "picture_max_abs": finite_or_none(
            float((tensors["pictures"] - reference["pictures"]).abs().max())
        ),
    }


class _Forced:
    """Keeps a call on the reference's path; only the UNet calls in ``computed`` are computed."""

    def __init__(
        self,
        pipeline: Any,
        reference: "dict[str, Any]",
        computed: "set[int]",
        reported: "Optional[Callable[[int, Any], None]]" = None,
        final: Any = None,
    ) -> None:
        self._unet = pipeline.unet
        self._latents = list(reference["latents"].unbind(dim=1))
        if final is not None:
            self._latents[-1] = final
        self._outputs: "Iterator[tuple[int, Any]]" = enumerate(reference["unet"])
        self._computed = computed
        self._told = reported
        self._steps = 0

    def __enter__(self) -> "_Forced":
        compute = self._unet.forward

        def forward(sample: Any, *args: Any, **kwargs: Any) -> Any:
            number, output = next(self._outputs)
            if number in self._computed:
                return compute(sample, *args, **kwargs)
            return (output.to(sample.dtype),)

        self._unet.forward = forward
        return self

    def __exit__(self, *_: Any) -> None:
        del self._unet.forward

    def step(self, latents: Any) -> Any:
        """Tell of what the step made, and go on from what the reference made."""
        self._steps += 1
        if self._told is not None:
            self._told(self._steps, latents)
        return self._latents[self._steps].to(latents.dtype)


def _rounded(
    rounding: Rounding, call: "dict[str, Any]", steps: int, item: "dict[str, Any]"
) -> "dict[str, Any]":
    """An image made freely in this arithmetic: latents (times, steps + 1, …) and pictures."""
    import torch
    from safetensors.torch import load_file

    made = [load_file(item["path"])] if item["more"] else []
    noise = rounding.rounded(call["latents"])
    for number in range(sum(len(some["pictures"]) for some in made), item["times"]):
        start = noise if number == 0 else rounding.one_unit_away(noise, number - 1)
        for _ in range(_ATTEMPTS):
            latents, picture = rounding.run(call, steps, start)
            run = {"latents": latents, "pictures": picture}
            if _is_finite(run):
                break
        made.append(run)
    return {name: torch.cat([some[name] for some in made]) for name in ("latents", "pictures")}


def _relative(got: Any, expected: Any) -> float:
    """Relative L2 distance."""
    return float((got.double() - expected.double()).norm() / expected.double().norm())
