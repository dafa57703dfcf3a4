from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cli.conftest import Em, make_artifact, make_run

from t9k import em as em_


def test_one_run_goes_to_the_default_folder(em: Em, logged_in: str) -> None:
    run = make_run()
    ran = em("upload", os.path.relpath(run.local))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"published  {os.path.relpath(run.local)}  ->  {logged_in}#/alice/default/cnn@1\n"
    assert (
        em("upload", os.path.relpath(run.local)).out
        == f"unchanged  {os.path.relpath(run.local)}  ->  {logged_in}#/alice/default/cnn@1\n"
    )
    assert em("ls", "default").out == "cnn\n"


def test_a_folder_is_made_only_when_told(em: Em, logged_in: str) -> None:
    run = make_run()
    ran = em("upload", os.path.relpath(run.local), "--folder", "cv/mnist")
    assert ran.code == 1
    assert "--make-folder" in ran.err
    assert "make_folder" not in ran.err
    assert em("upload", os.path.relpath(run.local), "--folder", "cv/mnist", "--make-folder").code == 0


def test_the_folder_may_be_in_another_backend(em: Em, store: str) -> None:
    run = make_run()
    assert f"{store}-2#/alice/default/cnn@1" in em("upload", os.path.relpath(run.local), "--folder", f"{store}-2").out
    assert em("upload", os.path.relpath(run.local)).code == 1


def test_a_taken_name_is_decided_by_the_strategy(em: Em, logged_in: str) -> None:
    first, second = make_run(), make_run()
    assert em("upload", os.path.relpath(first.local)).code == 0
    ran = em("upload", os.path.relpath(second.local), "--conflict-strategy", "error")
    assert (ran.code, ran.out) == (1, "")
    assert em("upload", os.path.relpath(second.local), "--conflict-strategy", "skip").out.startswith("skipped")
    assert second.alternative_name in em("upload", os.path.relpath(second.local)).out
    assert em("upload", os.path.relpath(second.local), "--conflict-strategy", "nwe").code == 2


def test_all_in_a_directory_and_no_stop_at_a_bad_one(em: Em, logged_in: str) -> None:
    good, bad = make_run("good"), make_run("bad")
    Path(os.path.relpath(bad.local), "metadata.yaml").write_bytes(b"type: Run\nname: ''\n")
    artifact = make_artifact()
    ran = em("upload", ".")
    assert ran.code == 3
    assert [line.split()[1] for line in ran.out.splitlines()] == [
        os.path.relpath(artifact.local),
        os.path.relpath(good.local),
    ]
    assert ran.err.startswith(f"em: {os.path.relpath(bad.local)}: ")
    assert ran.err.endswith("em: 1 of 3 could not be uploaded; correct what is said above and run the command again\n")
    assert "Traceback" not in ran.err


def test_the_only_one_that_fails_is_an_error(em: Em, logged_in: str) -> None:
    bad = make_run()
    Path(os.path.relpath(bad.local), "metadata.yaml").write_bytes(b"{")
    assert em("upload", os.path.relpath(bad.local)).code == 1


def test_the_same_place_twice_is_one(em: Em, logged_in: str) -> None:
    run = make_run()
    assert em("upload", os.path.relpath(run.local), ".em/runs").out.count("\n") == 1


def test_json_has_an_object_for_each(em: Em, logged_in: str) -> None:
    good, bad = make_run("good"), make_run("worse")
    Path(os.path.relpath(bad.local), "metadata.yaml").write_bytes(b"{")
    ran = em("upload", "--json", ".em/runs")
    assert ran.code == 3
    first, second = ran.json
    assert first == {
        "local": os.path.relpath(good.local),
        "outcome": "published",
        "uri": f"{logged_in}#/alice/default/good@1",
    }
    assert (second["local"], second["outcome"]) == (os.path.relpath(bad.local), "failed")
    assert "metadata.yaml" in second["error"]


