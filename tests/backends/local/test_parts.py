"""How a directory takes objects in parts: the ledger, the staging file, and who meets at them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import itertools
import os
import pickle
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from attrs import evolve

from t9k.em.errors import BackendFull, BackendUnavailable, NotFound, SourceChanged
from t9k.em.memory import buffers
from t9k.em.records import CHUNK_BYTES, Body, Part
from t9k_em_backends.local import LocalStore, ledger, parts

MIB = 1 << 20
DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return LocalStore(root)


def get(store):
    return b"".join(store.get("a"))


def left(root):
    return sorted(path.name for path in (root / ".em/tmp").iterdir())


def staged(root):
    """The one staging file."""
    (found,) = (path for path in (root / ".em/tmp").iterdir() if path.name.count("-") > 1)
    return found


@pytest.fixture
def small_steps(monkeypatch):
    """For bodies that are `meeting`: what came before has been written then."""
    monkeypatch.setattr(parts, "STEP_BYTES", MIB)


def meeting(data: bytes, act: Callable[[], object]) -> Body:
    """A body that does something else after its first mebibyte."""

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == MIB:
                act()
            return super().read(size)

    return Body(size=len(data), sha256=hashlib.sha256(data).hexdigest(), open=lambda: Stream(data))


def test_two_files_stand_for_an_object_under_way_and_go_with_it(store, root) -> None:
    store.put_part("a", 0, Body.of(DATA[:10]))
    ledger, staged = left(root)
    assert ledger == f"parts-{hashlib.sha256(b'a').hexdigest()[:32]}"
    assert staged.startswith(f"{ledger}-")
    store.put_part("a", 10, Body.of(DATA[10:]))
    inode = (root / ".em/tmp" / staged).stat().st_ino
    store.assemble("a", len(DATA), SHA256)
    assert left(root) == []
    assert (root / "a").stat().st_ino == inode, "no byte was copied"


def test_what_was_never_finished_is_swept(store, root) -> None:
    store.put_part("a", 0, Body.of(DATA))
    store.remove_swept([*store.sweep(3600)])
    assert store.parts("a") == [Part(start=0, size=len(DATA))]
    store.remove_swept([*store.sweep(-60)])
    assert left(root) == []
    assert store.parts("a") == []


@pytest.mark.parametrize("which", [0, 1], ids=["the ledger", "the staging file"])
def test_when_one_of_the_two_files_is_gone_no_part_is_there(store, root, which) -> None:
    store.put_part("a", 0, Body.of(DATA))
    (root / ".em/tmp" / left(root)[which]).unlink()
    for client in (store, LocalStore(root)):
        assert client.parts("a") == []
        with pytest.raises(NotFound):
            client.assemble("a", len(DATA), SHA256)
        client.drop_parts("a")
    store.put_part("a", 0, Body.of(DATA))
    store.assemble("a", len(DATA), SHA256)
    assert get(store) == DATA


@pytest.mark.parametrize(
    "text", [b"t9k-em-parts 1 parts", b"t9k-em-parts 1 ../../../etc/passwd\n", b"\0" * 200, b"t9k-em-parts 2 x\n"]
)
def test_a_ledger_that_is_damaged_or_hostile_says_nothing(store, root, text) -> None:
    store.put_part("a", 0, Body.of(DATA))
    (root / ".em/tmp" / left(root)[0]).write_bytes(text)
    store = LocalStore(root)
    assert store.parts("a") == []
    store.put_part("a", 0, Body.of(DATA))
    store.assemble("a", len(DATA), SHA256)
    assert get(store) == DATA


def test_a_line_that_a_full_disk_cut_is_left_aside(store, root) -> None:
    store.put_part("a", 0, Body.of(DATA[:10]))
    with (root / ".em/tmp" / left(root)[0]).open("ab") as ledger:
        ledger.write(b"begin abc")
    assert store.parts("a") == [Part(start=0, size=10)]
    store.put_part("a", 10, Body.of(DATA[10:]))
    store.assemble("a", len(DATA), SHA256)
    assert get(store) == DATA


@pytest.mark.usefixtures("small_steps")
def test_parts_dropped_while_one_comes_are_gone_and_the_sender_is_told(store, root) -> None:
    data = os.urandom(3 * MIB)
    store.put_part("a", 5 * MIB, Body.of(b"x"))
    with pytest.raises(BackendUnavailable, match="try again"):
        store.put_part("a", 0, meeting(data, lambda: LocalStore(root).drop_parts("a")))
    assert store.parts("a") == []
    assert left(root) == []


@pytest.mark.usefixtures("small_steps")
def test_a_part_that_comes_too_late_never_reaches_the_object(store, root) -> None:
    data = os.urandom(3 * MIB)
    sha256 = hashlib.sha256(data).hexdigest()

    def finish() -> None:
        other = LocalStore(root)
        other.put_part("a", 0, Body.of(data))
        other.assemble("a", len(data), sha256)

    wrong = evolve(meeting(bytes(3 * MIB), finish), sha256="")
    store.put_part("a", 0, wrong)
    assert get(store) == data
    assert store.parts("a") == []


@pytest.mark.parametrize("when", ["before the first byte", "before the end"])
def test_parts_dropped_at_any_other_moment_are_noticed_too(store, root, monkeypatch, when) -> None:
    append = parts._append

    def meet(ledger, line):
        if line.startswith("end" if when == "before the end" else "begin"):
            LocalStore(root).remove_swept([*LocalStore(root).sweep(-60)])
        append(ledger, line)

    monkeypatch.setattr(parts, "_append", meet)
    with pytest.raises(BackendUnavailable, match="try again"):
        store.put_part("a", 0, Body.of(DATA))
    monkeypatch.undo()
    assert store.parts("a") == []


@pytest.mark.usefixtures("small_steps")
def test_a_part_that_two_bring_at_once_is_there_when_the_later_one_is(store, root) -> None:
    data = os.urandom(3 * MIB)
    seen = []

    def other() -> None:
        LocalStore(root).put_part("a", 0, Body.of(data[: 2 * MIB]))
        seen.append(LocalStore(root).parts("a"))

    store.put_part("a", 0, meeting(data, other))
    assert seen == [[Part(start=0, size=2 * MIB)]]
    assert sum(part.size for part in store.parts("a")) == len(data)
    store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
    assert get(store) == data


@pytest.mark.usefixtures("small_steps")
def test_a_part_that_fails_over_another_takes_its_bytes_away(store, root) -> None:
    data = os.urandom(3 * MIB)

    def fail() -> None:
        with pytest.raises(SourceChanged):
            LocalStore(root).put_part("a", MIB, evolve(Body.of(bytes(MIB)), sha256="0" * 64))

    store.put_part("a", 0, meeting(data, fail))
    assert store.parts("a") == [Part(start=0, size=MIB), Part(start=2 * MIB, size=MIB)]
    with pytest.raises(NotFound):
        store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
    store.put_part("a", MIB, Body.of(data[MIB : 2 * MIB]))
    store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
    assert get(store) == data


def test_bytes_that_change_after_they_were_hashed_are_hashed_again(store, root) -> None:
    store.put_part("a", 0, Body.of(DATA[:100]))
    store.put_part("a", 100, Body.of(DATA[100:200]))
    store.put_part("a", 50, Body.of(bytes(200)))
    store.put_part("a", 250, Body.of(DATA[250:]))
    with pytest.raises(SourceChanged):
        store.assemble("a", len(DATA), SHA256)
    assert left(root) == []


def test_a_disk_that_fails_while_it_is_hashed_ahead_spoils_nothing(store, monkeypatch) -> None:
    data, reads, pread = os.urandom(4 * MIB), [], os.pread

    def fails(fd: int, size: int, offset: int) -> bytes:
        if threading.current_thread().name == "em-hash":
            reads.append(offset)
            if len(reads) == 3:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, size, offset)

    monkeypatch.setattr(parts, "FRESH_BYTES", 0)
    monkeypatch.setattr(os, "pread", fails)
    store.put_part("a", 0, Body.of(data))
    while len(reads) < 3:
        time.sleep(0.01)
    store.put_part("a", 4 * MIB, Body.of(data))
    store.assemble("a", 8 * MIB, hashlib.sha256(data + data).hexdigest())
    assert get(store) == data + data


def hashed(store) -> None:
    """Waits until nothing is hashed ahead any more."""
    for thread in threading.enumerate():
        if thread.name == "em-hash":
            thread.join(30)


class TestWhatIsKeptInMemory:
    """Parts in memory are hashed instead of the file's bytes only where they are what the file has."""

    @pytest.fixture
    def hash_reads(self, monkeypatch):
        """Where the bytes that are hashed were read from the file."""
        reads, pread = [], os.pread

        def spied(fd: int, size: int, offset: int) -> bytes:
            if threading.current_thread().name == "em-hash":
                reads.append(offset)
            return pread(fd, size, offset)

        monkeypatch.setattr(os, "pread", spied)
        return reads

    def test_is_not_read_again(self, store, hash_reads) -> None:
        data = os.urandom(24 * MIB)
        for start in (8 * MIB, 0, 16 * MIB):
            store.put_part("a", start, Body.of(data[start : start + 8 * MIB]))
        hashed(store)
        store.assemble("a", 24 * MIB, hashlib.sha256(data).hexdigest())
        assert get(store) == data
        assert hash_reads == []

    def test_what_does_not_fit_is_read(self, store, hash_reads, monkeypatch) -> None:
        monkeypatch.setattr(parts, "FRESH_BYTES", 8 * MIB)
        data = os.urandom(24 * MIB)
        for start in (16 * MIB, 8 * MIB, 0):
            store.put_part("a", start, Body.of(data[start : start + 8 * MIB]))
        hashed(store)
        store.assemble("a", 24 * MIB, hashlib.sha256(data).hexdigest())
        assert get(store) == data
        assert hash_reads == [*range(0, 16 * MIB, CHUNK_BYTES)]

    def test_makes_room_for_an_object_that_is_being_sent(self, store, hash_reads, monkeypatch) -> None:
        monkeypatch.setattr(parts, "FRESH_BYTES", 8 * MIB)
        data = os.urandom(16 * MIB)
        store.put_part("given up", 8 * MIB, Body.of(data[: 8 * MIB]))
        for start in (8 * MIB, 0):
            store.put_part("a", start, Body.of(data[start : start + 8 * MIB]))
        hashed(store)
        assert hash_reads == [*range(0, 8 * MIB, CHUNK_BYTES)]
        store.assemble("a", 16 * MIB, hashlib.sha256(data).hexdigest())
        assert get(store) == data

    @pytest.mark.parametrize("start", [4 * MIB, 12 * MIB])
    def test_is_let_go_when_another_part_comes_over_it(self, store, root, start) -> None:
        data, over = os.urandom(24 * MIB), os.urandom(8 * MIB)
        store.put_part("a", 8 * MIB, Body.of(data[8 * MIB : 16 * MIB]))
        store.put_part("a", start, Body.of(over))
        for at in (0, 16 * MIB):
            store.put_part("a", at, Body.of(data[at : at + 8 * MIB]))
        whole = staged(root).read_bytes()
        assert whole != data
        hashed(store)
        store.assemble("a", 24 * MIB, hashlib.sha256(whole).hexdigest())
        assert get(store) == whole

    @pytest.mark.usefixtures("small_steps")
    def test_is_not_kept_when_another_part_came_meanwhile(self, store, root) -> None:
        """Two bring the same bytes at once, as it should be, but not the same: what the file has counts."""
        data, other = os.urandom(8 * MIB), os.urandom(8 * MIB)
        body = meeting(data, lambda: store.put_part("a", 0, Body.of(other)))
        store.put_part("a", 0, body)
        hashed(store)
        whole = staged(root).read_bytes()
        wrong = other if whole == data else data
        with pytest.raises((SourceChanged, NotFound)):
            store.assemble("a", 8 * MIB, hashlib.sha256(wrong).hexdigest())

    @pytest.mark.usefixtures("small_steps")
    @pytest.mark.parametrize("room", [1, 4])
    @pytest.mark.parametrize("start", [0, 4 * MIB])
    def test_is_not_kept_when_the_beginning_of_another_is_read_together_with_its_end(
        self, store, root, monkeypatch, start, room
    ) -> None:
        monkeypatch.setattr(parts, "FRESH_BYTES", room * 8 * MIB)
        first, second = os.urandom(8 * MIB), os.urandom(8 * MIB)
        arrived, ended, begun, go_on = (threading.Event() for _ in range(4))
        append = parts._append

        def meet(ledger, line):
            is_second = threading.current_thread() is other
            if is_second and line.startswith("begin"):
                arrived.set()
                ended.wait(30)
            append(ledger, line)
            if is_second and line.startswith("begin"):
                begun.set()
                go_on.wait(30)
            elif line.startswith("end") and not is_second:
                ended.set()
                begun.wait(30)

        other = threading.Thread(target=lambda: store.put_part("a", start, Body.of(second)))
        monkeypatch.setattr(parts, "_append", meet)
        store.put_part("a", 0, meeting(first, lambda: (other.start(), arrived.wait(30))))
        go_on.set()
        other.join()
        hashed(store)
        assert staged(root).read_bytes() == first[:start] + second
        size = start + 8 * MIB
        announced = first + second[8 * MIB - start :]
        with pytest.raises(SourceChanged):
            store.assemble("a", size, hashlib.sha256(announced).hexdigest())

    @pytest.mark.usefixtures("small_steps")
    def test_is_not_kept_when_it_was_cut_off_by_a_join_that_failed(self, store, root, monkeypatch) -> None:
        """A key of two sizes: the shorter object is joined while a part behind it is written, but gets no name."""
        data = os.urandom(4 * MIB)
        store.put_part("a", 0, Body.of(data[: 2 * MIB]))

        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def join() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", refuse)
                with pytest.raises(BackendUnavailable):
                    store.assemble("a", 2 * MIB, hashlib.sha256(data[: 2 * MIB]).hexdigest())

        store.put_part("a", 2 * MIB, meeting(data[2 * MIB :], join))
        hashed(store)
        assert staged(root).read_bytes() != data  # what had come of the part is gone
        assert store.parts("a") == [Part(start=0, size=2 * MIB)]
        with pytest.raises(NotFound):
            store.assemble("a", 4 * MIB, hashlib.sha256(data).hexdigest())
        store.put_part("a", 2 * MIB, Body.of(data[2 * MIB :]))
        store.assemble("a", 4 * MIB, hashlib.sha256(data).hexdigest())
        assert get(store) == data


