"""Deleting nodes and whole folders, also those whose records are damaged, however deep they lie.

Whoever deletes a folder first publishes that it is closing, then looks for children, then publishes the deletion; see
`folders.keep_folder` for those who publish children meanwhile. A record that is damaged says nothing, so a deletion
is published on top of it; one of a later format is not damaged, and stays.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote
from uuid import uuid4

from attrs import evolve

from t9k.em.errors import Conflict, CorruptData, CorruptManifest, EMError, InvalidInput, NotFound
from t9k.em.names import encode_component, fold, is_name, join, parent_and_name
from t9k.em.records import FOLDER, utc_text
from t9k_em_backends.tree.foreign import nameable
from t9k_em_backends.tree.generations import Generations
from t9k_em_backends.tree.heads import Head, deletion, folder_prefix, heads_prefix, split_head_key
from t9k_em_backends.tree.values import NewerFormat

if TYPE_CHECKING:
    from t9k_em_backends.tree.tree import Tree

Step: TypeAlias = "Generator[Step, None, None]"
"""Deletes one node, and yields what has to be done before it goes on."""


def delete(tree: Tree, path: str, *, recursive: bool, generation: int | None) -> None:
    """Delete a node; see `t9k.em.backend.Backend.delete`.

    Args:
        tree: Where it lies.
        path: A valid one, of something that does not always exist.
        recursive: Whether to delete what is in a folder.
        generation: The only one that may be deleted; None for whichever is the newest.
    """
    _run(_Deleter(tree, recursive=recursive).node(path, generation))


def _run(first: Step) -> None:
    """Go through the steps without recursion, for folders lie in each other deeper than Python calls."""
    steps = [first]
    error: EMError | None = None
    while steps:
        try:
            following = next(steps[-1]) if error is None else steps[-1].throw(error)
        except StopIteration:
            error = None
            steps.pop()
        except EMError as raised:
            error = raised
            steps.pop()
        else:
            error = None
            steps.append(following)
    if error is not None:
        raise error


class _Deleter:
    def __init__(self, tree: Tree, *, recursive: bool) -> None:
        self._tree = tree
        self._recursive = recursive

    def node(self, path: str, seen: int | None = None) -> Step:
        """Delete a node.

        Raises:
            NotFound: The node does not exist.
            Conflict: The folder is not empty, or the newest generation is another than the one that was seen.
        """
        folder, name = parent_and_name(path)
        generations = self._tree.generations(folder, name)
        try:
            self._tree.stat(path)
        except NewerFormat:
            raise
        except CorruptManifest:
            yield from self._replace(path, generations, seen)
            seen = None
        generation, head = generations.newest()
        while head is not None and head.ready and head.name == name:
            _check_seen(path, generation, seen)
            drafts = [self._deleted(head)]
            if head.kind == FOLDER:
                drafts.insert(0, evolve(head, write_id=uuid4().hex, state="closing"))
            for draft in drafts:
                if head.kind == FOLDER:
                    yield from self._empty(path)
                generation += 1
                if not generations.publish(generation, draft):
                    break
            generation, head = generations.newest(generation)

    def _replace(self, path: str, generations: Generations, seen: int | None) -> Step:
        """Publish on top of a damaged record that the node is deleted, or of what may be a folder that it is closing."""
        generation = max(generations.listed(), default=0)
        _check_seen(path, generation, seen)
        below = _readable(generations)
        name = parent_and_name(path)[1]
        if below is not None and below.name != name:
            raise NotFound(
                f"there is no {path} in {self._tree.uri}; {below.name!r} was there, and its record is damaged"
            )
        draft = deletion(name, self._tree.writer(), utc_text(self._tree.clock()))
        if below is not None:
            draft = evolve(draft, fenced=below.fenced, fenced_spans=below.fenced_spans, collected=below.collected)
        if any(True for _ in self._tree.store.list(heads_prefix(path))):
            yield from self._empty(path)
            draft = evolve(draft, kind=FOLDER, state="closing", id=str(uuid4()))
        generations.publish(generation + 1, draft)  # who was faster repaired it: it is deleted as what it is then

    def _empty(self, path: str) -> Step:
        """Delete what is in a folder, all that can be, or refuse to."""
        damaged: dict[str, str] = {}
        inside: list[str | CorruptManifest] = [node.path for node in self._tree.children(path, damaged).whole()]
        if damaged:
            inside += self._damaged(path, damaged)
        if inside and not self._recursive:
            raise Conflict(
                f"the folder {path} holds {len(inside)} nodes; delete them first, or delete with recursive=True"
            )
        first: EMError | None = None
        for child in inside:
            try:
                if isinstance(child, CorruptManifest):
                    raise child
                yield self.node(child)
            except NotFound:  # somebody else deletes it too
                pass
            except (CorruptData, InvalidInput) as error:
                first = first or error
        if first is not None:
            raise first

    def _damaged(self, path: str, damaged: Iterable[str]) -> Iterator[str | CorruptManifest]:
        """Yield the paths of children whose newest record is damaged, as their names are spelled; or that a name is unknown."""
        store = self._tree.store
        listed = (split_head_key(info.key) for info in nameable(store.list(heads_prefix(path))))
        for c in sorted({parts[1] for parts in listed if parts is not None and unquote(parts[1]) in damaged}):
            prefix = f"{heads_prefix(path)}{c}/"
            generations = evolve(self._tree.generations(path, ""), prefix=prefix)
            try:
                below = _readable(generations)
            except NewerFormat:  # which deleting it will say
                below = None
            name = below.name if below is not None else self._spelled(path, c)
            yield (
                CorruptManifest(
                    f"the records under {prefix} are damaged, and of which node is not known; delete them from the store by hand"
                )
                if name is None
                else join(path, name)
            )

    def _spelled(self, path: str, c: str) -> str | None:
        """Return the name that is folded and encoded to `c`, from what lies under it, else folded; None of one that is cut."""
        prefix = folder_prefix(path)
        names = {info.key[len(prefix) :].partition("/")[0] for info in nameable(self._tree.store.list(prefix))}
        names.add(unquote(c))
        return next((name for name in sorted(names) if is_name(name) and encode_component(fold(name)) == c), None)

    def _deleted(self, head: Head) -> Head:
        return evolve(
            head,
            write_id=uuid4().hex,
            op=None,
            state="deleted",
            files=(),
            manifest=None,
            file_count=0,
            size=0,
            writer=self._tree.writer(),
            time=utc_text(self._tree.clock()),
        )


def _check_seen(path: str, generation: int, seen: int | None) -> None:
    if seen is not None and generation != seen:
        raise Conflict(f"{path}@{seen} is not the newest generation any more; look at {path}@{generation} first")


def _readable(generations: Generations) -> Head | None:
    """Return the newest head that is not damaged."""
    return next(filter(None, map(generations.readable, reversed(generations.listed()))), None)
