"""What `t9k.em.backend.Backend` promises, as tests."""

# ruff: noqa: D102 - the name of a test states the fact

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from attrs import evolve

from t9k.em.backend import Backend, Collects, ObjectStore, TellsState
from t9k.em.errors import Conflict, FolderNotFound, InvalidInput, NameCollision, NotFound, SourceChanged, UploadFenced
from t9k.em.names import STRATEGIES
from t9k.em.records import ARTIFACT, FOLDER, RUN, Body, Garbage, Node, Outcome
from t9k.em.testing.backend_fixtures import BackendFixtures
from t9k.em.testing.damage_suite import DamageSuite
from t9k.em.testing.mark_suite import MarkSuite
from t9k.em.testing.store_suite import THREADS, together
from t9k.em.testing.uploads import finish, make_request, read_node, upload

FILES = {"metrics/train.yaml": b"loss", "weights.bin": b"\0" * 1000, "empty": b""}
OTHER = {"other.txt": b"other"}
MANY = 500
LONG = "/".join(letter * 200 for letter in "xyz")


class BackendSuite(MarkSuite, DamageSuite):
    """Conformance tests of a backend; a subclass overrides the fixture `backend`, and `new_backend` if it can."""

    def test_says_whether_it_is_a_store_and_can_be_written(self, backend: Backend, folder: str) -> None:
        if not isinstance(backend, TellsState):
            pytest.skip("it does not tell")
        assert not backend.is_there()
        backend.try_write()
        assert not backend.is_there(), "a try leaves no store"
        backend.make_folder(folder)
        assert backend.is_there()
        backend.try_write()
        assert [node.name for node in backend.list(folder)] == []

    # Folders.

    def test_root_home_and_default_folder_always_exist(self, backend: Backend) -> None:
        home = f"/{backend.whoami()}"
        for path in ("/", home, f"{home}/default"):
            node = backend.stat(path)
            assert (node.path, node.kind, node.deleted) == (path, FOLDER, False)
            assert list(backend.list(path)) is not None
        node = upload(backend, make_request(f"{home}/default", "m", FILES, make_folder=False), FILES)
        assert [child.path for child in backend.list(f"{home}/default")] == [node.path] == [f"{home}/default/m"]
        assert f"{home}/default" in [child.path for child in backend.list(home)]

    def test_a_missing_folder_is_not_found(self, backend: Backend, folder: str) -> None:
        with pytest.raises(FolderNotFound):
            backend.begin(make_request(folder, "m", FILES, make_folder=False))
        for path in (folder, f"/{backend.whoami()}/team"):
            with pytest.raises(NotFound):
                backend.list(path)
            with pytest.raises(NotFound):
                backend.stat(path)

    def test_a_folder_is_made_with_its_parents(self, backend: Backend, folder: str) -> None:
        made = backend.make_folder(folder)
        again = backend.make_folder(folder)
        assert (made.path, made.kind) == (again.path, again.kind) == (folder, FOLDER)
        assert made.id == again.id
        assert [child.path for child in backend.list(f"/{backend.whoami()}/team")] == [folder]
        assert list(backend.list(folder)) == []
        upload(backend, make_request(folder, "m", FILES, make_folder=False), FILES)
        assert backend.make_folder("/").path == "/"

    def test_an_upload_makes_its_folder_when_asked_to(self, backend: Backend, folder: str) -> None:
        node = upload(backend, make_request(folder, "m", FILES), FILES)
        assert node.path == f"{folder}/m"
        assert backend.stat(folder).kind == FOLDER

    def test_a_run_in_the_way_is_no_folder(self, backend: Backend, folder: str) -> None:
        upload(backend, make_request(folder, "m", FILES), FILES)
        for path in (f"{folder}/m", f"{folder}/m/below"):
            with pytest.raises(Conflict):
                backend.make_folder(path)
            with pytest.raises(Conflict):
                backend.begin(make_request(path, "x", FILES))
            with pytest.raises(NotFound):
                backend.list(path)
            with pytest.raises(FolderNotFound):
                backend.begin(make_request(path, "x", FILES, make_folder=False))

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_folder_is_never_overwritten(self, backend: Backend, folder: str, strategy: str) -> None:
        backend.make_folder(folder)
        parent, _, name = folder.rpartition("/")
        request = make_request(parent, name, FILES, strategy=strategy)
        if strategy == "new":
            assert upload(backend, request, FILES).path == f"{parent}/{request.draft.alternative_name}"
        else:
            with pytest.raises(Conflict):
                backend.begin(request)
        assert backend.stat(folder).kind == FOLDER

    # Uploads and conflicts.

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_an_upload_under_a_free_name_is_published_whole(self, backend: Backend, folder: str, strategy: str) -> None:
        metadata = {"labels": ["a"], "n": {"x": 1.5, "y": None, "ü": "é"}}
        request = make_request(folder, "m", FILES, strategy=strategy, metadata=metadata)
        begun = backend.begin(request)
        assert begun.outcome is None
        assert sorted(begun.missing, key=repr) == sorted(request.files, key=repr)
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m")
        done = finish(begun, FILES)
        node = done.node
        assert done.outcome is Outcome.PUBLISHED
        assert node is not None
        assert (node.path, node.kind, node.id) == (f"{folder}/m", RUN, request.draft.id)
        assert (node.metadata, node.file_count, node.size) == (metadata, 3, 1004)
        assert (node.writer, node.deleted) == (backend.whoami(), False)
        assert backend.stat(f"{folder}/m") == node
        assert list(backend.list(folder)) == [node]
        assert read_node(backend, node) == FILES

    def test_a_node_may_have_no_files(self, backend: Backend, folder: str) -> None:
        node = upload(backend, make_request(folder, "m", {}), {})
        assert read_node(backend, backend.stat(node.path)) == {}

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_name_that_another_node_has(self, backend: Backend, folder: str, strategy: str) -> None:
        there = upload(backend, make_request(folder, "m", OTHER), OTHER)
        request = make_request(folder, "m", FILES, strategy=strategy)
        if strategy == "error":
            with pytest.raises(Conflict):
                backend.begin(request)
            assert backend.stat(there.path) == there
            return
        begun = finish(backend.begin(request), FILES)
        assert begun.node is not None
        if strategy == "skip":
            assert (begun.outcome, begun.node) == (Outcome.SKIPPED, there)
            assert backend.stat(there.path) == there
        elif strategy == "new":
            assert begun.node.path == f"{folder}/{request.draft.alternative_name}"
            assert read_node(backend, begun.node) == FILES
            assert backend.stat(there.path) == there
        else:
            assert (begun.node.path, begun.node.id) == (there.path, request.draft.id)
            assert begun.node.generation > there.generation
            assert read_node(backend, backend.stat(there.path)) == FILES

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_the_same_node_again_is_an_update(self, backend: Backend, folder: str, strategy: str) -> None:
        first = make_request(folder, "m", FILES)
        upload(backend, first, FILES)
        contents = {**FILES, "weights.bin": b"\1" * 1000, "new": b"new"}
        contents.pop("empty")
        request = make_request(folder, "m", contents, id=first.draft.id, strategy=strategy)
        begun = backend.begin(request)
        assert sorted(file.key for file in begun.missing) == ["new", "weights.bin"]
        node = finish(begun, contents).node
        assert begun.outcome is Outcome.PUBLISHED
        assert node == backend.stat(f"{folder}/m")
        assert read_node(backend, node) == contents

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_the_same_node_unchanged_is_no_new_generation(self, backend: Backend, folder: str, strategy: str) -> None:
        first = make_request(folder, "m", FILES, metadata={"a": 1})
        there = upload(backend, first, FILES)
        begun = backend.begin(make_request(folder, "m", FILES, id=first.draft.id, metadata={"a": 1}, strategy=strategy))
        assert (begun.outcome, begun.node) == (Outcome.UNCHANGED, there)
        assert begun.commit() == there
        assert len(backend.versions(there.path)) == 1

    def test_other_metadata_alone_sends_no_file(self, backend: Backend, folder: str) -> None:
        first = make_request(folder, "m", FILES)
        upload(backend, first, FILES)
        begun = backend.begin(make_request(folder, "m", FILES, id=first.draft.id, metadata={"a": 2}))
        assert list(begun.missing) == []
        node = finish(begun, {}).node
        assert node is not None
        assert node.metadata == {"a": 2}
        assert read_node(backend, node) == FILES

    @pytest.mark.parametrize("same", [True, False], ids=["same node", "another node"])
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_name_whose_node_was_deleted_is_free(
        self, backend: Backend, folder: str, strategy: str, same: bool
    ) -> None:
        first = make_request(folder, "m", FILES)
        there = upload(backend, first, FILES)
        backend.delete(there.path)
        request = make_request(folder, "m", FILES, strategy=strategy, id=first.draft.id if same else None)
        node = upload(backend, request, FILES)
        assert node.path == there.path
        assert node.generation > there.generation
        assert read_node(backend, backend.stat(node.path)) == FILES

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_name_that_a_node_of_another_kind_has(self, backend: Backend, folder: str, strategy: str) -> None:
        there = upload(backend, make_request(folder, "m", OTHER), OTHER)
        request = make_request(folder, "m", FILES, kind=ARTIFACT, strategy=strategy)
        if strategy == "new":
            assert upload(backend, request, FILES).path == f"{folder}/{request.draft.alternative_name}"
        else:
            with pytest.raises(Conflict):
                backend.begin(request)
        assert backend.stat(there.path) == there

    @pytest.mark.parametrize("name", ["model", "MODEL", "Mode\u0301l", "\N{KELVIN SIGN}model"])
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_name_that_differs_by_case_or_unicode_form(
        self, backend: Backend, folder: str, strategy: str, name: str
    ) -> None:
        taken = {"Mode\u0301l": "mod\u00e9l", "\N{KELVIN SIGN}model": "kmodel"}.get(name, "Model")
        there = upload(backend, make_request(folder, taken, OTHER), OTHER)
        request = make_request(folder, name, FILES, strategy=strategy)
        if strategy == "new":
            assert upload(backend, request, FILES).path == f"{folder}/{request.draft.alternative_name}"
        else:
            with pytest.raises(NameCollision):
                backend.begin(request)
        assert backend.stat(there.path) == there
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/{name}")
        with pytest.raises(NameCollision):
            backend.make_folder(f"{folder}/{name}")

    def test_an_update_finds_its_node_under_the_alternative_name(self, backend: Backend, folder: str) -> None:
        there = upload(backend, make_request(folder, "m", OTHER), OTHER)
        first = make_request(folder, "m", FILES, strategy="new", alternative_name="m_alt")
        upload(backend, first, FILES)
        contents = {**FILES, "more": b"more"}
        again = make_request(
            folder, "m", contents, id=first.draft.id, strategy="new", alternative_name="m_alt", prefer_alternative=True
        )
        begun = backend.begin(again)
        assert [file.key for file in begun.missing] == ["more"]
        node = finish(begun, contents).node
        assert node is not None
        assert node.path == f"{folder}/m_alt"
        backend.delete(there.path)
        backend.delete(node.path)
        moved = upload(backend, evolve(again, op=make_request(folder, "m", {}).op), contents)
        assert moved.path == f"{folder}/m", "the name that it should have is free"

    @pytest.mark.parametrize(
        "name", ["with space", "a%2Fb", "#1", "ünï", "\N{PILE OF POO}", "x" * 255, "ab::c", "[x]*?"]
    )
    def test_odd_names_make_an_exact_round_trip(self, backend: Backend, folder: str, name: str) -> None:
        contents = {f"{name}/{name}": b"x", "a?x": b"y", "\N{SNOWMAN}": b"z"}
        request = make_request(folder, name, contents)
        node = upload(backend, request, contents)
        assert node.path == f"{folder}/{name}"
        assert [child.name for child in backend.list(folder)] == [name]
        assert read_node(backend, backend.stat(node.path)) == contents
        backend.delete(node.path)
        assert list(backend.list(folder)) == []

    def test_bytes_that_were_not_announced_are_refused(self, backend: Backend, folder: str) -> None:
        request = make_request(folder, "m", FILES)
        begun = backend.begin(request)
        for file in request.files:
            wrong = evolve(Body.of(FILES[file.key]), sha256="0" * 64)
            with pytest.raises(SourceChanged):
                begun.put([(file, wrong)])
        assert len(begun.missing) == len(FILES)
        node = finish(begun, FILES).node
        assert node is not None
        assert read_node(backend, node) == FILES

    def test_sending_a_file_again_is_harmless(self, backend: Backend, folder: str) -> None:
        begun = backend.begin(make_request(folder, "m", FILES))
        for _ in range(2):
            begun.put([(file, Body.of(FILES[file.key])) for file in make_request(folder, "m", FILES).files])
        assert list(begun.missing) == []
        node = begun.commit()
        assert node is not None
        assert begun.commit() == node
        assert read_node(backend, node) == FILES

    def test_a_commit_without_all_files_publishes_nothing(self, backend: Backend, folder: str) -> None:
        begun = backend.begin(make_request(folder, "m", FILES))
        begun.put([(begun.missing[0], Body.of(FILES[begun.missing[0].key]))])
        assert begun.commit() is None
        assert begun.outcome is None
        assert len(begun.missing) == 2
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m")

    def test_many_files(self, backend: Backend, folder: str) -> None:
        contents = {f"{LONG}/{number % 10}/{number:05d}.txt": b"%d" % (number % 3) for number in range(MANY)}
        first = make_request(folder, "m", contents)
        node = upload(backend, first, contents)
        assert node.file_count == MANY
        assert read_node(backend, backend.stat(node.path)) == contents
        contents["new"] = b"new"
        begun = backend.begin(make_request(folder, "m", contents, id=first.draft.id))
        assert [file.key for file in begun.missing] == ["new"]
        assert read_node(backend, backend.stat(node.path)) != contents
        finish(begun, contents)
        assert read_node(backend, backend.stat(node.path)) == contents

    # Several at once.

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_name_that_is_taken_while_files_are_sent(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str, strategy: str
    ) -> None:
        slow = backend.begin(request := make_request(folder, "m", FILES, strategy=strategy))
        slow.put([(file, Body.of(FILES[file.key])) for file in slow.missing])
        there = upload(new_backend(), make_request(folder, "m", OTHER), OTHER)
        if strategy == "error":
            with pytest.raises(Conflict):
                finish(slow, FILES)
        else:
            finish(slow, FILES)
        here = backend.stat(there.path)
        if strategy == "replace":
            assert here == slow.node
            assert read_node(backend, here) == FILES
        else:
            assert here == there
        if strategy == "skip":
            assert (slow.outcome, slow.node) == (Outcome.SKIPPED, there)
        if strategy == "new":
            assert slow.node == backend.stat(f"{folder}/{request.draft.alternative_name}")
            assert read_node(backend, slow.node) == FILES

    def test_an_update_overtaken_by_another_refers_to_what_is_there_now(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        first = make_request(folder, "m", FILES)
        upload(backend, first, FILES)
        contents = {**FILES, "mine": b"mine"}
        slow = backend.begin(make_request(folder, "m", contents, id=first.draft.id))
        slow.put([(file, Body.of(contents[file.key])) for file in slow.missing])
        upload(new_backend(), make_request(folder, "m", OTHER, strategy="replace"), OTHER)
        with pytest.raises(Conflict):
            finish(slow, contents)
        again = backend.begin(make_request(folder, "m", contents, id=first.draft.id, strategy="replace"))
        assert len(again.missing) == len(contents)
        finish(again, contents)
        assert read_node(backend, backend.stat(f"{folder}/m")) == contents

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_many_writers_of_one_name(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str, strategy: str
    ) -> None:
        backend.make_folder(folder)
        clients = [new_backend() for _ in range(THREADS)]
        outcomes: list[tuple[Outcome | None, Node | None]] = [(None, None)] * THREADS

        def work(writer: int, barrier: threading.Barrier) -> bool:
            contents = {"who": b"%d" % writer, f"only-{writer}": b"x"}
            request = make_request(folder, "m", contents, strategy=strategy)
            barrier.wait()
            try:
                done = finish(clients[writer].begin(request), contents)
            except Conflict:
                return False
            outcomes[writer] = (done.outcome, done.node)
            return True

        succeeded = together(work)
        published = [node for outcome, node in outcomes if outcome is Outcome.PUBLISHED and node]
        names = {node.path for node in published}
        assert sum(succeeded) == (1 if strategy == "error" else THREADS)
        assert len(published) == (THREADS if strategy in ("new", "replace") else 1)
        assert len(names) == (THREADS if strategy == "new" else 1)
        assert len({(node.path, node.generation) for node in published}) == len(published)
        for path in names:
            contents = read_node(backend, backend.stat(path))
            assert set(contents) == {"who", f"only-{int(contents['who'])}"}
        assert {node.path for node in backend.list(folder)} == names

    def test_two_updates_of_one_node_at_once_are_two_generations(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        first = make_request(folder, "m", FILES)
        upload(backend, first, FILES)
        contents = [{**FILES, "mine": b"%d" % number} for number in range(2)]
        begun = [
            client.begin(make_request(folder, "m", wanted, id=first.draft.id))
            for client, wanted in zip((backend, new_backend()), contents, strict=True)
        ]
        for number in (1, 0):
            finish(begun[number], contents[number])
        assert [node.generation for node in backend.versions(f"{folder}/m")] == [3, 2, 1]
        assert read_node(backend, backend.stat(f"{folder}/m")) == contents[0]
        assert read_node(backend, backend.stat(f"{folder}/m@2")) == contents[1]

    def test_files_are_put_from_several_threads(self, backend: Backend, folder: str) -> None:
        contents = {
            f"{writer}/{number}": b"%d %d" % (writer, number) for writer in range(THREADS) for number in range(5)
        }
        begun = backend.begin(make_request(folder, "m", contents))
        missing = begun.missing

        def work(writer: int, barrier: threading.Barrier) -> bool:
            barrier.wait()
            for file in missing[writer::THREADS]:
                begun.put([(file, Body.of(contents[file.key]))])
            return True

        assert all(together(work))
        assert list(begun.missing) == []
        assert begun.commit() is not None
        assert read_node(backend, backend.stat(f"{folder}/m")) == contents

    # Resuming.

    def test_two_processes_with_one_op_publish_once(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", FILES)
        first = backend.begin(request)
        second = new_backend().begin(evolve(request, resumed=True))
        for begun in (second, first):
            finish(begun, FILES)
            assert begun.outcome is Outcome.PUBLISHED
        assert first.node == second.node == backend.stat(f"{folder}/m")
        assert len(backend.versions(f"{folder}/m")) == 1

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_a_name_that_was_taken_before_an_upload_went_on(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str, strategy: str
    ) -> None:
        request = make_request(folder, "m", FILES, strategy=strategy)
        begun = backend.begin(request)
        begun.put([(file, Body.of(FILES[file.key])) for file in begun.missing])
        there = upload(new_backend(), make_request(folder, "m", OTHER), OTHER)
        if strategy == "error":
            with pytest.raises(Conflict):
                new_backend().begin(evolve(request, resumed=True))
            return
        resumed = finish(new_backend().begin(evolve(request, resumed=True)), FILES)
        assert resumed.node is not None
        if strategy == "skip":
            assert (resumed.outcome, resumed.node) == (Outcome.SKIPPED, there)
        else:
            assert resumed.outcome is Outcome.PUBLISHED
            name = "m" if strategy == "replace" else request.draft.alternative_name
            assert resumed.node == backend.stat(f"{folder}/{name}")
            assert read_node(backend, resumed.node) == FILES

    def test_an_upload_goes_on_where_it_stopped(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", FILES)
        begun = backend.begin(request)
        file = next(file for file in request.files if file.key == "weights.bin")
        begun.put([(file, Body.of(FILES[file.key]))])
        resumed = new_backend().begin(evolve(request, resumed=True))
        assert sorted(file.key for file in resumed.missing) == ["empty", "metrics/train.yaml"]
        node = finish(resumed, FILES).node
        assert node is not None
        assert read_node(backend, node) == FILES

    def test_an_upload_that_sent_everything_sends_nothing_again(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        request = make_request(folder, "m", FILES)
        begun = backend.begin(request)
        begun.put([(file, Body.of(FILES[file.key])) for file in begun.missing])
        resumed = new_backend().begin(evolve(request, resumed=True))
        assert list(resumed.missing) == []
        assert resumed.commit() is not None

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_an_upload_that_was_published_is_not_published_again(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str, strategy: str
    ) -> None:
        if strategy == "new":
            upload(backend, make_request(folder, "m", OTHER), OTHER)
        request = make_request(folder, "m", FILES, strategy=strategy)
        node = upload(backend, request, FILES)
        resumed = new_backend().begin(evolve(request, resumed=True))
        assert resumed.outcome in (Outcome.PUBLISHED, Outcome.UNCHANGED)
        assert resumed.node == node
        upload(backend, make_request(folder, node.name, OTHER, strategy="replace"), OTHER)
        resumed = new_backend().begin(evolve(request, resumed=True))
        assert resumed.outcome is Outcome.PUBLISHED, "it was, although another node has replaced it since"
        assert read_node(backend, backend.stat(node.path)) == OTHER

    # Reading.

    def test_a_listing_is_sorted_and_whole(self, backend: Backend, folder: str) -> None:
        names = ["b", "a", "Z", "ä", "a b", "a-b", "10", "9"]
        nodes = [upload(backend, make_request(folder, name, OTHER, metadata={"n": name}), OTHER) for name in names]
        backend.make_folder(f"{folder}/sub")
        listed = list(backend.list(folder))
        assert [node.name for node in listed] == sorted([*names, "sub"])
        assert [node for node in listed if node.kind == RUN] == sorted(nodes, key=lambda node: node.name)
        backend.delete(nodes[0].path)
        assert nodes[0].path not in [node.path for node in backend.list(folder)]
        for node in backend.list(folder):
            if node.kind == RUN:
                assert read_node(backend, node) == OTHER

    def test_listings_of_many_children_stay_right(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        nodes = {}
        for number in range(40):
            request = make_request(folder, f"n{number % 30}", {}, metadata={"n": number}, strategy="replace")
            nodes[request.draft.name] = upload(backend, request, {})
            if number % 10 == 0:
                assert list(backend.list(folder)) == sorted(nodes.values(), key=lambda node: node.name)
        backend.delete(nodes.pop("n3").path)
        for client in (backend, new_backend()):
            assert list(client.list(folder)) == sorted(nodes.values(), key=lambda node: node.name)

    def test_what_was_never_there_is_not_found(self, backend: Backend, folder: str) -> None:
        upload(backend, make_request(folder, "m", FILES), FILES)
        for path in (f"{folder}/x", f"{folder}/m/x", f"{folder}/m@2", f"{folder}/m@0", f"{folder}/x@1"):
            with pytest.raises(NotFound):
                backend.stat(path)
        for path in (f"{folder}/x", f"{folder}/M"):
            with pytest.raises(NotFound):
                backend.versions(path)

    def test_every_generation_can_be_read(self, backend: Backend, folder: str) -> None:
        first = make_request(folder, "m", FILES)
        upload(backend, first, FILES)
        contents = {**FILES, "empty": b"no more"}
        upload(backend, make_request(folder, "m", contents, id=first.draft.id), contents)
        upload(backend, make_request(folder, "m", OTHER, strategy="replace"), OTHER)
        backend.delete(f"{folder}/m")
        versions = backend.versions(f"{folder}/m")
        numbers = [node.generation for node in versions]
        assert numbers == sorted(set(numbers), reverse=True)
        assert [node.deleted for node in versions] == [True, False, False, False]
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m")
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m@{numbers[0]}")
        for node, expected in zip(versions[1:], [OTHER, contents, FILES], strict=True):
            assert read_node(backend, node) == expected
            assert backend.stat(f"{folder}/m@{node.generation}") == node
            assert read_node(backend, backend.stat(f"{folder}/m@{node.generation}")) == expected

    def test_files_are_told_by_key_with_size_and_checksum(self, backend: Backend, folder: str) -> None:
        request = make_request(folder, "m", FILES)
        node = upload(backend, request, FILES)
        files = backend.files(node)
        assert sorted((file.spec for file in files), key=repr) == sorted(request.files, key=repr)
        weights = next(file for file in files if file.key == "weights.bin")
        assert b"".join(backend.read(node, weights, 10, 20)) == b"\0" * 10
        assert b"".join(backend.read(node, weights, 990, 2000)) == b"\0" * 10
        assert b"".join(backend.read(node, weights, 1000)) == b""
        assert list(backend.files(evolve(node, handle=None))) == list(files), "a node from a listing has no handle"

    # Deleting.

    def test_what_always_exists_cannot_be_deleted(self, backend: Backend) -> None:
        for path in ("/", f"/{backend.whoami()}"):
            with pytest.raises(InvalidInput):
                backend.delete(path, recursive=True)
            assert backend.stat(path).kind == FOLDER

    def test_a_deleted_node_is_gone_and_its_name_is_free(self, backend: Backend, folder: str) -> None:
        node = upload(backend, make_request(folder, "m", FILES), FILES)
        backend.delete(node.path)
        assert list(backend.list(folder)) == []
        for call in (backend.stat, backend.delete):
            with pytest.raises(NotFound):
                call(node.path)
        with pytest.raises(NotFound):
            backend.delete(f"{folder}/never")
        with pytest.raises(NotFound):
            backend.delete(f"{folder}/never", recursive=True)

    def test_a_generation_that_is_not_the_newest_is_not_deleted(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        node = upload(backend, make_request(folder, "m", FILES), FILES)
        newer = upload(new_backend(), make_request(folder, "m", OTHER, strategy="replace"), OTHER)
        for generation in (node.generation, newer.generation + 1):
            with pytest.raises(Conflict):
                backend.delete(node.path, generation=generation)
        assert backend.stat(node.path) == newer
        backend.delete(node.path, generation=newer.generation)
        with pytest.raises(NotFound):
            backend.delete(node.path, generation=newer.generation)
        assert len(backend.versions(node.path)) == 3

    def test_of_a_deletion_and_an_upload_at_once_the_upload_is_not_lost(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        there = upload(backend, make_request(folder, "m", FILES), FILES)
        clients = [new_backend() for _ in range(THREADS)]

        def work(writer: int, barrier: threading.Barrier) -> bool:
            request = make_request(folder, "m", OTHER, strategy="replace")
            barrier.wait()
            try:
                if writer == 0:
                    upload(clients[writer], request, OTHER)
                else:
                    clients[writer].delete(there.path, generation=there.generation)
            except (Conflict, NotFound):
                return False
            return True

        assert together(work)[0]
        assert read_node(backend, backend.stat(there.path)) == OTHER
        assert sum(version.deleted for version in backend.versions(there.path)) <= 1

    def test_a_folder_is_deleted_when_it_is_empty(self, backend: Backend, folder: str) -> None:
        node = upload(backend, make_request(f"{folder}/sub", "m", FILES), FILES)
        with pytest.raises(Conflict):
            backend.delete(folder)
        assert backend.stat(node.path) == node
        backend.delete(node.path)
        backend.delete(f"{folder}/sub")
        backend.delete(folder)
        with pytest.raises(NotFound):
            backend.list(folder)
        with pytest.raises(FolderNotFound):
            backend.begin(make_request(folder, "m", FILES, make_folder=False))
        assert backend.make_folder(folder).kind == FOLDER
        assert list(backend.list(folder)) == []

    def test_a_folder_is_deleted_with_all_below_it_when_asked_to(self, backend: Backend, folder: str) -> None:
        kept = upload(backend, make_request(f"{folder}-kept", "m", FILES), FILES)
        for path in (folder, f"{folder}/sub", f"{folder}/sub/deep"):
            upload(backend, make_request(path, "m", FILES), FILES)
        backend.delete(folder, recursive=True)
        for path in (folder, f"{folder}/m", f"{folder}/sub", f"{folder}/sub/m", f"{folder}/sub/deep/m"):
            with pytest.raises(NotFound):
                backend.stat(path)
        assert backend.stat(kept.path) == kept
        assert len(backend.versions(f"{folder}/sub/m")) == 2

    def test_a_folder_that_is_deleted_while_files_are_sent_is_there_again(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        begun = backend.begin(make_request(folder, "m", FILES))
        new_backend().delete(folder)
        node = finish(begun, FILES).node
        assert list(backend.list(folder)) == [node]

    # The rest.

    def test_closing_is_no_end(self, backend: Backend, folder: str) -> None:
        backend.open()
        node = upload(backend, make_request(folder, "m", FILES), FILES)
        backend.close()
        backend.close()
        assert read_node(backend, backend.stat(node.path)) == FILES
        with backend as entered:
            assert entered is backend
        assert list(backend.list(folder)) == [node]
        assert backend.uri
        backend.close()


class CollectsSuite(BackendFixtures):
    """For backends that are `Collects`; a subclass may override the fixture `store` too."""

    @pytest.fixture
    def store(self, backend: Backend) -> ObjectStore:
        """Provide the store that the backend keeps everything in, where it can be looked at."""
        pytest.skip(f"what lies in {backend.uri} beside its nodes cannot be looked at")

    def test_what_the_backend_did_not_write_stays(self, backend: Backend, store: ObjectStore, folder: str) -> None:
        assert isinstance(backend, Collects)
        node = upload(backend, make_request(folder, "m", FILES), FILES)
        foreign = ["README", "elsewhere/data.bin", f"{folder[1:]}/notes.txt", f"{node.path[1:]}/figures/1.png"]
        for key in foreign:
            store.put(key, Body.of(b"foreign"))
        assert backend.collect(grace_s=-60, apply=True).objects == ()
        backend.delete(node.path)
        assert backend.collect(grace_s=-60, apply=True).size == node.size
        for key in foreign:
            assert b"".join(store.get(key)) == b"foreign"

    def test_a_part_of_the_tree_is_collected_alone(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        for path in (f"{folder}/here", f"{folder}/there"):
            upload(backend, make_request(path, "m", FILES), FILES)
            upload(backend, make_request(path, "m", OTHER, strategy="replace"), OTHER)
        assert backend.collect(f"{folder}/here", grace_s=-60, apply=True).size == 1004
        assert read_node(backend, backend.stat(f"{folder}/there/m@1")) == FILES
        assert backend.collect(f"{folder}/there/m", grace_s=-60).size == 1004

    def test_an_upload_under_way_is_safe_within_the_grace_and_from_a_dry_run(
        self, backend: Backend, folder: str
    ) -> None:
        assert isinstance(backend, Collects)
        request = make_request(folder, "m", FILES)
        begun = backend.begin(request)
        begun.put([(file, Body.of(FILES[file.key])) for file in begun.missing])
        assert _files_size(backend.collect(grace_s=-60)) == 1004
        assert backend.collect(apply=True).objects == ()
        assert list(backend.begin(evolve(request, resumed=True)).missing) == []
        node = begun.commit()
        assert node is not None
        assert read_node(backend, node) == FILES

    def test_kept_versions_stay_however_often_is_collected(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        for number in range(3):
            contents = {"n": b"%d" % number}
            upload(backend, make_request(folder, "m", contents, strategy="replace"), contents)
        for _ in range(3):
            backend.collect(grace_s=-60, keep_versions=2, apply=True)
        assert read_node(backend, backend.stat(f"{folder}/m")) == {"n": b"2"}
        assert read_node(backend, backend.stat(f"{folder}/m@2")) == {"n": b"1"}

    def test_nothing_young_is_collected(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        upload(backend, make_request(folder, "m", FILES), FILES)
        node = upload(backend, make_request(folder, "m", OTHER, strategy="replace"), OTHER)
        found = backend.collect(apply=True)
        assert (found.objects, found.applied, found.size) == ((), True, 0)
        assert read_node(backend, backend.stat(f"{folder}/m@1")) == FILES
        assert backend.stat(node.path) == node

    def test_a_dry_run_deletes_nothing(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        first = upload(backend, make_request(folder, "m", FILES), FILES)
        upload(backend, make_request(folder, "m", OTHER, strategy="replace"), OTHER)
        found = backend.collect(grace_s=-60)
        assert not found.applied
        assert (len(found.objects), found.size) == (len(FILES), 1004)
        assert backend.collect(grace_s=-60).objects == found.objects
        assert read_node(backend, backend.versions(first.path)[-1]) == FILES

    def test_what_no_kept_generation_needs_is_collected(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        first = make_request(folder, "m", FILES)
        upload(backend, first, FILES)
        contents = {**FILES, "weights.bin": b"second"}
        upload(backend, make_request(folder, "m", contents, id=first.draft.id), contents)
        kept = upload(backend, make_request(folder, "kept", OTHER), OTHER)
        found = backend.collect(grace_s=-60, apply=True)
        assert found.applied
        assert found.size == 1000
        node = backend.stat(f"{folder}/m")
        assert read_node(backend, node) == contents
        with pytest.raises(NotFound):
            read_node(backend, backend.stat(f"{folder}/m@1"))
        assert backend.stat(kept.path) == kept
        assert backend.collect(grace_s=-60, apply=True).objects == ()

    def test_as_many_versions_stay_as_are_asked_for(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        for number in range(4):
            upload(backend, make_request(folder, "m", {"n": b"%d" % number}, strategy="replace"), {"n": b"%d" % number})
        backend.collect(grace_s=-60, keep_versions=2, apply=True)
        versions = backend.versions(f"{folder}/m")
        readable = []
        for node in versions:
            try:
                readable.append(read_node(backend, backend.stat(f"{folder}/m@{node.generation}"))["n"])
            except NotFound:
                continue
        assert sorted(set(readable)) == [b"2", b"3"]

    def test_deleted_nodes_and_unfinished_uploads_are_collected(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        node = upload(backend, make_request(folder, "m", FILES), FILES)
        backend.delete(node.path)
        begun = backend.begin(make_request(f"{folder}/sub", "x", FILES))
        begun.put([(file, Body.of(FILES[file.key])) for file in begun.missing])
        assert _files_size(backend.collect(f"{folder}/sub", grace_s=-60)) == 1004
        assert _files_size(backend.collect(grace_s=-60, apply=True)) == 2008
        assert list(backend.list(f"{folder}/sub")) == []
        upload(backend, make_request(folder, "m", FILES), FILES)
        assert read_node(backend, backend.stat(f"{folder}/m")) == FILES

    def test_an_upload_whose_files_were_collected_ends_and_may_start_again(
        self, backend: Backend, new_backend: Callable[[], Backend], folder: str
    ) -> None:
        assert isinstance(backend, Collects)
        request = make_request(folder, "m", FILES)
        begun = backend.begin(request)
        begun.put([(begun.missing[0], Body.of(FILES[begun.missing[0].key]))])
        backend.collect(grace_s=-60, apply=True)
        with pytest.raises(UploadFenced):
            finish(begun, FILES)
        with pytest.raises(UploadFenced):
            new_backend().begin(evolve(request, resumed=True))
        with pytest.raises(NotFound):
            backend.stat(f"{folder}/m")
        again = make_request(folder, "m", FILES, id=request.draft.id)
        assert read_node(backend, upload(backend, again, FILES)) == FILES

    def test_an_update_that_counts_on_collected_files_sends_them_itself(self, backend: Backend, folder: str) -> None:
        assert isinstance(backend, Collects)
        first = make_request(folder, "m", FILES)
        upload(backend, first, FILES)
        contents = {**FILES, "more": b"more"}
        begun = backend.begin(make_request(folder, "m", contents, id=first.draft.id, strategy="replace"))
        assert [file.key for file in begun.missing] == ["more"]
        upload(backend, make_request(folder, "m", OTHER, strategy="replace"), OTHER)
        backend.collect(grace_s=-60, apply=True)
        finish(begun, contents)
        assert read_node(backend, backend.stat(f"{folder}/m")) == contents


def _files_size(garbage: Garbage) -> int:
    """Return the size of the files among what was collected, without that of records about them, in bytes."""
    return sum(found.size for found in garbage.objects if "/.em/" not in found.key)
