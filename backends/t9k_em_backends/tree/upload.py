"""One upload to a tree: decide, plan, put, verify, publish, and plan again when somebody else was faster.

The rules that keep data safe, each of which a test removes and sees fail:

- A head refers to files of its own upload and of the very head that it is published on top of, never of any other:
  the collector keeps what the newest head needs, and publishes a generation before it deletes.
- A writer whose upload the collector has fenced does not publish, and every head carries the fences on.
- An upload whose op some head names is published, whoever wrote that head; it is never published again.
- What goes on top of another generation of the same node comes from it: no change of another copy is overwritten.
- What a head refers to is in the store when the head is published, whoever brought it: the store lists it, and it is
  compared. What is missing, of another size or known to be damaged is sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from attrs import evolve

from t9k.em.backend import CopiesObjects, RecognizesContent, Upload
from t9k.em.backend.abilities import can
from t9k.em.chunks import sha256_of
from t9k.em.errors import Conflict, CorruptData, CorruptManifest, Diverged, NameCollision, NotFound, UploadFenced
from t9k.em.names import join
from t9k.em.records import (
    Body,
    FileEntry,
    FileSpec,
    Node,
    ObjectInfo,
    Outcome,
    Part,
    SignedUpload,
    UploadRequest,
    utc_text,
)
from t9k_em_backends.tree import presigning
from t9k_em_backends.tree.begun import Begun
from t9k_em_backends.tree.fences import Fences
from t9k_em_backends.tree.folders import keep_folder
from t9k_em_backends.tree.heads import (
    Head,
    ManifestRef,
    fits,
    manifest_key,
    to_node,
    upload_prefix,
    with_files,
)
from t9k_em_backends.tree.manifests import decode_manifest, encode_manifest
from t9k_em_backends.tree.parts import assembler, check_part
from t9k_em_backends.tree.publications import publication
from t9k_em_backends.tree.stored import Comparison, Listed
from t9k_em_backends.tree.values import NewerFormat, dump_json

if TYPE_CHECKING:
    from t9k_em_backends.tree.tree import Tree

MOST_LOOKED = 100
"""How many versions are looked through to say which one a copy comes from."""


class TreeUpload(Upload):
    """See `t9k.em.backend.Upload`; made by `TreeBackend.begin`."""

    def __init__(self, tree: Tree, request: UploadRequest, folder_generation: int) -> None:
        self._tree = tree
        self._request = request
        self._draft = request.draft
        self._folder_generation = folder_generation
        self._name = request.draft.name
        self._generation = 0
        self._head: Head | None = None
        self._base: dict[str, FileEntry] = {}
        self._sent: dict[str, FileEntry] = {}
        self._lost: set[str] = set()
        self._begun = Begun(tree.store, request.folder, request.op)
        self._damaged: set[tuple[str, str]] = set()
        self._right: dict[tuple[str, str], FileEntry] = {}
        self._may_be_published = request.resumed

    def start(self) -> None:
        """Look at what is there and decide."""
        if self._request.strategy == "new":
            self._choose_name()
        if self.outcome is None and self._name == self._draft.name:
            self._look()
        if self.outcome is None and self._request.resumed:
            listed = self._listed()
            self._compare_base(listed)
            self._find_sent(listed)

    def _choose_name(self) -> None:
        """Go on under the name under which an earlier upload or an earlier process left off."""
        if self._request.resumed:
            published = self._published_since(0, *self._tree.generations(self._request.folder, self._name).newest())
            if published is not None:
                self._finish(Outcome.PUBLISHED, *published)
                return
        if self._request.resumed or self._request.prefer_alternative:
            self._name = self._draft.alternative_name
            self._look()
            moved = self._request.resumed and self._listed().under(self._request.op)
            if self.outcome is None and not moved and not self._is_update():
                self._name = self._draft.name
                self._generation = 0

    @property
    def missing(self) -> Sequence[FileSpec]:
        """See the port."""
        return [file for file in self._request.files if self._entry(file) is None]

    def put(self, items: Sequence[tuple[FileSpec, Body]]) -> None:
        """See the port."""
        self._tree.check_store()
        self._record_begun()
        prefix = self._prefix
        infos = self._tree.store.put_many([(prefix + file.key, body) for file, body in items])
        for (file, _), info in zip(items, infos, strict=True):
            self._sent[file.key] = self._own(file, info)

    def sign(self, file: FileSpec, *, lifetime_s: float) -> SignedUpload | None:
        """See `t9k.em.backend.SendsDirect`."""
        self._tree.check_store()
        self._record_begun()
        return presigning.sign_put(self._tree.store, self._prefix + file.key, file, lifetime_s)

    def complete_signed(self, file: FileSpec, token: str) -> None:
        """See `t9k.em.backend.SendsDirect`."""
        if file.key not in self._sent:
            key = self._prefix + file.key
            self._sent[file.key] = self._own(file, presigning.complete(self._tree.store, key, file, token))

    def put_part(self, file: FileSpec, start: int, body: Body) -> None:
        """See `t9k.em.backend.TakesParts`."""
        check_part(file, start, body)
        self._tree.check_store()
        self._record_begun()
        prefix = self._prefix
        assembler(self._tree.store, prefix).put_part(prefix + file.key, start, body)

    def parts(self, file: FileSpec) -> Sequence[Part]:
        """See `t9k.em.backend.TakesParts`."""
        prefix = self._prefix
        return assembler(self._tree.store, prefix).parts(prefix + file.key)

    def join_parts(self, file: FileSpec) -> None:
        """See `t9k.em.backend.TakesParts`."""
        if self._entry(file) is None:
            prefix = self._prefix
            info = assembler(self._tree.store, prefix).assemble(prefix + file.key, file.size, file.sha256)
            self._sent[file.key] = self._own(file, info)

    def commit(self) -> Node | None:
        """See the port."""
        if self.outcome is not None:
            return self.node
        lost, is_base_whole = self._not_kept()
        files = self._entries()
        if lost or not is_base_whole or len(files) < len(self._request.files):
            self._tree.check_store(now=bool(lost) or not is_base_whole)
            self._look(self._generation)
            self._send_again(lost)
            return self.node
        head = self._shorten(with_files(self._make_head(), files))
        generations = self._tree.generations(self._request.folder, self._name)
        if generations.publish(self._generation + 1, head):
            self._finish(Outcome.PUBLISHED, self._generation + 1, head)
        else:
            self._look(self._generation + 1)
        return self.node

    # What is there, and what it means.

    def _look(self, floor: int = 0) -> None:
        """Read the newest head and decide what this upload is in its light."""
        seen = max(self._generation, self._request.since)
        generations = self._tree.generations(self._request.folder, self._name)
        generation, head = generations.newest(floor)
        published = self._published_since(seen, generation, head) if self._may_be_published else None
        self._may_be_published = True
        if published is not None:
            self._finish(Outcome.PUBLISHED, *published)
            return
        if head is not None:
            self._check_fence(head)
        self._generation, self._head = generation, head
        self._base = {}
        if head is None or not head.ready:
            return
        if head.name != self._name or head.id != self._draft.id or head.kind != self._draft.kind:
            self._resolve(head)
        if self.outcome is None and self._head is head:
            self._look_at_files(generation, head)

    def _look_at_files(self, generation: int, head: Head) -> None:
        """Find out what can be referred to, and whether there is anything to do."""
        try:
            self._base = self._tree.entries(self._request.folder, head)
        except NewerFormat:
            raise
        except (NotFound, CorruptManifest):
            # Replaced and collected a moment ago, or damaged: nothing to refer to, and `commit` will look again.
            is_same = False
        else:
            is_same = self._is_update() and self._is_same(head)
        is_whole = self._leave_damaged_out()
        if is_same or self._request.compare != "listing":
            is_whole = self._compare_base(self._listed()) and is_whole
        if is_same and is_whole:
            self._finish(Outcome.UNCHANGED, generation, head)
        elif self._is_update() and not is_same:
            self._check_descent(generation, head)

    def _published_since(self, seen: int, generation: int, head: Head | None) -> tuple[int, Head] | None:
        """Return the generation that this upload published already, by a lost reply or another process with the same op."""
        generations = self._tree.generations(self._request.folder, self._name)
        return generations.published_by(self._request.op, generation, head, seen)

    def _check_fence(self, head: Head) -> None:
        """Refuse to go on when the collector may have taken files of this upload."""
        if Fences.of(head).hold(self._request.op):
            raise UploadFenced(
                f"the upload of {self._name!r} to {self._request.folder} was paused for so long that the collector "
                "removed its files; upload again. Where it was not paused, the clock of this machine is days behind: set it"
            )

    def _check_descent(self, generation: int, head: Head) -> None:
        """Refuse to put a state of the node over one that it does not come from."""
        ancestors = self._request.ancestors
        if ancestors is None or self._request.strategy == "replace":
            return
        generations = self._tree.generations(self._request.folder, self._name)
        if publication(generation, head, generations.readable) in ancestors:
            return
        path = join(self._request.folder, head.name)
        looked = range(generation - 1, max(0, generation - 1 - MOST_LOOKED), -1)
        known = next((number for number in looked if self._is_known(generations.readable(number))), 0)
        comes = f"comes from version {known}" if known else "comes from none of its versions"
        if not known and generation - 1 > MOST_LOOKED:
            comes = f"comes from none of its last {MOST_LOOKED} versions"
        raise Diverged(
            f"version {generation} of {path} is there, and this copy {comes}: load the newest with "
            f"em.load_{head.kind.lower()}({path!r}) and go on there, or upload under another name or into another folder; "
            "conflict_strategy='replace' overwrites it"
        )

    def _is_known(self, head: Head | None) -> bool:
        ancestors = self._request.ancestors or ()
        return head is not None and head.id == self._draft.id and head.op in ancestors

    def _resolve(self, head: Head) -> None:
        """Apply the strategy to a name that another node has."""
        strategy = self._request.strategy
        path = join(self._request.folder, head.name)
        if strategy == "new" and self._name != self._draft.alternative_name:
            self._move_to_alternative()
        elif head.name != self._name:
            raise NameCollision(
                f"{path} is there, and {self._name!r} differs from it only by case or Unicode form; "
                "use another name, or conflict_strategy='new'"
            )
        elif head.kind != self._draft.kind and strategy != "error":
            raise Conflict(f"{path} is a {head.kind}, not a {self._draft.kind}; use another name or folder")
        elif strategy == "skip":
            self._finish(Outcome.SKIPPED, self._generation, head)
        elif strategy != "replace":
            raise Conflict(
                f"{path} is there already; use another name, or conflict_strategy='new', 'replace' or 'skip'"
            )

    def _move_to_alternative(self) -> None:
        """Go on under the alternative name, with what was sent so far where the store can copy it."""
        folder, op, sent = self._request.folder, self._request.op, self._sent
        source = upload_prefix(folder, self._name, op)
        self._name, self._generation, self._sent = self._draft.alternative_name, 0, {}
        self._look()
        if sent and self.outcome is None and isinstance(self._tree.store, CopiesObjects):
            self._record_begun()
            target = upload_prefix(folder, self._name, op)
            for file in sent.values():
                with contextlib.suppress(NotFound):  # collected meanwhile, so it is missing again
                    self._sent[file.key] = self._own(
                        file.spec, self._tree.store.copy(source + file.key, target + file.key)
                    )

    def _is_update(self) -> bool:
        head = self._head
        return head is not None and head.ready and (head.id, head.kind) == (self._draft.id, self._draft.kind)

    def _is_same(self, head: Head) -> bool:
        """Return whether a new generation would say what the newest one says."""
        return (
            dump_json(head.metadata) == dump_json(self._draft.metadata)
            and len(self._base) == len(self._request.files)
            and all(file.key in self._base and self._base[file.key].holds(file) for file in self._request.files)
        )

    # What was sent.

    def _record_begun(self) -> None:
        """Write down that files may lie under the name, before the first one does, where no head says so."""
        if self._head is None or self._head.name != self._name:
            self._begun.write(self._name)

    def _entries(self) -> tuple[FileEntry, ...]:
        """Return the files that are not missing, by key."""
        return tuple(sorted(filter(None, map(self._entry, self._request.files)), key=lambda file: file.key))

    def _entry(self, file: FileSpec) -> FileEntry | None:
        """Return the entry of a file: of the head below, if that has the same bytes, or of this upload; None for a missing file."""
        there = self._base.get(file.key)
        if there is not None and there.holds(file):
            return there
        return self._sent.get(file.key)

    @property
    def _prefix(self) -> str:
        """Below which the files of this upload lie, under the name that it has now."""
        return upload_prefix(self._request.folder, self._name, self._request.op)

    def _own(self, file: FileSpec, info: ObjectInfo) -> FileEntry:
        return FileEntry(key=file.key, op=self._request.op, size=file.size, sha256=file.sha256, etag=info.etag)

    def _listed(self) -> Listed:
        """Return the objects under the prefixes of this upload and of those whose files it refers to."""
        ops = {self._request.op} | {file.op for file in self._referred()}
        return Listed.of(self._tree.store, self._request.folder, self._name, ops, self._generation)

    def _referred(self) -> list[FileEntry]:
        """Return the files of the head below that the next head would refer to."""
        found = ((self._base.get(file.key), file) for file in self._request.files)
        return [there for there, file in found if there is not None and there.holds(file)]

    def _compare_base(self, listed: Listed) -> bool:
        """Compare what is referred to with the store; what that does not have is referred to no more.

        Returns:
            Whether it has all.
        """
        comparison = Comparison(
            tree=self._tree,
            folder=self._request.folder,
            name=self._name,
            level=self._request.compare,
            bodies=self._request.bodies,
        )
        referred = self._referred()
        seen = [found for file in referred if (found := self._right.get((file.op, file.key)))]
        unseen = [file for file in referred if (file.op, file.key) not in self._right]
        kept = comparison.kept(unseen, listed) | evolve(comparison, level="listing").kept(seen, listed)
        self._right |= {(file.op, file.key): file for file in kept.values()}
        self._damaged |= {(file.op, file.key) for file in referred if file.key not in kept}
        self._base |= kept
        return self._leave_damaged_out()

    def _leave_damaged_out(self) -> bool:
        """Refer no more to what was found damaged; say whether there is no such thing."""
        whole = {key: file for key, file in self._base.items() if (file.op, file.key) not in self._damaged}
        is_whole, self._base = len(whole) == len(self._base), whole
        return is_whole

    def _find_sent(self, listed: Listed) -> None:
        """Resume: what an earlier process sent completely need not be sent again."""
        own = listed.under(self._request.op)
        prefix = self._prefix
        for file in self.missing:
            info = own.get(file.key)
            with contextlib.suppress(NotFound):  # collected meanwhile, so it is missing again
                if info and info.size == file.size and self._holds(prefix + file.key, info, file):
                    self._sent[file.key] = self._own(file, info)

    def _holds(self, key: str, info: ObjectInfo, file: FileSpec) -> bool:
        """Return whether an object has the bytes of a file: by what the store says, by the file, or else by reading the object."""
        store, body = self._tree.store, self._request.bodies.get(file.key)
        if body is not None and not info.sha256 and isinstance(store, RecognizesContent):
            return store.recognizes(info, body)
        return (info.sha256 or sha256_of(store.get(key))) == file.sha256

    def _not_kept(self) -> tuple[list[FileEntry], bool]:
        """Compare the store with the plan.

        Returns:
            The files of this upload that are not there, or not whole; and whether those of others are.
        """
        files = self._entries()
        if not files:
            return [], True
        listed = self._listed()
        own, objects = [file for file in files if file.op == self._request.op], listed.under(self._request.op)
        by_etag = can(self._tree.store, RecognizesContent)
        lost = [file for file in own if not _is_whole(file, objects.get(file.key), by_etag=by_etag)]
        return lost, self._compare_base(listed)

    def _send_again(self, lost: Sequence[FileEntry]) -> None:
        """Count files as missing that the store has lost, now that no collector is to blame.

        Raises:
            CorruptData: The same file was lost twice, so that sending it a third time is no help.
        """
        for file in lost if self.outcome is None else ():
            if file.key in self._lost:
                raise CorruptData(f"{self._tree.uri} does not keep {file.key!r} as it was sent; look at the store")
            self._lost.add(file.key)
            self._sent.pop(file.key, None)

    # What is published.

    def _make_head(self) -> Head:
        return Head(
            write_id=uuid4().hex,
            op=self._request.op,
            kind=self._draft.kind,
            state="ready",
            name=self._name,
            id=self._draft.id,
            metadata=self._draft.metadata,
            fenced=self._fenced(),
            fenced_spans=() if self._head is None else self._head.fenced_spans,
            collected=0 if self._head is None else self._head.collected,
            writer=self._tree.writer(),
            time=utc_text(self._tree.clock()),
        )

    def _fenced(self) -> tuple[str, ...]:
        """Return the fences of the head below, which every later head has to carry."""
        return () if self._head is None else self._head.fenced

    def _shorten(self, head: Head) -> Head:
        """Move a long list of files out of the head, into an object of its own that is named for its content."""
        if fits(head):
            return head
        data = encode_manifest(head.files)
        manifest = ManifestRef(op=self._request.op, sha256=hashlib.sha256(data).hexdigest())
        short = evolve(head, files=(), manifest=manifest)
        key = manifest_key(self._request.folder, self._name, manifest)
        decode_manifest(data, short, key)  # as every reader of the node will
        self._tree.store.put(key, Body.of(data))
        return short

    def _keep_folder(self) -> None:
        keep_folder(self._tree, self._request.folder, self._folder_generation)

    def _finish(self, outcome: Outcome, generation: int, head: Head) -> None:
        if outcome is Outcome.PUBLISHED:
            self._keep_folder()
            self._begun.remove(self._name, resumed=self._request.resumed and generation == 1)
        self.outcome = outcome
        node = to_node(self._request.folder, generation, head)
        if outcome is Outcome.UNCHANGED and head.op is None:  # a collector repeated it
            read = self._tree.generations(self._request.folder, self._name).readable
            node = evolve(node, op=publication(generation, head, read) or "")
        self.node = node


def _is_whole(file: FileEntry, info: ObjectInfo | None, *, by_etag: bool) -> bool:
    """Return whether a listed object is the one that was sent; its ETag tells that of a store whose ETags tell the content."""
    if info is None or info.size != file.size or info.sha256 not in ("", file.sha256):
        return False
    return not (by_etag and file.etag and info.etag) or info.etag == file.etag
