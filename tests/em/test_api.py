"""The API is the one of the reference: names, module paths, parameters, their order and defaults, attributes."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pickle
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import t9k
from t9k import em
from t9k.em.containers import Params
from t9k.em.errors import EMError, InvalidInput, NotALocalNode, UploadFailed

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "t9k-em-api.txt").read_text(encoding="utf-8")


@attrs.frozen
class Entry:
    """A function, class or method of the reference."""

    path: str
    signature: str
    text: str

    @property
    def parsed(self) -> ast.FunctionDef:
        code = self.signature.replace("\xa0", " ").replace("\u2011>", "->").replace("~", "").replace("Tuple[]", "Tuple")
        [function] = ast.parse(f"def {code}: ...").body
        assert isinstance(function, ast.FunctionDef)
        return function

    @property
    def real(self) -> Any:
        return resolve(self.path)


def resolve(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if module == "t9k" or not module:
        return importlib.import_module(path)
    owner = resolve(module)
    return getattr(owner, name) if hasattr(owner, name) else importlib.import_module(path)


def entries() -> list[Entry]:
    found = []
    for section in re.split(r"^## ", REFERENCE, flags=re.MULTILINE)[1:]:
        path = section.partition("\n")[0].strip()
        parts = re.split(r"^#### ", section, flags=re.MULTILINE)
        for number, part in enumerate(parts):
            name = part.partition("\n")[0].strip()
            code = re.search(r"```python\n(.*?)\n```", part, re.DOTALL)
            if code and code[1].startswith(f"{name.rpartition('.')[2]}("):
                found.append(Entry(path if number == 0 else f"{path}.{name}", code[1], part))
    return found


ENTRIES = entries()
SIGNED = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.path)


def test_the_reference_is_read_whole():
    paths = {entry.path for entry in ENTRIES}
    assert len(paths) == len(ENTRIES) == 29
    assert {
        "t9k.em.upload",
        "t9k.em.run.Run",
        "t9k.em.artifact.Artifact.add_dir",
        "t9k.em.containers.Params.parse",
    } <= paths


def without_self(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [parameter for parameter in parameters if parameter.name != "self"]


def documented(function: ast.FunctionDef) -> list[tuple[str, Any, Any]]:
    """Name, kind and default of the parameters, without `self`."""
    scope: dict[str, Any] = {}
    for argument in [*function.args.args, function.args.vararg, function.args.kwarg]:
        if argument is not None:
            argument.annotation = None
    bare = ast.unparse(function.args)
    exec(f"def function({bare}): ...", scope)
    return comparable(inspect.signature(scope["function"]))


def comparable(signature: inspect.Signature) -> list[tuple[str, Any, Any]]:
    parameters = without_self(list(signature.parameters.values()))
    # What is added to the reference can be given by its name only, and so changes no call.
    parameters = [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


# May be left out here: `update` takes values by name too, and `log` answers a call in another library's order with the right one.
OPTIONAL_HERE = {
    ("t9k.em.containers.Params.update", "new_params"),
    ("t9k.em.run.Run.log", "metrics"),
    ("t9k.em.run.Run.log", "step"),
}


@SIGNED
def test_parameters_order_and_defaults_are_those_of_the_reference(entry):
    expected = documented(entry.parsed)
    found = comparable(inspect.signature(entry.real))
    if entry.path == "t9k.em.containers.Params.update":
        assert found.pop()[:2] == ("more", inspect.Parameter.VAR_KEYWORD)
    required = {(entry.path, name) for name, _, default in expected if default is inspect.Parameter.empty}
    assert [
        (name, kind, inspect.Parameter.empty if (entry.path, name) in OPTIONAL_HERE & required else default)
        for name, kind, default in found
    ] == expected


@SIGNED
def test_what_is_given_back_is_what_the_reference_says(entry):
    returns = entry.parsed.returns
    if returns is None:
        return
    expected = ast.unparse(returns).replace("Dict", "dict")
    real = entry.real.__annotations__["return"]
    assert real == expected.rpartition(".")[2]
    if "." in expected:
        assert getattr(em, real) is resolve(expected)


@SIGNED
def test_every_parameter_is_documented_in_the_code_too(entry):
    text = inspect.getdoc(entry.real) or ""
    if "Args:" in text:
        for name, *_ in comparable(inspect.signature(entry.real)):
            assert re.search(rf"^    {name}: ", text, re.MULTILINE), name


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("t9k.em.run.Run", em.create_run),
        ("t9k.em.artifact.Artifact", lambda: em.create_artifact("a")),
    ],
)
def test_attributes_of_the_reference_exist(path, instance):
    [text] = [entry.text for entry in ENTRIES if entry.path == path]
    listed = text.partition("### Attributes")[2].partition("### Methods")[0]
    names = re.findall(r"^\* \*\*(\w+)\*\* ", listed, re.MULTILINE)
    assert len(names) >= 8
    found = instance()
    for name in names:
        assert hasattr(found, name), name


OURS = {
    "t9k.em.run.Run": {
        "directory",
        "download",
        "error",
        "finish",
        "kind",
        "local",
        "metrics_table",
        "params",
        "save",
        "send",
        "update",
    },
    "t9k.em.artifact.Artifact": {"directory", "download", "fs", "get", "kind", "local", "open", "save", "send"},
}
"""What runs and artifacts offer beyond the reference, documented for their users."""


@pytest.mark.parametrize("path", OURS)
def test_runs_and_artifacts_show_what_the_reference_names_and_what_is_documented_and_no_hook(path):
    cls = resolve(path)
    shown = {name for name in dir(cls) if not name.startswith("_")}
    named = {entry.path.rpartition(".")[2] for entry in ENTRIES if entry.path.startswith(path + ".")}
    attributes = set(re.findall(r"^\* \*\*(\w+)\*\*", REFERENCE, re.MULTILINE))
    assert shown - named - attributes == OURS[path] - named - attributes
    assert all(inspect.getdoc(getattr(cls, name)) for name in shown - {"kind"})


def test_the_names_of_the_package_are_those_of_the_reference_with_mirror_and_check():
    functions = {entry.path.rpartition(".")[2] for entry in ENTRIES if re.fullmatch(r"t9k\.em\.[a-z_]+", entry.path)}
    assert set(em.__all__) == functions | {"Artifact", "Params", "Run", "check", "mirror"}
    assert all(hasattr(em, name) for name in em.__all__)
    assert em.Params is Params
    assert "CONFIG" in t9k.__all__


def test_errors_are_runtime_errors_as_the_reference_says():
    with pytest.raises(RuntimeError, match="no backend is chosen"):
        em.load_run("nowhere")
    assert issubclass(EMError, RuntimeError)


class TestCreate:
    def test_calls_of_the_references_examples_work(self, store):
        em.login(store)
        run = em.create_run(
            name="cnn_keras", hparams={"epochs": 1}, folder_path="cv/mnist", auto_upload=True, make_folder=True
        )
        run.update({"batch_size": 32, "epochs": 10})
        run.params["batch_size"] = 64
        run.params.lr = 0.1
        run.finish()
        assert em.load_run("cv/mnist/cnn_keras").hparams.as_dict() == {"epochs": 10, "batch_size": 64, "lr": 0.1}

    def test_makes_directories_where_the_environment_says(self, tmp_path, monkeypatch):
        assert Path(em.create_run(name="a").local).parent == Path(".em/runs").absolute()
        assert Path(em.create_artifact("a").local).parent == Path(".em/artifacts").absolute()
        monkeypatch.setenv("EM_RUN_PARENT_DIR", str(tmp_path / "r"))
        monkeypatch.setenv("EM_ARTIFACT_PARENT_DIR", "somewhere/else")
        assert Path(em.create_run().local).parent == tmp_path / "r"
        assert Path(em.create_artifact("a").local).parent == Path("somewhere/else").absolute()

    def test_config_file_wins_over_arguments(self, tmp_path):
        (tmp_path / "config.yaml").write_text("name: from file\nhparams: {lr: 0.1}\nlabels: [x]\ndescription:\n")
        run = em.create_run("config.yaml", name="mine", hparams={"epochs": 1}, labels=["y"], description="kept")
        assert (run.name, run.hparams.as_dict(), run.labels, run.description) == (
            "from file",
            {"lr": 0.1},
            ["x"],
            "kept",
        )

    def test_config_file_may_ask_for_the_upload_too(self, tmp_path, backend):
        (tmp_path / "config.yaml").write_text("auto_upload: true\nfolder: cv/mnist\nmake_folder: true\n")
        with em.create_run("config.yaml", name="a"):
            pass
        assert [node.name for node in backend.list("/alice/cv/mnist")] == ["a"]

    @pytest.mark.parametrize(
        ("given", "advice"),
        [
            ({"name": ""}, "choose another name"),
            ({"name": ".."}, "choose another name"),
            ({"name": "a/b"}, "choose another name"),
            ({"name": "a\0b"}, "choose another name"),
            ({"name": "a\nb"}, "choose another name"),
            ({"name": "a@3"}, "choose another name"),
            ({"name": ".EM"}, "choose another name"),
            ({"name": None}, "must be a str"),
            ({"labels": "one"}, r"write them like \['a', 'b'\]"),
            ({"labels": 5}, r"write them like \['a', 'b'\]"),
            ({"labels": [1]}, r"write them like \['a', 'b'\]"),
            ({"labels": {"a": 1}}, r"write them like \['a', 'b'\]"),
            ({"labels": ["\ud800"]}, r"write them like \['a', 'b'\]"),
            ({"description": 1}, "must be a str"),
            ({"description": "\ud800"}, "valid Unicode"),
            ({"hparams": 1}, "hparams"),
            ({"hparams": ["lr"]}, "hparams"),
            ({"conflict_strategy": "overwrite"}, "use one of 'skip', 'error', 'new', 'replace'"),
            ({"config_path": "nowhere.yaml"}, "check the path"),
        ],
    )
    def test_of_a_run_refuses_what_cannot_be_and_leaves_nothing(self, snapshot, given, advice):
        before = snapshot()
        with pytest.raises(InvalidInput, match=advice):
            em.create_run(**given)
        assert snapshot() == before

    @pytest.mark.parametrize(
        "given", [{"name": "a/b"}, {"name": "a", "labels": "x"}, {"name": "a", "description": "\ud800"}]
    )
    def test_of_an_artifact_refuses_what_cannot_be_and_leaves_nothing(self, snapshot, given):
        before = snapshot()
        with pytest.raises(InvalidInput):
            em.create_artifact(**given)
        assert snapshot() == before


class TestLoad:
    def test_prefers_the_local_directory(self, backend):
        artifact = em.create_artifact("a")
        artifact.upload()
        local = em.load_artifact(artifact.local)
        assert local.to_dict() == artifact.to_dict()
        assert not [entry for entry in local.remote if entry["action"] == "download"]

    def test_finds_a_node_in_the_backend_by_relative_and_absolute_path(self, backend):
        em.create_artifact("a").upload()
        assert em.load_artifact("default/a").name == "a"
        assert em.load_artifact("/alice/default/a").name == "a"

    def test_uses_a_uri_for_this_call_only(self, store):
        artifact = em.create_artifact("a")
        artifact.upload(f"{store}#/bob/x", make_folder=True)
        assert em.load_artifact(f"{store}#/bob/x/a").to_dict() == artifact.to_dict()
        with pytest.raises(RuntimeError, match="no backend is chosen; call em.login"):
            em.load_artifact("/bob/x/a")
        with pytest.raises(RuntimeError, match="names a store and no node in it; add '#' and its path"):
            em.load_artifact(store)

    def test_says_that_it_found_another_kind(self, backend):
        run = em.create_run(name="r")
        run.upload()
        em.create_artifact("a").upload()
        with pytest.raises(RuntimeError, match="is a Run; load it with em.load_run"):
            em.load_artifact("default/r")
        with pytest.raises(RuntimeError, match="is an? Artifact; load it with em.load_artifact"):
            em.load_run("default/a")
        with pytest.raises(RuntimeError, match="is a Folder; list what is in it"):
            em.load_run("default")

    @pytest.mark.parametrize("path", ["default/none", "none", "/bob/default/x", "default/a@7"])
    def test_of_what_is_not_there_says_so(self, backend, path):
        em.create_artifact("a").upload()
        with pytest.raises(LookupError, match="there is no"):
            em.load_artifact(path)

    @pytest.mark.parametrize("path", ["a//b", "../x", "/", "", "a\0b"])
    def test_of_an_impossible_path_is_a_clear_error(self, backend, snapshot, path):
        before = snapshot()
        with pytest.raises(RuntimeError):
            em.load_run(path)
        assert snapshot() == before

    def test_refuses_an_unknown_strategy_at_once(self):
        with pytest.raises(InvalidInput, match="use one of"):
            em.load_run("x", conflict_strategy="mine")

    def test_a_version_is_loaded_by_its_number(self, backend, tmp_path):
        (tmp_path / "f").write_text("one")
        artifact = em.create_artifact("a")
        artifact.add_file("f")
        artifact.upload()
        (tmp_path / "f").write_text("two")
        artifact.add_file("f")
        artifact.upload()
        assert Path(em.load_artifact("default/a@1").get("f")).read_text() == "one"
        assert Path(em.load_artifact("default/a").get("f")).read_text() == "two"


class TestLogin:
    def test_needs_a_place(self):
        with pytest.raises(InvalidInput, match="pass ais_host="):
            em.login()

    def test_an_empty_host_or_key_means_the_default(self, store):
        t9k.CONFIG["aistore_host"] = store
        em.login(ais_host="", api_key="")
        em.create_artifact("a").upload()
        assert em.load_artifact("default/a").name == "a"

    def test_takes_the_place_from_the_t9k_config(self, store):
        t9k.CONFIG["aistore_host"] = store
        em.login()
        em.create_artifact("a").upload()
        assert em.load_artifact("default/a").name == "a"

    @pytest.mark.parametrize(
        ("uri", "advice"),
        [
            ("nope://x", r"installed are: .*file://, .*memory://"),
            ("file://host/x", "three slashes"),
            ("s3://key:seCret@bucket", "leave it out and use the environment"),
            ("memory://x?colour=red", "takes no option 'colour'"),
        ],
    )
    def test_refuses_a_place_that_is_none_and_stays_where_it_was(self, backend, uri, advice):
        em.create_artifact("a").upload()
        with pytest.raises(InvalidInput, match=advice):
            em.login(uri)
        assert em.load_artifact("default/a").name == "a"

    def test_refuses_a_user_who_cannot_be(self, monkeypatch, store):
        monkeypatch.setenv("EM_USER", "a/b")
        with pytest.raises(InvalidInput, match="EM_USER"):
            em.login(store)

    def test_logout_leaves_the_place_and_may_be_repeated(self, backend):
        em.logout()
        em.logout()
        with pytest.raises(RuntimeError, match="call em.login"):
            em.create_artifact("a").upload()


class TestUpload:
    def test_of_one_directory(self, backend):
        run = em.create_run(name="r")
        em.upload(run.local)
        em.upload(em.create_artifact("a").local, folder="/alice/x", make_folder=True)
        assert [node.kind for node in backend.list("/alice/default")] == ["Run"]
        assert [node.kind for node in backend.list("/alice/x")] == ["Artifact"]

    def test_of_a_parent_takes_all_and_one_bad_entry_does_not_stop_the_others(self, backend):
        artifacts = [em.create_artifact(name) for name in ("a", "b", "c")]
        (Path(artifacts[1].local) / "metadata.yaml").write_text("!!python/object/apply:os.system [x]")
        (Path(".em/artifacts") / "notes").mkdir()
        (Path(".em/artifacts") / ".em-fetch-abc").mkdir()
        (Path(".em/artifacts") / ".em-fetch-abc" / "metadata.yaml").write_text("type: Artifact\n")
        with pytest.raises(UploadFailed, match=r"1 of 3 could not be uploaded:\n.*is not allowed") as caught:
            em.upload(".em/artifacts")
        assert list(map(os.path.abspath, caught.value.failures)) == [artifacts[1].local]
        copied = pickle.loads(pickle.dumps(caught.value))  # as a process pool does
        assert (str(copied), copied.failures.keys()) == (str(caught.value), caught.value.failures.keys())
        assert [node.name for node in backend.list("/alice/default")] == ["a", "c"]

    @pytest.mark.parametrize("path", ["empty", "nowhere", "file"])
    def test_of_neither_says_what_to_give(self, backend, tmp_path, path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("x")
        with pytest.raises(NotALocalNode, match="give a directory like .em/runs or one in it"):
            em.upload(path)

    def test_of_a_directory_that_is_something_else_says_so(self, backend, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "metadata.yaml").write_text("type: [Run]\n")
        with pytest.raises(NotALocalNode):
            em.upload("x")
        with pytest.raises(UploadFailed, match="is not the directory of an artifact"):
            em.upload(".")

    def test_refuses_an_unknown_strategy_at_once(self, backend):
        with pytest.raises(InvalidInput, match="use one of"):
            em.upload(".", conflict_strategy="mine")
