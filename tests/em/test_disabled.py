"""With `EM_MODE=disabled` the same program runs: nothing is written, no thread starts, nothing goes over the network."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap

import pytest

from t9k import em
from t9k.em import session
from t9k.em.disabled import DisabledArtifact, DisabledRun
from t9k.em.errors import EMError, InvalidInput, InvalidName, InvalidStrategy, NotFound

# Everything that the API reference has, and what else is public.
PROGRAM = """
import os, sys, threading
from pathlib import Path

from t9k import em
from t9k.ah.core import Model

events = []

def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.", "shutil.", "tempfile.", "_thread.start_new_thread")):
        events.append((event, str(args)))
    elif event == "open" and not str(args[0]).endswith((".py", ".pyc", ".so")) and ".pyc." not in str(args[0]):
        events.append((event, str(args)))

import pickle, copy, pyarrow, fsspec  # of other packages, which look at the disk while they are imported
import t9k.em.local.columns, t9k.em.objects.filesystem, t9k.em.transfer.mirroring.report
sys.addaudithook(watch)
stdout = sys.stdout

em.login("https://aistore.invalid/a", api_key="k")
run = em.create_run(name="cnn", hparams={"lr": 0.1}, labels=["a"], auto_upload=True, folder="x", make_folder=True,
                    system_metrics=0.01)
assert isinstance(run, em.Run)
run.hparams.lr = 0.2
run.hparams.update({"nested": {"a": [1, 2]}})
run.hparams["nested"]["b"] = 3
run.update({"lr": 0.2})
assert run.params.as_dict() == {"lr": 0.2, "nested": {"a": [1, 2], "b": 3}}
run.log("train", {"loss": 1.0}, step=1)
run.log(type="train", metrics={"loss": float("nan")}, step=2, epoch=1)
run.log("train", {"text": "not checked"}, step="x")
artifact = em.create_artifact(name="model", labels=["b"], description="c")
assert isinstance(artifact, em.Artifact)
artifact.add_file("there is no such file")
artifact.add_dir("nor such a directory")
artifact.add_reference("https://example.invalid/a")
artifact.download()
artifact.upload("x", make_folder=True)
assert artifact.objects == [] and list(artifact.fs.find("/")) == []
run.mark_input(artifact)
run.mark_output(artifact)
run.labels.append("more")
run.save(); artifact.save()
run._sync()
print(run, artifact, run.local, run.directory, run.remote, run.id, run.alternative_name, run.platform, run.git, run.metrics)
assert run.metrics_table().num_rows == 0
run.upload(folder="x", make_folder=True)
run.parse_from_dict(run.to_dict()); artifact.parse_from_dict(artifact.to_dict())
assert run.hparams.lr == 0.2
run.finish(timeout=3)
assert run.status == "Complete" and run.end_timestamp
with em.create_run(name="b") as second:
    second.log("train", {"a": 1}, step=1)