class TestMoreThanIsHashed:
    """Hashing sets the pace: what it cannot keep up with would have to be read from the disk again."""

    @pytest.fixture
    def update(self, monkeypatch):
        """Lets the thread that hashes go on with the next chunk of 4 MiB."""
        chunks = threading.Semaphore(0)
        sha256 = hashlib.sha256

        class Slow:
            def __init__(self, digest=None) -> None:
                self._digest = digest or sha256()

            def update(self, data) -> None:
                if threading.current_thread().name == "em-hash":
                    chunks.acquire(timeout=30)
                self._digest.update(data)

            def copy(self):
                return Slow(self._digest.copy())

            def hexdigest(self) -> str:
                return self._digest.hexdigest()

        monkeypatch.setattr(ledger, "hashlib", SimpleNamespace(sha256=Slow))
        monkeypatch.setattr(parts, "FRESH_BYTES", 16 * MIB)
        return chunks

    @staticmethod
    def putting(store, data, start) -> threading.Thread:
        thread = threading.Thread(target=store.put_part, args=("a", start, Body.of(data[start : start + 8 * MIB])))
        thread.start()
        return thread

    def test_a_part_waits_until_some_is_hashed(self, store, update) -> None:
        data = os.urandom(32 * MIB)
        for start in (0, 8 * MIB, 16 * MIB):  # the first is being hashed, and two wait for their turn
            store.put_part("a", start, Body.of(data[start : start + 8 * MIB]))
        waiting = self.putting(store, data, 24 * MIB)
        waiting.join(0.2)
        assert waiting.is_alive()
        assert [part.start for part in store.parts("a")] == [0, 8 * MIB, 16 * MIB]
        for _ in range(2):
            update.release()
        waiting.join(30)
        assert not waiting.is_alive()
        for _ in range(6):
            update.release()
        hashed(store)
        store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
        assert get(store) == data

    def test_not_for_ever(self, store, update, monkeypatch) -> None:
        monkeypatch.setattr(parts, "PATIENCE_S", 0.1)
        data = os.urandom(32 * MIB)
        for start in range(0, 32 * MIB, 8 * MIB):
            store.put_part("a", start, Body.of(data[start : start + 8 * MIB]))
        assert len(store.parts("a")) == 4
        for _ in range(60):
            update.release()
        store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
        assert get(store) == data

    def test_not_for_what_nobody_hashes_before_this_part_is_there(self, store, update) -> None:
        data = os.urandom(40 * MIB)
        for start in (8 * MIB, 16 * MIB, 24 * MIB, 32 * MIB):
            store.put_part("a", start, Body.of(data[start : start + 8 * MIB]))
        missing = self.putting(store, data, 0)
        missing.join(30)
        assert not missing.is_alive()
        for _ in range(60):
            update.release()
        store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
        assert get(store) == data


