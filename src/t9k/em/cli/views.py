"""Read all that is to be shown of a run or artifact, here or in a backend, as far as it can be read."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from t9k.em.cli.targets import counted, local_node, local_nodes, located, node_at, node_called, node_uri
from t9k.em.errors import EMError, InvalidInput, RecoveredDataWarning
from t9k.em.local import below, layout, metrics, objects
from t9k.em.local.below import Below
from t9k.em.local.metricfiles import MetricFiles
from t9k.em.local.state import LocalState
from t9k.em.names import split_version
from t9k.em.records import ARTIFACT, RUN, Node
from t9k.em.transfer.downloading import download_files
from t9k.em.transfer.growing import add_grown, last_sign

if TYPE_CHECKING:
    from t9k.em.backend import Backend

_T = TypeVar("_T")
_NOT_SHOWN = (layout.PACKAGES, layout.DIFF)
_ORDER = {"train": 0, "val": 1, "test": 2}


@define(kw_only=True)
class View:
    """What is known of a run or artifact.

    Attributes:
        place: Local directory, or URI with path and version.
        kind: 'Run' or 'Artifact'.
        metadata: As in `metadata.yaml`.
        hparams: Of a run.
        metrics: Of a run, by type.
        platform: Of a run.
        git: Of a run.
        error: Of a run that an exception ended.
        sizes: Of a run, those of the files that are not shown themselves, in bytes by name.
        objects: Of an artifact, by key.
        history: Uploads and downloads of a local node; see `t9k.em.nodes.history`.
        node: What the backend says; None for a local one.
        versions: All generations in the backend, the newest first.
        heard: When a run in the backend that goes on was last heard of, POSIX time in seconds by the clock of the store.
        problems: What cannot be read.
        recovered: What was read except for a damaged part.
    """

    place: str
    kind: str
    metadata: Mapping[str, Any] = field(factory=dict)
    hparams: Mapping[str, Any] = field(factory=dict)
    metrics: dict[str, list[metrics.Entry]] = field(factory=dict)
    platform: Mapping[str, Any] = field(factory=dict)
    git: Mapping[str, Any] = field(factory=dict)
    error: Mapping[str, Any] = field(factory=dict)
    sizes: dict[str, int] = field(factory=dict)
    objects: dict[str, dict[str, Any]] = field(factory=dict)
    history: list[dict[str, str]] = field(factory=list)
    node: Node | None = None
    versions: list[Node] = field(factory=list)
    heard: float | None = None
    problems: list[str] = field(factory=list)
    recovered: list[str] = field(factory=list)

    @property
    def name(self) -> str:
        """Its name, or that of its directory when the name cannot be read."""
        return str(self.metadata.get("name") or Path(self.place).name)

    def read(self, read: Callable[[], _T], default: _T) -> _T:
        """Return the result of a function; on an error, keep the reason and return the default."""
        try:
            return read()
        except (EMError, OSError) as error:
            self.problems.append(str(error))
            return default


def look_at(place: str, *, only_metrics: bool = False) -> View:
    """Read a run or artifact.

    Args:
        place: Local directory, path in the backend, or URI.
        only_metrics: Whether only name, hyperparameters and metrics are needed.

    Raises:
        NotFound: No node is there.
        InvalidInput: The argument is a folder, or a local directory with several nodes.
    """
    directory = _local_directory(place, hint=only_metrics)
    if directory is not None:
        return look_at_local(directory)
    return look_at_remote(*located(place), only_metrics=only_metrics)


def _local_directory(place: str, *, hint: bool = False) -> Path | None:
    directory = local_node(place) or node_called(place)
    if directory is None and (several := local_nodes(place)):
        parents = {node.parent for node in several}
        each = f", or {parents.pop()}/*" if hint and len(parents) == 1 else ""
        raise InvalidInput(f"{place} holds {counted(several)}; name one of them{each}")
    return directory


@contextmanager
def metric_paths(place: str) -> Iterator[dict[str, Below]]:
    """Provide the metrics files of a run by type, 'train', 'val' and 'test' first; fetched, they stay as long as the context.

    Args:
        place: Local directory, path in the backend, or URI.

    Raises:
        NotFound: No run is there.
        InvalidInput: The argument is no run, or a local directory with several.
        BackendError: The files cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="em-") as name:
        directory = _local_directory(place)
        if directory is None:
            backend, path = located(place)
            node = _found(backend, path)
            kind, directory = node.kind, Path(name)
            if kind == RUN:
                keys = partial(_is_shown, only_metrics=True)
                download_files(backend, node, directory, keys=keys, durable=False)
        else:
            kind = layout.kind_of(directory) or ""
        if kind == ARTIFACT:
            raise InvalidInput(f"{place} is an artifact; only runs have metrics")
        yield {kind: Below(directory, f"{layout.METRICS}/{name}") for kind, name in _sorted(_metric_files(directory))}


def look_at_local(directory: Path) -> View:
    """Read a local run or artifact; nothing is changed there.

    Args:
        directory: Its directory.
    """
    view = View(place=str(directory), kind=RUN)
    with _noting_recovery(view):
        view.metadata = view.read(lambda: layout.read_mapping(Below(directory, layout.METADATA), "metadata"), {})
        view.kind = _kind(view, directory)
        if view.kind == RUN:
            _read_run(view, directory)
        else:
            index = Below(directory, layout.INDEX)
            view.objects = view.read(lambda: objects.decode(below.read(index), str(index)), {})
        remote: object = view.read(lambda: LocalState(directory).get("remote", []), None)
        view.history = [entry for entry in remote if isinstance(entry, dict)] if isinstance(remote, list) else []
    return view


