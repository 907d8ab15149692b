"""What a shell may complete: runs, cases, configurations, environments and axes.

Nothing is measured or imported for it beyond what reading names takes, and nothing is raised: a
shell has no place for an error.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem

from sdbench.errors import SdbenchError

_MOST_RUNS = 100
"""The newest; more than a screen helps nobody."""


def complete_run(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of runs in the results folder, the newest first, ``latest``, and folders."""
    from sdbench.runs import list_runs

    given = {str(one) for one in context.params.get("runs") or ()}
    names = [path.name for path in reversed(list_runs(_root(context)))][:_MOST_RUNS]
    known = [name for name in (*(["latest"] if names else []), *names) if name not in given]
    return _matching(known, incomplete) or [CompletionItem(incomplete, type="dir")]


def complete_case(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the cases of the run given before, each with its name; else of the newest run."""
    from sdbench.analysis.case_words import case_words
    from sdbench.runs import find_run, load_run

    with contextlib.suppress(SdbenchError, OSError):
        path = find_run(_root(context), str(context.params.get("run") or "latest"))
        cases = {
            planned.case_id: case_words(planned.case) for planned in load_run(path).run.plan.cases
        }
        return [CompletionItem(name, help=cases[name]) for name in _beginning(cases, incomplete)]
    return []


def complete_config(
    context: Context, parameter: Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of shipped configurations, and files."""
    from sdbench.plan.read_config import shipped_configs

    return _matching(shipped_configs(), incomplete) or [CompletionItem(incomplete, type="file")]


def complete_stack(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """``current``, names of created environments, and folders."""
    from sdbench.stacks.catalogue import shipped_stacks

    found: list[CompletionItem] = []
    with contextlib.suppress(SdbenchError, OSError):
        found = _matching(["current", *shipped_stacks()], incomplete)
    return found or [CompletionItem(incomplete, type="dir")]


def complete_stacks(
    context: Context, parameter: Parameter, incomplete: str
) -> list[CompletionItem]:
    """As :func:`complete_stack`, the last of a list with commas."""
    before, comma, last = incomplete.rpartition(",")
    items = complete_stack(context, parameter, last)
    given = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{item.value}", type=item.type)
        for item in items
        if item.value not in given
    ]


def complete_shipped_stack(
    context: Context, parameter: Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of the environments that come with sdbench, without those already named."""
    from sdbench.stacks.catalogue import shipped_stacks

    given = context.params.get("names") or ()
    with contextlib.suppress(SdbenchError, OSError):
        return _matching((name for name in shipped_stacks() if name not in given), incomplete)
    return []


def complete_axis(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """What ``--by`` takes."""
    from sdbench.records import AXES

    return _matching(["arm", "stack", "machine", *AXES], incomplete)


def complete_axis_value(
    context: Context, parameter: Parameter, incomplete: str
) -> list[CompletionItem]:
    """``AXIS=``, what ``--only`` takes."""
    from sdbench.records import AXES

    return _matching((f"{axis}=" for axis in AXES), incomplete)


def complete_key(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """``KEY=``, what ``--set`` takes."""
    from sdbench.plan.config import Config

    return _matching((f"{key}=" for key in Config.__struct_fields__), incomplete)


def complete_issue(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of known issues, each with its title."""
    from sdbench.knowledge.known_issues import load_known_issues

    titles = {issue.id: issue.title for issue in load_known_issues()}
    return [CompletionItem(name, help=titles[name]) for name in _beginning(titles, incomplete)]


def complete_schema(
    context: Context, parameter: Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of the JSON schemas, each with what it describes."""
    from sdbench.bundles.schema import SCHEMAS

    return [CompletionItem(name, help=SCHEMAS[name][1]) for name in _beginning(SCHEMAS, incomplete)]


def complete_include(
    context: Context, parameter: Parameter, incomplete: str
) -> list[CompletionItem]:
    """What a bundle may keep of a user's own, the last of a list with commas."""
    from sdbench.privacy.redact_shared import KEPT_NAMES

    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    found = [name for name in _beginning(KEPT_NAMES, last) if name not in given]
    return [CompletionItem(f"{before}{comma}{name}") for name in found]


def complete_baseline(
    context: Context, parameter: Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of the baselines in the results folder."""
    from sdbench.runs.baselines import read_baselines

    with contextlib.suppress(SdbenchError, OSError):
        return _matching(read_baselines(_root(context)), incomplete)
    return []


def _root(context: Context) -> Path:
    return Path(context.params.get("root") or "results")


def _beginning(known: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]


def _matching(known: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in _beginning(known, incomplete)]
