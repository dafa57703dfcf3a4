"""Send one node to a backend: plan, parallel puts, publish; resume what an earlier process began."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from t9k.em.errors import InvalidInput, UploadFenced
from t9k.em.names import check_path, new_op
from t9k.em.parallel import in_parallel
from t9k.em.records import Body, Draft, FileSpec, Node, Outcome, UploadRequest
from t9k.em.transfer.progress import Progress, Silent, Watch

if TYPE_CHECKING:
    from t9k.em.backend import Backend, Upload

BATCH_BYTES = 8 << 20


class Journal(Protocol):
    """Remember the op of an upload that is in progress, so that another process can go on with it."""

    def op_for(self, target: str, digest: str) -> tuple[str, bool]:
        """Return the op for a target and content, and whether it was used before; durable on return."""

    def done(self, target: str) -> None:
        """Forget the op: its upload is published or will never be."""


class NoJournal:
    """Each upload is a new one."""

    def op_for(self, target: str, digest: str) -> tuple[str, bool]:
        """See `Journal`."""
        del target, digest
        return new_op(), False

    def done(self, target: str) -> None:
        """See `Journal`."""


def upload_node(
    backend: Backend,
    folder: str,
    draft: Draft,
    bodies: Mapping[str, Body],
    *,
    strategy: str,
    make_folder: bool = False,
    prefer_alternative: bool = False,
    journal: Journal | None = None,
    since: int = 0,
    ancestors: tuple[str, ...] | None = None,
    compare: str = "listing",
    progress: Progress | None = None,
) -> tuple[Outcome, Node]:
    """Upload a node; see `t9k.em.backend.Backend.begin` and `Upload` for what can go wrong.

    Args:
        backend: Where to.
        folder: Absolute path of the folder.
        draft: Name, kind, id and metadata.
        bodies: Its files by key.
        strategy: 'skip', 'error', 'new' or 'replace'.
        make_folder: Whether to make the folder when it is missing.
        prefer_alternative: Whether it was uploaded there under its alternative name before.
        journal: Where the op is kept meanwhile.
        since: See `UploadRequest`.
        ancestors: See `UploadRequest`.
        compare: See `UploadRequest`.
        progress: Receives the progress.

    Returns:
        What became of it, and the node that is there now.

    Raises:
        InvalidInput: The folder is the root, where only users have folders.
    """
    if check_path(folder) == "/":
        raise InvalidInput("a run or artifact lies in the folder of a user, like /alice/default, and not in '/'")
    journal = journal or NoJournal()
    progress = progress or Silent()
    files = tuple(FileSpec(key=key, size=body.size, sha256=body.sha256) for key, body in sorted(bodies.items()))
    target = target_of(backend, folder)
    while True:
        op, resumed = journal.op_for(target, _digest(draft, files))
        request = UploadRequest(
            folder=folder,
            draft=draft,
            files=files,
            strategy=strategy,
            make_folder=make_folder,
            op=op,
            resumed=resumed,
            since=since,
            prefer_alternative=prefer_alternative,
            ancestors=ancestors,
            compare=compare,
            bodies=bodies,
        )
        try:
            upload = backend.begin(request)
            _run(backend, upload, bodies, draft.name, progress)
        except UploadFenced:
            journal.done(target)
            if not resumed:
                raise
        else:
            break
    journal.done(target)
    assert upload.outcome is not None  # noqa: S101 - what _run loops for
    assert upload.node is not None  # noqa: S101 - comes with the outcome
    return upload.outcome, upload.node


def target_of(backend: Backend, folder: str) -> str:
    """Return the name of a folder of a backend in a journal."""
    return f"{backend.uri}#{folder}"


def _run(backend: Backend, upload: Upload, bodies: Mapping[str, Body], name: str, progress: Progress) -> None:
    def put(batch: Sequence[FileSpec]) -> None:
        watches = [Watch(bodies[file.key], progress) for file in batch]
        upload.put([(file, watch.body) for file, watch in zip(batch, watches, strict=True)])
        for watch in watches:
            watch.done()

    while upload.outcome is None:
        missing = upload.missing
        progress.start(f"uploading {name}", len(missing), sum(file.size for file in missing))
        in_parallel(
            put, list(_batches(missing, backend.batch_files)), "upload", lambda: backend.batches or backend.parallelism
        )
        upload.commit()


def _batches(files: Sequence[FileSpec], most: int) -> Iterator[Sequence[FileSpec]]:
    batch: list[FileSpec] = []
    size = 0
    for file in files:
        if batch and (len(batch) == most or size + file.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def _digest(draft: Draft, files: Sequence[FileSpec]) -> str:
    """Of what an op stands for: the same op never sends different bytes under one key."""
    digest = hashlib.sha256(f"{draft.kind}\0{draft.name}\0{draft.alternative_name}\0{draft.id}".encode())
    for file in files:
        digest.update(f"\0{file.key}\0{file.size}\0{file.sha256}".encode())
    return digest.hexdigest()
