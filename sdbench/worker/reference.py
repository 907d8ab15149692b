"""References on the CPU in float32, and how far rounding alone may take an image from them.

*Reference*: the very pipeline that is measured, on the CPU, in float32, in a loop, nothing sliced,
from the same noise. Its trace (:mod:`.trace`) also holds the denoiser's outputs.

*Noise floor*: the same call once more in another arithmetic, forced back to the reference's latents
after every step, so that each step's error is its own. For float32 the arithmetic is float64. For
float16 and bfloat16 it is float32 with the weights and the output of every leaf module rounded to
that type, because the CPU's own half kernels are absent on torch 1.13 and 40 times slower than
float32 on 2.13; between two calls of the denoiser, where guidance and the scheduler compute, the
type itself is used, as on a device (PNDM's sum of four outputs makes rounding seven times larger).
Only a few steps are computed; on the others the denoiser's output is the reference's, which keeps
schedulers with a memory (PNDM, DPM-Solver) on the reference's path too.

*Rounded*: an image as the CPU makes it in the arithmetic of that floor, but running freely, as a
device does. Made only where an image is beyond its floor: a trained model can be undecided about
an image, and then rounding alone changes it more than forced steps can show. It is made several
times, all but the first from latents that are one rounding unit away, because one such image is
only one of those that rounding may lead to. For float32 on an NVIDIA GPU the arithmetic is TF32
(:mod:`.rounding`).
"""

import contextlib
import functools
import gc
import json
import os
from typing import Any, Callable, Iterator, Optional

from .atomic_write import write_whole
from .channel import finite_or_none
from .devices import Device
from .pipelines import apply_settings, import_stack, load, torch_dtype
from .pipelines.calls import PipelineCall, pipeline_calls
from .pipelines.components import denoiser_of, networks_of
from .pipelines.hooks import Undo, replace_method
from .rounding import Rounding, loaded_as, rounding_of
from .trace import Trace, on_host, serialised, spread

_FLOOR_STEPS = 4
# How much a change of the final latents changes the image is read off a change this large, in
# units of their norm: well above float32's rounding, well below what another image would be.
_NUDGE = 1e-2
# A CPU can give NaN occasionally, too: torch 1.13's smallest baddbmm reads uninitialised memory
# (pytorch#96037). What comes out three times in a row is the model's own.
_ATTEMPTS = 3
_MOST_NAMES = 20
# The denoiser's outputs in a reference's file, as when every denoiser was a denoiser.
_OUTPUTS = "unet"


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
                tensors, metadata = _reference(calls[item["image"]], job["steps"], item["untiled"])
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
    call: PipelineCall, steps: int, untiled: "Optional[str]"
) -> "tuple[dict[str, Any], dict[str, Any]]":
    if untiled is None:
        tensors, metadata = _sampled(call, steps)
    else:
        tensors, metadata = _decoded(call, steps, untiled)
    gain = _picture_gain(call, steps, tensors, metadata)
    kept = list(range(tensors["latents"].shape[1]))
    return tensors, dict(metadata, kept=kept, picture_gain=finite_or_none(gain))


def _sampled(call: PipelineCall, steps: int) -> "tuple[dict[str, Any], dict[str, Any]]":
    import torch

    outputs: "list[Any]" = []
    calls: "list[int]" = []
    trace = Trace(call.pipeline)

    def note(_module: Any, _inputs: Any, output: Any) -> None:
        first = output[0]
        outputs.append(torch.stack(list(first)) if isinstance(first, (list, tuple)) else first)
        calls.append(trace.steps)

    hook = denoiser_of(call.pipeline)[1].register_forward_hook(note)
    try:
        with trace:
            pictures = call.make(steps, trace.step)
    finally:
        hook.remove()
    call.check(pictures, trace.steps)
    trace.begin(call.noise)
    tensors, _ = trace.tensors(pictures)
    latents = torch.stack([on_host(one) for one in trace.latents], dim=1)  # all of them
    tensors["latents"] = latents.contiguous()
    tensors[_OUTPUTS] = torch.stack(outputs)
    return tensors, {"calls": calls}


