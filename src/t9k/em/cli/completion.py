"""`em completion`: what a shell has to evaluate to complete `em`."""

from __future__ import annotations

import click

from t9k.em.cli.guessing import Word
from t9k.em.cli.output import say

_HOW = {
    "bash": 'eval "$(em completion bash)"',
    "zsh": 'eval "$(em completion zsh)"',
    "fish": "em completion fish | source",
}


@click.command(short_help="Print the completion for a shell.")
@click.argument("shell", type=Word(list(_HOW)))
def completion(shell: str) -> None:
    """Print the completion of em for a shell.

    Into the shell's startup file: eval "$(em completion bash)", the same for zsh; em completion fish | source
    """
    from click.shell_completion import get_completion_class

    from t9k.em.cli.app import app

    completer = get_completion_class(shell)
    assert completer is not None  # noqa: S101 - click has all three
    say(f"# {_HOW[shell]}\n" + completer(app, {}, "em", "_EM_COMPLETE").source())
