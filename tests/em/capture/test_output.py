# ruff: noqa: PT031, T201 - printing, more than once, is what is tested
from __future__ import annotations

import contextlib
import io
import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.em.local.faultydisk import fill, mounted, run_unprivileged

from t9k.em.capture.output import OutputLog
from t9k.em.errors import IncompleteWarning


def stream() -> Any:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


@contextlib.contextmanager
def console():
    """Streams that keep their text, in place of those of the process.

    Not a fixture: pytest itself sets the streams between the setup of a test and the test.
    """
    before = sys.stdout, sys.stderr
    out, err = sys.stdout, sys.stderr = stream(), stream()
    try:
        yield out, err
        assert sys.stdout is out, "the stream was not given back"
        assert sys.stderr is err, "the stream was not given back"
        assert [vars(each.buffer).keys() & {"write"} for each in (out, err)] == [set(), set()]
    finally:
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def logged(directory: Path):
    """A log that has started, and the console."""
    with console() as streams:
        log = OutputLog(directory / "stdout.log")
        log.start()
        try:
            yield log, streams
        finally:
            log.stop()


def this(tapped: Any) -> Any:
    """The same, without a type."""
    return tapped


def text_of(text_stream: Any) -> str:
    return text_stream.buffer.getvalue().decode()


def test_what_is_printed_goes_to_the_console_and_to_the_file(tmp_path):
    with logged(tmp_path) as (log, streams):
        print("out")
        print("err", file=sys.stderr)
        sys.stdout.writelines(["one\n", "two\n"])
        assert log.path.read_text() == "out\nerr\none\ntwo\n"
        assert [text_of(each) for each in streams] == ["out\none\ntwo\n", "err\n"]
        assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_the_file_is_current_after_every_write(tmp_path):
    with logged(tmp_path) as (log, _):
        sys.stdout.write("half")
        assert log.path.read_text() == "half"
        sys.stderr.write("bar 10%")
        assert log.path.read_text() == "half\nbar 10%"
        sys.stdout.write(" a line\n")
        assert log.path.read_text() == "half a line\nbar 10%"
        sys.stderr.write("\rbar 9")
        assert log.path.read_text() == "half a line\nbar 90%"
        sys.stderr.write("\r\x1b[K")
        assert log.path.read_text() == "half a line\n"


