"""Be told what is written to `sys.stdout` and `sys.stderr`, at the streams themselves, whoever took hold of them before.

The stream objects stay in their place, so that handlers of logging, progress bars and consoles that were made with them are heard too.
How one is tapped depends on its kind; ADR 0017 says why none of this can call itself without end:

- A text stream over bytes (`io.TextIOWrapper`, so every console, pipe and file) is tapped at its binary stream, below whatever others put
  on top of the text stream, and hands bytes down at once while it is tapped.
- A stream whose class is written in Python (that of Jupyter) gets a subclass of its class, with `write` as a property. What others
  assign to `write` goes below the tap, and a tap that they assign back is taken off first.
- Any other one (`io.StringIO`) gets an attribute `write`.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from t9k.em.warn import warn_incomplete

Tell = Callable[[str, str], None]

_MISSING = object()
_lock = threading.RLock()
_taps: dict[int, _Tap] = {}  # by the identity of the stream, which the tap keeps alive
_inside = threading.local()


class Listener(Protocol):
    """Somebody who wants to know what is written."""

    def hear(self, stream: str, text: str) -> bool:
        """Take a piece of text, after it was written, in the thread that wrote it; must not raise.

        Args:
            stream: 'stdout' or 'stderr'.
            text: The text.

        Returns:
            Whether it was taken; then the streams below this one do not tell it again.
        """


def unlock() -> None:
    """Forget who holds the lock: in a child made by fork, a thread that does not exist there."""
    global _lock, _inside  # noqa: PLW0603 - there is one of each in a process
    _lock = threading.RLock()
    _inside = threading.local()


def listen(listener: Listener) -> Callable[[], None]:
    """Tell a listener from now on what is written to the streams that stand there now.

    Args:
        listener: Called with the name of the stream and the text.

    Returns:
        What ends it; again is fine. The last listener of a stream gives it back as it was.
    """
    with _lock:
        found = [_tap(name, stream) for name in ("stdout", "stderr") for stream in _streams(name)]
        mine = [tap for tap in found if tap is not None]
        for tap in mine:
            tap.listeners = (*tap.listeners, listener)

    def stop() -> None:
        with _lock:
            while mine:
                tap = mine.pop()
                tap.listeners = tuple(other for other in tap.listeners if other is not listener)
                if not tap.listeners:
                    _taps.pop(id(tap.stream), None)
                    tap.remove()

    return stop


def _streams(name: str) -> list[Any]:
    """Return the streams that one name stands for: the one in its place, and the first one, where that writes to the same descriptor."""
    current, first = getattr(sys, name), getattr(sys, f"__{name}__")
    if current is None:
        current = _Nowhere()
        setattr(sys, name, current)
    if first is None or first is current or _descriptor(first) != _descriptor(current):
        return [current]
    return [current, first]


def _descriptor(stream: Any) -> object:
    try:
        return stream.fileno()
    except Exception:  # noqa: BLE001 - whatever a stream of others raises, it has none
        return stream


def _tap(name: str, stream: Any) -> _Tap | None:
    """Return the tap of a stream; None for one that takes no text, or lets nobody listen, which is told."""
    known = _taps.get(id(stream))
    if known is None:
        known = _installed(name, stream)
        if known is not None:
            _taps[id(stream)] = known
    return known


def _installed(name: str, stream: Any) -> _Tap | None:
    kind = _kind_of(stream)
    reason: Exception | None = None
    for way in (kind, _AttributeTap) if kind is _ClassTap else (kind,):  # a class may allow no subclass
        tap = way(name, stream)
        try:
            tap.install()
        except Exception as error:  # noqa: BLE001 - whatever a stream of others does, the training goes on
            reason = reason or error
        else:
            return tap
    if hasattr(stream, "write") and getattr(stream, "closed", False) is not True:
        warn_incomplete(
            f"what is written to sys.{name} is not kept: {type(reason).__name__}: {reason}; the run goes on", 9
        )
    return None


def _kind_of(stream: Any) -> type[_Tap]:
    if isinstance(stream, _Nowhere):
        return _NowhereTap
    if isinstance(stream, io.TextIOWrapper):
        return _BytesTap
    is_python = type(stream).__flags__ & _HEAP_TYPE and not type(stream).__flags__ & _IMMUTABLE_TYPE
    return _ClassTap if is_python else _AttributeTap


_HEAP_TYPE = 1 << 9
_IMMUTABLE_TYPE = 1 << 8


class _Tap:
    """One stream that is tapped.

    Attributes:
        name: 'stdout' or 'stderr'.
        stream: The stream.
        listeners: Called with each text.
    """

    def __init__(self, name: str, stream: Any) -> None:
        self.name = name
        self.stream = stream
        self.listeners: tuple[Listener, ...] = ()

    def install(self) -> None:
        raise NotImplementedError

    def remove(self) -> None:
        raise NotImplementedError

    def write(self, inner: Callable[..., Any], text: Any, *args: Any, **kwargs: Any) -> Any:
        """Write text by the way that was there before, and tell it unless a stream above this one has."""
        if not self.listeners or self.name in (busy := _busy()):
            return inner(text, *args, **kwargs)
        busy[self.name] = self
        try:
            written = inner(text, *args, **kwargs)
        finally:
            busy.pop(self.name, None)
        self.tell(text)
        return written

    def tell(self, text: str) -> None:
        for listener in self.listeners:
            if listener.hear(self.name, text):
                return


def _busy() -> dict[str, _Tap]:
    """Return the streams that this thread is writing to, and whose text will be told, by name."""
    try:
        found: dict[str, _Tap] = _inside.busy
    except AttributeError:
        found = _inside.busy = {}
    return found


class _BytesTap(_Tap):
    """A text stream over bytes, tapped at its binary stream."""

    def install(self) -> None:
        self._buffer = self.stream.buffer
        self._hooks = {"write": self._write, "writelines": self._write_lines}  # `BytesIO` has its own of the latter
        self._before = {name: vars(self._buffer).get(name, _MISSING) for name in self._hooks}
        self._inner = self._buffer.write
        self._was_through = self.stream.write_through
        self._encoding: str | None = None
        self.stream.reconfigure(write_through=True)  # hands down what waits, and then every piece at once
        for name, hook in self._hooks.items():
            setattr(self._buffer, name, hook)

    def remove(self) -> None:
        for name, hook in self._hooks.items():
            if vars(self._buffer).get(name) is not hook:
                continue  # somebody has put something on top meanwhile, below which this only passes on
            if self._before[name] is _MISSING:
                delattr(self._buffer, name)
            else:
                setattr(self._buffer, name, self._before[name])
        if not self._was_through:
            with contextlib.suppress(OSError, ValueError):  # broken, closed or detached
                self.stream.reconfigure(write_through=False)

    def _write(self, data: Any) -> Any:
        if not self.listeners:
            return self._inner(data)
        busy = _busy()
        above = busy.get(self.name)
        if above is not None and above is not self:
            return self._inner(data)
        busy[self.name] = self  # it may be so already: a signal handler prints while this is written
        try:
            written = self._inner(data)
        finally:
            if above is None:
                busy.pop(self.name, None)
        view = memoryview(data).cast("B")
        self.tell(self._decoded(view if written is None else view[:written]))
        return written

    def _decoded(self, data: memoryview) -> str:
        encoding = self._encoding
        with contextlib.suppress(ValueError):  # detached: another text stream has the bytes now
            encoding = self.stream.encoding
        mark = ""
        if encoding is not self._encoding or encoding is None:
            self._encoding = encoding
            self._decoder = _decoder(encoding or "utf-8")
            mark = "\ufeff"
        try:
            return self._decoder.decode(data).removeprefix(mark)
        except UnicodeError:
            return str(data, "utf-8", "backslashreplace")

    def _write_lines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self._buffer.write(line)


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    """Return a decoder that can begin in the middle of a stream, where no mark of the byte order comes any more."""
    name = codecs.lookup(encoding).name
    if name in ("utf-16", "utf-32"):
        encoding = f"{name}-{sys.byteorder[0]}e"
    return codecs.getincrementaldecoder(encoding)("backslashreplace")


class _AttributeTap(_Tap):
    """A stream whose class cannot be changed, but which takes attributes."""

    def install(self) -> None:
        self._before = getattr(self.stream, "__dict__", {}).get("write", _MISSING)
        self._inner = self.stream.write
        self._hook = self._write
        object.__setattr__(self.stream, "write", self._hook)  # its own may hand all down to another stream

    def remove(self) -> None:
        if vars(self.stream).get("write") is not self._hook:
            return
        if self._before is _MISSING:
            object.__delattr__(self.stream, "write")
        else:
            object.__setattr__(self.stream, "write", self._before)

    def _write(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        return self.write(self._inner, text, *args, **kwargs)


class _ClassTap(_Tap):
    """A stream whose class is written in Python."""

    def install(self) -> None:
        self._class: type = type(self.stream)
        self._tapped: type = _tapped(self._class)
        object.__setattr__(self.stream, "__class__", self._tapped)  # its own may hand all down to another stream

    def remove(self) -> None:
        if type(self.stream) is self._tapped:
            object.__setattr__(self.stream, "__class__", self._class)


class _TappedWrite:
    """The method `write` of a stream that is tapped, over what others had put there; harmless once the tap is gone."""

    __slots__ = ("inner", "tap")

    def __init__(self, tap: _Tap, inner: Callable[..., Any]) -> None:
        self.tap = tap
        self.inner = inner

    def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        return self.tap.write(self.inner, text, *args, **kwargs)


_subclasses: dict[type, type] = {}


def _tapped(kind: type) -> type:
    """Return a subclass with the same name, so that what looks at the type still finds it; one for each class."""
    if kind not in _subclasses:
        _subclasses[kind] = _make_tapped(kind)
    return _subclasses[kind]


def _make_tapped(kind: type) -> type:

    def own(stream: Any) -> Callable[..., Any] | None:
        method: Callable[..., Any] | None = getattr(super(tapped, stream), "write", None)
        return method

    def get(stream: Any) -> Callable[..., Any]:
        inner = _attributes(stream).get("write") or own(stream) or kind.__getattr__(stream, "write")  # type: ignore[attr-defined]
        tap = _taps.get(id(stream))
        return inner if tap is None else _TappedWrite(tap, inner)

    def put(stream: Any, value: Any) -> None:
        while isinstance(value, _TappedWrite) and value.tap.stream is stream:
            value = value.inner
        if value == own(stream):
            _attributes(stream).pop("write", None)
        else:
            vars(stream)["write"] = value

    def delete(stream: Any) -> None:
        _attributes(stream).pop("write", None)

    names = {
        "__slots__": (),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "write": property(get, put, delete),
    }
    tapped = type(kind.__name__, (kind,), names)
    return tapped


def _attributes(stream: Any) -> dict[str, Any]:
    """Return the attributes of a stream itself; an empty dict for one that can have none."""
    found: dict[str, Any] = getattr(stream, "__dict__", {})
    return found


class _Nowhere(io.TextIOBase):
    """Stands where there is no console: takes text and drops it."""

    tap: _NowhereTap | None = None

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        tap = self.tap
        return len(text) if tap is None else tap.write(len, text)


class _NowhereTap(_Tap):
    def install(self) -> None:
        self.stream.tap = self

    def remove(self) -> None:
        self.stream.tap = None
        if getattr(sys, self.name) is self.stream:
            setattr(sys, self.name, None)
