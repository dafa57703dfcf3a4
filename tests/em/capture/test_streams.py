# ruff: noqa: T201 - printing is what is tested
"""Output is taken at the streams themselves: from whoever took hold of them before, whatever others do to them, and once."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from loguru import logger as loguru_logger
from rich.console import Console
from tests.em.capture.test_output import console, text_of
from tqdm import tqdm

from t9k.em.capture import output, streams
from t9k.em.capture.output import OutputLog
from t9k.em.errors import IncompleteWarning


@contextmanager
def kept(path: Path):
    log = OutputLog(path)
    log.start()
    try:
        yield log
    finally:
        log.stop()


class Published(io.TextIOBase):
    """A stream whose class is written in Python, as that of Jupyter."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def write(self, text: str) -> int:
        self.shown.append(text)
        return len(text)


@contextmanager
def published() -> Iterator[Any]:
    before = sys.stdout
    sys.stdout = stream = Published()
    try:
        yield stream
    finally:
        sys.stdout = before


class TestWhoTookHoldBefore:
    def test_is_kept(self, tmp_path):
        with console() as (out, err), ExitStack() as stack:
            handler = logging.StreamHandler(err)
            root = logging.getLogger("kept")
            root.addHandler(handler)
            stack.callback(root.removeHandler, handler)
            number = loguru_logger.add(err, format="{message}")
            stack.callback(loguru_logger.remove, number)
            terminal = Console(file=out, force_terminal=False)
            bar = tqdm(total=2, file=err)
            method = out.write
            with kept(tmp_path / "log") as log:
                root.warning("by logging")
                loguru_logger.info("by loguru")
                terminal.print("by rich")
                bar.update(2)
                bar.close()
                method("by a method\n")
                print("by print")
            text = log.path.read_text()
            for line in ("by logging\n", "by loguru\n", "by rich\n", "by a method\n", "by print\n", "2/2"):
                assert text.count(line) == 1
            assert "by a method" in text_of(out)

    def test_is_kept_below_a_stream_that_wraps_the_first_one(self, tmp_path, monkeypatch):
        """As colorama does: handlers made before it hold the stream below."""
        with (tmp_path / "console").open("w") as below:

            class Wrapper:
                def __getattr__(self, name):
                    return getattr(below, name)

                def write(self, text):
                    return below.write(text)

            monkeypatch.setattr(sys, "__stdout__", below)
            monkeypatch.setattr(sys, "stdout", Wrapper())
            with kept(tmp_path / "log") as log:
                print("above")
                below.write("below\n")
                assert log.path.read_text() == "above\nbelow\n"
            assert (tmp_path / "console").read_text() == "above\nbelow\n"


class TestAStreamWrittenInPython:
    def test_is_kept_and_given_back(self, tmp_path):
        with published() as stream:
            with kept(tmp_path / "log") as log:
                print("a")
                sys.stdout.writelines(["b\n"])
                assert isinstance(stream, Published)
                assert type(stream).__name__ == "Published"
            print("c")
            assert (type(stream), list(vars(stream))) == (Published, ["shown"])
            assert log.path.read_text() == "a\nb\n"
            assert "".join(stream.shown) == "a\nb\nc\n"

    def test_may_have_its_write_replaced_for_a_while_a_thousand_times(self, tmp_path):
        """As IPython 9.1 and later do around each cell."""
        with published() as stream:
            recorded = []

            @contextmanager
            def cell():
                original = stream.write

                def write(text: str) -> int:
                    recorded.append(text)
                    return original(text)

                stream.write = write
                yield
                stream.write = original

            with cell():
                log = OutputLog(tmp_path / "log")
                log.start()
                print("in the cell")
            for _ in range(1500):
                with cell():
                    print("x")
            with cell():
                log.stop()
                print("after")
            with cell():
                print("later")
            assert log.path.read_text() == "in the cell\n" + "x\n" * 1500
            assert "".join(stream.shown) == "".join(recorded) == "in the cell\n" + "x\n" * 1500 + "after\nlater\n"
            assert type(stream) is Published

    @pytest.mark.parametrize("name", ["write", "flush", "writelines"])
    def test_may_have_any_method_set_to_what_it_is(self, tmp_path, name):
        with published() as stream, kept(tmp_path / "log") as log:
            for _ in range(2000):
                setattr(stream, name, getattr(stream, name))
            print("a")
            assert log.path.read_text() == "a\n"
            assert stream.shown == ["a", "\n"]
            delattr(stream, name) if name in vars(stream) else None
            print("b")
            assert log.path.read_text() == "a\nb\n"


