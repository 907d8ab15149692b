"""``sdbench bundle``."""

import sys
from collections import Counter
from pathlib import Path

import click
import msgspec
from rich.console import Console

from sdbench.bundles.format import SUFFIX
from sdbench.bundles.installation import this_installation
from sdbench.bundles.publishable import Blocker
from sdbench.bundles.write import Bundle, bundle_of
from sdbench.cli.completion import complete_include, complete_run
from sdbench.cli.options import force_option, json_option, results_option_alone
from sdbench.cli.output import console, print_json, write_bytes
from sdbench.cli.overwriting import spare_others
from sdbench.errors import UsageError
from sdbench.privacy.redact_shared import KEPT_NAMES, Kept
from sdbench.runs import find_run
from sdbench.words import counted, did_you_mean, printable, shell, shortened, size

_MOST_LABEL = 100


@click.command(name="bundle")
@click.argument("run", shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"File to write. [default: the run's id with {SUFFIX}]",
)
@click.option(
    "--include",
    metavar="WHAT,...",
    shell_complete=complete_include,
    help="Keep what is your own: `prompts`, `pictures` (images of own prompts), `model-name` "
    "(names of local models and LoRAs). [default: a salted hash in its place]",
)
@click.option(
    "--label",
    metavar="TEXT",
    help=f"Label of the run in the bundle, at most {_MOST_LABEL} characters. "
    "[default: the label of the run]",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@results_option_alone
@force_option
@json_option
def command(
    run: str,
    output: Path | None,
    include: str | None,
    label: str | None,
    yes: bool,
    root: Path,
    force: bool,
    as_json: bool,
) -> int:
    """Write a run into one sealed file that may be given to anybody.

    RUN is a run's path, its id, the beginning of its id, or 'latest'. The file (a zip) holds the
    run's facts and records, what sdbench says of them, the images of built-in prompts, timelines of
    memory, and the report page. User and host names, paths, tokens, e-mail addresses, serial
    numbers and workers' output are never in it. The machine has a random id, which was made once on
    this installation.

    What is in the file and what was removed is shown before the file is written; --yes skips the
    question. Also shown: whether the run may be published on a board next to those of others, and
    if not, why. The same run gives the same bytes. Nothing is sent anywhere.

    \b
    sdbench bundle latest                        asks, then writes RUN_ID.sdbench.zip
    sdbench bundle latest --include prompts      keeps your own prompts
    sdbench bundle latest -o mine.sdbench.zip --label "M1, fan off" --yes

    Exits with 0 when the file is written, whether the run may be published or not.
    """
    kept = _kept(include)
    if label is not None and not (0 < len(label) <= _MOST_LABEL and label.isprintable()):
        raise UsageError(
            f"--label: expected 1 to {_MOST_LABEL} printable characters, got "
            f"{len(label)}: {shortened(label)!r}"
        )
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise UsageError(
            "what is in the bundle is to be confirmed, and no terminal is available for a "
            "question, so add --yes"
        ).then_with("--yes")
    bundle = bundle_of(find_run(root, run), this_installation(), kept=kept, label=label)
    target = output or Path(f"{bundle.loaded.run.run_id}{SUFFIX}")
    spare_others(target, force=force)
    shown = console(err=True) if as_json else console()
    _show(bundle, shown)
    if not yes and not click.confirm(f"Write {printable(str(target))}?", err=True):
        raise UsageError("not written")
    write_bytes(target, bundle.data)
    if as_json:
        print_json(_document(bundle, target))
    else:
        for words in (
            f"Written: {target} ({size(len(bundle.data))})",
            f"SHA-256: {bundle.sha256}",
            f"Next: {shell('sdbench', 'verify', target)}",
        ):
            shown.print(words, markup=False, soft_wrap=True)
    return 0


def _kept(include: str | None) -> Kept:
    """What ``--include`` names.

    Raises:
        UsageError: it names something else.
    """
    names = [name.strip() for name in include.split(",")] if include is not None else []
    for name in names:
        if name not in KEPT_NAMES:
            raise UsageError(
                f"--include: {shortened(name)!r} is unknown; {did_you_mean(name, KEPT_NAMES)}"
                f"expected one or more of {', '.join(KEPT_NAMES)}"
            )
    return Kept(**{KEPT_NAMES[name]: True for name in names})


def _show(bundle: Bundle, out: Console) -> None:
    """What is in the bundle, what is not, and whether it is publishable."""
    run = bundle.loaded.run
    label = f", label {run.label!r}" if run.label else ""
    out.print(
        f"Run {run.run_id}{printable(label)}, as machine {run.machine_id}. In the bundle "
        f"({size(len(bundle.data))}):",
        markup=False,
        soft_wrap=True,
    )
    folders: Counter[str] = Counter()
    bytes_of: Counter[str] = Counter()
    for name, data in bundle.members.items():
        where, slash, _ = name.partition("/")
        folders[where + slash] += 1
        bytes_of[where + slash] += len(data)
    for name, count in folders.items():
        files = f", {counted(count, 'file')}" if name.endswith("/") else ""
        out.print(f"  {name:<15} {size(bytes_of[name])}{files}", markup=False, soft_wrap=True)
    out.print("Removed or replaced:")
    for entry in bundle.removed:
        out.print(f"  {entry.sentence}", markup=False, soft_wrap=True)
    blockers = bundle.publishable.blockers
    if not blockers:
        out.print("Publishable: yes.")
        return
    out.print("Publishable: no. It can be given to others, but no board ranks it:")
    for blocker in blockers:
        out.print(f"  {_blocker_words(blocker)}", markup=False, soft_wrap=True)


def _blocker_words(blocker: Blocker) -> str:
    return printable(f"{blocker.sentence} {blocker.remedy} ({blocker.code})")


def _document(bundle: Bundle, target: Path) -> dict[str, object]:
    return {
        "path": str(target),
        "bytes": len(bundle.data),
        "sha256": bundle.sha256,
        "members": list(bundle.members),
        "removed": msgspec.to_builtins(bundle.removed),
        "publishable": msgspec.to_builtins(bundle.publishable),
    }