assert second.status == "Complete"
loaded = em.load_run("/alice/x/cnn@3", auto_upload=True, system_metrics=1)
assert loaded.name == "cnn"
loaded.log("train", {"a": 1}, step=1); loaded.finish()
assert em.load_artifact("s3://bucket/root#/alice/model").name == "model"
em.upload(".em/runs"); em.mirror("s3://a/b", "s3://c/d"); em.logout()
em.Run({"name": "c"}, {"a": 1}, {"train": []}, {}, {}).finish()
em.Artifact({"name": "c"}, {"k": {"uri": "https://example.invalid/a"}})
pickle.loads(pickle.dumps(run.hparams)); copy.deepcopy(run)
assert sys.stdout is stdout
assert threading.active_count() == 1, threading.enumerate()
assert not events, events
print("ended")
"""


@pytest.fixture
def _disabled(monkeypatch):
    monkeypatch.setenv("EM_MODE", "disabled")


def run_program(tmp_path, program: str, **environment: str) -> subprocess.CompletedProcess:
    script = tmp_path / "program.py"
    script.write_text(program)
    return subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_a_program_touches_neither_disk_nor_network_and_starts_no_thread(tmp_path, snapshot):
    (tmp_path / "program.py").write_text(PROGRAM)
    before = snapshot()
    ended = run_program(tmp_path, PROGRAM, EM_MODE="disabled")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("ended\n")
    assert snapshot() == before


def test_the_watched_program_would_be_caught_without_the_mode(tmp_path):
    ended = run_program(tmp_path, PROGRAM.replace("https://aistore.invalid/a", "memory://a"))
    assert ended.returncode != 0


@pytest.mark.usefixtures("_disabled")
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a directory in which not even root makes files")
def test_a_directory_that_cannot_be_written_does_not_matter(monkeypatch):
    monkeypatch.chdir("/proc/self")
    with em.create_run(name="a") as run:
        run.log("train", {"a": 1}, step=1)
    em.create_artifact("a").add_file("b")
    monkeypatch.delenv("EM_MODE")
    with pytest.raises((EMError, OSError)):
        em.create_run(name="a")


def test_the_same_program_is_told_once_that_nothing_is_kept(tmp_path):
    program = "from t9k import em\nem.create_run(name='a').finish()\n"
    ended = run_program(tmp_path, program, EM_MODE="disabled", EM_SILENT="0")
    assert ended.stderr == "t9k.em: nothing of this run is kept, for EM_MODE is 'disabled'\n"
    assert not (tmp_path / ".em").exists()


@pytest.mark.usefixtures("_disabled")
class TestInterface:
    @pytest.mark.parametrize(("kept", "stand_in"), [(em.Run, DisabledRun), (em.Artifact, DisabledArtifact)])
    def test_every_public_method_was_thought_of(self, kept, stand_in):
        """What a class gains has to be given a meaning here, or be said to need nothing of the disk."""
        harmless = {"kind", "directory", "local", "hparams", "params", "update", "to_dict", "objects", "fs"}
        public = {name for place in kept.__mro__[:-1] for name in vars(place) if not name.startswith("_")}
        own = {name for place in stand_in.__mro__[: stand_in.__mro__.index(kept)] for name in vars(place)}
        inherited = public - own - harmless - {"open_directory"}
        assert not inherited

    def test_a_failed_block_fails(self):
        with pytest.raises(ZeroDivisionError), em.create_run(name="a") as run:
            raise ZeroDivisionError
        assert run.status == "Failed"
        with pytest.raises(SystemExit), em.create_run(name="a") as run:
            sys.exit(0)
        assert run.status == "Complete"

    def test_a_config_file_is_read_for_it_holds_the_hyperparameters(self, tmp_path):
        (tmp_path / "run.yaml").write_text("name: given\nhparams: {lr: 0.5}\n")
        run = em.create_run(config_path=str(tmp_path / "run.yaml"))
        assert (run.name, run.hparams.lr) == ("given", 0.5)

    def test_what_would_be_wrong_anyway_is_wrong(self):
        with pytest.raises(InvalidName):
            em.create_run(name="a/b")
        with pytest.raises(InvalidStrategy):
            em.create_run(conflict_strategy="perhaps")

    def test_bytes_that_are_not_there_are_told(self):
        artifact = em.load_artifact("alice/model")
        for ask in (artifact.get, artifact.open):
            with pytest.raises(NotFound, match="object 'a' of artifact 'model' is not kept, for EM_MODE is 'disabled'"):
                ask("a")
        assert not artifact._is_in(session.login("memory://nothing"), {})

    def test_copies_hold_the_same(self):
        run = em.create_run(name="a", hparams={"lr": 0.1})
        for again in (copy.copy(run), copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
            assert again.to_dict() == run.to_dict()
        artifact = em.create_artifact("a", description="b")
        assert copy.deepcopy(artifact).to_dict() == artifact.to_dict()

    def test_nothing_can_be_sent(self):
        backend = session.login("memory://nothing-is-sent")
        with pytest.raises(NotFound, match="not kept"):
            em.create_run(name="a").send(backend, "/alice")

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("a", "a"),
            ("/alice/b@2", "b"),
            ("memory://x#/alice/c", "c"),
            (".em/runs/d/", "d"),
            ("memory://x", "x"),
            ("", "default"),
        ],
    )
    def test_what_is_loaded_is_named_for_its_path(self, path, name):
        assert em.load_run(path).name == name

    def test_a_class_of_the_user_is_left_alone(self, tmp_path):
        class Mine(em.Run):
            pass

        assert type(Mine({"name": "a"})) is Mine


def test_the_command_keeps_working(tmp_path, monkeypatch):
    """It is asked for by a person, and not left in a program."""
    local = em.create_run(name="a").local
    monkeypatch.setenv("EM_MODE", "disabled")
    code = textwrap.dedent(
        f"""
        import sys
        from t9k.em.cli import main
        sys.argv = ["em", "upload", {local!r}, "--backend", "store", "--folder", "f", "--make-folder"]
        main()
        """
    )
    ended = run_program(tmp_path, code)
    assert ended.returncode == 0, ended.stderr
    monkeypatch.delenv("EM_MODE")
    assert em.load_run(f"{(tmp_path / 'store').as_uri()}#/alice/f/a").name == "a"


@pytest.mark.parametrize("mode", ["enabled", "Enabled", ""])
def test_other_spellings_of_the_usual_mode(monkeypatch, mode):
    monkeypatch.setenv("EM_MODE", mode)
    assert type(em.create_run(name="a")) is em.Run


@pytest.mark.parametrize(
    "call",
    [
        lambda: em.create_run(name="a"),
        lambda: em.load_run("a"),
        lambda: em.create_artifact("a"),
        lambda: em.load_artifact("a"),
        lambda: em.upload("a"),
        lambda: em.login("memory://a"),
        lambda: em.Run({"name": "a"}),
    ],
)
def test_an_unknown_mode_is_an_error_that_names_the_modes(monkeypatch, snapshot, call):
    monkeypatch.setenv("EM_MODE", "offline")
    before = snapshot()
    with pytest.raises(InvalidInput, match="EM_MODE is 'offline'; it may be 'enabled' .* or 'disabled'") as raised:
        call()
    assert isinstance(raised.value, EMError)
    assert snapshot() == before