def _decoded(
    call: PipelineCall, steps: int, untiled: str
) -> "tuple[dict[str, Any], dict[str, Any]]":
    reference, metadata = _load(untiled)
    with _Forced(call, reference, metadata, computed=set()) as forced:
        pictures = call.make(steps, forced.step)
    return dict(reference, pictures=on_host(pictures)), {"calls": forced.calls}


def _load(path: str) -> "tuple[dict[str, Any], dict[str, Any]]":
    """Tensors and metadata of a reference."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    return tensors, metadata


def _is_finite(tensors: "dict[str, Any]") -> bool:
    import torch

    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def _picture_gain(
    call: PipelineCall, steps: int, reference: "dict[str, Any]", metadata: "dict[str, Any]"
) -> float:
    """Relative change of the image for a relative change of the final latents."""
    import torch

    final = reference["latents"][:, -1]
    generator = torch.Generator("cpu").manual_seed(0)
    direction = torch.randn(final.shape, generator=generator)
    nudge = direction * (_NUDGE * final.norm() / direction.norm())
    with _Forced(call, reference, metadata, computed=set(), final=final + nudge) as forced:
        pictures = call.make(steps, forced.step)
    return _relative(on_host(pictures), reference["pictures"]) / _NUDGE


def _noise_floor(
    job: "dict[str, Any]", device: Device, dtype: str, reference_path: str
) -> "dict[str, Any]":
    """One teacher-forced call: relative errors of the text, the noise, some steps, the decode."""
    import torch

    reference, metadata = _load(reference_path)
    pipeline = _loaded(_of_dtype(job, dtype), device)
    (call, *_) = pipeline_calls(pipeline, job)  # in float32, as the job's case is
    rounding = None if dtype == "float32" else Rounding(pipeline, torch_dtype(dtype))
    if rounding is None:
        pipeline.to(torch.float64)
    compute_dtype = torch.float64 if rounding is None else torch_dtype(dtype)

    def rounded(tensor: Any) -> Any:
        return tensor if rounding is None else rounding.rounded(tensor)

    steps = reference["latents"].shape[1] - 1
    computed = set(spread(steps, _FLOOR_STEPS))
    errors: "dict[int, float]" = {}
    trace = Trace(pipeline)

    def after(number: int, latents: Any) -> None:
        if number - 1 in computed:
            errors[number] = _relative(latents, reference["latents"][:, number])

    default = torch.get_default_dtype()
    # Old transformers fill their mask with the least number of the weights' type, in the default.
    torch.set_default_dtype(torch.float64 if rounding is None else torch.float32)
    not_float64 = _NotFloat64(pipeline) if rounding is None else None
    try:
        with (
            trace,
            rounding or contextlib.nullcontext(),
            not_float64 or contextlib.nullcontext(),
            _Forced(call, reference, metadata, computed, reported=after) as forced,
        ):
            pictures = rounded(
                call.make(job["steps"], forced.step, lambda noise: noise.to(compute_dtype))
            )
    finally:
        torch.set_default_dtype(default)
    trace.begin(call.noise)
    tensors, _ = trace.tensors(pictures)
    texts = [
        _relative(rounded(tensors[name]), reference[name])
        for name in tensors
        if name.startswith("text.") and name in reference
    ]
    return {
        "dtype": dtype,
        "steps": steps,
        "text": finite_or_none(max(texts)) if texts else None,
        "noise": finite_or_none(_relative(call.noise, reference["latents"][:, 0])),
        "latents": {str(number): finite_or_none(error) for number, error in errors.items()},
        "picture": finite_or_none(_relative(tensors["pictures"], reference["pictures"])),
        "picture_max_abs": finite_or_none(
            float((tensors["pictures"] - reference["pictures"]).abs().max())
        ),
        "not_float64": [] if not_float64 is None else not_float64.names(),
    }


class _NotFloat64:
    """Notes the modules that give float32 or complex64 although all weights are float64.

    Rope tables, timestep embeddings and the steps of flow schedulers do. What they round is the
    same in the reference and in the floor, so that part of float32's error is not seen.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._found: "dict[str, None]" = {}
        self._undo: "list[Undo]" = []

    def __enter__(self) -> "_NotFloat64":
        for component, network in networks_of(self._pipeline).items():
            for path, module in network.named_modules():
                name = f"{component}.{path} ({type(module).__name__})"
                self._undo.append(module.register_forward_hook(self._noting(name)).remove)
        return self

    def __exit__(self, *_: Any) -> None:
        while self._undo:
            self._undo.pop()()

    def _noting(self, name: str) -> "Callable[[Any, Any, Any], None]":
        import torch

        less_precise = (torch.float32, torch.complex64)

        def note(_module: Any, _inputs: Any, output: Any) -> None:
            parts = output if isinstance(output, (list, tuple)) else [output]
            if any(getattr(part, "dtype", None) in less_precise for part in parts):
                self._found[name] = None

        return note

    def names(self) -> "list[str]":
        """``component.path (class)`` of each, at most twenty."""
        return list(self._found)[:_MOST_NAMES]


