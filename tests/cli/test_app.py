from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from tests.cli.conftest import Em, make_run

from t9k.em.cli import main
from t9k.em.cli.app import app, explain
from t9k.em.errors import EMError, IncompleteWarning, NotFound

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ls_raises(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `em ls` raise."""

    def let(error: BaseException) -> None:
        @click.command()
        def ls() -> None:
            raise error

        monkeypatch.setattr("t9k.em.cli.ls.ls", ls)

    return let


def test_the_help_names_every_command(em: Em) -> None:
    ran = em("--help")
    assert ran.code == 0
    commands = ("demo", "ls", "show", "plot", "upload", "download", "cp", "rm", "gc", "login", "logout", "config")
    for command in (*commands, "completion"):
        assert f"\n  {command} " in ran.out
        assert em(command, "-h").out.startswith(f"Usage: em {command}")


def test_the_version_is_that_of_the_distribution(em: Em) -> None:
    assert em("--version").out == f"em {version('t9k-em')}\n"


def test_an_unknown_command_or_option_is_wrong_usage(em: Em) -> None:
    assert em("lss").code == 2
    ran = em("ls", "--lng")
    assert ran.code == 2
    assert "No such option" in ran.err


def test_an_error_of_the_library_is_one_line_on_stderr(em: Em, ls_raises: Any) -> None:
    ls_raises(NotFound("no \x1b[31mnode\nhere; make it with make_folder=True"))
    ran = em("ls")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "em: no \\x1b[31mnode\\nhere; make it with --make-folder\n"


def test_an_error_of_the_system_is_one_line_too(em: Em, ls_raises: Any) -> None:
    ls_raises(PermissionError(13, "Permission denied", "a\x1bb"))
    assert em("ls").err == "em: Permission denied: a\\x1bb\n"
    assert explain(OSError(28, "No space left on device")) == "No space left on device"
    assert explain(OSError("odd")) == "odd"


def test_debug_shows_where_an_error_comes_from(em: Em, ls_raises: Any) -> None:
    ls_raises(EMError("broken"))
    ran = em("--debug", "ls")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "broken" in ran.err


def test_a_mistake_in_the_program_is_not_hidden(em: Em, ls_raises: Any) -> None:
    ls_raises(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        em("ls")


def test_ctrl_c_gives_130(em: Em, ls_raises: Any) -> None:
    ls_raises(KeyboardInterrupt())
    ran = em("ls")
    assert ran.code == 130
    assert ran.err.endswith("em: interrupted; run the same command again to go on\n")


def test_a_warning_of_the_library_is_one_line(em: Em, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def ls() -> None:
        warnings.warn("left \x1bout", IncompleteWarning, stacklevel=1)

    monkeypatch.setattr("t9k.em.cli.ls.ls", ls)
    ran = em("ls")
    assert (ran.code, ran.err) == (0, "em: warning: left \\x1bout\n")


@pytest.mark.parametrize("library", ["click", "rich", "plotext"])
def test_without_a_library_one_line_names_the_extra(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("t9k.em.cli.find_spec", lambda name: None if name == library else name)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err == ("em: the command line needs a few more libraries: pip install 't9k-em[cli]'\n")


def test_the_help_loads_neither_tables_nor_diagrams() -> None:
    code = (
        "import sys\nfrom t9k.em.cli.app import app\n"
        "try: app.main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('rich', 'plotext', 'sklearn', 'numpy', 'yaml', 'requests') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith("\n[]\n")


def test_main_runs_the_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["em", "--version"])
    threshold = gc.get_threshold()
    try:
        with pytest.raises(SystemExit) as exit_:
            main()
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("em ")


class TestAsAProgram:
    def test_the_entry_point_is_installed(self) -> None:
        ran = subprocess.run(
            [Path(sys.executable).parent / "em", "--version"], capture_output=True, text=True, check=False
        )
        assert ran.stdout == f"em {version('t9k-em')}\n"

    def test_errors_go_to_stderr_and_into_the_exit_code(self, program: Program) -> None:
        ran = program("show", "nothing")
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr.startswith("em: ")
        assert ran.stderr.count("\n") == 1

    @pytest.mark.long
    def test_nobody_reading_is_quiet(self, store: str) -> None:
        for number in range(500):
            directory = Path(f".em/runs/{'x' * 200}{number}")
            directory.mkdir(parents=True)
            (directory / "metadata.yaml").write_text("type: Run\n")
        for options in ([], ["-l"], ["--tree"], ["--json"]):
            em = subprocess.Popen(
                [sys.executable, "-c", "from t9k.em.cli import main; main()", "ls", *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            )
            assert em.stdout
            em.stdout.read(10)
            em.stdout.close()
            assert em.stderr
            assert em.stderr.read() == b""
            em.stderr.close()
            assert em.wait() == 141

    def test_what_the_encoding_lacks_is_escaped(self, program: Program) -> None:
        make_run("模型", values=(3, 2, 1))
        (directory,) = Path(".em/runs").iterdir()
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        for arguments in (["ls", "-l"], ["ls", "--tree"], ["show", directory], ["plot", directory]):
            ran = program(*arguments, env=environment)
            assert (ran.returncode, ran.stderr) == (0, "")
            assert ran.stdout.isascii()
        assert "\\u6a21\\u578b" in program("ls", env=environment).stdout

    def test_ctrl_c_ends_a_command_that_waits(self) -> None:
        code = (
            "import signal, time, click\nimport t9k.em.cli.ls as module\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it\n"
            "@click.command()\ndef ls():\n    print('ready', flush=True)\n    time.sleep(60)\n"
            "module.ls = ls\nfrom t9k.em.cli.app import app\napp.main(['ls'])"
        )
        em = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert em.stdout
        assert em.stdout.readline() == "ready\n"
        time.sleep(0.1)
        em.send_signal(signal.SIGINT)
        _, err = em.communicate(timeout=30)
        assert em.returncode == 130
        assert "Traceback" not in err


def test_commands_and_modules_agree() -> None:
    with click.Context(app) as ctx:
        for name in app.list_commands(ctx):
            command = app.get_command(ctx, name)
            assert command is not None
            assert command.name == name
            assert command.get_short_help_str(200).rstrip(".") != ""
        assert app.get_command(ctx, "nothing") is None


def test_errors_speak_of_options_instead_of_arguments() -> None:
    said = {
        "use conflict_strategy='new', 'replace' or 'skip'": "use --conflict-strategy new, replace or skip",
        "or conflict_strategy='new'": "or --conflict-strategy new",
        "pass recursive=True": "pass -r",
        "x; `versions` lists those there are": "x; em ls --versions PLACE lists those there are",
        "x; `objects` lists those there are": "x; em show PLACE --all lists those there are",
    }
    assert {library: explain(EMError(library)) for library in said} == said


def test_what_is_missing_in_a_backend_names_the_list_of_its_folder(em: Em, store: str) -> None:
    make_run().upload(f"{store}#default")
    for command in (["show"], ["ls"], ["ls", "--versions"], ["rm", "-y"], ["download"]):
        ran = em(*command, f"{store}#/alice/a b/x")
        assert ran.code == 1
        assert ran.err.endswith(f"/alice/a b/x in {store}; em ls {store}#/alice/a%20b lists what is there\n")
    assert em("show", f"{store}#/x@2").err.endswith("; em ls --versions PLACE lists those there are\n")
    assert "lists" not in explain(NotFound("there is no reason"))