class TestPastTheCache:
    def test_what_begins_with_a_page_is_not_copied(self, store, monkeypatch) -> None:
        pieces = [buffers.take() for _ in range(2)]
        for piece in pieces:
            piece[:] = os.urandom(len(piece))
        data = b"".join(pieces)

        class Stream(io.BytesIO):
            def read(self, size: int | None = -1):
                assert size == len(pieces[0])
                return pieces.pop(0)

        monkeypatch.setattr(buffers, "take", lambda: pytest.fail("there is memory for it already"))
        store.put_part("a", 0, Body(size=len(data), sha256="", open=Stream))
        store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
        assert get(store) == data

    def test_a_part_that_begins_or_ends_anywhere_is_whole(self, store) -> None:
        data = os.urandom(20 * MIB + 4321)
        bounds = [0, 6 * MIB + 1, 11 * MIB + 1, 15 * MIB + 512, 20 * MIB + 4321]
        for start, end in itertools.pairwise(bounds):
            store.put_part("a", start, Body.of(data[start:end]))
        store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
        assert get(store) == data

    @pytest.mark.parametrize("when", ["opened", "written", "piecemeal"])
    def test_a_file_system_that_refuses_gets_it_otherwise(self, store, monkeypatch, when) -> None:
        open_, pwrite, refused = os.open, os.pwrite, []
        direct: set[int] = set()

        def opens(path, flags, *mode):
            if flags & os.O_DIRECT and when == "opened":
                refused.append(path)
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            fd = open_(path, flags, *mode)
            (direct.add if flags & os.O_DIRECT else direct.discard)(fd)
            return fd

        def writes(fd, data, at):
            if fd in direct and when == "written":
                refused.append(at)
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if fd in direct and when == "piecemeal":
                refused.append(at)
                return len(data[:-512]) if pwrite(fd, data, at) else 0
            return pwrite(fd, data, at)

        monkeypatch.setattr(os, "open", opens)
        monkeypatch.setattr(os, "pwrite", writes)
        data = os.urandom(9 * MIB + 7)
        store.put_part("a", 0, Body.of(data))
        store.assemble("a", len(data), hashlib.sha256(data).hexdigest())
        assert get(store) == data
        assert refused


