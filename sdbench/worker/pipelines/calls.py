"""The pipeline calls of one pass: the same work and the same noise on every device."""

import math
from typing import Any, Callable, Optional

from ..input_image import input_pixels
from .components import call_options, denoiser_of
from .hooks import Undo, replace_method
from .noise import Noise, draw_noise_here, generators_for
from .stack import CaseImpossibleError, torch_dtype
from .steps import Steps

# These take their initial noise as latents: runs of all releases of sdbench have it so.
_LATENTS_GIVEN = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


class PipelineCall:
    """One call of a pipeline for some images of a pass.

    What is handed over is made anew each time: some pipelines write into the list of prompts that
    they are given, and a generator has moved on after its first use.
    """

    def __init__(self, pipeline: Any, job: "dict[str, Any]", images: "list[int]") -> None:
        draw_noise_here()
        case = job["case"]
        self.pipeline = pipeline
        self.images = images
        self._job = job
        self._width, self._height = case["width"], case["height"]
        accepted = call_options(type(pipeline))
        options = {
            "width": self._width,
            "height": self._height,
            "guidance_scale": job["guidance_scale"],
            "output_type": "pt",
            # Else an image of a size from a table is drawn, whatever was asked for.
            "use_resolution_binning": False,
        }
        self._image: Any = None
        if is_from_image(job):
            options["strength"] = job["strength"]
            one = input_image(self._width, self._height)
            # Without a strength all images given are for each prompt.
            self._image = [one] * len(images) if "strength" in accepted else one
        self._options = {name: value for name, value in options.items() if name in accepted}
        self._takes_generator = "generator" in accepted
        self.latents = self._given_latents()
        self.noise: Any = None
        """The latents that the last :meth:`make` began with."""

    def _given_latents(self) -> Any:
        """The initial noise of the pipelines that are given it, in the case's type; else None."""
        import torch

        if type(self.pipeline).__name__ not in _LATENTS_GIVEN:
            return None
        noise = torch.cat(
            [
                torch.randn(self._latents_shape(), generator=generator, dtype=torch.float32)
                for generator in generators_for(self._job["seed"], self.images)
            ]
        )
        return noise.to(torch_dtype(self._job["case"]["dtype"]))

    def _latents_shape(self) -> "tuple[int, ...]":
        _, denoiser = denoiser_of(self.pipeline)
        scale = 2 ** (len(self.pipeline.vae.config.block_out_channels) - 1)
        return 1, denoiser.config.in_channels, self._height // scale, self._width // scale

    def prepared(
        self, steps: int, change: "Optional[Callable[[Any], Any]]" = None
    ) -> "Callable[[], Any]":
        """A function that makes the call and returns its images (images, 3, height, width).

        ``change`` is applied to the initial noise; with an input image to the latents that the
        first step is given.
        """
        generators = generators_for(self._job["seed"], self.images)
        options = dict(self._options, num_inference_steps=steps)
        prompts = self._job["prompts"]
        options["prompt"] = [prompts[image % len(prompts)] for image in self.images]
        if self._takes_generator:
            options["generator"] = generators
        if self._image is not None:
            options["image"] = self._image
        if self.latents is not None:
            import torch

            for generator in generators:  # what a step adds is drawn after the initial noise
                torch.randn(self._latents_shape(), generator=generator, dtype=torch.float32)
            options["latents"] = self.latents if change is None else change(self.latents)
            self.noise = options["latents"]
            change = None

        def call() -> Any:
            with Noise(generators, change):
                return self.pipeline(**options).images

        def call_from_image() -> Any:
            with Noise(generators), _ChangedLatents(self.pipeline, change):
                return self.pipeline(**options).images

        return call if self._image is None else call_from_image

    def make(
        self,
        steps: int,
        reported: "Optional[Callable[[Any], Any]]" = None,
        change: "Optional[Callable[[Any], Any]]" = None,
    ) -> Any:
        """The images; ``reported`` sees the latents after each step and may return others."""
        call = self.prepared(steps, change)
        with Steps(self.pipeline, reported) as seen:
            images = call()
        if self.latents is None:
            self.noise = seen.first
        return images

    def check(self, images: Any, steps: int) -> None:
        """Raise unless the images have the size that was asked for and came from seen steps.

        Raises:
            CaseImpossibleError: the pipeline has drawn another size, or its steps cannot be seen.
        """
        name = type(self.pipeline).__name__
        if not steps:
            raise CaseImpossibleError(
                f"{name} makes its images without a step of its scheduler, so sdbench cannot "
                "compare its latents with the CPU's"
            )
        height, width = images.shape[-2:]
        if (width, height) != (self._width, self._height):
            raise CaseImpossibleError(
                f"{name} draws {width}x{height} where {self._width}x{self._height} is asked for"
            )


def pipeline_calls(
    pipeline: Any, job: "dict[str, Any]", share: "Optional[list[int]]" = None
) -> "list[PipelineCall]":
    """The pipeline calls of one pass: one with all images, or one for each.

    ``share`` are the images that this process makes, by number; None: all of them.
    """
    images = list(range(job["images"])) if share is None else share
    if job["case"]["batching"] == "batch":
        return [PipelineCall(pipeline, job, images)]
    return [PipelineCall(pipeline, job, [image]) for image in images]


def steps_of_prime(pipeline: Any, job: "dict[str, Any]") -> int:
    """The fewest steps that a call can make and that give numbers.

    With ``shift_terminal`` a flow scheduler divides zero by zero in a call of one step; with a
    strength below 1 only that share of the steps is made.
    """
    fewest = 2 if pipeline.scheduler.config.get("shift_terminal") else 1
    strength = job["strength"] if is_from_image(job) else 1
    steps = math.ceil(fewest / strength)
    return steps if int(steps * strength) >= fewest else steps + 1


def is_from_image(job: "dict[str, Any]") -> bool:
    """Whether the pipeline begins with an image."""
    return bool(job.get("mode") == "image-to-image")


def input_image(width: int, height: int) -> Any:
    """The image that image-to-image begins with: a PIL image, the same bytes everywhere."""
    from PIL import Image

    return Image.fromarray(input_pixels(width, height))


class _ChangedLatents:
    """Changes the latents that denoising begins with; a context manager around a call.

    They are the encoded image with noise, so that a change of what is drawn would not be one of
    what the first step is given.
    """

    def __init__(self, pipeline: Any, change: "Optional[Callable[[Any], Any]]") -> None:
        self._pipeline = pipeline
        self._change = change
        self._undo: "Optional[Undo]" = None

    def __enter__(self) -> "_ChangedLatents":
        if self._change is not None:
            self._undo = replace_method(self._pipeline, "prepare_latents", self._changing)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._undo is not None:
            self._undo()

    def _changing(self, prepare: "Callable[..., Any]") -> "Callable[..., Any]":
        def prepared(*args: Any, **kwargs: Any) -> Any:
            latents = prepare(*args, **kwargs)
            if self._change is None:
                return latents
            if isinstance(latents, tuple):  # with ids of positions
                return (self._change(latents[0]), *latents[1:])
            return self._change(latents)

        return prepared