def test_a_progress_bar_takes_one_line(tmp_path):
    """Written as tqdm writes it, with lines printed meanwhile."""
    with logged(tmp_path) as (log, _):
        for done in range(0, 101, 10):
            bar = f"{done:3d}%|{'#' * (done // 10):<10}| {done}/100 [00:{done:02d}]"
            sys.stderr.write("\r" + bar + " " * (done % 20 // 10))
            sys.stderr.flush()
            if done == 50:
                print("loss: 0.5")
        sys.stderr.write("\n")
        assert log.path.read_text() == "loss: 0.5\n100%|##########| 100/100 [00:100]\n"


def test_a_row_with_other_separators_is_one_row(tmp_path):
    with logged(tmp_path) as (log, _):
        print("a\u2028b\x0cc")
        sys.stdout.write("\x1b[A\x1b[2Kd\n")
        assert log.path.read_text() == "d\n"


def test_a_newline_of_windows_may_be_split_over_two_writes(tmp_path):
    with logged(tmp_path) as (log, _):
        for piece in ("one\r", "\n", "two\r\n", "three\r", "four\n"):
            sys.stdout.write(piece)
        assert log.path.read_bytes() == b"one\ntwo\nfoure\n"


def test_bytes_are_kept_too_even_if_a_character_is_split(tmp_path):
    with logged(tmp_path) as (log, streams):
        data = "é训\n".encode()
        for i in range(len(data)):
            assert sys.stdout.buffer.write(data[i : i + 1]) == 1
        sys.stdout.buffer.writelines([b"a", bytearray(b"b"), memoryview(b"c\xff\n")])
        sys.stdout.buffer.flush()
        assert log.path.read_text() == "é训\nabc\\xff\n"
        assert streams[0].buffer.getvalue() == data + b"abc\xff\n"
        assert sys.stdout.buffer is sys.stdout.buffer


def test_bytes_that_were_written_only_in_part_are_kept_in_part(monkeypatch, tmp_path):
    class Raw(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return len(data) // 2

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(this(Raw()), encoding="utf-8"))
    log = OutputLog(tmp_path / "log")
    log.start()
    assert sys.stdout.buffer.write(b"abcd") == 2
    log.stop()
    assert log.path.read_text() == "ab"


def test_a_stream_built_on_the_bytes_is_kept(tmp_path):
    with logged(tmp_path) as (log, _):
        wrapped = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", write_through=True)
        print("é", file=wrapped)
        wrapped.detach()
        assert log.path.read_text() == "é\n"


def test_the_stream_stays_the_one_that_it_was(tmp_path):
    with logged(tmp_path) as (_, streams):
        out = streams[0]
        assert sys.stdout is out
        assert type(sys.stdout) is io.TextIOWrapper
        assert sys.stdout.encoding == "utf-8"
        assert sys.stdout.errors == out.errors
        assert not sys.stdout.isatty()
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
        with pytest.raises(AttributeError):
            this(sys.stdout).no_such_attribute  # noqa: B018
        this(sys.stdout).reconfigure(errors="replace")
        assert out.errors == "replace"
        with pytest.raises(TypeError):
            this(sys.stdout).write(b"bytes")
        assert list(sys.stdout) == list(out) == []


def test_a_terminal_stays_a_terminal(tmp_path, monkeypatch):
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        log = OutputLog(tmp_path / "log")
        log.start()
        assert sys.stdout.isatty()
        assert sys.stdout.fileno() == terminal
        log.stop()
        assert sys.stdout is file
        monkeypatch.undo()
    os.close(controller)


def test_leaving_a_with_block_closes_the_stream_as_ever(tmp_path, monkeypatch):
    below = io.StringIO()
    monkeypatch.setattr(sys, "stdout", below)
    log = OutputLog(tmp_path / "log")
    log.start()
    with sys.stdout as same:
        assert same is sys.stdout
    assert below.closed
    log.stop()


def test_without_a_console_the_file_has_it_all_the_same(tmp_path, monkeypatch):
    """As in pythonw, where the streams are None."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    log = OutputLog(tmp_path / "log")
    log.start()
    print("hello")
    assert not sys.stdout.isatty()
    assert sys.stdout.writable()
    with pytest.raises(AttributeError):
        sys.stdout.buffer  # noqa: B018
    log.stop()
    assert (sys.stdout, sys.stderr) == (None, None)
    assert log.path.read_text() == "hello\n"


class TestSeveralLogs:
    def test_the_newest_has_the_text(self, tmp_path):
        with console():
            logs = [OutputLog(tmp_path / str(number)) for number in range(300)]
            for log in logs:
                log.start()
            print("a")
            assert [log.path.read_text() for log in logs] == [""] * 299 + ["a\n"]
            for log in logs:
                log.stop()

    @pytest.mark.parametrize("first_stops", [True, False])
    def test_the_text_goes_back_to_the_one_before(self, tmp_path, first_stops):
        with console() as streams:
            one, two = OutputLog(tmp_path / "one"), OutputLog(tmp_path / "two")
            one.start()
            print("a")
            two.start()
            print("b")
            (one if first_stops else two).stop()
            print("c")
            (two if first_stops else one).stop()
            print("d")
            assert one.path.read_text() == ("a\n" if first_stops else "a\nc\n")
            assert two.path.read_text() == ("b\nc\n" if first_stops else "b\n")
            assert text_of(streams[0]) == "a\nb\nc\nd\n"

    def test_somebody_wraps_the_stream_between(self, tmp_path):
        with console() as streams:

            class Shouting(io.StringIO):
                def __init__(self, below):
                    super().__init__()
                    self.below = below

                def write(self, text):
                    return self.below.write(text.upper())

            one, two = OutputLog(tmp_path / "one"), OutputLog(tmp_path / "two")
            one.start()
            below = sys.stdout
            sys.stdout = wrapper = Shouting(below)
            print("a")
            two.start()
            print("b")
            one.stop()
            print("c")
            two.stop()
            assert (sys.stdout, type(wrapper)) == (wrapper, Shouting)
            print("d")
            sys.stdout = below
            assert text_of(streams[0]) == "A\nB\nC\nD\n"
            assert one.path.read_text() == "A\n"
            assert two.path.read_text() == "b\nc\n"
            again = OutputLog(tmp_path / "again")
            again.start()
            print("d")
            again.stop()
            assert again.path.read_text() == "d\n"

    def test_somebody_replaced_the_stream_between(self, tmp_path):
        with console():
            one, two = OutputLog(tmp_path / "one"), OutputLog(tmp_path / "two")
            one.start()
            with contextlib.redirect_stdout(io.StringIO()):
                print("not kept")
                two.start()
                print("b")
                two.stop()
            print("c")
            one.stop()
            assert one.path.read_text() == "c\n"
            assert two.path.read_text() == "b\n"

    def test_one_stream_set_to_the_other_is_kept_once(self, tmp_path):
        with console():
            log = OutputLog(tmp_path / "log")
            err = sys.stderr
            sys.stderr = sys.stdout
            log.start()
            print("x", file=sys.stderr)
            print("y")
            log.stop()
            sys.stderr = err
            assert log.path.read_text() == "x\ny\n"


class TestFile:
    def test_start_and_stop_may_be_repeated(self, tmp_path):
        with logged(tmp_path) as (log, _):
            log.start()
            print("a")
            log.stop()
            log.stop()
            print("b")
            log.start()
            print("c")
            assert log.path.read_text() == "a\nc\n"

    def test_an_existing_file_is_gone_on_with_on_a_new_line(self, tmp_path):
        with console():
            (tmp_path / "log").write_bytes(b"before, unfinished")
            log = OutputLog(tmp_path / "log")
            log.start()
            sys.stdout.write("after")
            log.stop()
            log.start()
            print("again")
            log.stop()
            assert log.path.read_text() == "before, unfinished\nafter\nagain\n"

    def test_unfinished_lines_stay_when_it_stops(self, tmp_path):
        with logged(tmp_path) as (log, _):
            sys.stdout.write("a")
            sys.stderr.write("b")
            log.stop()
            assert log.path.read_text() == "a\nb"

    def test_a_long_line_counts_as_finished(self, tmp_path):
        with logged(tmp_path) as (log, _):
            for _ in range(5):
                sys.stdout.write("x" * 1000)
            assert log.finished == 5000
            sys.stdout.write("\rend\n")
            assert log.path.read_text() == "x" * 5000 + "end\n"

    def test_text_that_is_no_unicode(self, tmp_path):
        with logged(tmp_path) as (log, _):
            this(sys.stdout).reconfigure(errors="surrogateescape")
            print("caf\udce9")
            assert log.path.read_text() == "caf\\xe9\n"

    def test_pieces_that_the_system_takes(self, monkeypatch, tmp_path):
        with logged(tmp_path) as (log, _):
            pwrite = os.pwrite
            monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:2], offset))
            print("hello")
            assert log.path.read_text() == "hello\n"


class TestFailures:
    def test_a_full_disk_is_told_once_and_printing_goes_on(self, tmp_path):
        with console() as streams, mounted(tmp_path / "disk", "size=2m") as full:
            fill(full, leave_bytes=8192)
            log = OutputLog(full / "log")
            log.start()
            with pytest.warns(
                IncompleteWarning, match=r"the output .* is not kept any more.*log: No space left"
            ) as caught:
                for _ in range(100):
                    print("x" * 1000)
            assert len(caught) == 1
            assert len(text_of(streams[0])) == 100_100
            assert log.path.stat().st_size > 0
            log.stop()

    def test_a_closed_descriptor_is_told_once(self, tmp_path):
        with logged(tmp_path) as (log, streams):
            os.close(log._file.fd)
            with pytest.warns(IncompleteWarning, match="Bad file descriptor") as caught:
                print("a")
                print("b")
            assert len(caught) == 1
            assert text_of(streams[0]) == "a\nb\n"

    def test_print_does_not_fail_even_where_warnings_are_errors(self, tmp_path):
        with logged(tmp_path) as (log, streams):
            os.close(log._file.fd)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                print("a")
            assert text_of(streams[0]) == "a\n"

    def test_the_warning_itself_is_printed_through_the_tee(self, tmp_path):
        with logged(tmp_path) as (log, streams):
            os.close(log._file.fd)
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)
                print("a")
            assert "is not kept any more" in text_of(streams[1])

    def test_a_file_that_cannot_be_opened_is_told(self, tmp_path):
        with console():
            log = OutputLog(tmp_path / "missing" / "log")
            with pytest.warns(IncompleteWarning, match="No such file"):
                log.start()
            print("a")
            log.stop()

    def test_no_permission(self, tmp_path):
        code = (
            "from t9k.em.capture.output import OutputLog\n"
            "with warnings.catch_warnings(record=True) as caught:\n"
            "    warnings.simplefilter('always')\n"
            "    OutputLog(Path(sys.argv[1])).start()\n"
            "print(caught[0].message)\n"
        )
        (tmp_path / "log").touch(0o400)
        assert "Permission denied" in run_unprivileged(code, tmp_path / "log")

    def test_a_console_that_fails_raises_as_ever(self, monkeypatch, tmp_path):
        with logged(tmp_path) as (log, streams):

            def write(_):
                raise BrokenPipeError

            monkeypatch.setattr(streams[0], "write", write, raising=False)
            with pytest.raises(BrokenPipeError):
                print("a")
            assert log.path.read_text() == ""


class TestConcurrency:
    def test_eight_threads_lose_nothing_and_tear_no_write(self, tmp_path):
        with logged(tmp_path) as (log, _):

            def work(number):
                for i in range(200):
                    sys.stdout.write(f"{number} {i}\n")

            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(log.path.read_text().splitlines()) == sorted(f"{n} {i}" for n in range(8) for i in range(200))

    @pytest.mark.long
    def test_logs_may_start_and_stop_while_threads_print(self, tmp_path):
        with console():
            done = threading.Event()

            def work():
                while not done.is_set():
                    print("x")

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for number in range(30):
                log = OutputLog(tmp_path / str(number))
                log.start()
                log.stop()
                assert set(log.path.read_text()) <= {"x", "\n"}
            done.set()
            for thread in threads:
                thread.join()

    def test_a_signal_handler_may_print_while_a_line_is_written(self, monkeypatch, tmp_path):
        with logged(tmp_path) as (log, _):
            pwrite = os.pwrite
            times = iter([True])

            def interrupted(fd, data, offset):
                if next(times, False):
                    signal.raise_signal(signal.SIGUSR1)
                return pwrite(fd, data, offset)

            before = signal.signal(signal.SIGUSR1, lambda *_: print("from the handler"))
            try:
                monkeypatch.setattr(os, "pwrite", interrupted)
                print("from the run")
            finally:
                signal.signal(signal.SIGUSR1, before)
            assert sorted(log.path.read_text().split("\n")) in (
                ["", "from the handler", "from the run"],
                ["", "", "from the runfrom the handler"],
            )


_FORKING = """
import os, sys
from pathlib import Path
from t9k.em.capture import streams
from t9k.em.capture.output import OutputLog

log = OutputLog(Path(sys.argv[1]))
log.start()
print("parent")
sys.stdout.flush()
log._lock.acquire(), streams._lock.acquire()  # as if another thread was just printing
child = os.fork()
if not child:
    print("child" * 100)
    sys.stdout.flush()
    nested = OutputLog(Path(sys.argv[1] + ".child"))
    nested.start()
    print("kept")
    nested.stop()
    log.stop()
    sys.stdout.flush()
    os._exit(0)
log._lock.release(), streams._lock.release()
assert os.waitpid(child, 0)[1] == 0
print("parent again")
log.stop()
"""


def test_a_forked_child_prints_past_the_log_of_its_parent(tmp_path):
    path = tmp_path / "log"
    printed = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORKING, path],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    ).stdout
    assert path.read_text() == "parent\nparent again\n"
    assert (tmp_path / "log.child").read_text() == "kept\n"
    assert printed == "parent\n" + "child" * 100 + "\nkept\nparent again\n"


def test_a_killed_process_leaves_all_that_it_printed(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from t9k.em.capture.output import OutputLog\n"
        "OutputLog(Path(sys.argv[1])).start()\n"
        "print('a')\n"
        "sys.stderr.write('\\r50%')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "log"],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
    )
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "log").read_text() == "a\n50%"
