"""``sdbench schema``."""

import click

from sdbench.cli.completion import complete_schema
from sdbench.cli.output import print_text


@click.command(name="schema")
@click.argument("name", shell_complete=complete_schema)
def command(name: str) -> int:
    """Print the JSON schema of what a run leaves on disk.

    NAME is run (run.json), records (one line of records.jsonl) or bundle (the members of a bundle,
    by name). The schemas are of draft 2020-12. They describe what this version of sdbench writes;
    within a schema number fields are added, and never renamed or removed.

    \b
    sdbench schema run
    sdbench schema records > records.schema.json
    """
    from sdbench.bundles.schema import schema_text

    print_text(schema_text(name))
    return 0
