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
    "doctor": ("sdbench.cli.doctor", "Check whether this machine is set up correctly (seconds)."),
    "selftest": ("sdbench.cli.selftest", "Compare each instrument with an independent source."),
    "run": ("sdbench.cli.run", "Measure the matrix and keep every result (the main command)."),
    "resume": ("sdbench.cli.resume", "Continue a run that was stopped or killed."),
    "diagnose": (
        "sdbench.cli.diagnose",
        "Report what is wrong, which claims hold here, and what to use.",
    ),
    "localise": (
        "sdbench.cli.localise",
        "Find operators whose results differ between device and CPU.",
    ),
    "repro": ("sdbench.cli.repro", "Write a script and an issue text about one case of a run."),
    "explain": ("sdbench.cli.explain", "Explain a crash text, a crash report or a bad image."),
    "issues": ("sdbench.cli.issues", "Browse the known issues of torch, diffusers and macOS."),
    "list": ("sdbench.cli.list", "List the existing runs."),
    "show": ("sdbench.cli.show", "Show the table of a run, or one case in full."),
    "compare": ("sdbench.cli.compare", "Compare A with B, with a statistical verdict."),
    "history": ("sdbench.cli.history", "Show one case over all runs of this machine."),
    "stacks": ("sdbench.cli.stacks", "Make environments with other releases of torch to compare."),
    "models": ("sdbench.cli.models", "List, make and remove the models that need no download."),
    "report": ("sdbench.cli.report", "Write a page about runs, or export them for other programs."),
    "bundle": ("sdbench.cli.bundle", "Write a run into one sealed file to give to others."),
    "verify": ("sdbench.cli.verify", "Check bundles: unchanged, and computed from their records."),
    "board": ("sdbench.cli.board", "Make a site and a results repository of many machines' runs."),
    "submit": ("sdbench.cli.submit", "Add a bundle to the checkout of a results repository."),
    "fleet": ("sdbench.cli.fleet", "Measure one configuration on many machines."),
    "schema": ("sdbench.cli.schema", "Print the JSON schema of a run, its records or a bundle."),
}

ALIASES = {"localize": "localise"}

_EPILOG = """\b
Typical use:
  sdbench doctor              is this machine set up right? (seconds)
  sdbench run                 the default run: at most 20 minutes
  sdbench run quick           every setting once on a small model, a few minutes on any CPU
  sdbench run full --dry-run  show the plan and the estimated time
  sdbench show latest

\b
Completion of commands, options, runs, cases, configurations, environments and axes:
  zsh   eval "$(_SDBENCH_COMPLETE=zsh_source sdbench)"      in ~/.zshrc
  bash  eval "$(_SDBENCH_COMPLETE=bash_source sdbench)"     in ~/.bashrc
  fish  _SDBENCH_COMPLETE=fish_source sdbench | source      in ~/.config/fish/config.fish

\b
Exit codes: 0 success, 1 a case did not complete, 2 wrong usage or configuration,
3 this machine or environment cannot run it (or a run cannot be read), 70 an internal error
of sdbench, 130 interrupted (results are kept)."""


class LazyGroup(click.Group):
    """Imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a typical workflow."""
        return [*VERBS]  # once used, the verb "list" is an attribute here and hides the builtin

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        cmd_name = ALIASES.get(cmd_name, cmd_name)
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
    """Check whether this machine is set up correctly for Stable Diffusion, how fast it is, whether
    its images are correct, and which settings to use.

    sdbench runs the real diffusers pipeline on Apple silicon (mps), CUDA or a CPU and keeps
    every result. Nothing leaves this machine.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Each error is printed here, in one line."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(
            args=None if arguments is None else [*arguments],
            prog_name="sdbench",
            standalone_mode=False,
        )
        return int(code or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        print_error(_line("interrupted", KeyboardInterrupt(), given))
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        Lossy(sys.stdout).write(f"{error.format_message()}\n")
        print_error(f"next: {'sdbench stacks list' if _verb_in(given) else 'sdbench doctor'}")
        return 2
    except click.ClickException as error:
        print_error(f"sdbench: {_one_line(_usage_words(error, given))}")
        return 2
    except SdbenchError as error:
        print_error(_line(str(error), error, given))
        return error.exit_code
    except BrokenPipeError:  # `sdbench list | head`
        return 1
    except OSError as error:  # the system itself: no process, no descriptor, a folder gone
        print_error(_line(_system_words(error), error, given))
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
    print_error(_line(words, error, given))
    # git bisect takes every code up to 124 for a bad commit (``compare.CANNOT_TELL``).
    return 125 if "--bisect" in given else code


def _line(words: str, error: BaseException, given: Sequence[str]) -> str:
    """An error's one line: what went wrong, and the command to go on with."""
    from sdbench.cli.next_step import with_next_step

    return f"sdbench: {_one_line(with_next_step(words, error, given, _verb_in(given).strip()))}"


def _usage_words(error: click.ClickException, given: Sequence[str]) -> str:
    """What click says of a command line, and the help or the command that was probably meant."""
    from sdbench.cli.next_step import probably_meant

    verb = _verb_in(given)
    message = error.format_message()
    meant = None if verb else probably_meant(given, [*VERBS])
    if meant is not None:
        return f"no such command {shortened(given[0])!r}; did you mean: {meant}"
    return f"{message} (see sdbench {verb}--help)"


def _system_words(error: OSError) -> str:
    """``results/x: No such file or directory``: the object first, then the problem."""
    names = [shortened(str(name)) for name in (error.filename, error.filename2) if name]
    return f"{' and '.join(names)}: {error.strerror}" if names and error.strerror else str(error)


def _verb_in(arguments: Sequence[str]) -> str:
    """The requested command and a blank, or nothing. Not every click error knows its command."""
    words = [word for word in arguments if not word.startswith("-")]
    verb = ALIASES.get(words[0], words[0]) if words else ""
    return f"{verb} " if verb in VERBS else ""


def _one_line(text: str) -> str:
    """Messages may quote untrusted text: one line, without terminal escapes."""
    from sdbench.words import printable

    return printable(" ".join(text.split()))
