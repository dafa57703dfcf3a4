"""State machines for Hypothesis: any history of a store or a backend, compared step by step with a simple model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import pytest
from attrs import evolve, frozen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from t9k.em.backend import Backend, Collects, CopiesObjects, ObjectStore, Upload
from t9k.em.errors import AlreadyExists, EMError, NotFound, SourceChanged, UploadFenced
from t9k.em.names import STRATEGIES, fold, join, parent_and_name, random_text
from t9k.em.records import ARTIFACT, FOLDER, RUN, Body, Draft, Node, Outcome, UploadRequest
from t9k.em.testing.reference import ReferenceBackend
from t9k.em.testing.uploads import finish, make_request, read_node

T = TypeVar("T")
EXAMPLES = 20
STEPS = 30

_CLIENTS = st.integers(0, 7)
_STORE_KEYS = st.sampled_from(
    ["a", "ab/x", "b/x", "b/y/z", ".em/h/m/00000001.json", "#", "%2F", "?x", "c d", "*", "[x]", "~", "e\u0301", "f::g"]
)
_PREFIXES = st.sampled_from(["", "a/", "ab/", "b/", "b/y/", ".em/", ".em/h/", "*/", "none/"])
_SMALL = st.sampled_from([b"", b"x", b"y", b"yy", b"0123456789" * 10])
_FOLDERS = st.sampled_from(["f", "f/g", "h"])
_NAMES = st.sampled_from(["m", "m", "M", "n"])
_CONTENTS = st.dictionaries(st.sampled_from(["a", "b/c", "#?d"]), _SMALL, max_size=3)
_ANCESTORS = st.sampled_from(["not said", "nothing", "the first", "all", "all"])
_METADATA = st.sampled_from([{}, {"n": 1}, {"n": {"é": [None, 1.5]}}])


def object_store_machine(make_store: Callable[[], ObjectStore]) -> type[RuleBasedStateMachine]:
    """Make a state machine that compares an object store with a dict.

    Args:
        make_store: Makes a store that is new and empty. It is closed in the end.

    Returns:
        The machine; its attribute `TestCase` is what pytest runs, and `TestCase.settings` can be changed.
    """
    return _subclass(_ObjectStoreMachine, "make_store", make_store)


def backend_machine(make_clients: Callable[[], Sequence[Backend]]) -> type[RuleBasedStateMachine]:
    """Make a state machine that compares a backend with `ReferenceBackend`.

    Args:
        make_clients: Makes one or more clients of one place, for one user; the place may hold something, for each history
            happens in a folder of its own. They are closed in the end.

    Returns:
        The machine; its attribute `TestCase` is what pytest runs, and `TestCase.settings` can be changed.
    """
    return _subclass(_BackendMachine, "make_clients", make_clients)


def _subclass(
    machine: type[RuleBasedStateMachine], name: str, make: Callable[[], object]
) -> type[RuleBasedStateMachine]:
    made = cast("type[RuleBasedStateMachine]", type(machine.__name__[1:], (machine,), {name: staticmethod(make)}))
    made.TestCase.settings = settings(made.TestCase.settings, max_examples=EXAMPLES, stateful_step_count=STEPS)
    return made


class _ObjectStoreMachine(RuleBasedStateMachine):
    make_store: Callable[[], ObjectStore]

    def __init__(self) -> None:
        super().__init__()
        self._store = self.make_store()
        self._model: dict[str, bytes] = {}

    def teardown(self) -> None:
        self._compare("")
        self._store.close()

    @rule(key=_STORE_KEYS, data=_SMALL, if_absent=st.booleans())
    def put(self, key: str, data: bytes, if_absent: bool) -> None:
        if if_absent and key in self._model:
            with pytest.raises(AlreadyExists):
                self._store.put(key, Body.of(data), if_absent=True)
            return
        info = self._store.put(key, Body.of(data), if_absent=if_absent)
        assert (info.key, info.size) == (key, len(data))
        self._model[key] = data

    @rule(contents=st.dictionaries(_STORE_KEYS, _SMALL, max_size=5))
    def put_many(self, contents: dict[str, bytes]) -> None:
        infos = self._store.put_many([(key, Body.of(data)) for key, data in contents.items()])
        assert [info.key for info in infos] == list(contents)
        self._model.update(contents)

    @rule(key=_STORE_KEYS, data=_SMALL, if_absent=st.booleans())
    def put_what_changes(self, key: str, data: bytes, if_absent: bool) -> None:
        body = evolve(Body.of(data), size=len(data) + 1)
        with pytest.raises((SourceChanged, AlreadyExists) if if_absent else SourceChanged):
            self._store.put(key, body, if_absent=if_absent)

    @rule(keys=st.lists(_STORE_KEYS, max_size=4))
    def delete(self, keys: list[str]) -> None:
        self._store.delete(keys)
        for key in keys:
            self._model.pop(key, None)

    @rule(source=_STORE_KEYS, to=_STORE_KEYS)
    def copy(self, source: str, to: str) -> None:
        store = self._store
        if not isinstance(store, CopiesObjects) or source == to:
            return
        if source not in self._model:
            with pytest.raises(NotFound):
                store.copy(source, to)
            return
        store.copy(source, to)
        self._model[to] = self._model[source]

    @rule(key=_STORE_KEYS, start=st.integers(0, 12), length=st.none() | st.integers(0, 12))
    def get(self, key: str, start: int, length: int | None) -> None:
        end = None if length is None else start + length
        if key in self._model:
            assert b"".join(self._store.get(key, start, end)) == self._model[key][start:end]
        else:
            with pytest.raises(NotFound):
                self._store.get(key, start, end)

    @rule(prefix=_PREFIXES)
    def list(self, prefix: str) -> None:
        self._compare(prefix)

    @rule()
    def close(self) -> None:
        self._store.close()

    def _compare(self, prefix: str) -> None:
        expected = {key: len(data) for key, data in self._model.items() if key.startswith(prefix)}
        assert sorted((info.key, info.size) for info in self._store.list(prefix)) == sorted(expected.items())


@frozen(eq=False, kw_only=True)
class _Pair:
    """One upload to the subject, and the same to the reference."""

    request: UploadRequest
    contents: Mapping[str, bytes]
    subject: Upload
    reference: Upload


class _BackendMachine(RuleBasedStateMachine):
    make_clients: Callable[[], Sequence[Backend]]

    nodes = Bundle("nodes")
    open_uploads = Bundle("open_uploads")
    ended_uploads = Bundle("ended_uploads")

    def __init__(self) -> None:
        super().__init__()
        self._clients = list(self.make_clients())
        self._reference = ReferenceBackend(self._clients[0].whoami())
        self._base = f"/{self._reference.whoami()}/{random_text(12)}"
        self._count = 0
        self._ops: set[str] = set()
        self._uploads: dict[str, list[str]] = defaultdict(list)
        self._ops_at_collect: set[str] = set()
        self._published: dict[str, dict[int, Mapping[str, bytes]]] = defaultdict(dict)
        self._kept: dict[str, set[int]] = defaultdict(set)
        for backend in (self._clients[0], self._reference):
            backend.make_folder(self._base)

    def teardown(self) -> None:
        self._compare_folder(self._base)
        for path in self._published:
            self._compare_node(path)
        for client in self._clients:
            client.close()

    def _client(self, number: int) -> Backend:
        return self._clients[number % len(self._clients)]

    # Nodes and folders.

    @rule(number=_CLIENTS, folder=_FOLDERS)
    def make_folder(self, number: int, folder: str) -> None:
        path = f"{self._base}/{folder}"
        made = self._client(number).make_folder(path)
        assert _essence(made) == _essence(self._reference.make_folder(path))

    @rule(number=_CLIENTS, name=_NAMES | _FOLDERS, folder=st.just("") | _FOLDERS, recursive=st.booleans())
    def delete(self, number: int, name: str, folder: str, recursive: bool) -> None:
        path = join(f"{self._base}/{folder}".rstrip("/"), name)
        _both(
            lambda: self._client(number).delete(path, recursive=recursive),
            lambda: self._reference.delete(path, recursive=recursive),
        )

    # Uploads.

    @rule(target=nodes, name=_NAMES, kind=st.sampled_from([RUN, ARTIFACT, ARTIFACT]))
    def create(self, name: str, kind: str) -> Draft:
        self._count += 1
        return Draft(kind=kind, name=name, alternative_name=f"{name}_{self._count}", id=f"id-{self._count}")

    @rule(
        target=open_uploads,
        number=_CLIENTS,
        node=nodes,
        folder=st.just("") | _FOLDERS,
        contents=_CONTENTS,
        metadata=_METADATA,
        strategy=st.sampled_from(STRATEGIES),
        make_folder=st.booleans(),
        prefer_alternative=st.booleans(),
        ancestors=_ANCESTORS,
    )
    def begin(
        self,
        number: int,
        node: Draft,
        folder: str,
        contents: dict[str, bytes],
        metadata: dict[str, Any],
        strategy: str,
        make_folder: bool,
        prefer_alternative: bool,
        ancestors: str,
    ) -> Any:
        request = make_request(
            f"{self._base}/{folder}".rstrip("/"),
            node.name,
            contents,
            id=node.id,
            kind=node.kind,
            alternative_name=node.alternative_name,
            metadata=metadata,
            strategy=strategy,
            make_folder=make_folder,
            prefer_alternative=prefer_alternative,
            ancestors=self._ancestors(ancestors, node),
        )
        return self._begin(number, request, contents)

    @rule(pair=open_uploads, key=st.sampled_from(["a", "b/c", "#?d"]))
    def put(self, pair: _Pair, key: str) -> None:
        for upload in (pair.subject, pair.reference):
            if upload.outcome is None:
                for file in upload.missing:
                    if file.key == key:
                        upload.put([(file, Body.of(pair.contents[key]))])

    @rule(target=ended_uploads, pair=consumes(open_uploads))
    def finish(self, pair: _Pair) -> Any:
        return self._finish(pair)

    @rule(
        target=ended_uploads,
        number=_CLIENTS,
        node=nodes,
        contents=_CONTENTS,
        strategy=st.sampled_from(STRATEGIES),
        ancestors=_ANCESTORS,
    )
    def upload(self, number: int, node: Draft, contents: dict[str, bytes], strategy: str, ancestors: str) -> Any:
        pair = self.begin(number, node, "", contents, {}, strategy, True, False, ancestors)
        return self._finish(pair) if isinstance(pair, _Pair) else multiple()

    @rule(target=open_uploads, number=_CLIENTS, pair=consumes(open_uploads))
    def resume_what_was_interrupted(self, number: int, pair: _Pair) -> Any:
        return self._begin(number, evolve(pair.request, resumed=True), pair.contents)

    @rule(number=_CLIENTS, pair=ended_uploads)
    def resume_what_was_published(self, number: int, pair: _Pair) -> None:
        again = self._begin(number, evolve(pair.request, resumed=True), pair.contents)
        if isinstance(again, _Pair):  # else its folder is gone
            assert again.subject.outcome is Outcome.PUBLISHED
            self._compare_uploads(again)

    def _ancestors(self, which: str, node: Draft) -> Sequence[str] | None:
        """Return the ancestors of a copy of a node: unknown, none, its first upload, or all of them."""
        ops = self._uploads[node.id]
        return None if which == "not said" else ops[: {"nothing": 0, "the first": 1, "all": len(ops)}[which]]

    def _begin(self, number: int, request: UploadRequest, contents: Mapping[str, bytes]) -> Any:
        """Begin at both; what it returns goes into a bundle: nothing when both refuse."""
        expected, error = _attempt(lambda: self._reference.begin(request))
        subject, subject_error = _attempt(lambda: self._client(number).begin(request))
        if self._is_fenced(subject_error, request):
            return multiple()
        _compare_errors(subject_error, error)
        if subject is None or expected is None:
            return multiple()
        self._ops.add(request.op)
        self._uploads[request.draft.id].append(request.op)
        return _Pair(request=request, contents=contents, subject=subject, reference=expected)

    def _finish(self, pair: _Pair) -> Any:
        """Finish at both; what it returns goes into a bundle: the upload, if it was published."""
        _, error = _attempt(lambda: finish(pair.subject, pair.contents))
        if self._is_fenced(error, pair.request):
            return multiple()
        _, expected_error = _attempt(lambda: finish(pair.reference, pair.contents))
        _compare_errors(error, expected_error)
        if error is None:
            self._compare_uploads(pair)
        return pair if pair.subject.outcome is Outcome.PUBLISHED else multiple()

    def _is_fenced(self, error: EMError | None, request: UploadRequest) -> bool:
        """Return whether the subject refuses to go on because files were collected, which the reference never does."""
        fenced = isinstance(error, UploadFenced)
        assert not fenced or request.op in self._ops_at_collect, "fenced without a collection"
        return fenced

    def _compare_uploads(self, pair: _Pair) -> None:
        subject, reference = pair.subject, pair.reference
        assert subject.outcome is reference.outcome
        assert subject.node is not None
        assert reference.node is not None
        assert _essence(subject.node) == _essence(reference.node)
        if subject.outcome is Outcome.PUBLISHED and not pair.request.resumed:
            known = self._published[subject.node.path]
            assert subject.node.generation > max(known, default=0)
        if subject.outcome is Outcome.PUBLISHED:
            known = self._published[subject.node.path]
            if subject.node.generation not in known:
                self._kept[subject.node.path].add(subject.node.generation)
            known[subject.node.generation] = pair.contents

    # Collection.

    @rule(number=_CLIENTS, folder=st.just("") | _FOLDERS, keep_versions=st.integers(1, 3), apply=st.booleans())
    def collect(self, number: int, folder: str, keep_versions: int, apply: bool) -> None:
        backend = self._client(number)
        if not isinstance(backend, Collects):
            return
        path = f"{self._base}/{folder}".rstrip("/")
        groups: dict[tuple[str, str], set[int]] = defaultdict(set)
        below = [known for known in self._published if known.startswith(f"{path}/")]
        for known in below:
            groups[_group(known)] |= {node.generation for node in backend.versions(known)}
        found = backend.collect(path, grace_s=-60, keep_versions=keep_versions, apply=apply)
        assert found.applied is apply
        if not apply:
            return
        self._ops_at_collect |= self._ops
        for known in below:
            self._kept[known] &= set(sorted(groups[_group(known)])[-keep_versions:])
        again = backend.collect(path, grace_s=-60, keep_versions=keep_versions)
        assert not again.objects, "a collection leaves nothing to collect"

    # Looking.

    @rule(folder=st.just("") | _FOLDERS)
    def look_at_folder(self, folder: str) -> None:
        self._compare_folder(f"{self._base}/{folder}".rstrip("/"))

    @rule(folder=st.just("") | _FOLDERS, name=_NAMES)
    def look_at_node(self, folder: str, name: str) -> None:
        self._compare_node(join(f"{self._base}/{folder}".rstrip("/"), name))

    def _compare_folder(self, path: str) -> None:
        """Compare a folder with all below it."""
        for client in self._clients:
            pair = _both(lambda client=client: client.list(path), lambda: self._reference.list(path))  # type: ignore[misc]
            if pair is None:
                return
            listed, expected = pair
            assert [_essence(node) for node in listed] == [_essence(node) for node in expected]
        for node in expected:
            if node.kind == FOLDER:
                self._compare_folder(node.path)
            else:
                self._compare_node(node.path)

    def _compare_node(self, path: str) -> None:
        for client in self._clients:
            pair = _both(lambda client=client: client.stat(path), lambda: self._reference.stat(path))  # type: ignore[misc]
            if pair is not None:
                subject, expected = pair
                assert _essence(subject) == _essence(expected)
                assert read_node(client, subject) == read_node(self._reference, expected)
            self._compare_versions(client, path)
        self._compare_generations(path)

    def _compare_versions(self, client: Backend, path: str) -> None:
        expected, error = _attempt(lambda: self._reference.versions(path))
        found, found_error = _attempt(lambda: client.versions(path))
        if error is not None and found is not None:
            assert all(node.deleted for node in found), "a collector may note that an upload was never published"
            return
        _compare_errors(found_error, error)
        if found is not None and expected is not None:
            numbers = [node.generation for node in found]
            assert numbers == sorted(set(numbers), reverse=True)
            assert numbers[-1] >= 1
            assert set(self._published.get(path, {})) <= set(numbers)
            assert found[0].deleted == expected[0].deleted

    def _compare_generations(self, path: str) -> None:
        """Each generation has what was published; one that may be collected is whole or not there."""
        client = self._clients[0]
        for generation, contents in self._published.get(path, {}).items():
            node, error = _attempt(lambda generation=generation: client.stat(f"{path}@{generation}"))  # type: ignore[misc]
            found, missing = _attempt(lambda node=node: node and read_node(client, node))  # type: ignore[misc]
            if generation in self._kept[path]:
                assert (error, missing) == (None, None)
            if error is None and missing is None:
                assert found == contents
            else:
                assert isinstance(error or missing, NotFound)


def _essence(node: Node) -> tuple[object, ...]:
    """Return the fields that have to be equal; generation, time and the id of a folder are each backend's own."""
    own_id = None if node.kind == FOLDER else node.id
    return node.path, node.kind, own_id, node.metadata, node.file_count, node.size, node.deleted, node.generation > 0


def _group(path: str) -> tuple[str, str]:
    """Return the names that are alike but for case or Unicode form are generations of one another."""
    folder, name = parent_and_name(path)
    return folder, fold(name)


def _attempt(call: Callable[[], T]) -> tuple[T | None, EMError | None]:
    try:
        return call(), None
    except EMError as error:
        return None, error


def _compare_errors(subject: EMError | None, expected: EMError | None) -> None:
    if subject is not None and not isinstance(subject, type(expected)):
        raise subject
    assert type(subject) is type(expected) or isinstance(subject, type(expected))


def _both(subject: Callable[[], T], reference: Callable[[], T]) -> tuple[T, T] | None:
    """Ask both; None when both refuse for the same reason."""
    expected, error = _attempt(reference)
    found, found_error = _attempt(subject)
    _compare_errors(found_error, error)
    return None if error is not None else (found, expected)  # type: ignore[return-value]  # one of the pair is always there
