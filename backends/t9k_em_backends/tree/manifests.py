"""Lists of files that are too long for their head: gzip of JSON, written and read piece by piece.

What a few bytes of gzip become may be more than there is memory for, so nothing is unpacked beyond what is looked at, and
the first flaw is the end.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

from t9k.em.errors import CorruptManifest, InvalidInput
from t9k.em.records import FileEntry
from t9k_em_backends.tree.heads import FORMAT, Head
from t9k_em_backends.tree.json_members import decoded, elements
from t9k_em_backends.tree.values import FLAWS, distinct, dump_json, file_entry, file_record

MAX_MANIFEST_BYTES = 512 << 20
"""Unpacked; and so it is at most as a file of the store."""

_GZIP = 31  # what zlib calls the format
_AT_ONCE = 1000
_PACKED_PIECE_BYTES = 64 << 10
_PIECE_BYTES = 1 << 20
_MOST_FRAME_BYTES = 100  # of the list, around its records


def encode_manifest(files: tuple[FileEntry, ...]) -> bytes:
    """Write a list of files, piece by piece for there may be very many; the same list gives the same bytes.

    Raises:
        InvalidInput: The list is larger than `decode_manifest` takes.
    """
    size = 0
    deflate = zlib.compressobj(6, wbits=_GZIP)
    pieces = [deflate.compress(f'{{"v":{FORMAT},"files":['.encode())]
    for at in range(0, len(files), _AT_ONCE):
        records = dump_json([file_record(file) for file in files[at : at + _AT_ONCE]])[1:-1]
        size += len(records) + 1
        if size > MAX_MANIFEST_BYTES - _MOST_FRAME_BYTES:
            raise InvalidInput(
                f"the list of {len(files)} files takes more than {MAX_MANIFEST_BYTES} bytes; add them as archives of many files"
            )
        pieces.append(deflate.compress((b"," if at else b"") + records))
    return b"".join([*pieces, deflate.compress(b"]}"), deflate.flush()])


def decode_manifest(data: bytes, head: Head, key: str) -> tuple[FileEntry, ...]:
    """Read a list of files and compare it with the head that names it.

    Raises:
        CorruptManifest: The list is not the one that the head means, or too large.
    """
    try:
        if head.manifest is None or hashlib.sha256(data).hexdigest() != head.manifest.sha256:
            raise ValueError("its SHA-256 differs from the one in the head")
        return distinct(_entries(data, head.file_count, key), head.file_count, head.size)
    except CorruptManifest:
        raise
    except (*FLAWS, zlib.error) as error:
        raise CorruptManifest(f"the list of files {key} is damaged: {error}; upload the node again") from error


def _entries(data: bytes, most: int, key: str) -> Iterator[FileEntry]:
    """Yield the files in a list, up to the first flaw."""
    ops: dict[str, str] = {}  # one text for all files of an upload
    texts = decoded(_unpacked(data), MAX_MANIFEST_BYTES)
    for number, record in enumerate(elements(texts, "files", FORMAT, key)):
        if number == most:
            raise ValueError(f"it has more than the {most} files of the head")
        record["op"] = ops.setdefault(record["op"], record["op"])
        yield file_entry(record)


def _unpacked(data: bytes) -> Iterator[bytes]:
    """Yield the content of gzip data, in pieces."""
    inflate = zlib.decompressobj(wbits=_GZIP)
    at = 0
    while not inflate.eof:
        packed = inflate.unconsumed_tail
        if not packed:
            packed = data[at : at + _PACKED_PIECE_BYTES]
            at += len(packed)
        plain = inflate.decompress(packed, _PIECE_BYTES)
        if not (packed or plain):
            raise ValueError("it is cut")
        yield plain