class TestATextStream:
    @pytest.mark.parametrize("name", ["write", "flush", "writelines"])
    def test_may_have_any_method_set_to_what_it_is(self, tmp_path, name):
        with console() as (out, _):
            with kept(tmp_path / "log") as log:
                for _ in range(2000):
                    setattr(out, name, getattr(out, name))
                print("a")
                assert log.path.read_text() == "a\n"
            delattr(out, name)
            assert text_of(out) == "a\n"

    def test_may_have_the_write_of_its_bytes_replaced(self, tmp_path):
        with console() as (out, _):
            seen = []
            with kept(tmp_path / "log") as log:
                inner = out.buffer.write
                out.buffer.write = lambda data: seen.append(bytes(data)) or inner(data)
                print("a")
            print("b")
            with kept(tmp_path / "again") as again:
                print("c")
            del out.buffer.write
            assert (log.path.read_text(), again.path.read_text()) == ("a\n", "c\n")
            assert b"".join(seen) == b"a\nb\nc\n"
            assert text_of(out) == "a\nb\nc\n"

    def test_goes_on_to_wait_as_it_did(self, tmp_path):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            print("before")
            with kept(tmp_path / "log") as log:
                print("a")
                assert log.path.read_text() == "a\n"
                assert out.write_through
            assert not out.write_through
            print("after")
            assert text_of(out) == "before\na\n"

    def test_in_other_encodings(self, tmp_path):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-16", newline="\r\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            with kept(tmp_path / "log") as log:
                print("é训")
                print("b")
            assert log.path.read_text() == "é训\nb\n"

    def test_in_utf_16_from_the_middle_on(self, tmp_path):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-16")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            print("before")
            with kept(tmp_path / "log") as log:
                print("é训")
            assert log.path.read_text() == "é训\n"
            assert out.buffer.getvalue().decode("utf-16") == "before\né训\n"

    def test_in_an_encoding_that_is_changed_meanwhile(self, tmp_path):
        out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            with kept(tmp_path / "log") as log:
                print("é")
                out.reconfigure(encoding="utf-8")
                print("é训")
            assert log.path.read_text() == "é\né训\n"

    def test_that_is_detached_meanwhile(self, tmp_path):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            with kept(tmp_path / "log") as log:
                print("a")
                sys.stdout = io.TextIOWrapper(out.detach(), encoding="utf-8", write_through=True)
                print("é")
            assert log.path.read_text() == "a\né\n"


class Written:
    def __init__(self, below: Any) -> None:
        self.__dict__["below"] = below

    def write(self, text: str) -> int:
        return self.below.write(text)

    def flush(self) -> None:
        """Nothing waits."""


class WithSlots:
    __slots__ = ("below",)

    def __init__(self, below: Any) -> None:
        self.below = below

    def write(self, text: str) -> int:
        return self.below.write(text)

    def flush(self) -> None:
        """Nothing waits."""


class HandingAllDown(Written):
    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.below, name, value)


class Final(Written):
    def __init_subclass__(cls) -> None:
        raise TypeError("this class has no subclasses")


class Reached:
    """Has no method `write`, as a temporary file."""

    def __init__(self, below: Any) -> None:
        self.below = below

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.below, name)
        self.__dict__[name] = found
        return found


class InTheClass:
    below: Any = None

    def __init__(self, below: Any) -> None:
        type(self).below = below

    @staticmethod
    def write(text: str) -> int:
        return InTheClass.below.write(text)

    @staticmethod
    def flush() -> None:
        """Nothing waits."""


class Mocked(Mock):
    def __init__(self, below: Any = None, **rest: Any) -> None:
        super().__init__(**rest)
        if below is not None:
            self.write.side_effect = below.write


@pytest.mark.parametrize("kind", [Written, WithSlots, HandingAllDown, Final, Reached, InTheClass, Mocked])
def test_a_stream_of_any_class_is_heard_and_prints_on(tmp_path, kind):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", kind(out))
        for name in ("first", "second"):
            with kept(tmp_path / name) as log:
                print(name)
            assert log.path.read_text() == f"{name}\n"
        print("after")
        assert type(sys.stdout) is kind or kind is Mocked  # which makes a class for each object
    assert out.getvalue() == "first\nsecond\nafter\n"


def test_a_closed_stream_stops_nothing(tmp_path):
    with console() as (_, err), pytest.MonkeyPatch.context() as patch:
        closed = io.TextIOWrapper(io.BytesIO())
        closed.close()
        patch.setattr(sys, "stdout", closed)
        with kept(tmp_path / "log") as log:
            print("a", file=err)
        assert log.path.read_text() == "a\n"


def test_a_string_is_a_stream_as_well(tmp_path):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with kept(tmp_path / "log") as log:
            print("a")
        print("b")
        assert (log.path.read_text(), out.getvalue(), vars(out)) == ("a\n", "a\nb\n", {})


