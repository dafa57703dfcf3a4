"""Artifacts: named sets of files and references that runs take in and put out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from t9k.em.errors import InvalidInput, NotALocalNode, NotFound
from t9k.em.local import below, layout, objects, reentry
from t9k.em.local.below import Below
from t9k.em.local.files import FileIdentity, identity, sha256_of_file
from t9k.em.local.layout import INDEX, METADATA, OBJECTS
from t9k.em.local.yamlwriter import dump
from t9k.em.metadata import mapping_of, text_of
from t9k.em.names import KeySet, check_key
from t9k.em.nodes import history
from t9k.em.nodes.local_node import LocalNode
from t9k.em.objects.adding import import_dir, import_file, object_path
from t9k.em.objects.published import PublishedArtifact
from t9k.em.records import ARTIFACT, Body, FileSpec, utc_text
from t9k.em.transfer.downloading import download_files
from t9k.em.transfer.sources import local_body
from t9k.em.transfer.streams import Ranges, local_ranges, open_ranges
from t9k.em.uris import check_reference

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.nodes import merging
    from t9k.em.objects.filesystem import ArtifactFileSystem
    from t9k.em.transfer.progress import Progress

__all__ = ["Artifact"]


class Artifact(LocalNode):
    """A set of files that a Run inputs or outputs.

    Objects are files, copied into the local directory when they are added, or references, of which only the URI and
    what is known about it are kept. Of an artifact that was loaded from a backend the objects are fetched when they
    are asked for.

    Args:
        metadata: `name`, and optionally `labels`, `description`, `id`, `alternative_name`, `created_timestamp`.
        objects: Objects by key, as in `to_dict`: `size` in bytes and `sha256` of a file, or `uri` of a reference.

    Attributes:
        id: UUID; an upload of the same artifact again updates its node.
        name: Name of the Artifact.
        labels: Labels of the Artifact, list of str.
        description: Description of the Artifact.
        created_timestamp: When it was created, UTC: `2023-08-17T08:05:24.390002Z`.
        alternative_name: Unique name, which is also that of its directory, and under which the conflict strategy
            'new' uploads it when `name` is taken.
        local: Local directory of the Artifact. One that was loaded from a backend has none while it is only looked at, and gets it when
            this is asked for, or when something is fetched or changed.

    Raises:
        InvalidName: `name` or `alternative_name` cannot be a name.
        InvalidInput: Other metadata has a wrong form.
        LocalError: The local directory cannot be made.
    """

    kind = ARTIFACT

    _checked: dict[str, FileIdentity]
    _index_seen: FileIdentity | None
    """The index as this object read or wrote it last."""
    _keys: KeySet | None  # made when something is added
    _published: PublishedArtifact | None = None

    def __init__(self, metadata: Mapping[str, Any], objects: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._set_new_metadata(metadata)
        self._objects = _checked_objects({} if objects is None else objects)
        with layout.new_directory(ARTIFACT, self.name, self.alternative_name or None) as directory:
            self._attach(directory)
            self._is_new = True
            self._save_metadata()
            self._save_index()
        self._is_new = False

    @classmethod
    def _open_directory(cls, directory: Path) -> Artifact:
        """Open the artifact in a local directory; change nothing there.

        Raises:
            NotALocalNode: The directory is no artifact.
            CorruptLocalData: Its files cannot be understood.
        """
        artifact = cls.__new__(cls)
        with layout.understanding(directory):
            artifact._set_metadata(layout.read_metadata(directory, ARTIFACT))  # noqa: SLF001 - of this class
            index = Below(directory, INDEX)
            seen = identity(index) if below.is_file(index) else None
            artifact._objects = {} if seen is None else objects.decode(below.read(index), str(index))  # noqa: SLF001 - of this class
        artifact._attach(directory)  # noqa: SLF001 - of this class
        artifact._index_seen = seen  # noqa: SLF001 - of this class
        artifact._shared.base = artifact._metadata()  # noqa: SLF001 - of this class
        return artifact

    def __repr__(self) -> str:
        """Name, number of objects, and local directory or where it was loaded from."""
        return f"Artifact(name={self.name!r}, objects={len(self._objects)}, {self._where()})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the local directory, which is made on first use; another process loads the artifact from there."""
        return _open_pickled, (str(self._directory),)

    def __copy__(self) -> Artifact:
        """Return the artifact itself: two objects that add to one directory would forget each other's."""
        return self

    def __deepcopy__(self, _: object) -> Artifact:
        """Return the artifact itself."""
        return self

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Data of the objects.

        Each is a dict with `key`, and for a file `size` in bytes and `sha256`, for a reference `uri` and, where they
        were cheap to know, `size`, `etag` and `last_modified`.
        """
        return [{"key": key, **data} for key, data in self._objects.items()]

    # Adding.

    def add_file(self, file_path: str, obj_path: str | None = None) -> None:
        """Add a local file as an object of the Artifact.

        The file is copied, or cloned where the file system can; later changes of the original do not matter. An object
        with the same key is replaced.

        ```python
        artifact.add_file(file_path="1.png")  # key 1.png
        artifact.add_file(file_path="1.png", obj_path="a/")  # key a/1.png
        artifact.add_file(file_path="1.png", obj_path="a/2.png")  # key a/2.png
        ```

        Args:
            file_path: The file.
            obj_path: Its key, or with a slash at the end the directory to put it under; the name of the file by default.

        Raises:
            InvalidKey: The key cannot be one.
            KeyCollision: Some file system takes it for another object's.
            LocalError: The file is missing, no regular file, or cannot be read or copied.
            SourceChanged: The file was rewritten each time that it was copied. A file that only grew meanwhile is kept as far as it
                reached when it was looked at.
        """
        key = object_path(file_path, obj_path)
        with self._adding([key]):
            import_file(Path(file_path), key, self._directory, self._add)

    def add_dir(self, dir_path: str, obj_path: str | None = None, *, follow_symlinks: bool = False) -> None:
        """Add all files under a local directory as objects of the Artifact.

        All or none of them are added. Directories `.em` with runs and artifacts are left out.

        A training may write to the directory meanwhile: a file that grows is kept as far as it reached when it was looked at, and of
        files that come and go, such as rotating checkpoints, those are kept that the directory was last seen with.

        ```python
        artifact.add_dir(dir_path="a/")  # keys a/...
        artifact.add_dir(dir_path="a", obj_path="b/")  # keys b/a/...
        artifact.add_dir(dir_path="a", obj_path="b")  # keys b/...
        ```

        Args:
            dir_path: The directory, with or without a slash at the end.
            obj_path: What the keys start with instead of the directory's name, or with a slash at the end before it.
            follow_symlinks: Whether symbolic links that lead out of the directory are followed too, as in
                `snapshots/` of the cache of Hugging Face; those that stay inside always are. What is added is the file, not the link.

        Raises:
            InvalidKey: A key cannot be one.
            KeyCollision: Some file system takes a key for another object's.
            SymlinkError: A symbolic link leads nowhere, to a directory above itself, or, without `follow_symlinks`, out of the
                directory.
            LocalError: The directory is missing, or holds something that is not a regular file or cannot be read.
            SourceChanged: A file was rewritten each time that it was copied.
        """
        source, prefix = Path(dir_path), object_path(dir_path, obj_path)
        with self._adding() as reserve:
            import_dir(source, prefix, self._directory, self._add, follow_symlinks=follow_symlinks, reserve=reserve)
            self._keys = None  # some that were reserved may have gone

    def add_reference(self, uri: str, obj_path: str | None = None) -> None:
        """Add a URI as an object reference to the Artifact.

        What it refers to is not fetched. Its size, ETag and time of last change are kept if they are cheap to know:
        for `file`, and for `http` and `https` if the server answers a HEAD request within 3 seconds.

        Args:
            uri: For example 's3://bucket/key'.
            obj_path: Key of the reference, or with a slash at the end the directory to put it under; the last
                component of the URI's path by default.

        Raises:
            InvalidURI: `uri` is no URI.
            SecretInURI: The URI holds credentials.
            InvalidKey: The key cannot be one.
            KeyCollision: Some file system takes it for another object's.
        """
        from t9k.em.objects.references import default_key, describe  # noqa: PLC0415 - requests is slow to import

        check_reference(uri)
        key = f"{obj_path or ''}{default_key(uri)}" if obj_path is None or obj_path.endswith("/") else obj_path
        with self._adding([key]):
            self._add({key: {"uri": uri, **describe(uri)}})

    # Objects.

    def get(self, key: str) -> str:
        """Give the local path of an object, after fetching it if it is not here.

        Args:
            key: Key of a file or of a reference of the scheme `file`, `http` or `https`.

        Returns:
            The path of the local file.

        Raises:
            NotFound: No such object exists, or its bytes are gone.
            CorruptData: Its bytes are not those that were added.
        """
        if "uri" in self._data(key):
            return str(self._fetch_reference(key))
        self.download([key])
        return str(self._object(key))

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading, from the local directory if it is there, else from the backend.

        The stream can seek, and fetches what is read and little more: 256 KiB for a small read, up to 8 MiB at a time
        while reading goes on in order. Read from its first byte to its last without a seek in between, it gives the last
        bytes only after all were found to be those that were added. What is read otherwise is not checked, but for its
        size: nobody recorded what a part hashes to. An object of at most 256 KiB is checked in any case. After an error
        the position is somewhere; seek before reading on.

        Args:
            key: Key of the object.

        Raises:
            NotFound: No such object exists, or its bytes are gone.
            CorruptData: Also raised by `read`: the bytes are not those that were added.
        """
        if "uri" in self._data(key):
            from t9k.em.objects.references import open_reference  # noqa: PLC0415 - requests is slow to import

            return open_reference(self._fetch_reference(key))
        return open_ranges(self._ranges(key))

    @property
    def fs(self) -> ArtifactFileSystem:
        """The objects as a read-only file system of fsspec, whose paths are the keys.

        pandas, pyarrow, safetensors and others read a file, or a part of one, out of a remote artifact with it:
        `pandas.read_parquet("train.parquet", filesystem=artifact.fs)`. It shows what the artifact holds at any time. Files
        are opened by `open`, references included; `cat_file` and `cat_ranges` fetch exactly the bytes asked for.

        Pickled, it is the address of the artifact in the backend, without credentials; another process opens it there.
        """
        from t9k.em.objects.filesystem import ArtifactFileSystem  # noqa: PLC0415 - fsspec is slow to import

        return ArtifactFileSystem(source=_Source(self))

    def download(self, keys: Collection[str] | None = None, *, progress: Progress | None = None) -> None:
        """Fetch objects that are not in the local directory, which is made on first use; references stay references.

        Args:
            keys: Keys of the objects; None for all.
            progress: Receives the progress.

        Raises:
            NotFound: No such object exists, or its bytes are gone.
            CorruptData: The bytes in the backend are not those that were uploaded.
        """
        self._settle()
        self._fetch([key for key in (self._objects if keys is None else keys) if not self._is_here(key)], progress)

    def _fetch(self, missing: Sequence[str], progress: Progress | None) -> None:
        if not missing:
            return
        backend, node = self._origin().find()
        expected = [_spec(f"{OBJECTS}/{key}", self._objects[key]) for key in missing]
        download_files(backend, node, self._directory, expected=expected, durable=False, progress=progress)

    # The whole.

    def parse_from_dict(self, data: Mapping[str, Any]) -> None:
        """Take over what `to_dict` gave, except for the bytes of the objects.

        Args:
            data: `metadata` and `objects`.

        Raises:
            InvalidInput: A value in the dict has a wrong form; nothing was changed.
        """
        metadata = data.get("metadata", {})
        Artifact.__new__(Artifact)._set_new_metadata(metadata)  # noqa: SLF001 - of this class
        checked = _checked_objects(data.get("objects", {}))
        with self._locks.changing, self._writing():
            self._set_metadata(metadata)
            self._objects = checked
            self._keys = None
            self._checked = {}
            self.alternative_name = self.alternative_name or self._place.name
            self._shared.replace()
            self._save_metadata()
            self._save_index()

    def to_dict(self) -> dict[str, Any]:
        """Give the artifact as a dict of JSON types: the arguments of the constructor.

        Returns:
            `metadata`, and `objects` by key.
        """
        return {"metadata": self._metadata(), "objects": {key: dict(data) for key, data in self._objects.items()}}

    def upload(self, folder: str = "default", make_folder: bool = False, conflict_strategy: str = "new") -> None:
        """Upload this Artifact.

        An interrupted upload is resumed by calling this again, in any process. What the node has already is not sent.

        Args:
            folder: Path of the Folder to which the Artifact is uploaded. If it does not start with '/', `/<current-user>/` is
                prepended to it. A URI picks another backend for this call: `file:///data/em#/alice/mnist`.
            make_folder: If True and the Folder does not exist, make it and parent Folders as needed.
            conflict_strategy: What to do when another node in the Folder has the same name: 'skip' the upload; 'error'
                out; upload with the alternative name ('new'); or delete the existing Artifact and upload ('replace').

        Raises:
            NotLoggedIn: `folder` is a path and no backend was chosen.
            FolderNotFound: The folder does not exist.
            Conflict: The name is taken and the strategy is 'error'.
            SourceChanged: A local object is not what was added.
            BackendError: The backend could not take it; what was sent is not sent again by the next upload.
        """
        self._upload(folder, make_folder=make_folder, strategy=conflict_strategy)

    def _is_in(self, backend: Backend, place: Mapping[str, str]) -> bool:
        """Return whether a backend has this artifact as it is now, so that an upload would bring nothing.

        It is not missed either where it was deleted after it only came from there.

        Args:
            backend: The backend.
            place: A record of the history, see `t9k.em.nodes.history`.
        """
        try:
            newest = backend.stat(place["path"])
            node = backend.stat(f"{place['path']}@{place['generation']}") if newest.id == self.id else newest
        except NotFound:
            return not history.was_uploaded(self.remote, backend.uri)
        if newest.id != self.id:
            return not history.was_uploaded(self.remote, backend.uri)
        mine = {
            INDEX: Body.of(objects.encode(dict(sorted(self._objects.items())))).sha256,
            METADATA: Body.of(dump(self._metadata())).sha256,
        }
        return any(
            mine.items() <= {file.key: file.sha256 for file in backend.files(at)}.items() for at in (newest, node)
        )

    # Inside.

    def _set_metadata(self, metadata: Mapping[str, Any]) -> None:
        created = text_of(mapping_of(metadata, "metadata"), "created_timestamp") or utc_text()
        super()._set_metadata(metadata)
        self.created_timestamp = created

    def _attach(self, directory: Path) -> None:
        super()._attach(directory)
        self._keys = None
        self._checked = {}
        self._index_seen = None

    def _metadata(self) -> dict[str, Any]:
        return {**super()._metadata(), "created_timestamp": self.created_timestamp}

    def _prepare(
        self, backend: Backend, folder: str, *, make_folder: bool, strategy: str, progress: Progress | None
    ) -> None:
        del backend, folder, make_folder, strategy
        self._fetch([key for key in dict(self._objects) if not self._is_there(key)], progress)
        reentry.alone(self._sort_index)

    def _sort_index(self) -> None:
        """Write the index anew, sorted, with what other objects and processes have added to it."""
        with self._locks.changing:  # a run that is uploaded while it goes on sends its artifacts from another thread
            index = self._at(INDEX)
            self._objects = dict(sorted(self._objects.items()))
            if self._read_index(index) == objects.encode(self._objects):
                return
            with self._writing():
                there = self._read_index(index)
                if there:  # whatever was added here is in it too, and what was added last counts
                    self._objects = dict(sorted(objects.decode(there, str(index)).items()))
                    self._keys = None
                if there != objects.encode(self._objects):
                    self._save_index()

    @staticmethod
    def _read_index(index: Below) -> bytes:
        return below.read(index) if below.is_file(index) else b""

    def _apply_merge(self, merge: merging.Merge) -> None:
        index = merge.files.get(INDEX)
        if index is not None:  # before the index names them, for what is not here is fetched from there
            self._state.set("origin", dict(merge.origin))
        super()._apply_merge(merge)
        if index is not None:
            with self._locks.changing:
                self._objects = objects.decode(index, INDEX)
                self._keys = None
                self._checked = {}

    def _bodies(self) -> dict[str, Body]:
        known = dict(self._objects)
        bodies = {
            INDEX: Body.of(objects.encode(known)),
            METADATA: Body.of(dump(self._metadata())),
        }
        for key, data in known.items():
            if "uri" not in data:
                bodies[f"{OBJECTS}/{key}"] = local_body(self._object(key), data["size"], data["sha256"])
        return bodies

    def _save_index(self) -> None:
        objects.write(self._at(INDEX), self._objects)
        self._index_seen = identity(self._at(INDEX))

    @contextlib.contextmanager
    def _adding(self, keys: Iterable[str] = ()) -> Iterator[Callable[[Iterable[str]], None]]:
        """Reserves keys for the block, before anything is copied, and gives what reserves more; an error in it frees them."""
        known = self._keys = self._keys or KeySet(self._objects)

        def reserve(more: Iterable[str]) -> None:
            for key in more:
                check_key(f"{OBJECTS}/{check_key(key)}")
                known.add(key, again=True)

        try:
            reserve(keys)
            yield reserve
        except BaseException:
            self._keys = None
            raise

    def _add(self, added: Mapping[str, Mapping[str, Any]], place: Callable[[], object] | None = None) -> None:
        """Add objects.

        Args:
            added: Their data by key.
            place: Puts their files into their places, so that what the index says of a key is what lies there, whoever adds it too.
        """
        with self._locks.changing, self._writing():
            self._learn_objects(added)
            if place is not None:
                place()
            objects.append(self._at(INDEX), added)
            self._index_seen = identity(self._at(INDEX))
            for key, data in added.items():
                self._objects[key] = dict(data)

    def _learn_objects(self, added: Iterable[str]) -> None:
        """Take over what others have added to the index since this object read or wrote it.

        Args:
            added: Keys of what is to be added.

        Raises:
            KeyCollision: Some file system takes one of them for what somebody else has added.
        """
        index = self._at(INDEX)
        if not below.is_file(index) or identity(index) == self._index_seen:
            return
        self._objects = objects.decode(below.read(index), str(index))
        self._keys = None
        known = KeySet(self._objects)
        for key in added:
            known.add(key, again=True)

    def _data(self, key: str) -> dict[str, Any]:
        if key not in self._objects:
            raise NotFound(f"artifact {self.name!r} has no object {key!r}; `objects` lists those there are")
        return self._objects[key]

    def _object(self, key: str) -> Below:
        return self._seen_at(f"{OBJECTS}/{key}")

    def _is_there(self, key: str) -> bool:
        """Return whether there is a local file for an object, or none is needed for a reference."""
        if "uri" in self._data(key):
            return True
        return below.is_file(self._object(key))

    def _is_here(self, key: str) -> bool:
        """Return whether the local file of an object holds what was added; the bytes are read unless they were before."""
        if "uri" in self._data(key):
            return True
        if not self._is_there(key):
            return False
        path, found = self._object(key), identity(self._object(key))
        if self._checked.get(key) != found:
            if sha256_of_file(path) != self._objects[key]["sha256"]:
                return False
            self._checked[key] = found
        return True

    def _fetch_reference(self, key: str) -> Path | Below:
        from t9k.em.objects.references import fetch_reference  # noqa: PLC0415 - requests is slow to import

        return fetch_reference(key, self._objects[key], self._directory)

    def _ranges(self, key: str) -> Ranges:
        """Return an object that is no reference, here or where it comes from."""
        data, what = self._data(key), f"object {key!r} of artifact {self.name!r}"
        if self._is_there(key):
            return local_ranges(self._object(key), data["size"], data["sha256"], what)
        return self._origin().ranges(key, data, what)

    def _origin(self) -> PublishedArtifact:
        """Return the backend and node from which missing objects can be fetched."""
        origin = self._state.get("origin", None)
        if origin is None:
            raise NotFound(
                f"some objects of artifact {self.name!r} are missing or changed in {self.local}, and it was not loaded "
                "from a backend; add them again"
            )
        address = origin["uri"], f"{origin['path']}@{origin['generation']}"
        if self._published is None or (self._published.uri, self._published.path) != address:
            self._published = PublishedArtifact(*address)
        return self._published


