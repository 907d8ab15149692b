"""Where the numbers of a JSON document come from, so that it can be read by itself. Pure."""

from typing import Any

from sdbench.records import Run


def provenance(run: Run) -> dict[str, Any]:
    """What measured a run: the version of sdbench, the machine, the software, the settings.

    ``machine`` are the facts of ``run.json`` with ``machine_id``, ``versions`` the packages and
    ``python`` of each environment, ``config`` the whole configuration (steps, scheduler, images a
    pass, processes, …). Paths and secrets are as hidden as in ``run.json``.
    """
    return {
        "sdbench_version": run.sdbench,
        "machine": {**run.machine, "machine_id": run.machine_id},
        "versions": {
            name: {"python": stack.python, **stack.packages} for name, stack in run.stacks.items()
        },
        "config": run.config,
    }


def with_seconds_per_pass(document: Any, images: int) -> Any:
    """A document in which everything with seconds per image has seconds a pass next to it.

    Args:
        document: decoded JSON; it is changed in place.
        images: images of a pass, at least 1.
    """
    if isinstance(document, dict):
        if "seconds_per_picture" in document:
            each = document["seconds_per_picture"]
            document["seconds_per_pass"] = None if each is None else each * images
        for value in document.values():
            with_seconds_per_pass(value, images)
    elif isinstance(document, list):
        for value in document:
            with_seconds_per_pass(value, images)
    return document
