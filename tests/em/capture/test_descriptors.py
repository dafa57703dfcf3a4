"""With `output="fd"` what children and C libraries print is kept too, and reaches its place unchanged."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.em.capture.test_output import console

from t9k.em.capture.output import OutputLog

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors are taken on POSIX systems only")

_BEGIN = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
from t9k.em.capture.output import OutputLog
log = OutputLog(Path(sys.argv[1]), "fd")
log.start()
"""


def run(code: str, log: Path, **options) -> subprocess.CompletedProcess[str]:
    """Runs a program that keeps its output by descriptors."""
    return subprocess.run(
        [sys.executable, "-c", _BEGIN + textwrap.dedent(code), log],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=options.pop("check", True),
        text=True,
        timeout=60,
        **(options or {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}),
    )


PRINTS = """
print("python")
sys.stdout.flush()
subprocess.run(["echo", "child"], check=True)
os.write(1, b"raw\\n")
libc = ctypes.CDLL(None)
libc.puts(b"from C")
libc.fflush(None)
os.system("echo in a shell")
if not os.fork():
    os.write(1, b"forked\\n")
    os._exit(0)
os.wait()
os.write(2, b"to stderr\\n")
log.stop()
print("after")
"""


def test_children_and_c_are_kept_and_passed_on(tmp_path):
    ran = run(PRINTS, tmp_path / "log")
    assert ran.stdout == "python\nchild\nraw\nfrom C\nin a shell\nforked\nafter\n"
    assert ran.stderr == "to stderr\n"
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if line != "to stderr"] == ran.stdout.splitlines()[:-1]
    assert "to stderr" in lines


def test_one_file_for_both_keeps_their_order(tmp_path):
    code = """
    for number in range(200):
        os.write(1 + number % 2, b"%d\\n" % number)
    log.stop()
    """
    with (tmp_path / "both").open("w") as both:
        run(code, tmp_path / "log", stdout=both, stderr=both)
    assert (tmp_path / "both").read_text() == (tmp_path / "log").read_text() == "".join(f"{n}\n" for n in range(200))


def test_a_terminal_stays_a_terminal_of_the_same_size(tmp_path):
    import fcntl
    import struct
    import termios

    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    code = """
    print(sys.stdout.isatty(), os.get_terminal_size(1))
    subprocess.run([sys.executable, "-c", "import sys; print(sys.stdout.isatty())"], check=True)
    os.write(1, b"a\\n\\xff\\tb\\r\\n")
    log.stop()
    """
    run(code, tmp_path / "log", stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):
        while data := os.read(controller, 65536):
            shown += data
    os.close(controller)
    assert shown == b"True os.terminal_size(columns=99, lines=33)\r\nTrue\r\na\r\n\xff\tb\r\r\n"
    assert (tmp_path / "log").read_text() == ("True os.terminal_size(columns=99, lines=33)\nTrue\na\n\\xff\tb\n")


def test_c_code_that_holds_the_interpreter_may_print_more_than_a_pipe_takes(tmp_path):
    code = """
    library = ctypes.PyDLL(None)  # keeps the lock during the call
    for _ in range(300):
        library.write(1, b"x" * 1023 + b"\\n", 1024)
    log.stop()
    """
    ran = run(code, tmp_path / "log")
    assert ran.stdout == (tmp_path / "log").read_text() == ("x" * 1023 + "\n") * 300


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "os._exit(3)"])
def test_what_was_printed_before_a_hard_end_is_passed_on_and_kept(tmp_path, end):
    ran = run(f"os.write(1, b'last words\\n' * 1000)\n{end}", tmp_path / "log", check=False)
    assert ran.returncode != 0
    assert ran.stdout == (tmp_path / "log").read_text() == "last words\n" * 1000


def test_a_signal_to_the_whole_group_ends_the_run_and_not_its_last_words(tmp_path):
    code = """
    signal.signal(signal.SIGINT, lambda *_: None)
    os.killpg(os.getpgrp(), signal.SIGINT)
    time.sleep(0.2)
    os.write(1, b"after the signal\\n")
    log.stop()
    """
    ran = run(code, tmp_path / "log", stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert ran.stdout == (tmp_path / "log").read_text() == "after the signal\n"


@pytest.mark.long
def test_printing_goes_on_when_the_helper_is_killed(tmp_path):
    code = """
    import warnings
    warnings.simplefilter("ignore")
    os.write(1, b"before\\n")
    time.sleep(0.5)
    os.kill(log._descriptors.helper, signal.SIGKILL)
    for number in range(50):
        print(number, flush=True)
        time.sleep(0.01)
    subprocess.run(["echo", "child"], check=True)
    log.stop()
    """
    ran = run(code, tmp_path / "log")
    assert ran.stdout == "before\n" + "".join(f"{n}\n" for n in range(50)) + "child\n"


def test_who_waits_for_all_children_does_not_wait_for_the_helper(tmp_path):
    code = """
    for number in range(3):
        if not os.fork():
            os.write(1, b"child\\n")
            os._exit(0)
    found = 0
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
        found += 1
    print(found, flush=True)
    log.stop()
    """
    ran = run(code, tmp_path / "log")
    assert ran.stdout == (tmp_path / "log").read_text() == "child\nchild\nchild\n3\n"


@pytest.mark.long
def test_a_child_that_goes_on_prints_on_after_the_run_has_stopped(tmp_path):
    code = """
    child = subprocess.Popen(["sh", "-c", "sleep 1; echo late"])
    print("early", flush=True)
    log.stop()
    print("stopped", flush=True)
    child.wait()
    """
    ran = run(code, tmp_path / "log")
    assert sorted(ran.stdout.splitlines()) == ["early", "late", "stopped"]
    assert (tmp_path / "log").read_text() == "early\n"


def test_how_much_is_finished_is_known(tmp_path):
    code = """
    os.write(1, b"one\\ntw")
    before = time.monotonic() + 20
    while log.finished != 4 and time.monotonic() < before:
        time.sleep(0.01)
    print(log.finished, file=sys.stderr, flush=True)
    log.stop()
    """
    assert run(code, tmp_path / "log").stderr == "4\n"


def test_descriptors_are_given_back(tmp_path):
    code = """
    def count():
        # The helper that was asked to stop ends a moment later.
        end = time.monotonic() + 20
        while any("t9k-em-output" in thread.name for thread in threading.enumerate()) and time.monotonic() < end:
            time.sleep(0.01)
        return len(os.listdir("/proc/self/fd"))
    import threading
    log.stop()
    before = count()
    for _ in range(3):
        log.start()
        os.write(1, b"x\\n")
        log.stop()
    print(count() - before)
    """
    assert run(code, tmp_path / "log").stdout == "x\nx\nx\n0\n"


def test_streams_that_do_not_print_there_are_taken_themselves(tmp_path):
    """As in a notebook, and here."""
    with console():
        log = OutputLog(tmp_path / "log", "fd")
        log.start()
        print("a")  # noqa: T201 - what is tested
        log.stop()
        assert log.path.read_text() == "a\n"


def test_a_helper_that_does_not_start_is_told(tmp_path):
    code = """
    log.stop()
    import warnings
    from t9k.em.capture import descriptors
    descriptors._CODE = "raise SystemExit(1)"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log.start()
    print(str(caught[0].message)[:40])
    log.stop()
    """
    ran = run(code, tmp_path / "log")
    assert ran.stdout == "the process that keeps the output of chi\n"
    assert (tmp_path / "log").read_text() == ran.stdout
