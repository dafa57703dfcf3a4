"""What a mirror has to look at: the listings of both sides, one for each folder, next to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import Factory, define, evolve, frozen

from t9k.em.errors import EMError, NotFound
from t9k.em.names import fold, join
from t9k.em.parallel import in_parallel
from t9k.em.records import ARTIFACT, FOLDER, Listing, Node
from t9k.em.transfer.mirroring.deletions import Toll, listing_of
from t9k.em.transfer.mirroring.nodes import Item, Options, failed
from t9k.em.transfer.mirroring.report import Action, Entry

if TYPE_CHECKING:
    from t9k.em.backend import Backend
    from t9k.em.transfer.mirroring.state import State

_NAMED = 3
_PARTLY = "only a part of that folder is shown to you in the source"


@frozen(kw_only=True)
class _Place:
    """A folder on both sides.

    Attributes:
        path: Relative to the folder that is mirrored; '' for itself.
        source: Absolute path in the source.
        target: Absolute path in the target.
        is_in_source: Whether it is there.
        is_in_target: Whether it is there.
        is_whole: Whether the reader sees all that the source has in it, as far as is known yet.
    """

    path: str
    source: str
    target: str
    is_in_source: bool = True
    is_in_target: bool = True
    is_whole: bool = True

    def below(self, name: str) -> str:
        """Return the relative path of a child."""
        return f"{self.path}/{name}" if self.path else name


@define(kw_only=True)
class Plan:
    """What has to be done, in this order.

    Attributes:
        clear: Nodes of the target that are in the way and may be deleted.
        folders: Folders that the target lacks, with their absolute paths there, parents first.
        items: Nodes to compare, and to publish where they differ.
        extra: Nodes of the target that the source lacks and that are to be deleted.
        entries: What is known already: what is unchanged, or cannot be done.
        partial: Folders of the source of which the reader sees only a part; '' for the one that is mirrored.
        toll: How much `clear` and `extra` delete.
    """

    clear: list[Entry] = Factory(list)
    folders: list[Entry] = Factory(list)
    items: list[Item] = Factory(list)
    extra: list[Entry] = Factory(list)
    entries: list[Entry] = Factory(list)
    partial: list[str] = Factory(list)
    toll: Toll = Factory(Toll)


class Planner:
    """Compare listings.

    Args:
        source: Where it is.
        target: Where it goes.
        options: What is asked for.
        state: What earlier mirrors found.
    """

    def __init__(self, source: Backend, target: Backend, options: Options, state: State) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._state = state
        self.plan = Plan()
        self._doomed: list[str] = []  # folders of the target

    def node(self, node: Node, folder: str) -> None:
        """Plans one run or artifact.

        Args:
            node: As the source has it.
            folder: Absolute path of the folder in the target that it goes into.
        """
        place = _Place(path="", source="", target=folder)
        try:
            there = [self._target.stat(join(folder, node.name))]
        except NotFound:
            there = []
        self.plan.toll.count(Listing(nodes=there))
        self._match(place, node, {other.name: other for other in there}, {})
        self._count()

    def folder(self, source: str, target: str) -> None:
        """Plans a folder with all that lies below; both paths are absolute."""
        places = [_Place(path="", source=source, target=target)]
        while places:
            found = in_parallel(self._list, places, "list", lambda: self._source.parallelism)
            places = [
                below
                for place, lists in zip(places, found, strict=True)
                if lists
                for below in self._pair(place, *lists)
            ]
        self.plan.items.sort(key=lambda item: (item.kind != ARTIFACT, item.path))  # runs refer to artifacts
        self._count()

    def _list(self, place: _Place) -> tuple[Listing, Listing] | None:
        """Return the children on both sides; None when one side cannot be told, so that nothing is done."""
        there = Listing(nodes=())
        try:
            if place.is_in_target:
                there = listing_of(self._target, place.target)
        except NotFound:
            pass
        except EMError as error:
            self._fail(place.path, FOLDER, error)
            return None
        try:
            return listing_of(self._source, place.source) if place.is_in_source else Listing(nodes=()), there
        except NotFound as error:
            if not place.path:
                raise
            self._fail(place.path, FOLDER, error)
        except EMError as error:
            self._fail(place.path, FOLDER, error)
        return None

    def _pair(self, place: _Place, here: Listing, there: Listing) -> list[_Place]:
        """Plans the children of a folder; returns the folders to look into next."""
        if not here.is_whole:
            place = evolve(place, is_whole=False)
            self.plan.partial.append(place.path)
        self.plan.toll.count(there)
        by_name = {node.name: node for node in there.nodes}
        spelled = {fold(node.name): node for node in there.nodes}
        for name, problem in here.damaged.items():
            known = spelled.get(name)
            path, kind = place.below(known.name if known else name), known.kind if known else ""
            self.plan.entries.append(failed(path, kind, problem))
        folded = {fold(node.name) for node in here.nodes} | here.damaged.keys()
        names = {node.name for node in here.nodes}
        alike = {fold(node.name): node for node in there.nodes if node.name not in names}
        extra = [node for node in there.nodes if fold(node.name) not in folded]
        below = [self._match(place, node, by_name, alike) for node in here.nodes]
        if place.is_whole:
            below += [self._extra(place, node) for node in extra]
        elif extra and self._options.delete:
            self._keep(place, extra)
        return [found for found in below if found is not None]

    def _match(
        self, place: _Place, node: Node, by_name: Mapping[str, Node], alike: Mapping[str, Node]
    ) -> _Place | None:
        path = place.below(node.name)
        target = join(place.target, node.name)
        other = by_name.get(node.name)
        if other is None and fold(node.name) in alike:
            other = alike[fold(node.name)]
            if not self._clear(place, path, other, "its name differs only by case or Unicode form"):
                return None
            other = None
        elif other is not None and (other.kind == FOLDER) != (node.kind == FOLDER):
            if not self._clear(place, path, other, f"it is a {node.kind} in the source"):
                return None
            other = None
        if node.kind == FOLDER:
            if other is None:
                self.plan.folders.append(Entry(path=path, kind=FOLDER, action=Action.ADD))
            return _Place(path=path, source=node.path, target=target, is_in_target=other is not None)
        known = other and self._state.entry(path, node, other, history=self._options.history)
        if known:
            self.plan.entries.append(known)
            return None
        self.plan.items.append(
            Item(
                path=path,
                source=node.path,
                target=target,
                kind=node.kind,
                id=node.id,
                files=node.file_count,
                size=node.size,
            )
        )
        return None

    def _clear(self, place: _Place, path: str, node: Node, why: str) -> bool:
        """Plans to delete what is in the way, where that is allowed."""
        if self._options.delete and place.is_whole:
            self.plan.clear.append(self._deletion(place, node))
            return True
        what = f"{node.path} in {self._target.uri} is a {node.kind} in the way, for {why}"
        advice = "; delete it, or mirror with delete=True" if place.is_whole else f"; delete it yourself, for {_PARTLY}"
        self.plan.entries.append(failed(path, node.kind, f"{what}{advice}", id=node.id))
        return False

    def _keep(self, place: _Place, extra: Sequence[Node]) -> None:
        """Report of nodes that only the target lists and that stay, for nobody knows whether the source has them too."""
        names = ", ".join(node.name for node in extra[:_NAMED]) + (", ..." if len(extra) > _NAMED else "")
        what = f"{len(extra):,} of {place.target} in {self._target.uri}" if len(extra) > 1 else f"{extra[0].path}"
        self.plan.entries.append(
            failed(
                place.path,
                FOLDER,
                f"not deleted, though the source does not list {'them' if len(extra) > 1 else 'it'}: {what} ({names}), "
                f"for {_PARTLY}; mirror with a key that may see all of {place.source}, or delete by hand",
            )
        )

    def _count(self) -> None:
        """Count what would be deleted."""
        deleted = [*self.plan.clear, *self.plan.extra]
        self.plan.toll.doomed += sum(entry.kind != FOLDER for entry in deleted)
        self.plan.toll.add_below(self._target, self._doomed)

    def _deletion(self, place: _Place, node: Node) -> Entry:
        if node.kind == FOLDER:
            self._doomed.append(node.path)
        return Entry(
            path=place.below(node.name),
            kind=node.kind,
            id=node.id,
            action=Action.DELETE,
            files=node.file_count,
            size=node.size,
        )

    def _extra(self, place: _Place, node: Node) -> _Place | None:
        """Plans what becomes of a node that only the target lists: a damaged one of the source is not listed either."""
        path = place.below(node.name)
        if not self._options.delete and path not in self._state:
            return None
        source = join(place.source, node.name)
        try:
            found = self._source.stat(source)
        except NotFound:
            self._state.forget(path)
            if not self._options.delete:
                return None
            if node.path.count("/") == 1:  # homes always exist
                return _Place(path=path, source=source, target=node.path, is_in_source=False)
            self.plan.extra.append(self._deletion(place, node))
        except EMError as error:
            self._fail(path, node.kind, error)
        else:
            if found.kind == FOLDER and node.kind == FOLDER:
                return _Place(path=path, source=source, target=node.path)
        return None

    def _fail(self, path: str, kind: str, error: Exception) -> None:
        self.plan.entries.append(failed(path, kind, str(error)))
