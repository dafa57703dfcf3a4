from __future__ import annotations

from tests.cli.conftest import Em, make_artifact, make_run

from t9k import em as em_


def test_a_node_goes_from_one_backend_to_another(em: Em, logged_in: str, store: str) -> None:
    run = make_run()
    run.upload(f"{logged_in}#default")
    other = f"{store}-2"
    ran = em("cp", "default/cnn", f"{other}#cv/mnist")
    assert ran.code == 1
    assert "--make-folder" in ran.err
    ran = em("cp", "default/cnn", f"{other}#cv/mnist", "--make-folder")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"published  {logged_in}#/alice/default/cnn  ->  {other}#/alice/cv/mnist/cnn@1\n"
    assert em("cp", "--json", f"{logged_in}#default/cnn@1", f"{other}#cv/mnist").json == {
        "source": f"{logged_in}#/alice/default/cnn@1",
        "outcome": "unchanged",
        "uri": f"{other}#/alice/cv/mnist/cnn@1",
    }
    assert em_.load_run(f"{other}#cv/mnist/cnn").id == run.id


def test_a_taken_name_is_decided_by_the_strategy(em: Em, store: str) -> None:
    make_run().upload(f"{store}#default")
    make_run().upload(f"{store}-2#default")
    ran = em("cp", f"{store}#default/cnn", f"{store}-2#default", "--conflict-strategy", "error")
    assert ran.code == 1
    assert em("cp", f"{store}#default/cnn", f"{store}-2#default", "--conflict-strategy", "replace").code == 0


def test_local_ones_are_uploaded(em: Em, store: str) -> None:
    run = make_run()
    ran = em("cp", run.local, f"{store}#default")
    assert ran.code == 1
    assert ran.err == f"em: {run.local} is local; em upload {run.local} --folder {store}#default sends it\n"


def test_folders_are_refused(em: Em, store: str) -> None:
    make_run().upload(f"{store}#default")
    assert "is a folder" in em("cp", f"{store}#default", f"{store}-2#default").err


def test_progress_says_that_it_copies(em: Em, store: str, terminal: None) -> None:
    make_artifact().upload(f"{store}#default")
    ran = em("cp", f"{store}#default/model", f"{store}-2#default")
    assert "copying model" in ran.err
    assert "uploading" not in ran.err
