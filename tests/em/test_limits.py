"""What is written can be read: every limit of a reader has its partner at the writer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t9k import em
from t9k.ah.core import Model
from t9k.em import metadata
from t9k.em.errors import IncompleteWarning, InvalidInput, InvalidMetric, LocalError
from t9k.em.local import layout, state
from t9k.em.local.below import Below
from t9k.em.local.state import LocalState
from t9k.em.local.yamlwriter import MAX_BYTES
from t9k.em.names import new_op
from t9k.em.records import FileEntry
from t9k.em.run import Run
from t9k_em_backends.tree import heads, manifests
from t9k_em_backends.tree.values import MAX_METADATA_BYTES

LARGE = metadata.MAX_TEXT_BYTES


@pytest.mark.long
@pytest.mark.parametrize("given", [{"description": "x" * (11 << 20)}, {"labels": ["x" * 100] * 10_000}])
def test_a_description_or_labels_that_no_backend_takes_are_refused_at_once(given: dict[str, Any]) -> None:
    for make in (em.create_run, em.create_artifact):
        with pytest.raises(InvalidInput, match=rf"take \d+ bytes, of at most {LARGE}; keep long texts as a file"):
            make(name="a", **given)
    assert not [path for parent in (".em/runs", ".em/artifacts") for path in Path(parent).glob("*")]
    run = em.create_run()
    before = run.to_dict()["metadata"]
    with pytest.raises(InvalidInput, match="keep long texts"):
        run.parse_from_dict({"metadata": {"name": "b", **given}})
    assert run.to_dict()["metadata"] == before


def test_the_largest_description_is_kept_and_uploaded(backend: Any) -> None:
    run = em.create_run(description="é" * (LARGE // 6 - 3), labels=["a"])
    run.finish()
    run.upload()
    assert em.load_run("default/default").description == run.description


@pytest.mark.long
def test_a_description_that_becomes_too_large_is_cut_with_one_warning_and_never_stops_the_end(backend: Any) -> None:
    run = em.create_run()
    run.description = "\x01é" * (6 << 20)
    run.labels = [f"label {index}" for index in range(100_000)]
    with pytest.warns(IncompleteWarning, match="what is beyond is not kept") as warned:
        run.save()
    assert len(warned) == 1
    run.finish()
    run.upload()
    for loaded in (em.load_run(run.local), em.load_run("default/default")):
        assert len(loaded.description) > 10_000
        assert run.description.startswith(loaded.description)
        assert loaded.labels
        assert loaded.labels == run.labels[: len(loaded.labels)]


@pytest.mark.long
def test_more_inputs_than_a_backend_takes_are_refused_when_they_are_marked(backend: Any) -> None:
    run = em.create_run()
    associations = [
        {
            "type": "Model",
            "path": f"model/llm/{index:04}",
            "reference": f"model/llm/{index:04}",
            "description": "x" * 100,
        }
        for index in range(1500)
    ]
    run.associations["input"] = associations[:1300]

    def mark_many() -> None:
        for index in range(1000):
            run.mark_input(Model(path=f"model/cv/{index:04}", description="x" * 100))

    with pytest.raises(InvalidInput, match="inputs and outputs .* mark one artifact"):
        mark_many()
    run.finish()
    run.upload()
    assert em.load_run("default/default").associations == run.associations


@pytest.mark.long
def test_a_file_of_yaml_that_could_not_be_read_is_not_written() -> None:
    with pytest.raises(LocalError, match=rf"platform.yaml would take \d+ bytes, of at most {MAX_BYTES}"):
        Run({"name": "a"}, platform={"packages": "x" * MAX_BYTES})
    path = Below(Path.cwd(), "a.yaml")
    layout.write_mapping(path, {"a": 1})
    with pytest.raises(LocalError, match=r"a\.yaml would take"):
        layout.write_mapping(path, {"a": "x" * MAX_BYTES})
    assert layout.read_mapping(path, "x") == {"a": 1}
    layout.write_mapping(path, {"a": "x" * (MAX_BYTES - 4)})
    assert Path("a.yaml").stat().st_size == MAX_BYTES
    assert len(layout.read_mapping(path, "x")["a"]) == MAX_BYTES - 4


def test_a_type_of_metrics_that_would_fill_the_index_is_refused() -> None:
    run = Run({"name": "a"})
    with pytest.raises(InvalidMetric, match="has 16385 characters, of at most 16384"):
        run.log("x" * 16385, {"loss": 1}, step=1)
    run.log("x" * 16384, {"loss": 1}, step=1)
    assert list(em.load_run(run.local).metrics) == ["x" * 16384]


def test_the_history_of_uploads_keeps_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MOST_REMOTE", 3)
    local = LocalState(Path("a"))
    for index in range(5):
        local.add_remote({"generation": str(index)})
    assert [record["generation"] for record in LocalState(Path("a")).get("remote", [])] == ["2", "3", "4"]


def test_the_history_of_uploads_with_long_paths_can_be_read() -> None:
    record = {
        "action": "upload",
        "uri": "file:///" + "u" * 1000,
        "path": "/p" * 1500,
        "generation": "1",
        "timestamp": "t",
    }
    local = LocalState(Path("a"))
    local.set("remote", [record] * state.MOST_REMOTE)
    local.add_remote(record)
    assert len(local.get("remote", [])) == state.MOST_REMOTE


def test_a_list_of_files_that_no_reader_takes_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    op = new_op()
    files = tuple(FileEntry(key=f"objects/{index}", op=op, size=1, sha256="0" * 64) for index in range(3000))
    assert manifests.encode_manifest(files)
    monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", 100_000)
    with pytest.raises(InvalidInput, match="the list of 3000 files takes more than 100000 bytes"):
        manifests.encode_manifest(files)


def test_all_that_a_node_may_hold_fits_into_a_record() -> None:
    rest = 8 << 10  # id, names, times
    assert metadata.MAX_TEXT_BYTES + metadata.MAX_ASSOCIATIONS_BYTES + rest < MAX_METADATA_BYTES
    assert MAX_METADATA_BYTES + heads.FILES_IN_HEAD_BYTES < heads.MAX_HEAD_BYTES


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=6,
)
large = st.sampled_from([1, 1000, 300_000, 900_000]).flatmap(lambda times: texts.map(lambda text: text * times))


@pytest.mark.long
@given(
    hparams=st.dictionaries(texts, plain | large, max_size=3),
    description=texts | large,
    labels=st.lists(texts, max_size=3),
    metrics=st.dictionaries(texts, st.floats() | st.integers() | st.none(), max_size=3),
    kind=texts.filter(bool) | st.just("x" * 20_000),
    epoch=st.none() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_the_writers_take_comes_back_from_disk_and_from_a_store(
    backend: Any, hparams: Any, description: str, labels: list[str], metrics: Any, kind: str, epoch: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        try:
            run = Run({"name": "any", "description": description, "labels": labels}, hparams=hparams)
        except InvalidInput:
            return
        try:
            run.log(kind, metrics, step=1, epoch=epoch)
        except InvalidMetric:
            assert run.metrics == {}
        run.finish()
        wanted = run.to_dict()
    run.upload(conflict_strategy="replace")
    for loaded in (em.load_run(run.local), em.load_run("default/any")):
        assert repr(loaded.to_dict()) == repr(wanted)
