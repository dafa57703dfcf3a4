"""A store and a scheduler for many simulated processes: one seed, one history, the same each time.

Each process is a greenlet. Every call of its store goes to the scheduler first, which picks who goes on and what
becomes of the call: done, crash before or after it, request lost, reply lost, performed twice by a driver, lost but
performed later, or answered from a listing that is torn or out of date.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any

from attrs import define, frozen
from greenlet import getcurrent, greenlet

from t9k.em.backend import ObjectStore
from t9k.em.errors import AlreadyExists, BackendUnavailable, EMError, NotFound
from t9k.em.records import Body, ObjectInfo
from t9k.em.testing.faults import SimulatedCrash
from t9k.em.uris import URI

MAX_STEPS = 10_000


class Violation(AssertionError):
    """Something that must never happen did."""


@frozen(kw_only=True)
class Profile:
    """How much goes wrong, as probabilities for one call of the store.

    `sticky` is the probability that a process goes on after its call: few changes at odd places find what many hide.
    """

    crash: float = 0.0
    lost: float = 0.0
    reply_lost: float = 0.0
    repeated: float = 0.0
    delayed: float = 0.0
    torn_listing: float = 0.0
    stale_listing: float = 0.0
    sticky: float = 0.0

    @classmethod
    def draw(cls, random: Random) -> Profile:
        """One of several mixtures, so that each kind of fault is also met alone."""
        level = random.choice([0.0, 0.02, 0.08])
        return cls(
            crash=random.choice([0.0, 0.01, 0.04]),
            lost=level * random.choice([0, 1, 2]),
            reply_lost=level * random.choice([0, 1, 2]),
            repeated=level * random.choice([0, 1, 2]),
            delayed=level * random.choice([0, 1, 2]),
            torn_listing=random.choice([0.0, 0.3]),
            stale_listing=random.choice([0.0, 0.0, 0.0, 0.2]),
            sticky=random.choice([0.0, 0.8, 0.9]),
        )


@frozen(kw_only=True)
class Request:
    """One call of the store, before its fate is known; or a step of a process that is local, which only a crash prevents."""

    what: str
    do: Callable[[], Any] = lambda: None
    writes: bool = False
    is_local: bool = False


@define(eq=False)
class Process:
    """One simulated process and what it waits for."""

    name: str
    script: greenlet
    request: Request


class World:
    """The store that all processes share, the processes, and time.

    Args:
        seed: Decides everything.
        profile: How much goes wrong; drawn from the seed by default.
        changed: Called after each change of the store, with the key.
    """

    def __init__(self, seed: int, *, profile: Profile | None = None) -> None:
        self.random = Random(seed)
        self.profile = profile or Profile.draw(self.random)
        self.objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self.changed: Callable[[str], None] = lambda _: None
        self.trace: list[str] = []
        self.step = 0
        self._hub = getcurrent()
        self._processes: list[Process] = []
        self._last: Process | None = None
        self._delayed: list[Request] = []
        self._earlier: deque[list[ObjectInfo]] = deque(maxlen=5)

    # The processes.

    def spawn(self, name: str, script: Callable[[], None]) -> None:
        """Adds a process; it takes its first step when the scheduler says so."""

        def guarded() -> None:
            with contextlib.suppress(SimulatedCrash):
                script()

        self._processes.append(Process(name, greenlet(guarded, parent=self._hub), Request(what="start")))

    def run(self) -> None:
        """Lets all processes run to their ends, and then late requests arrive, or not."""
        while self._processes:
            self.step += 1
            if self.step > MAX_STEPS:
                raise Violation("no end: " + ", ".join(process.name for process in self._processes))
            if self._delayed and self.random.random() < 0.15:
                self._arrive()
            else:
                self._advance(self._pick())
        while self._delayed:
            if self.random.random() < 0.7:
                self._arrive()
            else:
                self._delayed.pop()

    def call(self, request: Request) -> Any:
        """What a store does; outside of `run` nothing goes wrong."""
        if getcurrent() is self._hub:
            return request.do()
        return self._hub.switch(request)

    def note(self, who: str, what: str) -> None:
        """Writes a line for whoever has to understand this schedule."""
        self.trace.append(f"{self.step:4d} {who}: {what}")

    def _pick(self) -> Process:
        if self._last not in self._processes or self.random.random() >= self.profile.sticky:
            self._last = self.random.choice(self._processes)
        return self._last

    def _advance(self, process: Process) -> None:
        request, reply, error = process.request, None, None
        try:
            reply = request.do() if request.what == "start" else self._answer(request)
        except (EMError, SimulatedCrash) as raised:
            error = raised
        self.note(process.name, f"{request.what} -> {type(error).__name__ if error else 'ok'}")
        if request.what == "start":
            following = process.script.switch()
        elif error is None:
            following = process.script.switch(reply)
        else:
            following = process.script.throw(error)
        if process.script.dead:
            self._processes.remove(process)
        else:
            process.request = following

    def _answer(self, request: Request) -> Any:
        profile = self.profile
        fate = self.random.random() - profile.crash
        if fate < 0:
            fate = self.random.random()
            if fate < 0.5:
                with contextlib.suppress(EMError):
                    request.do()
            elif request.writes and fate < 0.7:
                self._delayed.append(request)
            raise SimulatedCrash
        if request.is_local:
            return request.do()
        fate -= profile.lost
        if fate < 0:
            raise BackendUnavailable("request lost")
        if request.writes:
            fate -= profile.delayed
            if fate < 0:
                self._delayed.append(request)
                raise BackendUnavailable("request late")
            fate -= profile.reply_lost
            if fate < 0:
                with contextlib.suppress(EMError):
                    request.do()
                raise BackendUnavailable("reply lost")
            fate -= profile.repeated
            if fate < 0:
                request.do()
        return request.do()

    def _arrive(self) -> None:
        request = self._delayed.pop(self.random.randrange(len(self._delayed)))
        self.note("late", request.what)
        with contextlib.suppress(AlreadyExists, NotFound):
            request.do()

    # The store.

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key][0]

    def list(self, prefix: str, half: int | None = None) -> list[ObjectInfo]:
        """What lies below a prefix, in any order; with `half` only one half of it."""
        infos = [info for _, info in self.objects.values()]
        if self._earlier and self.random.random() < self.profile.stale_listing:
            infos = self.random.choice(self._earlier)
        found = [info for info in infos if info.key.startswith(prefix) and half in (None, info.key.encode()[-6] % 2)]
        self.random.shuffle(found)
        return found

    def write(self, key: str, data: bytes, *, if_absent: bool = False) -> ObjectInfo:
        """Writes an object."""
        if if_absent and key in self.objects:
            raise AlreadyExists(key)
        self._remember()
        info = ObjectInfo(key=key, size=len(data), modified=self.step, etag=hashlib.sha256(data).hexdigest())
        self.objects[key] = (data, info)
        self.changed(key)
        return info

    def remove(self, key: str) -> None:
        """Deletes an object."""
        self._remember()
        if self.objects.pop(key, None):
            self.changed(key)

    def _remember(self) -> None:
        if self.profile.stale_listing:
            self._earlier.append([info for _, info in self.objects.values()])


class SimulatedStore(ObjectStore):
    """The view that one process has of the world's store; after a crash it answers no more."""

    parallelism = 1  # greenlets switch in one thread only

    def __init__(self, world: World) -> None:
        self._world = world
        self._crashed = False

    @classmethod
    def from_uri(cls, uri: URI) -> SimulatedStore:
        raise NotImplementedError

    def get(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        data = self._call(Request(what=f"get {key}", do=partial(self._world.read, key)))
        return iter([data[start:end]])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        torn = self._world.random.random() < self._world.profile.torn_listing
        for half in (0, 1) if torn else (None,):
            yield from self._call(Request(what=f"list {prefix!r}", do=partial(self._world.list, prefix, half)))

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> ObjectInfo:
        do = partial(self._world.write, key, body.read(), if_absent=if_absent)
        return self._call(Request(what=f"put {key}", do=do, writes=True))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._call(Request(what=f"delete {key}", do=partial(self._world.remove, key), writes=True))

    def copy(self, source: str, target: str) -> ObjectInfo:
        def do() -> ObjectInfo:
            return self._world.write(target, self._world.read(source))

        return self._call(Request(what=f"copy {source} -> {target}", do=do, writes=True))

    def _call(self, request: Request) -> Any:
        if self._crashed:
            raise SimulatedCrash
        try:
            return self._world.call(request)
        except SimulatedCrash:
            self._crashed = True
            raise
