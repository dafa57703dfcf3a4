from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from tests.em.local.faultydisk import fill, mounted, run_unprivileged

from t9k.em.errors import LocalError, RecoveredDataWarning
from t9k.em.local import appender, shortwrite
from t9k.em.local.files import LineAppender


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.yaml"


def test_appends_and_nothing_exists_before(path):
    with LineAppender(path) as lines:
        assert not path.exists()
        lines.append(b"one\n")
        assert path.read_bytes() == b"one\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lines.append(b"two\nthree\n")
    with LineAppender(path) as lines:
        lines.append(b"four\n")
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"


@pytest.mark.parametrize("line", [b"", b"no newline", b"one\ntwo"])
def test_refuses_incomplete_lines(path, line):
    with pytest.raises(ValueError, match="not a complete line"):
        LineAppender(path).append(line)


def test_close_and_sync_may_be_repeated_and_then_nothing_is_appended(path):
    lines = LineAppender(path)
    lines.sync()
    lines.append(b"one\n")
    lines.sync()
    lines.sync()
    lines.close()
    lines.close()
    lines.sync()
    with pytest.raises(ValueError, match="closed"):
        lines.append(b"two\n")
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (b"one\ntwo\nthr", b"one\ntwo\n"),
        (b"one\ntwo\n\0\0\0\0", b"one\ntwo\n"),
        (b"one\ntw\0\0", b"one\n"),
        (b"torn", b""),
        (b"\0" * 200_000, b""),
        (b"one\n" + b"x" * 200_000, b"one\n"),
    ],
)
def test_repairs_a_torn_tail_once_and_says_so(path, found, kept):
    path.write_bytes(found)
    with LineAppender(path) as lines:
        with pytest.warns(RecoveredDataWarning, match=rf"train.yaml: dropped .* {len(found) - len(kept)} bytes"):
            lines.append(b"new\n")
        lines.append(b"newer\n")
    assert path.read_bytes() == kept + b"new\nnewer\n"


