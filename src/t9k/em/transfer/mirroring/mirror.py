"""Plans a mirror, carries it out in threads or with an executor, and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from t9k.em.backend import TellsState
from t9k.em.errors import EMError, InvalidInput, NotFound
from t9k.em.names import join, parent_and_name, split_version
from t9k.em.parallel import in_parallel
from t9k.em.records import FOLDER
from t9k.em.transfer.mirroring.nodes import Item, Mirrored, Options, failed, mirror_node
from t9k.em.transfer.mirroring.planning import Plan, Planner
from t9k.em.transfer.mirroring.report import Entry, Report
from t9k.em.transfer.mirroring.shards import Shard, run_shard, split
from t9k.em.transfer.mirroring.state import State
from t9k.em.transfer.progress import Progress, Silent
from t9k.em.uris import parse, uri_of_node

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from t9k.em.backend import Backend
    from t9k.em.records import Node

FEWEST_NODES, MOST_NODES = 4, 32


@frozen(kw_only=True)
class Side:
    """A path in a backend.

    Attributes:
        backend: The backend.
        uri: Of its root, with all options: what another process opens it by.
        path: Absolute path.
    """

    backend: Backend
    uri: str
    path: str

    def __str__(self) -> str:
        return uri_of_node(self.backend.uri, self.path)


def run_mirror(
    source: Side,
    target: Side,
    options: Options,
    *,
    verify: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Report:
    """Make the target like the source; see `t9k.em.mirror`.

    Args:
        source: The folder, run or artifact.
        target: For a folder, what becomes like it; for a node, the folder that it goes into.
        options: What is asked for.
        verify: Whether to compare also what an earlier mirror found equal, by reading the bytes in the target.
        executor: Who works on shards; None for threads of this process.
        progress: Receives the progress.

    Returns:
        What was done, or would be.
    """
    options = evolve(options, verify=verify)
    state = State(str(source), str(target))
    state.load()
    state.expect_stores(source.backend, target.backend)
    if verify:
        state.forget_nodes()
    top = _check(source, target, options)
    planner = Planner(source.backend, target.backend, options, state)
    if top.kind == FOLDER:
        planner.folder(source.path, target.path)
    else:
        planner.node(top, target.path)
    plan = planner.plan
    entries = [*plan.entries]
    excess = plan.toll.excess(options.max_delete, str(source), str(target))
    if excess and options.apply:
        raise InvalidInput(f"{excess}; nothing was changed")
    if excess:
        entries.append(failed("", FOLDER, excess))
    try:
        entries += _delete(target, plan.clear, options)
        entries += _make_folders(target, plan, options, is_folder=top.kind == FOLDER)

        def finish(done: Mirrored) -> None:
            state.remember(done, history=options.history)
            entries.append(done.entry)

        _mirror_all(source, target, plan.items, options, executor, progress or Silent(), finish)
        entries += _delete(target, plan.extra, options)
    finally:
        if options.apply:
            state.note_stores(source.backend, target.backend)
            state.save()
    entries.sort(key=lambda entry: (entry.path, entry.action.value))
    return Report(
        source=str(source),
        target=str(target),
        applied=options.apply,
        entries=tuple(entries),
        partial=tuple(sorted(plan.partial)),
    )


def _check(source: Side, target: Side, options: Options) -> Node:
    """Refuse what was hardly meant.

    Returns:
        The node that is mirrored.
    """
    if split_version(source.path)[1] is not None or split_version(target.path)[1] is not None:
        raise InvalidInput(f"a mirror follows the newest version; give {source} without '@' and digits")
    top = source.backend.stat(source.path)
    if target.path == "/" and source.path != "/":
        folder = source.path if top.kind == FOLDER else parent_and_name(source.path)[0]
        raise InvalidInput(
            f"{source} is one {top.kind.lower()}, and {target.backend.uri} is a whole store; "
            f"give the folder as the target: {evolve(target, path=folder)}"
        )
    _check_nesting(source, target, options, is_folder=top.kind == FOLDER)
    if (
        options.delete
        and top.kind == FOLDER
        and not top.generation
        and not any(True for _ in source.backend.list(source.path))
    ):
        # Roots and homes are there even when nobody made them, and in a store that is not the one that was meant.
        raise NotFound(f"{source} holds nothing, so all in {target} would be deleted; check the URI of the source")
    if not top.generation and isinstance(source.backend, TellsState) and not source.backend.is_there():
        raise NotFound(f"there is no store at {source.backend.uri}: nothing was ever uploaded there; check its URI")
    return top


def _check_nesting(source: Side, target: Side, options: Options, *, is_folder: bool) -> None:
    """Refuse to mirror a folder into itself, or, with `delete`, over what it lies in."""
    if _root(source) != _root(target):
        return
    if not is_folder:
        if join(target.path, source.path.rpartition("/")[2]) == source.path:
            raise InvalidInput(f"{source} is in {target} already; give another folder")
        return
    if _is_within(target.path, source.path):
        raise InvalidInput(f"{target} is {source}, or lies in it; give a folder outside of it")
    if options.delete and _is_within(source.path, target.path):
        raise InvalidInput(f"{source} lies in {target}, and would be deleted there; mirror without delete=True")


def _root(side: Side) -> str:
    """Return a text that is equal for equal stores: of a local one the directory itself, whatever links lead there."""
    uri = side.backend.uri
    return str(Path(parse(uri).path).resolve()) if uri.startswith("file:") else uri


def _is_within(path: str, folder: str) -> bool:
    return folder in ("/", path) or path.startswith(f"{folder}/")


def _absolute(target: Side, path: str) -> str:
    return f"{target.path.rstrip('/')}/{path}"


def _delete(target: Side, entries: list[Entry], options: Options) -> list[Entry]:
    def delete(entry: Entry) -> Entry:
        try:
            target.backend.delete(_absolute(target, entry.path), recursive=True)
        except NotFound:  # somebody else did
            return entry
        except EMError as error:
            return failed(entry.path, entry.kind, str(error), id=entry.id)
        return entry

    return in_parallel(delete, entries, "delete") if options.apply else entries


def _make_folders(target: Side, plan: Plan, options: Options, *, is_folder: bool) -> list[Entry]:
    """Make the folders that are missing, one after the other, for one needs the one above."""
    if not options.apply:
        return plan.folders
    if is_folder:
        target.backend.make_folder(target.path)
    made = []
    for entry in plan.folders:
        try:
            target.backend.make_folder(_absolute(target, entry.path))
        except EMError as error:
            made.append(failed(entry.path, FOLDER, str(error)))
        else:
            made.append(entry)
    return made


def _mirror_all(
    source: Side,
    target: Side,
    items: Sequence[Item],
    options: Options,
    executor: Executor | None,
    progress: Progress,
    finish: Callable[[Mirrored], None],
) -> None:
    verb = "mirroring" if options.apply else "comparing"
    progress.start(f"{verb} {source.path}", sum(item.files for item in items), sum(item.size for item in items))
    if executor is not None:
        _run_shards(executor, list(split(source.uri, target.uri, items, options)), progress, finish)
        return

    def mirror(item: Item) -> None:
        finish(mirror_node(source.backend, target.backend, item, options, progress))

    in_parallel(mirror, items, "mirror", lambda: _workers(source.backend, target.backend, items))


def _workers(source: Backend, target: Backend, items: Sequence[Item]) -> int:
    """Return the number of nodes at a time: many where each has few files, for the files of one are sent in parallel too."""
    parallelism = max(source.parallelism, target.parallelism)
    files = sum(item.files for item in items) // len(items)
    return max(FEWEST_NODES, min(MOST_NODES, 2 * parallelism // max(1, files)))


def _run_shards(
    executor: Executor, shards: Sequence[Shard], progress: Progress, finish: Callable[[Mirrored], None]
) -> None:
    """Give shards to an executor; one whose worker dies, or that cannot be sent, does not stop the others."""
    from concurrent.futures import BrokenExecutor, Future, as_completed  # noqa: PLC0415 - slow to import

    futures: dict[Future[list[Mirrored]], Shard] = {}
    try:
        for shard in shards:
            try:
                futures[executor.submit(run_shard, shard)] = shard
            except BrokenExecutor as error:
                _give_up(shard, error, finish)
        for future in as_completed(futures):
            shard = futures[future]
            trouble = future.exception()
            if isinstance(trouble, Exception):
                _give_up(shard, trouble, finish)
                continue
            for done in future.result():
                finish(done)
            progress.advance(sum(item.files for item in shard.items), sum(item.size for item in shard.items))
    finally:
        for future in futures:
            future.cancel()


def _give_up(shard: Shard, trouble: Exception, finish: Callable[[Mirrored], None]) -> None:
    problem = f"the worker failed with {type(trouble).__name__}: {trouble}; mirror again"
    for item in shard.items:
        finish(Mirrored(entry=failed(item.path, item.kind, problem, id=item.id), item=item))