def test_nothing_stays_when_all_have_stopped(tmp_path):
    before = dict(streams._taps)  # of runs that other tests have left
    with console():
        with kept(tmp_path / "a"), kept(tmp_path / "b"):
            assert len(streams._taps) == len(before) + 2
        assert streams._taps == before


class TestWhoseOutput:
    @staticmethod
    def in_threads(*works: Any) -> None:
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    def test_runs_in_threads_keep_their_own(self, tmp_path):
        barrier = threading.Barrier(4)

        def work(number: int) -> None:
            with kept(tmp_path / str(number)):
                for _ in range(50):
                    barrier.wait(10)
                    print(number)

        with console():
            self.in_threads(*(lambda number=number: work(number) for number in range(4)))
        assert [(tmp_path / str(number)).read_text() for number in range(4)] == [f"{n}\n" * 50 for n in range(4)]

    def test_a_thread_without_a_run_prints_for_that_of_the_main_thread(self, tmp_path):
        with console(), kept(tmp_path / "main") as log:

            def work() -> None:
                with kept(tmp_path / "own"):
                    print("own")
                print("no more")

            self.in_threads(work)
            self.in_threads(lambda: print("none"))
            assert log.path.read_text() == "no more\nnone\n"
            assert (tmp_path / "own").read_text() == "own\n"

    def test_tasks_keep_their_own(self, tmp_path):
        async def train(number: int) -> None:
            with kept(tmp_path / str(number)):
                for _ in range(10):
                    await asyncio.sleep(0)
                    print(number)

        async def both() -> None:
            await asyncio.gather(train(0), train(1))

        with console():
            asyncio.run(both())
        assert [(tmp_path / str(number)).read_text() for number in range(2)] == ["0\n" * 10, "1\n" * 10]

    def test_the_only_run_of_a_thread_has_what_nobody_else_has(self, tmp_path, monkeypatch):
        """As when a library that it calls prints from threads of its own."""
        monkeypatch.setattr(output, "_going", ())  # without the runs that other tests have left
        with console():

            def work() -> None:
                with kept(tmp_path / "log"):
                    self.in_threads(lambda: print("from a worker"))

            self.in_threads(work)
        assert (tmp_path / "log").read_text() == "from a worker\n"


@pytest.mark.parametrize("broken", [object(), io.TextIOWrapper(io.BytesIO())], ids=["no stream", "closed"])
def test_what_takes_no_text_is_no_trouble(tmp_path, monkeypatch, broken):
    if isinstance(broken, io.TextIOWrapper):
        broken.close()
    with console():
        monkeypatch.setattr(sys, "stderr", broken)
        with kept(tmp_path / "log") as log:
            print("a")
        assert log.path.read_text() == "a\n"
        monkeypatch.undo()


def test_a_stream_that_lets_nobody_listen_is_told(tmp_path, monkeypatch):
    class Closed:
        __slots__ = ()

        def write(self, text: str) -> int:
            return len(text)

        def __init_subclass__(cls) -> None:
            raise TypeError("this class has no subclasses")

    with console():
        monkeypatch.setattr(sys, "stderr", Closed())
        with pytest.warns(IncompleteWarning, match="what is written to sys.stderr is not kept"), kept(tmp_path / "log"):
            print("a", file=sys.stderr)
        monkeypatch.undo()


class Interrupted(io.BytesIO):
    """Bytes during whose writing a signal comes."""

    def write(self, data: Any) -> int:
        size = super().write(data)
        if data == b"outer":
            signal.raise_signal(signal.SIGUSR1)
        return size


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_what_a_signal_handler_prints_during_a_print_is_kept(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGUSR1, lambda *_: print("from the handler"))
    try:
        with console():
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Interrupted(), encoding="utf-8"))
            with kept(tmp_path / "log") as log:
                print("outer")
            monkeypatch.undo()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sorted(log.path.read_text().split()) == ["from", "handler", "outer", "the"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_signal_handler_may_end_the_log_in_the_middle_of_a_line(tmp_path, monkeypatch):
    with console():
        log = OutputLog(tmp_path / "log")
        before = signal.signal(signal.SIGUSR1, lambda *_: log.stop())
        written = os.pwrite

        def interrupted(fd: int, data: Any, offset: int) -> int:
            signal.raise_signal(signal.SIGUSR1)
            return written(fd, data, offset)

        try:
            log.start()
            monkeypatch.setattr(os, "pwrite", interrupted)
            print("whole", end="")
            monkeypatch.undo()
            print("not kept any more")
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert not log.is_going
    assert log.path.read_text() == "whole"