def test_does_not_repair_what_another_is_appending_to(path):
    """What looks torn may be a line that is just being written."""
    with LineAppender(path) as first, LineAppender(path) as second:
        first.append(b"one\n")
        with path.open("ab") as file:
            file.write(b"tw")
        second.append(b"o\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_repairs_on_a_file_system_without_locks(path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(appender.fcntl, "flock", flock)
    path.write_bytes(b"one\ntw")
    with LineAppender(path) as lines, pytest.warns(RecoveredDataWarning):
        lines.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_repairs_on_a_system_without_locks(path, monkeypatch):
    monkeypatch.setattr(appender, "fcntl", None)
    path.write_bytes(b"one\ntw")
    with LineAppender(path) as lines, pytest.warns(RecoveredDataWarning):
        lines.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


LONG = b"x" * shortwrite.LONGEST_BYTES + b"\n"


@pytest.mark.parametrize("second", [b"twothree\n", LONG], ids=["short", "long"])
def test_a_line_that_the_system_takes_piecemeal_is_finished(path, monkeypatch, second):
    write = os.write
    with LineAppender(path) as lines:
        lines.append(b"one\n")
        monkeypatch.setattr(lines, "_write", lambda fd, data, _: write(fd, data[:2]))
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: 1 + len(data) // 2]))
        lines.append(second)
        monkeypatch.undo()
    assert path.read_bytes() == b"one\n" + second


def test_a_line_that_the_system_did_not_take_is_tried_again_before_an_error_is_raised(path, monkeypatch):
    with LineAppender(path) as lines:
        lines.append(b"one\n")
        monkeypatch.setattr(lines, "_write", lambda *_: -1)  # a signal, for example
        lines.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_line_that_is_taken_at_the_second_try_is_there_once_while_another_has_the_file_open(path, monkeypatch):
    with LineAppender(path) as one, LineAppender(path) as other:
        one.append(b"one\n")
        other.append(b"two\n")
        monkeypatch.setattr(one, "_write", lambda *_: -1)
        one.append(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"


class TestTheInterpretersLock:
    """Whether other threads run while a line is written."""

    @pytest.fixture
    def turns(self):
        """Counts how often another thread that always wants to run has run."""
        counted = [0]
        is_over = False

        def run() -> None:
            while not is_over:
                counted[0] += 1
                time.sleep(0)

        before = sys.getswitchinterval()
        sys.setswitchinterval(100.0)  # nobody is made to give the lock up
        thread = threading.Thread(target=run)
        thread.start()
        yield lambda: counted[0]
        is_over = True
        sys.setswitchinterval(before)
        thread.join()

    def turns_during(self, turns, lines, line: bytes) -> int:
        """How often the other thread runs while 500 lines are appended."""
        lines.append(line)  # opens the file and begins to sync
        before = turns()
        for _ in range(500):
            lines.append(line)
        return turns() - before

    def test_is_kept_for_a_short_line(self, path, turns):
        with LineAppender(path) as lines:
            assert self.turns_during(turns, lines, b"short\n") <= 2  # of a sync that falls in between

    def test_is_given_up_for_a_long_one(self, path, turns):
        deadline = time.monotonic() + 60  # the other thread needs a processor at the right moment
        with LineAppender(path) as lines:
            while not self.turns_during(turns, lines, LONG) > 2:
                assert time.monotonic() < deadline

    def test_is_given_up_where_there_is_no_c_library(self, path, monkeypatch):
        monkeypatch.setitem(sys.modules, "ctypes", None)
        written, write = [], os.write
        monkeypatch.setattr(os, "write", lambda fd, data: written.append(data) or write(fd, data))
        shortwrite.short_write.cache_clear()
        try:
            with LineAppender(path) as lines:
                lines.append(b"short\n")
        finally:
            shortwrite.short_write.cache_clear()
        assert path.read_bytes() == b"short\n"
        assert written == [b"short\n"]


def test_a_line_that_does_not_fit_is_taken_back(tmp_path):
    with mounted(tmp_path / "disk", "size=2m") as full:
        fill(full, leave_bytes=8192)
        path = full / "train.yaml"
        with LineAppender(path) as lines:
            lines.append(b"one\n")
            with pytest.raises(LocalError, match=r"cannot append to .*train.yaml.*free some space"):
                lines.append(b"x" * 100_000 + b"\n")
            assert path.read_bytes() == b"one\n"
            (full / "filler").unlink()
            lines.append(b"two\n")
        assert path.read_bytes() == b"one\ntwo\n"


def test_no_permission_says_what_to_do(tmp_path):
    (tmp_path / "train.yaml").write_bytes(b"")
    (tmp_path / "train.yaml").chmod(0o400)
    code = (
        "try: files.LineAppender(Path(sys.argv[1])).append(b'x\\n')\nexcept errors.LocalError as error: print(error)\n"
    )
    printed = run_unprivileged(code, tmp_path / "train.yaml")
    assert printed.startswith(f"cannot open {tmp_path}/train.yaml: Permission denied; check who owns it")


def test_a_failed_open_leaves_no_descriptor_and_can_be_repeated(path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "broken")

    lines = LineAppender(path)
    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fstat", broken)
    with pytest.raises(OSError, match="broken"):
        lines.append(b"one\n")
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    lines.append(b"one\n")
    lines.close()
    assert path.read_bytes() == b"one\n"


class TestSync:
    def test_happens_in_the_background(self, path, monkeypatch):
        synced = threading.Event()

        def flush(fd):
            os.fdatasync(fd)
            synced.set()

        monkeypatch.setattr(appender, "_SYNC_PERIOD_S", 0.01)
        monkeypatch.setattr(appender, "_flush_to_disk", flush)
        with LineAppender(path) as lines:
            for _ in range(3):
                synced.clear()
                lines.append(b"one\n")
                assert synced.wait(30)

    def test_appends_do_not_wait_for_the_disk(self, path, monkeypatch):
        slow, go_on = threading.Event(), threading.Event()

        def flush(_):
            slow.set()
            assert go_on.wait(30)

        monkeypatch.setattr(appender, "_SYNC_PERIOD_S", 0.01)
        monkeypatch.setattr(appender, "_flush_to_disk", flush)
        with LineAppender(path) as lines:
            lines.append(b"one\n")
            assert slow.wait(30)
            lines.append(b"two\n")
            go_on.set()
        assert path.read_bytes() == b"one\ntwo\n"

    @pytest.mark.parametrize("call", ["append", "sync", "close"])
    def test_a_failure_in_the_background_is_raised_by_the_next_call(self, path, monkeypatch, call):
        failed = threading.Event()

        def flush(_):
            failed.set()
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(appender, "_SYNC_PERIOD_S", 0.01)
        monkeypatch.setattr(appender, "_flush_to_disk", flush)
        lines = LineAppender(path)
        lines.append(b"one\n")
        assert failed.wait(30)
        deadline = time.monotonic() + 30
        while lines._failure is None and time.monotonic() < deadline:
            time.sleep(0.001)
        monkeypatch.setattr(appender, "_flush_to_disk", os.fdatasync)
        with pytest.raises(LocalError, match="cannot sync .* free some space"):
            lines.append(b"two\n") if call == "append" else getattr(lines, call)()
        lines.close()

    def test_without_new_threads_only_close_syncs(self, path, monkeypatch):
        """As while the interpreter shuts down."""

        def start(*_):
            raise RuntimeError("can't create new thread at interpreter shutdown")

        monkeypatch.setattr(appender, "_SYNCER", appender._Syncer())
        monkeypatch.setattr(appender, "start_new_thread", start)
        with LineAppender(path) as lines:
            lines.append(b"one\n")
        assert path.read_bytes() == b"one\n"

    @pytest.mark.long
    def test_a_forgotten_appender_is_closed(self, path, monkeypatch):
        monkeypatch.setattr(appender, "_SYNC_PERIOD_S", 0.01)
        lines = LineAppender(path)
        lines.append(b"one\n")
        fd, gone = lines._fd, weakref.ref(lines)
        del lines
        deadline = time.monotonic() + 30
        while is_open_as(fd, path) and time.monotonic() < deadline:
            gc.collect()  # unless the thread that syncs is what lets go of it last
            time.sleep(0.01)
        assert gone() is None
        assert not is_open_as(fd, path)


def is_open_as(fd, path) -> bool:
    """Whether a descriptor is that of a file; some thread of the process may have got its number since."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def test_eight_threads_lose_nothing_and_tear_nothing(path):
    expected = {b"%d %d %s\n" % (n, i, b"x" * (i % 300)) for n in range(8) for i in range(500)}
    with LineAppender(path) as lines:

        def work(number):
            for i in range(500):
                lines.append(b"%d %d %s\n" % (number, i, b"x" * (i % 300)))
                if i % 100 == 0:
                    lines.sync()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    written = path.read_bytes().splitlines(keepends=True)
    assert len(written) == len(expected)
    assert set(written) == expected


_FORKING = """
import os, sys, threading, time
from pathlib import Path
from t9k.em.local import appender, shortwrite
from t9k.em.local.files import LineAppender

appender._SYNC_PERIOD_S = 0.01
synced = threading.Event()
flush = os.fdatasync
appender._flush_to_disk = lambda fd: (flush(fd), synced.set())
lines = LineAppender(Path(sys.argv[1]))
lines.append(b"parent\\n")
assert synced.wait(30)
lines._lock.acquire()  # as if another thread was just appending
child = os.fork()
if not child:
    synced.clear()
    lines.append(b"child\\n")
    assert synced.wait(30), "no thread in the child"
    lines.close()
    os._exit(0)
lines._lock.release()
assert os.waitpid(child, 0)[1] == 0
lines.append(b"parent again\\n")
lines.close()
"""


def test_a_forked_child_appends_and_syncs_too(path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORKING, path], check=True, env=environment
    )
    assert path.read_bytes() == b"parent\nchild\nparent again\n"


def _append_for_ever(path: Path, acknowledged) -> None:
    lines = LineAppender(path)
    number = 0
    while True:
        lines.append(b"%d %s\n" % (number, b"x" * (number % 9000)))
        number += 1
        acknowledged.value = number


@pytest.mark.long
@pytest.mark.parametrize("wait_s", [0.0, 0.01, 0.05, 0.2])
def test_sigkill_loses_nothing_that_was_acknowledged(path, wait_s):
    context = multiprocessing.get_context("spawn")
    acknowledged = context.Value("q", 0, lock=False)
    process = context.Process(target=_append_for_ever, args=(path, acknowledged))
    process.start()
    while not acknowledged.value:
        time.sleep(0.001)
    time.sleep(wait_s)
    process.kill()
    process.join()

    torn = not path.read_bytes().endswith(b"\n")
    with LineAppender(path) as lines:
        if torn:
            with pytest.warns(RecoveredDataWarning):
                lines.append(b"-1 \n")
        else:
            lines.append(b"-1 \n")
    *written, last = path.read_bytes().splitlines()
    assert last == b"-1 "
    assert len(written) in (acknowledged.value, acknowledged.value + 1)
    assert written == [b"%d %s" % (number, b"x" * (number % 9000)) for number in range(len(written))]
