"""The objects of an artifact as a file system of fsspec, so that other libraries read files, or parts of them, where they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike, stringify_path

from t9k.em.errors import BackendPermissionError, PathNotFound
from t9k.em.local import objects
from t9k.em.local.disk import explained
from t9k.em.local.files import replacing
from t9k.em.objects.published import PublishedArtifact
from t9k.em.parallel import in_parallel
from t9k.em.records import CHUNK_BYTES
from t9k.em.transfer.streams import Ranges

__all__ = ["ArtifactFileSystem"]

PROTOCOL = "em-artifact"

_FILE, _DIRECTORY = "file", "directory"


class Source(Protocol):
    """What a file system shows."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def objects(self) -> Mapping[str, Mapping[str, Any]]:
        """Data of the objects by key: `size` and `sha256` of a file, `uri` and perhaps `size` of a reference."""

    @property
    def address(self) -> tuple[str, str]:
        """URI of the backend and path with version where it can be found by others.

        Raises:
            InvalidInput: The artifact is in no backend.
        """

    def open(self, key: str) -> BinaryIO:
        """Open an object or a reference."""

    def ranges(self, key: str) -> Ranges:
        """Return an object that is no reference."""


class ArtifactFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A read-only file system whose files are the objects of an artifact; `Artifact.fs` gives one.

    Paths are keys; a slash in front or at the end is ignored, and '' is the root. A file is opened as by
    `Artifact.open`, and read with the same checks; a reference is a file too, whose size may be unknown (None).
    What writes raises `BackendPermissionError`, which is a PermissionError. What is not there raises
    `PathNotFound`, which is a FileNotFoundError.

    Pickled, or as JSON, it is the URI of the backend and the path of the node in it, and holds no credentials: another
    process asks its own backend of that URI, the one that it is logged in to if it is that.

    Args:
        uri: Of a backend.
        path: Absolute path of an artifact in it; 'path@3' is its third version.
        source: What to show instead.
    """

    cachable = False
    protocol = PROTOCOL
    root_marker = ""

    def __init__(self, uri: str = "", path: str = "", *, source: Source | None = None) -> None:
        super().__init__()
        self._source: Source = PublishedArtifact(uri, path) if source is None else source
        self._known: tuple[Mapping[str, Any], int, dict[str, dict[str, None]]] | None = None

    def __reduce__(self) -> tuple[type[ArtifactFileSystem], tuple[str, str]]:
        return type(self), self._source.address

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Return the location of the artifact, for `from_dict`; no password is in it."""
        del include_password
        uri, path = self._source.address
        cls = type(self)
        return {
            "cls": f"{cls.__module__}:{cls.__name__}",
            "protocol": PROTOCOL,
            "args": [],
            "uri": uri,
            "path": path,
        }

    def to_json(self, *, include_password: bool = True) -> str:
        """As `to_dict`, for `from_json`."""
        return json.dumps(self.to_dict(include_password=include_password))

    @property
    def _fs_token(self) -> str:
        """Equal for equal content, wherever it is; dask names its results by it."""
        return sha256(objects.encode(dict(sorted(self._source.objects.items())))).hexdigest()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text: str = stringify_path(path)
        return text.removeprefix(f"{PROTOCOL}://").strip("/")

    # Looking.

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """`name`, `type` ('file' or 'directory') and `size`, and what the artifact knows: `sha256`, `uri`, ..."""
        del kwargs
        key = self._strip_protocol(path)
        if key in self._source.objects:
            return {"size": None, **self._source.objects[key], "name": key, "type": _FILE}
        if key in self._tree():
            return {"size": 0, "name": key, "type": _DIRECTORY}
        raise PathNotFound(
            f"artifact {self._source.name!r} has no file or directory {key!r}; `find('')` lists the files there are"
        )

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Return the content of a directory, by name; for a file, that file."""
        del kwargs
        found = self.info(path)
        infos = [found]
        if found["type"] == _DIRECTORY:
            infos = [self.info(name) for name in self._tree()[found["name"]]]
        return infos if detail else [info["name"] for info in infos]

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Return whether there is such a file or directory."""
        return self._type(path, **kwargs) is not None

    def isfile(self, path: str) -> bool:
        """Return whether there is such a file."""
        return self._type(path) == _FILE

    def isdir(self, path: str) -> bool:
        """Return whether there is such a directory."""
        return self._type(path) == _DIRECTORY

    def _type(self, path: str, **kwargs: Any) -> str | None:
        try:
            return str(self.info(path, **kwargs)["type"])
        except PathNotFound:
            return None

    def _tree(self) -> dict[str, dict[str, None]]:
        """Directory -> what is in it, by name."""
        shown = self._source.objects
        if self._known is None or self._known[0] is not shown or self._known[1] != len(shown):
            tree: dict[str, dict[str, None]] = {"": {}}
            for key in sorted(shown):
                path = key
                while path:
                    parent = path.rpartition("/")[0]
                    is_new = parent not in tree
                    tree.setdefault(parent, {})[path] = None
                    if not is_new:
                        break
                    path = parent
            self._known = shown, len(shown), tree
        return self._known[2]

    # Reading.

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> BinaryIO:
        if mode != "rb":
            self._refuse()
        del kwargs
        return self._source.open(self._file(path))

    def _file(self, path: str) -> str:
        found = self.info(path)
        if found["type"] != _FILE:
            raise PathNotFound(f"{found['name']!r} is a directory of artifact {self._source.name!r}; give a file in it")
        return str(found["name"])

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Return the bytes [start, end) of a file, and no others are fetched; a whole file is checked.

        Args:
            path: The file.
            start: The first byte; negative counts from the end; None for the beginning.
            end: The byte after the last, likewise; None for the end.
            kwargs: Ignored.

        Raises:
            PathNotFound: No such file exists.
            CorruptData: Its bytes are not those that were uploaded.
        """
        del kwargs
        key = self._file(path)
        if "uri" in self._source.objects[key]:
            with self._source.open(key) as stream:
                first, last, _ = slice(start, end).indices(stream.seek(0, os.SEEK_END))
                stream.seek(first)
                return stream.read(max(0, last - first))
        ranges = self._source.ranges(key)
        try:
            first, last, _ = slice(start, end).indices(ranges.size)
            return ranges.get(first, last) if first < last or not ranges.size else b""
        finally:
            ranges.close()

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Sequence[int | None] | int | None,
        ends: Sequence[int | None] | int | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Return the bytes of several ranges, several at a time; see `cat_file`.

        Args:
            paths: The file of each range.
            starts: The first byte of each, or of all.
            ends: The byte after the last of each, or of all.
            max_gap: Ignored: every range is fetched by itself.
            on_error: 'return' gives an error instead of the bytes, 'raise' raises it.
            kwargs: Ignored.
        """
        del max_gap, kwargs
        many = [list(bounds) if isinstance(bounds, Iterable) else [bounds] * len(paths) for bounds in (starts, ends)]

        def one(asked: tuple[str, int | None, int | None]) -> Any:
            try:
                return self.cat_file(*asked)
            except Exception as error:
                if on_error == "return":
                    return error
                raise

        return in_parallel(one, list(zip(paths, *many, strict=True)), "read")

    def get_file(
        self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Copy a file, checked, to the local disk, where it appears when it is whole; of a directory, only itself.

        Args:
            rpath: The file.
            lpath: Local path, or a file that is open for writing.
            callback: Of fsspec; receives the progress.
            outfile: A file that is open for writing, instead.
            kwargs: Ignored.
        """
        del kwargs
        outfile = lpath if isfilelike(lpath) else outfile
        target = None if outfile is not None else Path(stringify_path(lpath))
        if target is not None and self.isdir(rpath):
            target.mkdir(parents=True, exist_ok=True)
            return
        with self.open(rpath) as stream:
            callback.set_size(self.size(rpath))
            if target is None:
                _copy(stream, outfile, callback)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            with explained("write", target), replacing(target) as fd, os.fdopen(fd, "wb", closefd=False) as file:
                _copy(stream, file, callback)

    # Writing.

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Whatever would change something.

        Raises:
            BackendPermissionError: Always.
        """
        del args, kwargs
        raise BackendPermissionError(
            f"the file system of artifact {self._source.name!r} can only be read; add objects with `add_file` and `add_dir`"
        )

    mkdir = makedirs = rmdir = rm = rm_file = _rm = _refuse
    cp_file = copy = mv = put = put_file = pipe = pipe_file = touch = _refuse


def _copy(stream: BinaryIO, file: Any, callback: Any) -> None:
    while chunk := stream.read(CHUNK_BYTES):
        file.write(chunk)
        callback.relative_update(len(chunk))