class _Output(tuple):  # type: ignore[type-arg]  # Python 3.8 has no tuple[...]
    """What a network returns, for pipelines that take ``[0]`` and for those that take a name."""

    @property
    def sample(self) -> Any:
        """The only entry."""
        return self[0]


class _Forced:
    """Keeps a call on the reference's path; the denoiser is computed only in ``computed`` steps.

    Steps are counted from 0; a scheduler may take several calls of the denoiser for one.
    """

    def __init__(
        self,
        call: PipelineCall,
        reference: "dict[str, Any]",
        metadata: "dict[str, Any]",
        computed: "set[int]",
        reported: "Optional[Callable[[int, Any], None]]" = None,
        final: Any = None,
    ) -> None:
        self._denoiser = denoiser_of(call.pipeline)[1]
        self._latents = list(reference["latents"].unbind(dim=1))
        if final is not None:
            self._latents[-1] = final
        outputs = reference[_OUTPUTS]
        self.calls: "list[int]" = metadata.get("calls") or list(range(len(outputs)))
        self._outputs: "Iterator[tuple[int, Any]]" = zip(self.calls, outputs)
        self._computed = computed
        self._reported = reported
        self._steps = 0
        self._undo: "Undo" = lambda: None

    def __enter__(self) -> "_Forced":
        self._undo = replace_method(self._denoiser, "forward", self._forced)
        return self

    def __exit__(self, *_: Any) -> None:
        self._undo()

    def _forced(self, compute: "Callable[..., Any]") -> "Callable[..., Any]":
        @functools.wraps(compute)  # some pipelines look at what the network accepts
        def forward(*args: Any, **kwargs: Any) -> Any:
            step, output = next(self._outputs)
            if step in self._computed:
                return compute(*args, **kwargs)
            sample: Any = args[0] if args else kwargs.get("hidden_states", kwargs.get("sample"))
            if isinstance(sample, (list, tuple)):
                return _Output(([one.to(sample[0].dtype) for one in output],))
            return _Output((output.to(sample.dtype),))

        return forward

    def step(self, latents: Any) -> Any:
        """Report what the step made, and go on from what the reference made."""
        self._steps += 1
        if self._reported is not None:
            self._reported(self._steps, latents)
        return self._latents[self._steps].to(latents.dtype)


def _rounded(
    rounding: Rounding, call: PipelineCall, steps: int, item: "dict[str, Any]"
) -> "dict[str, Any]":
    """An image made freely in this arithmetic: latents (times, steps + 1, …) and images."""
    import torch

    made = [_load(item["path"])[0]] if item["more"] else []
    for number in range(sum(len(some["pictures"]) for some in made), item["times"]):
        for _ in range(_ATTEMPTS):
            latents, picture = rounding.run(call, steps, number)
            run = {"latents": latents, "pictures": picture}
            if _is_finite(run):
                break
        made.append(run)
    return {name: torch.cat([some[name] for some in made]) for name in ("latents", "pictures")}


def _relative(got: Any, expected: Any) -> float:
    """Relative L2 distance."""
    return float((got.double() - expected.double()).norm() / expected.double().norm())
