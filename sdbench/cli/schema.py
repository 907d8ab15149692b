"""``sdbench schema``."""

import click

from sdbench.cli.completion import complete_schema
from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json, print_text


@click.command(name="schema")
@click.argument("name", required=False, shell_complete=complete_schema)
@json_option
def command(name: str | None, as_json: bool) -> int:
    """Print the JSON schema of what a run leaves on disk.

    NAME is run (run.json), records (one line of records.jsonl) or bundle (the members of a bundle,
    by name); without NAME these are listed. The schemas are of draft 2020-12. They describe what
    this version of sdbench writes; within a schema number fields are added, and never renamed or
    removed. A schema is JSON with and without --json.

    \b
    sdbench schema run
    sdbench schema records > records.schema.json
    """
    from sdbench.bundles.schema import SCHEMAS, schema_text

    if name is not None:
        print_text(schema_text(name))
    elif as_json:
        print_json(
            {"schemas": [{"name": each, "about": about} for each, (_, about) in SCHEMAS.items()]}
        )
    else:
        for each, (_, about) in SCHEMAS.items():
            console().print(f"{each:<8} {about}. Print it: sdbench schema {each}", markup=False)
    return 0