def test_what_is_no_run_is_an_error_before_anything_is_sent(em: Em, logged_in: str) -> None:
    run = make_run()
    ran = em("upload", os.path.relpath(run.local), "nothing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "em: nothing is no directory; give a directory like .em/runs or one in it; em ls lists what is here\n"
    )
    Path("empty").mkdir()
    assert em("upload", "empty").err.startswith("em: empty has no run or artifact; ")
    assert em("upload", f"{logged_in}#x").code == 1
    assert em("upload").code == 2
    em_.login(logged_in)
    assert em("ls", "/").err.startswith("nothing in /")


def test_progress_is_shown_in_a_terminal(em: Em, logged_in: str, terminal: None) -> None:
    artifact = make_artifact(files={f"{number}": b"x" * 1000 for number in range(200)})
    ran = em("upload", os.path.relpath(artifact.local))
    assert "uploading model" in ran.err
    assert "/202 files" in ran.err
    assert "uploading" not in ran.out


def test_artifacts_go_before_the_runs_that_refer_to_them(em: Em, logged_in: str) -> None:
    with em_.create_run(name="cnn") as run:
        run.mark_input(make_artifact("data"))
        run.mark_output(make_artifact("model"))
    first = em("upload", ".").out
    assert [line.rpartition("/")[2] for line in first.splitlines()] == ["data@1", "model@1", "cnn@1"]
    assert em("upload", ".").out == first.replace("published", "unchanged")


def test_an_error_that_many_have_is_said_once(em: Em, logged_in: str) -> None:
    runs = sorted(os.path.relpath(make_run().local) for _ in range(3))
    bad = make_artifact()
    Path(os.path.relpath(bad.local), "metadata.yaml").write_bytes(b"{")
    ran = em("upload", ".", "--folder", "nofolder")
    assert (ran.code, ran.out) == (3, "")
    first, second, last = sorted(ran.err.splitlines(), key=lambda line: (line.startswith("em: 4"), "runs" not in line))
    assert first.startswith(f"em: {runs[0]} and 2 more: there is no /alice/nofolder in {logged_in}; make it with --")
    assert second.startswith(f"em: {os.path.relpath(bad.local)}: ")
    assert last.startswith("em: 4 of 4 could not be uploaded; ")


def test_a_taken_name_names_the_option(em: Em, logged_in: str) -> None:
    assert em("upload", make_run().local).code == 0
    ran = em("upload", make_run().local, "--conflict-strategy", "error")
    assert ran.err.endswith("use another name, or --conflict-strategy new, replace or skip\n")


def test_the_name_of_the_directory_is_enough(em: Em, logged_in: str) -> None:
    run = make_run()
    assert em("upload", Path(os.path.relpath(run.local)).name).out.startswith(
        f"published  {os.path.relpath(run.local)}  ->  "
    )


def test_a_copy_that_has_diverged_stops_no_other_and_is_told(
    em: Em, logged_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = make_run("mine")
    assert em("upload", os.path.relpath(mine.local)).code == 0
    monkeypatch.setenv("EM_RUN_PARENT_DIR", "elsewhere")
    theirs = em_.load_run("/alice/default/mine")
    theirs.labels = ["theirs"]
    theirs.upload()
    monkeypatch.delenv("EM_RUN_PARENT_DIR")
    mine.labels = ["mine"]
    mine.save()
    ran = em("upload", os.path.relpath(mine.local))
    assert (ran.code, ran.out) == (3, "")
    assert "--conflict-strategy replace" in ran.err
    assert ran.err.endswith("Both have changed: labels\n")
    make_run("other")
    ran = em("upload", ".em/runs")
    assert (ran.code, len(ran.out.splitlines())) == (3, 1)
    assert em("upload", os.path.relpath(mine.local), "--conflict-strategy", "replace").code == 0
    assert em("show", "mine").out.count("theirs") == 0