def look_at_remote(backend: Backend, path: str, *, only_metrics: bool = False) -> View:
    """Read a run or artifact in a backend; its objects and its output are not fetched.

    Args:
        backend: Where it is.
        path: Absolute path; 'path@3' is its third version.
        only_metrics: Whether only name, hyperparameters and metrics are needed.

    Raises:
        NotFound: No node has this path.
        InvalidInput: The path is a folder.
    """
    node = _found(backend, path)
    place = node_uri(backend, node)
    with tempfile.TemporaryDirectory(prefix="em-") as name:
        problems = _fetch(backend, node, Path(name), only_metrics=only_metrics)
        view = look_at_local(Path(name))
        view.problems = problems or [problem.replace(f"{name}/", f"{place}: ") for problem in view.problems]
        view.recovered = [message.replace(f"{name}/", f"{place}: ") for message in view.recovered]
    view.place, view.node, view.kind = place, node, node.kind
    view.metadata = view.metadata or node.metadata
    if not only_metrics:
        view.versions = view.read(lambda: list(backend.versions(split_version(path)[0])), [])
        view.heard = view.read(lambda: last_sign(backend, node), None)
        if view.kind == RUN:
            sizes: dict[str, int] = {}
            view.sizes = view.read(lambda: _sizes(backend, node), sizes)
    return view


def _sizes(backend: Backend, node: Node) -> dict[str, int]:
    return {file.key: file.size for file in backend.files(node) if file.key in _NOT_SHOWN}


def _found(backend: Backend, path: str) -> Node:
    return node_at(backend, path, "em ls lists what is in it")


def _kind(view: View, directory: Path) -> str:
    kind = view.metadata.get("type")
    if kind in (RUN, ARTIFACT):
        return str(kind)
    if view.metadata:
        view.problems.append(f"{directory / layout.METADATA} does not say whether this is a run or an artifact")
    objects_there = Below(directory, layout.OBJECTS)
    return ARTIFACT if view.read(lambda: below.is_dir(objects_there), default=False) else RUN


def _read_run(view: View, directory: Path) -> None:
    view.hparams = view.read(lambda: layout.read_mapping(Below(directory, layout.HPARAMS), "hyperparameters"), {})
    view.platform = view.read(
        lambda: layout.read_mapping(Below(directory, layout.PLATFORM), "platform information"), {}
    )
    view.git = view.read(lambda: layout.read_mapping(Below(directory, layout.GIT), "git information"), {})
    for name in _NOT_SHOWN:
        status = view.read(partial(below.status, Below(directory, name)), None)
        if status is not None:
            view.sizes[name] = status.st_size
    view.error = view.read(lambda: layout.read_mapping(Below(directory, layout.ERROR), "error"), {})
    known: dict[str, str] = {}
    found = view.read(lambda: _metric_files(directory), known)
    for kind, name in _sorted(found):
        view.metrics[kind] = view.read(partial(metrics.read, Below(directory, f"{layout.METRICS}/{name}")), [])


def _sorted(files: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(files.items(), key=lambda item: (_ORDER.get(item[0], len(_ORDER)), item[0]))


def _metric_files(directory: Path) -> dict[str, str]:
    types = layout.read_mapping(Below(directory, layout.INDEX), "index").get("metrics")
    files = MetricFiles(Below(directory, layout.METRICS), types if isinstance(types, dict) else {}, lambda: None)
    return files.names()


def _fetch(backend: Backend, node: Node, target: Path, *, only_metrics: bool) -> list[str]:
    """Download what is to be shown of a node.

    Returns:
        What could not be downloaded, and why.
    """
    is_shown = partial(_is_shown, only_metrics=only_metrics)
    try:
        read = download_files(backend, node, target, keys=is_shown, durable=False)
        add_grown(backend, read, target, metrics_only=True)
    except EMError:
        return list(_fetch_each(backend, node, target, is_shown))
    return []


def _fetch_each(backend: Backend, node: Node, target: Path, is_shown: Callable[[str], bool]) -> Iterator[str]:
    """Download what can be downloaded after the whole could not; yield why the rest cannot."""
    try:
        keys = [file.key for file in backend.files(node) if is_shown(file.key)]
    except EMError as error:
        yield str(error)
        return
    for key in keys:
        try:
            download_files(backend, node, target, keys=[key], durable=False)
        except EMError as error:
            yield str(error)


def _is_shown(key: str, *, only_metrics: bool) -> bool:
    shown: Collection[str] = (layout.INDEX, layout.METADATA, layout.HPARAMS)
    if not only_metrics:
        shown = (*shown, layout.PLATFORM, layout.GIT)
    return key in shown or key.startswith(f"{layout.METRICS}/")


@contextmanager
def _noting_recovery(view: View) -> Iterator[None]:
    """Keep warnings about damaged tails for the view instead of printing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecoveredDataWarning)
        yield
    view.recovered += [str(warning.message) for warning in caught if warning.category is RecoveredDataWarning]
