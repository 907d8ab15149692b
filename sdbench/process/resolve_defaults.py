"""A configuration's ``auto`` for a model, with the measured environment's word where only that
knows."""

from sdbench.models.traits import Traits
from sdbench.plan.config import Config
from sdbench.plan.for_model import (
    CallDefaults,
    Resolved,
    needs_signature,
    no_image_to_image,
    resolve_for,
)
from sdbench.process.events import SignatureRead
from sdbench.process.executor import Executor, Task

_TIMEOUT_S = 300.0
# A configuration may not ask for more; what a signature says beyond is not meant as a default.
_MOST_STEPS, _MOST_GUIDANCE = 1000, 100


def resolve_defaults(
    config: Config,
    traits: Traits,
    interpreter: str,
    environment: dict[str, str],
    executor: Executor,
) -> Resolved:
    """The configuration with numbers only.

    A process is started for a pipeline class without a family alone.

    Raises:
        ConfigError: diffusers has no image-to-image pipeline for such a class.
    """
    call = None
    if needs_signature(config, traits):
        task = Task(
            replicate_id="signature-probe",
            interpreter=interpreter,
            environment=environment,
            job={"signature": traits.pipeline_class},
            start="spawn",
            timeout_s=_TIMEOUT_S,
            telemetry=False,
        )
        report = executor.run(task, lambda event, sample: None)
        read = [event for event in report.events if isinstance(event, SignatureRead)]
        call = _believed(read[-1]) if read else None
        if config.mode == "image-to-image" and read and read[-1].image_to_image is None:
            raise no_image_to_image(config, traits)
    return resolve_for(config, traits, call)


def _believed(read: SignatureRead) -> CallDefaults:
    steps, guidance = read.steps, read.guidance_scale
    return CallDefaults(
        steps if steps is not None and 1 <= steps <= _MOST_STEPS else None,
        guidance if guidance is not None and 0 <= guidance <= _MOST_GUIDANCE else None,
    )