def test_what_is_dropped_is_not_hashed_any_more(store, monkeypatch) -> None:
    reads, pread = [], os.pread
    dropped = threading.Event()

    def waits(fd: int, size: int, offset: int) -> bytes:
        if threading.current_thread().name == "em-hash":
            reads.append(offset)
            dropped.wait(30)
        return pread(fd, size, offset)

    monkeypatch.setattr(parts, "FRESH_BYTES", 0)
    monkeypatch.setattr(os, "pread", waits)
    store.put_part("a", 0, Body.of(bytes(8 * MIB)))
    (hashing,) = (thread for thread in threading.enumerate() if thread.name == "em-hash")
    store.drop_parts("a")
    dropped.set()
    hashing.join(30)
    assert len(reads) <= 1


def test_more_objects_are_under_way_than_are_remembered(store, monkeypatch) -> None:
    monkeypatch.setattr(parts, "MOST_KNOWN", 2)
    keys = [f"many/{number}" for number in range(5)]
    for start, end in ((0, 50), (50, len(DATA))):
        for key in keys:
            store.put_part(key, start, Body.of(DATA[start:end]))
    for key in keys:
        store.assemble(key, len(DATA), SHA256)
        assert b"".join(store.get(key)) == DATA


def test_a_file_system_without_locks_will_do(store, monkeypatch) -> None:
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    store.put_part("a", 0, Body.of(DATA))
    store.assemble("a", len(DATA), SHA256)
    assert get(store) == DATA


