"""`em ls`: lists runs, artifacts and folders, here or in a backend."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import asdict, fields, filters, frozen

from t9k.em.cli import targets
from t9k.em.cli.details import MOST_RUNS, Details, cells_of, columns, details_here, details_there, duration_of
from t9k.em.cli.output import console, json_option, note, print_json, print_rows, say, text, tree
from t9k.em.cli.progress import waiting
from t9k.em.cli.silence import WHAT_TO_DO, silent
from t9k.em.cli.text import clean, size, when
from t9k.em.ending.status import RUNNING
from t9k.em.errors import CorruptLocalData, NodeSymlinkError
from t9k.em.local import below, layout, recorder
from t9k.em.local.below import Below
from t9k.em.names import split_version
from t9k.em.records import ARTIFACT, FOLDER, RUN, Node
from t9k.em.uris import uri_of_node

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from t9k.em.backend import Backend


HOW_TO_END = "log to it again after em.load_run(DIRECTORY), or end it: em.load_run(DIRECTORY).finish(status='Failed')"
"""What to do about a run whose process is gone."""


@click.command(short_help="List runs, artifacts and folders.")
@click.argument("place", required=False)
@click.option(
    "-l",
    "--long",
    is_flag=True,
    help="A table with kind, status, time and size, and what tells runs apart: how long they took, the hyperparameters "
    "that differ, the last metrics; the version behind the name from the second on.",
)
@click.option("--tree", "as_tree", is_flag=True, help="With all that lies below, as a tree.")
@click.option("--versions", is_flag=True, help="All versions of one node in a backend, the newest first.")
@json_option
@targets.backend_option
def ls(place: str | None, *, long: bool, as_tree: bool, versions: bool, as_json: bool) -> None:
    """List runs, artifacts and folders.

    Without PLACE: those of the working directory. PLACE is a local directory, a path in the backend, or a URI;
    em ls file:///data/em lists the root of a store, em ls / that of the backend you are logged in to.
    """
    if versions:
        if place is None or targets.local_node(place):
            raise click.UsageError("--versions needs the path or URI of a node in a backend.")
        _list_versions(place, as_json=as_json)
        return
    entries = _local_entries(place)
    if entries is None:
        assert place is not None  # noqa: S101 - without a place there are local entries, or none
        backend, path = targets.located(place)
        _list_remote(backend, path, long=long, as_tree=as_tree, as_json=as_json)
    elif as_json:
        print_json([entry.to_dict() for entry in entries])
    else:
        _print_local(entries, long=long, as_tree=as_tree)


@frozen(kw_only=True)
class Entry:
    """One local run or artifact.

    Attributes:
        directory: Where it is.
        metadata: As far as it can be read.
        problem: Why it cannot be.
    """

    directory: Path
    metadata: Mapping[str, Any]
    problem: str = ""

    @classmethod
    def read(cls, directory: Path) -> Entry:
        """Read the metadata of a directory."""
        try:
            metadata = layout.read_mapping(Below(directory, layout.METADATA), "metadata")
        except (CorruptLocalData, NodeSymlinkError) as error:
            return cls(directory=directory, metadata={}, problem=str(error))
        known = metadata.get("type") in (RUN, ARTIFACT)
        return cls(directory=directory, metadata=metadata, problem="" if known else "neither a run nor an artifact")

    @property
    def kind(self) -> str:
        """'Run', 'Artifact', or '?'."""
        return "?" if self.problem else str(self.metadata["type"])

    @property
    def time(self) -> object:
        """When it was made."""
        return self.metadata.get("start_timestamp") or self.metadata.get("created_timestamp") or ""

    @property
    def status(self) -> object:
        """Of a run; or that it is damaged."""
        if self.problem:
            return "damaged"
        return "Running, gone" if self.is_gone else self.metadata.get("status", "")

    @property
    def is_gone(self) -> bool:
        """Whether the process that recorded the run has ended without ending the run."""
        return self.metadata.get("status") == RUNNING and recorder.is_alive(self.directory) is False

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        problem = {"problem": self.problem} if self.problem else {}
        gone = {"gone": True} if self.is_gone else {}
        return {"local": str(self.directory), **self.metadata, **gone, **problem}


def disk_usage(directory: Path) -> int:
    """Size of the files of a local node in bytes, without those that concern the copy only."""
    return sum(size for _, size in _files(directory))


def _files(directory: Path) -> list[tuple[str, int]]:
    """Return the files of a local node by key, with their sizes; links are left out, for they are never uploaded."""
    return [
        (path.key, status.st_size)
        for path, status in below.walk(directory)
        if stat.S_ISREG(status.st_mode) and path.key.partition("/")[0] != layout.PRIVATE
    ]


# Local.


def _local_entries(place: str | None) -> list[Entry] | None:
    """Local runs and artifacts; None when a place is not local."""
    if place is None:
        parents = [layout.parent_directory(RUN), layout.parent_directory(ARTIFACT)]
        return [Entry.read(node) for parent in parents for node in layout.nodes(parent)]
    found = targets.local_nodes(place)
    return [Entry.read(node) for node in found] or None


def _print_local(entries: Sequence[Entry], *, long: bool, as_tree: bool) -> None:
    if not entries:
        runs, artifacts = layout.parent_directory(RUN), layout.parent_directory(ARTIFACT)
        note(f"nothing in {clean(runs)} and {clean(artifacts)} yet; try em demo, or em ls / for the backend")
    elif as_tree:
        trees: dict[Path, Tree] = {}
        for entry in entries:
            parent = trees.setdefault(entry.directory.parent, tree(entry.directory.parent))
            branch = parent.add(_label(entry.directory.name, entry.kind))
            if long:
                for key, size_bytes in _files(entry.directory):
                    branch.add(text(f"{key}  {size(size_bytes)}"))
        for made in trees.values():
            console().print(made)
    elif long:
        found = [details_here(entry.directory) if entry.kind == RUN else None for entry in entries]
        rows = [
            (entry.kind, entry.status, when(entry.time), duration_of(entry.metadata), size(disk_usage(entry.directory)))
            for entry in entries
        ]
        _print_long(("Made", "Directory"), rows, found, [_label(entry.directory, entry.kind) for entry in entries])
        if any(entry.is_gone for entry in entries):
            note(f"gone: the process that recorded the run has ended without ending it; {HOW_TO_END}")
    else:
        for entry in entries:
            say(clean(entry.directory))


# Remote.


def node_dict(uri: str, node: Node) -> dict[str, Any]:
    """Return a node for `--json`.

    Args:
        uri: Of the backend.
        node: The node.
    """
    known = asdict(node, filter=filters.exclude(fields(Node).handle))
    return {"uri": uri_of_node(uri, node.path, node.generation), **known}


def _list_remote(backend: Backend, path: str, *, long: bool, as_tree: bool, as_json: bool) -> None:
    node = backend.stat(path)
    nodes = list(backend.list(path)) if node.kind == FOLDER else [node]
    if not nodes and not node.generation:
        targets.require_store(backend)
    if as_json:
        below = _walk(backend, nodes) if as_tree else nodes
        print_json([node_dict(backend.uri, each) for each in below])
    elif not nodes:
        note(f"nothing in {clean(path)} of {clean(backend.uri)} yet")
    elif as_tree:
        made = tree(uri_of_node(backend.uri, path))
        _grow(made, backend, nodes, long=long)
        console().print(made)
    elif long:
        with waiting("looking at the runs"):
            found = details_there(backend, nodes)
            unheard = silent(backend, nodes)
        labels = [_label(_versioned(each), each.kind) for each in nodes]
        _print_long(
            ("Time", "Name"),
            [_cells(each, is_silent=each.path in unheard) for each in nodes],
            [found.get(each.path) for each in nodes],
            labels,
        )
        if not found and any(each.kind == RUN for each in nodes):
            note(f"hyperparameters and metrics are shown of up to {MOST_RUNS} runs at a time")
        if unheard:
            note(f"silent: not heard of for long; {WHAT_TO_DO}")
    else:
        for each in nodes:
            say(clean(_shown_name(each)))


def _print_long(
    titles: tuple[str, str],
    rows: Sequence[tuple[object, ...]],
    found: Sequence[Details | None],
    labels: Sequence[Text],
) -> None:
    """Print a table of nodes.

    Args:
        titles: Of the columns of the time and of the name.
        rows: Kind, status, time, duration and size of each.
        found: Of those that are runs, what tells them apart.
        labels: Label of each.
    """
    headers = ["Kind", "Status", titles[0], "Took", "Size"]
    if not any(row[3] for row in rows):
        headers.remove("Took")
        rows = [(*row[:3], row[4]) for row in rows]
    lines = [[text(cell) for cell in row] for row in rows]
    taken = sum(max(len(header), *(line[place].cell_len for line in lines)) + 2 for place, header in enumerate(headers))
    taken += max(label.cell_len for label in labels)
    apart = columns(found, console().width - taken)
    shown = [line + cells_of(apart, row) + [label] for row, (line, label) in enumerate(zip(lines, labels, strict=True))]
    print_rows([*headers, *(column.title for column in apart), titles[1]], shown, right=["Took", "Size"])


def _list_versions(place: str, *, as_json: bool) -> None:
    backend, path = targets.remote(place)
    nodes = backend.versions(split_version(path)[0])
    if as_json:
        print_json([node_dict(backend.uri, node) for node in nodes])
        return
    print_versions(nodes)


def print_versions(nodes: Sequence[Node]) -> None:
    """Print all versions of a node as a table."""
    rows = []
    for node in nodes:
        state = "deleted" if node.deleted else node.metadata.get("status") or "ready"
        cells = (f"@{node.generation}", state, when(node.modified), node.file_count, size(node.size), node.writer)
        rows.append(list(map(text, cells)))
    headers = ("Version", "State", "Modified", "Files", "Size", "By")
    print_rows(headers, rows, right=["Version", "Files", "Size"])


def _walk(backend: Backend, nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if node.kind == FOLDER:
            yield from _walk(backend, backend.list(node.path))


def _grow(branch: Tree, backend: Backend, nodes: Sequence[Node], *, long: bool) -> None:
    for node in nodes:
        label = _label(_shown_name(node), node.kind)
        if long and node.kind != FOLDER:
            label.append(f"  {clean(node.kind)}, {size(node.size)}, {when(node.modified)}", "dim")
        below = branch.add(label)
        if node.kind == FOLDER:
            _grow(below, backend, backend.list(node.path), long=long)


def _shown_name(node: Node) -> str:
    return f"{node.name}/" if node.kind == FOLDER else node.name


def _versioned(node: Node) -> str:
    return _shown_name(node) if node.kind == FOLDER or node.generation == 1 else f"{node.name}@{node.generation}"


def _cells(node: Node, *, is_silent: bool) -> tuple[object, ...]:
    is_folder = node.kind == FOLDER
    is_run = node.kind == RUN
    return (
        node.kind,
        "Running, silent" if is_silent else node.metadata.get("status", ""),
        when((is_run and node.metadata.get("start_timestamp")) or node.modified),
        duration_of(node.metadata) if is_run else "",
        "" if is_folder else size(node.size),
    )


def _label(name: object, kind: str) -> Text:
    return text(name, {FOLDER: "bold blue", ARTIFACT: "cyan", RUN: "green"}.get(kind, "red"))