class _Source:
    """An artifact as its file system sees it, see `t9k.em.objects.filesystem.Source`."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact

    def __repr__(self) -> str:
        return repr(self._artifact)

    @property
    def name(self) -> str:
        return self._artifact.name

    @property
    def objects(self) -> Mapping[str, Mapping[str, Any]]:
        return self._artifact._objects  # noqa: SLF001 - of this module

    def open(self, key: str) -> BinaryIO:
        return self._artifact.open(key)

    def ranges(self, key: str) -> Ranges:
        return self._artifact._ranges(key)  # noqa: SLF001 - of this module

    @property
    def address(self) -> tuple[str, str]:
        for place in self._artifact.remote[-1:]:
            published = PublishedArtifact(place["uri"], f"{place['path']}@{place['generation']}")
            if published.objects == self.objects:
                return published.address
        raise InvalidInput(
            f"artifact {self.name!r} is in no backend as it is now, so that another process cannot find it; upload it first"
        )


def _open_pickled(directory: str) -> Artifact:
    """Return an artifact that was pickled.

    Raises:
        NotALocalNode: Its directory is not here.
    """
    try:
        return Artifact._open_directory(Path(directory))
    except NotALocalNode as error:
        raise NotALocalNode(
            f"an artifact travels to another process as its directory, and {directory} is not that of one here; on another machine, "
            "pass what em.load_artifact takes: the path that it was uploaded to"
        ) from error


def _checked_objects(given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Objects as a caller gives them.

    Raises:
        InvalidInput: A key or its data cannot be.
    """
    return objects.checked(
        [{**mapping_of(data, f"object {key!r}"), "key": key} for key, data in mapping_of(given, "objects").items()]
    )


def _spec(key: str, data: Mapping[str, Any]) -> FileSpec:
    return FileSpec(key=key, size=data["size"], sha256=data["sha256"])
