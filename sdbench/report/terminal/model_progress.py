"""The progress of making or fetching a model, shared by the verbs that need one."""

from rich.console import Console

from sdbench.models.resolve import ModelSource
from sdbench.records import ModelInfo


def prepare_model(source: ModelSource, remarks: Console) -> ModelInfo:
    """Build, fetch or hash the model, with progress where that takes a while."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    if not source.must_be_built:
        return source.prepare()
    columns = (
        TextColumn("making {task.description} (once)"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=remarks, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task(source.name, total=source.bytes_on_disk)
        return source.prepare(lambda done, _total: bar.update(task, completed=done))
