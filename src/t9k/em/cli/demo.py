"""`em demo`: runs the demo and shows what it left."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from t9k.em import session
from t9k.em.cli.drawing import WIDTH, draw
from t9k.em.cli.output import console, print_rows, say, text, tree
from t9k.em.cli.progress import progress
from t9k.em.cli.summary import summarize
from t9k.em.cli.text import clean, count, number, size, when
from t9k.em.local import layout
from t9k.em.uris import uri_of_node

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree

    from t9k.em.cli.demo_training import Result
    from t9k.em.cli.views import View

_MOST_RUNS = 5
_PARTS = {
    layout.PRIVATE: "runs and artifacts as they were made",
    "store": "where they were uploaded to",
    "loaded": "what was loaded back",
}


@click.command(short_help="Train a small model, keep it, load it back and show it.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default="em-demo",
    show_default=True,
    help="Where everything goes; a further demo adds to it.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True, help="How long to train.")
def demo(directory: Path, *, epochs: int) -> None:
    """Train a small model on scikit-learn's digits, upload it to a local store, load it back and show it.

    Takes some seconds, and needs t9k-em[demo].
    """
    from t9k.em.cli.demo_training import demonstrate

    say(f"Training a small network on scikit-learn's digits for {count(epochs, 'epoch')} ...")
    with progress() as bars:
        result = demonstrate(directory, epochs=epochs, progress=bars)
    say(f"Uploaded the run, its data and its model to {clean(result.uri)},")
    say(f"loaded them back, and the loaded model has the same test accuracy: {number(result.reproduced)}")
    _show(result, directory)


def _show(result: Result, directory: Path) -> None:
    from t9k.em.cli.curves import curves_of
    from t9k.em.cli.show import render
    from t9k.em.cli.views import look_at_remote

    to = console()
    backend = session.backend_at(result.uri)
    view = look_at_remote(backend, result.path)
    nodes = [node for node in backend.list(result.folder) if node.kind == "Run"]
    newest = sorted(nodes, key=lambda node: node.modified)[-_MOST_RUNS:]
    runs = [view if node.path == result.path else look_at_remote(backend, node.path) for node in newest]

    _heading(to, "Runs in the store")
    _print_runs(runs)
    _heading(to, "The new run")
    view.platform, view.git, view.versions = {}, {}, []  # em show has them
    render(view, to)
    to.print()
    draw([curve for curve in curves_of([view], x="epoch") if curve.metric == "loss"], x="epoch")
    _heading(to, "Plain files")
    made = tree(directory)
    for name, meaning in _PARTS.items():
        branch = made.add(text(f"{name}/", "bold blue").append(f"  {meaning}", "dim"))
        _grow(branch, directory / name)
    to.print(made)
    _heading(to, "Try next")
    for arguments in (
        f"ls --long {quote(uri_of_node(result.uri, result.folder))}",
        f"show {quote(str(result.trained_in))}",
        f"plot --type val {quote(str(directory / layout.PRIVATE / 'runs'))}/*",
        f"login {quote(result.uri)}",
        "demo",
    ):
        to.print(text(f"  {_program()} {arguments}"), soft_wrap=True)


def _program() -> str:
    """Return the name of this program as the user called it: `make demo` uses one that is not on the PATH."""
    called = Path(sys.argv[0])
    return os.path.relpath(called) if called.name == "em" and shutil.which("em") is None else "em"


def _print_runs(views: list[View]) -> None:
    numbers = ("Seed", "Epochs", "Validation", "Test")
    rows = []
    for view in views:
        best = {(each.type, each.metric): each.best for each in summarize(view.metrics)}
        points = (best.get((kind, "accuracy")) for kind in ("val", "test"))
        cells = [view.hparams.get("seed", ""), view.hparams.get("epochs", "")]
        cells += ["" if point is None else number(point.value) for point in points]
        started = when(view.metadata.get("start_timestamp", ""))
        name = text(view.node.name if view.node else view.name, "green")
        rows.append((*map(text, (*cells, started)), name))
    print_rows((*numbers, "Started", "Run"), rows, right=numbers)


def _changed(directory: Path) -> float:
    """Return the time of the last change directly in a directory."""
    return max((path.stat().st_mtime for path in directory.iterdir()), default=directory.stat().st_mtime)


def _grow(branch: Tree, directory: Path, most: int | None = None) -> None:
    """Add what is in a directory to a tree; hidden directories are only named.

    Args:
        branch: Where to add.
        directory: What to add.
        most: How many directories, the newest ones; all by default, and one in each of them.
    """
    found = sorted(directory.iterdir())
    hidden = [path for path in found if path.is_dir() and path.name.startswith(".")]
    directories = [path for path in found if path.is_dir() and path not in hidden]
    left_out = [] if most is None else sorted(directories, key=_changed)[:-most]
    for path in found:
        if path in hidden:
            branch.add(text(f"{path.name}/ ...", "dim"))
        elif path in directories and path not in left_out:
            _grow(branch.add(text(f"{path.name}/", "blue")), path, most=1)
        elif path not in directories:
            branch.add(text(path.name).append(f"  {size(path.stat().st_size)}", "dim"))
    if left_out:
        branch.add(text(f"... and {len(left_out)} more", "dim"))


def _heading(to: Console, title: str) -> None:
    from rich.rule import Rule

    to.print(Rule(text(title, "bold"), align="left"), width=min(to.width, WIDTH))
