"""The command line. Verbs load when called: ``sdbench --help`` imports click and no more."""

import sys
from collections.abc import Sequence

import click

from sdbench import __version__
from sdbench.cli.streams import (
    Lossy,
    escape_unknown_characters,
    let_go,
    print_error,
    reserve_descriptors,
)
from sdbench.errors import SdbenchError
from sdbench.words import shortened

# verb: (module that defines a click command of the same name, its line in the overview)
VERBS = {
    "doctor": ("sdbench.cli.doctor", "Is this machine set up right? (seconds)"),
    "selftest": ("sdbench.cli.selftest", "Compare each instrument with an independent source."),
    "run": ("sdbench.cli.run", "Measure the matrix, keep every result (the main job)."),
    "resume": ("sdbench.cli.resume", "Go on with a run that was stopped or killed."),
    "diagnose": (
        "sdbench.cli.diagnose",
        "What is wrong, which documented claims hold here, what to use.",
    ),
    "localise": ("sdbench.cli.localise", "Find the operators in which device and CPU part."),
    "repro": ("sdbench.cli.repro", "Write a script and an issue text about one case of a run."),
    "explain": ("sdbench.cli.explain", "Explain a crash text, a crash report or a bad picture."),
    "list": ("sdbench.cli.list", "List the runs there are."),
    "show": ("sdbench.cli.show", "Show a run's table, or one case in full."),
    "compare": ("sdbench.cli.compare", "Compare A with B, with a statistical verdict."),
    "history": ("sdbench.cli.history", "Show one case over all runs of this machine."),
    "stacks": ("sdbench.cli.stacks", "Make environments with other releases of torch to compare."),
    "models": ("sdbench.cli.models", "List, make and remove the models that need no download."),
    "report": ("sdbench.cli.report", "Write a run in a format that other programs read."),
}

_EPILOG = """\b
Typical use:
  sdbench doctor              is this machine set up right? (seconds)
  sdbench run                 what a newcomer wants: at most 20 minutes
  sdbench run quick           everything once on a small model, a few minutes on any CPU
  sdbench run full --dry-run  what it would do, and how long it would take
  sdbench show latest

\b
Exit codes: 0 all well, 1 a case did not end well, 2 wrong usage or configuration,
3 this machine or stack cannot run it (or a run cannot be read), 70 a fault of sdbench
itself, 130 interrupted (results are kept)."""


class LazyGroup(click.Group):
    """Imports a verb's module only when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order a person meets them."""
        return [*VERBS]  # once used, the verb "list" is an attribute here and hides the builtin

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        import importlib

        module = importlib.import_module(VERBS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table above, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="sdbench")
def cli() -> None:
    """Is this machine set up right for Stable Diffusion, how fast is it, are its pictures correct,
    and which settings should I use?

    sdbench runs the real diffusers pipeline on Apple silicon (mps), CUDA or a CPU and keeps
    every result. Nothing leaves this machine.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Prints each error here, in one line."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(
            args=None if arguments is None else [*arguments],
            prog_name="sdbench",
            standalone_mode=False,
        )
        return int(code or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        print_error("sdbench: interrupted")
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        Lossy(sys.stdout).write(f"{error.format_message()}\n")
        return 2
    except click.ClickException as error:
        verb = _verb_in(given)
        print_error(f"sdbench: {_one_line(error.format_message())} (see sdbench {verb}--help)")
        return 2
    except SdbenchError as error:
        print_error(f"sdbench: {_one_line(str(error))}")
        return error.exit_code
    except BrokenPipeError:  # `sdbench list | head`
        return 1
    except OSError as error:  # the system itself: no process, no descriptor, a folder gone
        print_error(f"sdbench: {_one_line(_system_words(error))}")
        return 3
    except Exception as error:
        return _last_resort(error, given)


def entry() -> None:
    """The console script."""
    reserve_descriptors()
    escape_unknown_characters()
    code = main()
    let_go()
    sys.exit(code)


def _last_resort(error: Exception, given: Sequence[str]) -> int:
    from sdbench.cli.last_resort import describe

    words, code = describe(error, given)
    print_error(f"sdbench: {_one_line(words)}")
    # git bisect takes every code up to 124 for a bad commit (``compare.CANNOT_TELL``).
    return 125 if "--bisect" in given else code


def _system_words(error: OSError) -> str:
    """``results/x: No such file or directory``: what it is about before what is wrong."""
    names = [shortened(str(name)) for name in (error.filename, error.filename2) if name]
    return f"{' and '.join(names)}: {error.strerror}" if names and error.strerror else str(error)


def _verb_in(arguments: Sequence[str]) -> str:
    """The verb asked for and a blank, or nothing. Not every error of click's knows its command."""
    words = [word for word in arguments if not word.startswith("-")]
    return f"{words[0]} " if words and words[0] in VERBS else ""


def _one_line(text: str) -> str:
    """Messages may quote other people's text: one line, and no terminal escapes."""
    from sdbench.words import printable

    return printable(" ".join(text.split()))
