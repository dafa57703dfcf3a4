"""What a run and an artifact have in common: metadata, a local directory, and the way to a backend."""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from t9k.em import session
from t9k.em.errors import Conflict, Diverged, NotFound
from t9k.em.local import below, forks, recorder, reentry
from t9k.em.local.below import Below
from t9k.em.local.descent import THERE
from t9k.em.local.files import write_atomic
from t9k.em.local.layout import METADATA
from t9k.em.local.shared import SharedMapping
from t9k.em.local.state import LocalState
from t9k.em.metadata import MAX_TEXT_BYTES, check_texts, cut_texts, labels_of, mapping_of, text_of
from t9k.em.names import check_name, check_strategy, parent_and_name
from t9k.em.nodes import history
from t9k.em.records import Body, Draft, Node, Outcome
from t9k.em.settings import is_disabled
from t9k.em.threeway import same
from t9k.em.transfer.uploading import target_of, upload_node
from t9k.em.warn import outside, warn_incomplete

if TYPE_CHECKING:
    from typing_extensions import Self

    from t9k.em.backend import Backend
    from t9k.em.nodes import merging
    from t9k.em.transfer.progress import Progress


_TRIES = 8
"""So often a copy takes over what others have published, and is uploaded on top of it."""


class _Locks:
    """The locks of one node; a child made by fork gets new ones, for the threads that held them are not there.

    Attributes:
        sending: Held during an upload.
        changing: Held while attributes and their files are changed; never while the network is waited for.
        placing: Held while one that was only looked at gets its local directory; no other lock is taken below it.
    """

    def __init__(self) -> None:
        self.forget_parent()
        forks.watch(self)

    def forget_parent(self) -> None:
        """See `t9k.em.local.forks`."""
        self.sending, self.changing, self.placing = threading.RLock(), threading.RLock(), threading.RLock()


