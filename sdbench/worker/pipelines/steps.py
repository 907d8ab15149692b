"""Every denoising step of a call, seen at the one place that all pipelines share: the scheduler."""

import functools
from typing import Any, Callable, Optional


class Steps:
    """Sees the latents before the first step and after each; a context manager around a call.

    Callbacks of pipelines are missing in a dozen classes. The scheduler's ``step`` is called once a
    step (with some schedulers more often) with the latents in the loop's own shape. The wrapper is
    of the instance and keeps the signature: pipelines look there for ``generator`` and ``eta``, and
    without it the noise of the steps would not be seeded.

    Attributes:
        count: steps made so far.
        first: the latents that the first step was given, by reference; None before it.
        latents: what the last step returned, by reference; None before the first.
    """

    def __init__(self, pipeline: Any, reported: "Optional[Callable[[Any], Any]]" = None) -> None:
        """``reported`` sees the latents after each step and may return others to go on from."""
        self._scheduler = pipeline.scheduler
        self._reported = reported
        self.count = 0
        self.first: Any = None
        self.latents: Any = None

    def __enter__(self) -> "Steps":
        step = self._scheduler.step

        @functools.wraps(step)
        def seen(*args: Any, **kwargs: Any) -> Any:
            if self.first is None:
                self.first = kwargs["sample"] if "sample" in kwargs else args[2]
            output = step(*args, **kwargs)
            self.count += 1
            self.latents = output[0]
            if self._reported is not None:
                others = self._reported(output[0])
                if others is not None:
                    self.latents = others
                    return _with_latents(output, others)
            return output

        self._scheduler.step = seen
        return self

    def __exit__(self, *_: Any) -> None:
        del self._scheduler.step  # the instance's; the class has its own


def _with_latents(output: Any, latents: Any) -> Any:
    """A step's output that goes on from other latents.

    Some pipelines decode a second output, the denoised estimate; the last step's is the same.
    """
    if isinstance(output, tuple):
        same = [_is_like(one, latents) for one in output]
        return tuple(latents if is_like else one for is_like, one in zip(same, output))
    for name, value in list(output.items()):
        if _is_like(value, latents):
            setattr(output, name, latents)
    return output


def _is_like(value: Any, latents: Any) -> bool:
    return bool(getattr(value, "shape", None) == latents.shape)