def test_a_lock_that_fails_otherwise_is_an_error(store, monkeypatch) -> None:
    def flock(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(BackendUnavailable):
        store.put_part("a", 0, Body.of(DATA))


def test_a_full_disk_says_so_and_keeps_what_is_there(store, monkeypatch) -> None:
    store.put_part("a", 0, Body.of(DATA[:10]))

    def pwrite(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", pwrite)
        with pytest.raises(BackendFull):
            store.put_part("a", 10, Body.of(DATA[10:]))
    assert store.parts("a") == [Part(start=0, size=10)]
    store.put_part("a", 10, Body.of(DATA[10:]))
    store.assemble("a", len(DATA), SHA256)
    assert get(store) == DATA


def test_a_name_that_cannot_be_given_loses_no_part(store, root) -> None:
    store.put_part("a", 0, Body.of(DATA))
    (root / "a/below").mkdir(parents=True)
    with pytest.raises(NotFound, match="in its way"):
        store.assemble("a", len(DATA), SHA256)
    assert store.parts("a") == [Part(start=0, size=len(DATA))]
    (root / "a/below").rmdir()
    (root / "a").rmdir()
    store.assemble("a", len(DATA), SHA256)
    assert get(store) == DATA


def test_an_assembled_object_is_as_young_as_its_last_change(store, root) -> None:
    store.put_part("a", 0, Body.of(DATA))
    staged = root / ".em/tmp" / left(root)[1]
    os.utime(staged, (1000, 1000))
    assert store.assemble("a", len(DATA), SHA256).modified > 1000
    assert (root / "a").stat().st_mtime > 1000


def test_a_pickled_store_and_a_forked_one_go_on(store) -> None:
    store.put_part("a", 0, Body.of(DATA[:10]))
    pickled = pickle.loads(pickle.dumps(store))
    pickled.put_part("a", 10, Body.of(DATA[10:20]))
    child = os.fork()
    if child == 0:
        try:
            store.put_part("a", 20, Body.of(DATA[20:]))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert [part.start for part in store.parts("a")] == [0, 10, 20]
    store.assemble("a", len(DATA), SHA256)
    assert get(store) == DATA
