"""The group of all commands: finds a command when it is called, and turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NoReturn, TextIO

import click

from t9k.em.cli.guessing import Guessing, neighbours
from t9k.em.cli.streams import discard_output, finish_output, standing_in
from t9k.em.cli.text import clean
from t9k.em.errors import EMError, IncompleteWarning, RecoveredDataWarning

OK, ERROR, USAGE, PARTIAL, DAMAGED, REPAIRED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 4, 5, 130, 141

_COMMANDS = {
    "demo": "demo",
    "ls": "ls",
    "show": "show",
    "plot": "plot",
    "export": "export",
    "upload": "upload",
    "download": "download",
    "cp": "cp",
    "mirror": "mirror",
    "rm": "rm",
    "gc": "gc",
    "check": "check",
    "server": "server",
    "login": "account",
    "logout": "account",
    "config": "account",
    "completion": "completion",
}
"""Command -> module beside this one; the function is called like the command."""

# Errors of the library speak of its arguments; here they are options.
_IN_SHELL = {
    "make_folder=True": "--make-folder",
    "recursive=True": "-r",
    "max_delete=": "--max-delete ",
    "delete=True": "--delete",
    "em.mirror copies": "em mirror copies",
    "conflict_strategy='new', 'replace' or 'skip'": "--conflict-strategy new, replace or skip",
    "conflict_strategy='new'": "--conflict-strategy new",
    "conflict_strategy='replace'": "--conflict-strategy replace",
    "`versions` lists": "em ls --versions PLACE lists",
    "`objects` lists": "em show PLACE --all lists",
    "pass ais_host='file:///data/em'": "log in with: em login file:///data/em",
}


class _NobodyReads(Exception):
    """The output goes to a program that has ended."""


@contextlib.contextmanager
def _telling_nobody_reads() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _NobodyReads from error


class App(Guessing):
    """All commands of `em`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the help."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command that was called."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"t9k.em.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse a command line, and print the help where that is asked for; see `invoke`."""
        with _telling_nobody_reads():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click would end the program with its own code when nobody reads the output."""
        with _telling_nobody_reads():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - the signature is click's; here it is always the whole program
        **extra: Any,
    ) -> NoReturn:
        """Run a command line and exit; see `t9k.em.cli.main` for the codes."""
        arguments = sys.argv[1:] if args is None else list(args)
        with standing_in() as lost, _plain_warnings():
            for stream in (sys.stdout, sys.stderr):
                _never_fail_to_encode(stream)
            code = self._run(arguments, prog_name, complete_var, extra)
            problem = finish_output() or lost()
            if problem and code == OK:
                _complain(f"the output could not be written: {problem}")
                code = ERROR
        sys.exit(code)

    def _run(self, args: list[str], prog_name: str | None, complete_var: str | None, extra: dict[str, Any]) -> int:
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            with _telling_nobody_reads():
                sys.stdout.flush()
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except click.Abort:
            _complain("interrupted; run the same command again to go on")
            return INTERRUPTED
        except _NobodyReads:
            discard_output()
            return BROKEN_PIPE
        except (EMError, OSError) as error:
            if "--debug" in args:
                traceback.print_exc()
            else:
                _complain(explain(error))
            return ERROR
        return code if isinstance(code, int) else OK


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="t9k-em", prog_name="em", message="%(prog)s %(version)s")
@click.option("--backend", metavar="URI", envvar="EM_BACKEND", show_envvar=True, help="Where paths without a URI lie.")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.pass_context
def app(ctx: click.Context, *, backend: str | None, debug: bool) -> None:
    """Keep machine-learning experiments: runs and artifacts, here and in a backend.

    A PLACE is a local directory of a run or artifact, a path in the backend that `em login` chose, such as mnist/cnn or
    /alice/mnist/cnn@3, or a URI with a path behind '#': file:///data/em#/alice/mnist.
    """
    del debug  # `App` looks for it, because an error may come before it is parsed
    ctx.obj = backend


def explain(error: Exception) -> str:
    """Return the text of an error in the words of the command line, on one line."""
    if isinstance(error, OSError) and not isinstance(error, EMError) and error.strerror:
        return clean(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    message = str(error)
    for library, shell in _IN_SHELL.items():
        message = message.replace(library, shell)
    return clean(message + neighbours(str(error)))


def _complain(message: str) -> None:
    print(f"em: {message}", file=sys.stderr)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Let warnings of the library look like messages of the command."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        _complain(f"warning: {clean(message)}")

    with warnings.catch_warnings():
        for category in (IncompleteWarning, RecoveredDataWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


def _never_fail_to_encode(stream: TextIO) -> None:
    """Show characters that the terminal's encoding lacks as escapes."""
    with contextlib.suppress(AttributeError, ValueError):  # streams that somebody put in their place
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]  # the usual TextIOWrapper