class LocalNode(ABC):
    """A run or an artifact; `Run` and `Artifact` document its attributes.

    A subclass calls `_set_metadata` with metadata that a caller or a file gave, which checks everything before it changes
    anything, and then `_attach` with the directory that the node lives in.
    """

    kind: ClassVar[str]
    _stand_in: ClassVar[Callable[[type[LocalNode]], type[LocalNode]] | None] = None
    """Finds the class that a caller gets instead with `EM_MODE=disabled`; `t9k.em.api` sets it, see `t9k.em.disabled`."""

    id: str
    name: str
    labels: list[str]
    description: str
    alternative_name: str

    _place: Path
    """Where its files can be read: the local directory, or before there is one a temporary directory."""

    _keep: Callable[[Path | None], Path] | None = None
    """What makes the local directory, of one that was only looked at so far; see `_look`."""

    _state: LocalState
    _shared: SharedMapping
    _is_new = False
    """Whether nobody else can know the directory yet."""
    _is_cut_told = False

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Give one that is kept, or where nothing is to be recorded its stand-in."""
        # Without arguments it is one that is read from a directory, as the commands do.
        instead = LocalNode._stand_in if (args or kwargs) and is_disabled() else None
        made: type[Any] = cls if instead is None else instead(cls)
        new: Self = object.__new__(made)
        return new

    @property
    def directory(self) -> Path:
        """The local directory, absolute: it stays the same when the process changes its working directory; see `local`."""
        return self._directory

    @property
    def local(self) -> str:
        """Local directory, absolute. One that was loaded from a backend gets it when this is first asked for, or before."""
        return str(self._directory)

    @property
    def _has_directory(self) -> bool:
        """Whether there is a local directory: not while what was loaded from a backend is only looked at."""
        return self._keep is None

    def _look(self, files: Path, keep: Callable[[Path | None], Path]) -> None:
        """Read from a temporary directory until something needs the local directory.

        Args:
            files: The temporary directory, from which this was opened.
            keep: Makes the local directory of its files: the one that is given, which must not hold anything, or a new one. Called at most
                once with success.
        """
        self._place = files
        self._keep = keep

    @property
    def remote(self) -> list[dict[str, str]]:
        """Upload and download history, oldest first; see `t9k.em.nodes.history`."""
        remote: list[dict[str, str]] = self._state.get("remote", [])
        return remote

    def save(self) -> None:
        """Write attributes that were set, such as `labels`, to the local directory.

        Raises:
            InvalidInput: A field was set to an invalid value.
            LocalError: The disk is full or refuses.
        """
        self._settle()
        reentry.alone(self._save_metadata)

    def send(
        self,
        backend: Backend,
        folder: str,
        *,
        make_folder: bool = False,
        strategy: str = "new",
        progress: Progress | None = None,
    ) -> tuple[Outcome, Node]:
        """Upload this to a backend that is at hand, such as one of your own; see `upload`.

        Args:
            backend: The backend.
            folder: Absolute path of the folder.
            make_folder: Whether to make the folder.
            strategy: Conflict strategy.
            progress: Receives the progress.

        Returns:
            What became of it, and the node.
        """
        self._settle()
        if strategy != "replace":
            self._check_original()
        with self._locks.sending:  # a run may be uploaded by itself at the same time
            return self._send(backend, folder, make_folder=make_folder, strategy=strategy, progress=progress)

    def _send(
        self, backend: Backend, folder: str, *, make_folder: bool, strategy: str, progress: Progress | None
    ) -> tuple[Outcome, Node]:
        target = target_of(backend, folder)
        history.expect_store(self._state, backend)
        self._learn_descent(backend, folder)
        for _ in range(_TRIES):
            ancestors = self._state.descent.ancestors(target)
            try:
                outcome, node = self._send_once(
                    backend, folder, ancestors, make_folder=make_folder, strategy=strategy, progress=progress
                )
            except Diverged as error:
                diverged = error
                there = self._join(backend, folder, error)
                if there is not None:
                    return Outcome.UNCHANGED, there
                continue
            history.add(self._state, outcome, backend.uri, node)
            history.note_store(self._state, backend)
            if outcome is not Outcome.SKIPPED:
                self._state.descent.note(THERE, node.op, target)
            return outcome, node
        raise diverged  # others publish faster than this copy takes over what they do

    def _check_original(self) -> None:
        """Refuse a copy by hand of a directory that is still there.

        Raises:
            Conflict: This is one.
        """
        original = recorder.original_of(self._place)
        if original is not None:
            raise Conflict(
                f"{self._place} is a copy of {original}, and both are the run {self.id}: upload that one; or make this one a run of its "
                f"own by another id in its {METADATA}, such as {uuid4()}; --conflict-strategy replace puts it over the other"
            )

    def _join(self, backend: Backend, folder: str, error: Diverged) -> Node | None:
        """Take over what the newest version has and this copy lacks, after which it comes from that one.

        Returns:
            The version that this copy is, if nothing was changed in it; then it stays as it is.

        Raises:
            Diverged: Both have changed the same, or the version that this copy is was collected.
        """
        from t9k.em.nodes import merging  # noqa: PLC0415 - costs every importer otherwise, and copies rarely differ

        target = target_of(backend, folder)
        ancestors = self._state.descent.ancestors(target)
        names = [self.name, self.alternative_name]
        if history.is_at_alternative(self.remote, backend.uri, folder, self.alternative_name):
            names.reverse()
        versions = merging.find_versions(backend, folder, names, self.id, ancestors)
        if versions is None or versions.theirs.op in ancestors:
            return None  # deleted meanwhile, or another process uploaded this directory
        try:
            merge = merging.plan(backend, versions, self._metadata(), self._hparams_now(), self._bodies())
            if not merge.is_changed and versions.base is not None:
                return backend.stat(f"{versions.base.path}@{versions.base.generation}")
            self._apply_merge(merge)
        except merging.CannotMerge as both:
            raise Diverged(f"{error}. Both have changed: {both}") from error
        except NotFound as collected:
            raise Diverged(f"{error}. ({collected})") from error
        self._state.descent.note(THERE, versions.theirs.op, target)
        return None

    def _hparams_now(self) -> dict[str, Any]:
        """Return the hyperparameters, of what has some."""
        return {}

    def _apply_merge(self, merge: merging.Merge) -> None:
        """Take over what another copy has changed; durable on return.

        Raises:
            merging.CannotMerge: The newest version cannot be taken over now.
        """
        from t9k.em.nodes import merging  # noqa: PLC0415 - costs every importer otherwise, and copies rarely differ

        with self._locks.changing, self._writing():
            for key, data in merge.files.items():
                if data is None:
                    below.remove(self._at(key))
                else:
                    write_atomic(self._at(key), data)
            changed = {path: value for path, value in merge.metadata.items() if value is not merging.MISSING}
            self._apply_metadata(changed)
            self._save_metadata()

    def _apply_metadata(self, changed: Mapping[tuple[str, ...], Any]) -> None:
        fields = {path[0]: value for path, value in changed.items() if len(path) == 1}
        checked = type(self).__new__(type(self))
        checked._set_metadata({**self._metadata(), **fields})  # noqa: SLF001 - of this class
        for name in fields.keys() & self._metadata().keys() - {"type", "id"}:
            setattr(self, name, getattr(checked, name))

    def _learn_descent(self, backend: Backend, folder: str) -> None:
        """Learns the op of the version that the history names, where an earlier version of this library kept no more."""
        if self._state.descent.is_kept_for(target_of(backend, folder)):
            return
        for old in reversed(self.remote):
            if old["uri"] == backend.uri and parent_and_name(old["path"])[0] == folder:
                with contextlib.suppress(NotFound):  # collected or deleted, so that it is not the newest
                    op = backend.stat(f"{old['path']}@{old['generation']}").op
                    self._state.descent.note(THERE, op, target_of(backend, folder))
                return

    def _send_once(
        self,
        backend: Backend,
        folder: str,
        ancestors: tuple[str, ...],
        *,
        make_folder: bool,
        strategy: str,
        progress: Progress | None,
    ) -> tuple[Outcome, Node]:
        self._prepare(backend, folder, make_folder=make_folder, strategy=strategy, progress=progress)
        reentry.alone(partial(self._save_metadata, is_look=self._may_look))
        draft = Draft(
            kind=self.kind,
            name=self.name,
            alternative_name=self.alternative_name,
            id=self.id,
            metadata=self._metadata(),
        )
        return upload_node(
            backend,
            folder,
            draft,
            self._bodies(),
            strategy=strategy,
            make_folder=make_folder,
            prefer_alternative=history.is_at_alternative(self.remote, backend.uri, folder, self.alternative_name),
            journal=self._state,
            ancestors=ancestors,
            compare="content" if strategy == "replace" else "listing",
            progress=progress,
        )

    def _upload(self, folder: str, *, make_folder: bool, strategy: str) -> None:
        """Upload the node, as `upload` does, with the arguments of the reference checked."""
        check_strategy(strategy)
        backend, path = session.resolve(folder)
        self.send(backend, path, make_folder=make_folder, strategy=strategy)

    @abstractmethod
    def _prepare(
        self, backend: Backend, folder: str, *, make_folder: bool, strategy: str, progress: Progress | None
    ) -> None:
        """Do what has to be done before an upload: fetch what is missing here, upload what this refers to."""

    @abstractmethod
    def _bodies(self) -> dict[str, Body]:
        """Return the files to upload, by key, as they are now."""

    def _set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over metadata.

        Raises:
            InvalidName, InvalidInput: A value has a wrong form; nothing was changed.
        """
        name = check_name(mapping_of(metadata, "metadata").get("name"), what=f"name of the {self.kind.lower()}")
        alternative = text_of(metadata, "alternative_name")
        self.id, self.name, self.alternative_name, self.labels, self.description = (
            text_of(metadata, "id") or str(uuid4()),
            name,
            check_name(alternative, what="alternative name") if alternative else "",
            labels_of(metadata),
            text_of(metadata, "description"),
        )

    def _set_new_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Take over metadata that is to be written; what was written before may be larger.

        Raises:
            InvalidName, InvalidInput: A value has a wrong form, or no backend takes so much; nothing was changed.
        """
        check_texts(text_of(mapping_of(metadata, "metadata"), "description"), labels_of(metadata))
        self._set_metadata(metadata)

    @property
    def _directory(self) -> Path:
        """The local directory, made on first use; code that only reads uses `_place`."""
        self._settle()
        return self._place

    def _at(self, key: str) -> Below:
        """Return a file in the local directory, which is made on first use."""
        return Below(self._directory, key)

    def _seen_at(self, key: str) -> Below:
        """Return a file to be read, from where it can be read now."""
        return Below(self._place, key)

    def _settle(self, wanted: Path | None = None) -> None:
        """Make the local directory of one that was only looked at so far.

        Args:
            wanted: What it becomes; by default a new directory where such lie.

        Raises:
            LocalError: The directory cannot be made; the object is unchanged.
        """
        if self._keep is None:
            return
        with self._locks.placing:
            if self._keep is not None:
                self._move_to(self._keep(wanted))
                self._keep = None

    def _move_to(self, directory: Path) -> None:
        """Read and write in another directory with the same files from now on."""
        self._place = Path(os.path.abspath(directory))  # noqa: PTH100 - `resolve` would follow links
        self._state = LocalState(self._place)

    def _where(self) -> str:
        """Return the location for `repr`, which makes no directory."""
        if self._keep is None:
            return f"local={str(self._place)!r}"
        last = self.remote[-1]
        place = f"{last['uri']}#{last['path']}@{last['generation']}"
        return f"remote={place!r}"

    def _attach(self, directory: Path) -> None:
        """Lives in a directory from now on."""
        LocalNode._move_to(self, directory)
        self._locks = _Locks()
        self._shared = SharedMapping("metadata", self._understood, lists=self._lists, has_fixed_keys=True)
        self.alternative_name = self.alternative_name or directory.name

    def _metadata(self) -> dict[str, Any]:
        """Return the metadata as it is now; description and labels that were set since are cut where no backend takes all.

        Raises:
            InvalidName, InvalidInput: An attribute was set to something that it cannot be.
        """
        labels, description = (
            labels_of({"labels": self.labels}),
            text_of({"description": self.description}, "description"),
        )
        cut = cut_texts(description, labels)
        if cut is not None:
            description, labels = cut
            if not self._is_cut_told:
                self._is_cut_told = True
                warn_incomplete(
                    f"description and labels of {self.name!r} take more than {MAX_TEXT_BYTES} bytes, and what is beyond is not "
                    "kept; keep long texts as a file of an artifact",
                    outside(),
                )
        return {
            "type": self.kind,
            "id": self.id,
            "name": check_name(self.name),
            "alternative_name": check_name(self.alternative_name),
            "labels": labels,
            "description": description,
        }

    def _writing(self) -> AbstractContextManager[object]:
        """Keep all others, of this process and of others, from changing the local files; no lock of ours is waited for within."""
        return contextlib.nullcontext() if self._is_new else self._state.lock.held()

    def _save_metadata(self, *, is_look: bool = False) -> None:
        """Write what this object has changed in the metadata since it read or wrote it, and take over what others have.

        In what a handler may call it is done `alone`.

        Args:
            is_look: Whether to take over what others have changed also if this object has changed nothing.
        """
        with self._locks.changing:
            path, mine = self._at(METADATA), self._metadata()
            if self._shared.is_changed(mine):
                with self._writing():
                    found = self._shared.write(path, mine, self._own_fields(mine))
            elif is_look:
                found = self._shared.look(path, mine, self._own_fields(mine))
            else:
                return
            if found is not mine:
                self._adopt(mine, found)

    _lists: ClassVar[Mapping[str, Any]] = {"labels": str}
    """See `t9k.em.threeway.joined`."""

    @property
    def _may_look(self) -> bool:
        """Whether an upload takes over what others wrote to the local files."""
        return True

    def _own_fields(self, mine: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the metadata that nobody else has a say in."""
        del mine
        return {}

    def _understood(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata that somebody else wrote, as this object would write it; what it does not know stays.

        Raises:
            InvalidName, InvalidInput: A value has a wrong form.
        """
        base = self._shared.base or {}
        checked = type(self).__new__(type(self))
        checked._set_metadata({**base, **metadata})  # noqa: SLF001 - of this class
        checked.alternative_name = checked.alternative_name or self.alternative_name
        return {**metadata, **checked._metadata()}  # noqa: SLF001 - of this class

    def _adopt(self, mine: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Take over what others have changed in the metadata; what was set since `mine` was read stays."""
        for name in mine.keys() - {"type", "labels"}:
            if not same(mine[name], found[name]) and getattr(self, name) == mine[name]:
                setattr(self, name, found[name])
        if not same(mine["labels"], found["labels"]):
            self._take_over_labels(mine["labels"], found["labels"])

    def _take_over_labels(self, mine: list[str], found: list[str]) -> None:
        kept: Any = self.labels
        if not isinstance(kept, list):  # another sequence may have been set
            kept = self.labels = list(kept)
        for label in mine:  # in the very list, which another thread may be adding to
            if label not in found and label in kept:
                kept.remove(label)
        kept.extend(label for label in found if label not in kept)
        if kept != found and sorted(kept) == sorted(found):
            kept[:] = found
