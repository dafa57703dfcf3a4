"""What was probably meant by a command, option, choice, folder or node that there is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_run


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("list", "em ls"),
        ("mv", "em cp; what was copied goes with: em rm"),
        ("delete", "em rm"),
        ("get", "em download"),
        ("uplaod", "em upload"),
        ("LS", "em ls"),
        ("versions", "em ls --versions PLACE"),
        ("sync", "em mirror"),
    ],
)
def test_an_unknown_command_is_answered_with_the_one_that_was_meant(em: Em, typed: str, meant: str) -> None:
    ran = em(typed, "x")
    assert ran.code == 2
    assert ran.err.endswith(f"No such command '{typed}'. Did you mean: {meant}\n")


def test_a_command_that_is_like_none_is_answered_with_all(em: Em) -> None:
    assert "There are demo, ls, show, " in em("xyzzy").err
    assert "Did you mean: em server user add" in em("server", "user", "create", "x").err


def test_options_and_their_values_are_answered_with_the_nearest(em: Em) -> None:
    assert "Did you mean" in em("ls", "--lng").err
    run = make_run()
    ran = em("upload", run.local, "--conflict-strategy", "Replace")
    assert ran.code == 2
    assert "did you mean 'replace'?" in ran.err
    assert "did you mean 'epoch'?" in em("plot", run.local, "-x", "epochs").err


def test_folders_and_nodes_are_answered_with_the_nearest(em: Em, store: str) -> None:
    make_run().upload(f"{store}#Mnist", make_folder=True)
    node = f"{store}#/alice/Mnist/cnn"
    for command, place in (
        ("show", "/alice/mnist/cnn"),
        ("show", "/alice/Mnist/cmn"),
        ("download", "/alice/Mnist/CNN"),
        ("plot", "/Alice/Mnist/cnn"),
    ):
        ran = em(command, f"{store}#{place}")
        assert ran.code == 1
        assert ran.err.endswith(f"did you mean {node}?\n"), ran.err
    ran = em("upload", make_run().local, "--folder", f"{store}#mnst")
    assert ran.err.endswith(f"; did you mean {store}#/alice/Mnist?\n")
    assert em("show", f"{store}#/alice/Mnist/zzzzz").err.endswith(f"em ls {store}#/alice/Mnist lists what is there\n")


def test_a_local_directory_is_answered_with_the_nearest(em: Em) -> None:
    run = Path(make_run().local)
    for place in (f".em/runs/{run.name[:-1]}", str(run)[:-1]):
        ran = em("show", place)
        assert ran.code == 1
        assert f"{run.name}?)" in ran.err
