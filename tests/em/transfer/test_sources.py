"""Bodies: what a node consists of, read again from the start each time, and never other bytes than were planned."""

from __future__ import annotations

import hashlib
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t9k.em.errors import CorruptData, NodeSymlinkError, SourceChanged
from t9k.em.records import CHUNK_BYTES
from t9k.em.transfer.sources import growing_body, local_body, open_verified, verified


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TestLocalBody:
    def test_gives_a_file_that_holds_what_it_held(self, tmp_path):
        (tmp_path / "f").write_bytes(b"data")
        body = local_body(tmp_path / "f", 4, sha256(b"data"))
        assert body.read() == body.read() == b"data"
        assert body.path == tmp_path / "f"

    @pytest.mark.parametrize("change", ["content", "size", "gone", "link", "directory", "pipe"])
    def test_finds_out_that_it_does_not(self, tmp_path, change):
        path = tmp_path / "f"
        path.write_bytes(b"data")
        body = local_body(path, 4, sha256(b"data"))
        if change == "content":
            path.write_bytes(b"DATA")
        elif change == "size":
            path.write_bytes(b"data and more")
        else:
            path.unlink()
        if change == "link":
            (tmp_path / "other").write_bytes(b"data")
            path.symlink_to(tmp_path / "other")
        elif change == "directory":
            path.mkdir()
        elif change == "pipe":
            os.mkfifo(path)
        with pytest.raises(
            NodeSymlinkError if change == "link" else SourceChanged, match="add it again|upload again|remove the link"
        ):
            body.read()


class TestGrowingBody:
    @pytest.mark.parametrize(
        ("data", "lines"),
        [
            (b"", b""),
            (b"a\nb\n", b"a\nb\n"),
            (b"a\nb", b"a\n"),
            (b"no end", b""),
            (b"\n", b"\n"),
            (b"x" * (CHUNK_BYTES + 5) + b"\n" + b"y" * (CHUNK_BYTES + 5), b"x" * (CHUNK_BYTES + 5) + b"\n"),
        ],
    )
    def test_gives_what_is_there_now_in_whole_lines_if_asked(self, tmp_path, data, lines):
        path = tmp_path / "f"
        path.write_bytes(data)
        whole, any_end = growing_body(path, whole_lines=True), growing_body(path, whole_lines=False)
        with path.open("ab") as file:
            file.write(b"and more\n")
        assert whole.read() == lines
        assert any_end.read() == data
        assert whole.path is None

    def test_finds_out_that_the_file_was_cut_or_changed(self, tmp_path):
        path = tmp_path / "f"
        path.write_bytes(b"a\nb\n")
        body = growing_body(path, whole_lines=True)
        path.write_bytes(b"a\n")
        with pytest.raises(SourceChanged):
            body.read()
        path.write_bytes(b"a\nc\nd\n")
        with pytest.raises(SourceChanged):
            body.read()

    def test_follows_no_link_and_waits_for_no_pipe(self, tmp_path):
        (tmp_path / "secret").write_bytes(b"x")
        (tmp_path / "link").symlink_to(tmp_path / "secret")
        os.mkfifo(tmp_path / "pipe")
        for name in ("link", "pipe", "missing"):
            with pytest.raises(NodeSymlinkError if name == "link" else SourceChanged):
                growing_body(tmp_path / name, whole_lines=False)


class TestVerified:
    @given(st.lists(st.binary(max_size=10), max_size=6), st.integers(1, 40))
    def test_passes_on_all_that_is_right(self, chunks, size):
        data = b"".join(chunks)
        assert b"".join(verified(iter(chunks), len(data), sha256(data), "it")) == data
        stream = open_verified(iter(chunks), len(data), sha256(data), "it")
        parts = []
        while part := stream.read(size):
            parts.append(part)
        assert b"".join(parts) == data

    @given(st.lists(st.binary(min_size=1, max_size=10), min_size=1, max_size=6), st.booleans())
    def test_holds_the_last_bytes_back_until_all_are_right(self, chunks, is_size_wrong):
        data = b"".join(chunks)
        size, digest = (len(data) + 1, sha256(data)) if is_size_wrong else (len(data), "0" * 64)
        got: list[bytes] = []
        with pytest.raises(CorruptData, match="it is not what was uploaded: .*; upload it again"):
            got.extend(verified(iter(chunks), size, digest, "it"))
        assert b"".join(got) != data

    def test_is_a_stream_like_any_other(self):
        stream = open_verified(iter([b"one\n", b"two\n", b""]), 8, sha256(b"one\ntwo\n"), "it")
        assert stream.readable()
        assert list(io.TextIOWrapper(stream)) == ["one\n", "two\n"]
