"""What the images of a run begin with, as its record has it."""

from sdbench.errors import MachineError
from sdbench.models.family import family_of
from sdbench.plan.config import Config
from sdbench.process.input_image import input_image_sha256
from sdbench.records import ImageToImage, ModelInfo, Plan, Run


def image_to_image_of(config: Config, plan: Plan, model: ModelInfo) -> ImageToImage | None:
    """What the images of a run begin with."""
    if config.mode == "text-to-image":
        return None
    sizes = {
        planned.case.resolution: (planned.case.width, planned.case.height)
        for planned in plan.cases
        if planned.skip_reason is None
    }
    return ImageToImage(
        pipeline_class=family_of(model.pipeline_class)[1].image_to_image,
        input_sha256={name: input_image_sha256(*size) for name, size in sizes.items()},
    )


def check_input_image(run: Run) -> None:
    """Refuse to go on where this sdbench draws another image than the run began with.

    Raises:
        MachineError: it does.
    """
    recorded = {} if run.image_to_image is None else run.image_to_image.input_sha256
    for planned in run.plan.cases:
        case = planned.case
        known = recorded.get(case.resolution)
        if known is not None and known != input_image_sha256(case.width, case.height):
            raise MachineError(
                f"this sdbench draws a different input image from the one that {run.run_id} began "
                "with; start a new run"
            )
