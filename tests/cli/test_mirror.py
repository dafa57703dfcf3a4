from __future__ import annotations

import re
from pathlib import Path

from tests.cli.conftest import Em, make_artifact, make_run

from t9k import em as em_
from t9k.em import session


def fill(store: str) -> None:
    run = make_run()
    run.mark_input(make_artifact())
    run.upload(f"{store}#cv/mnist", make_folder=True)


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_store_becomes_like_another_one(em: Em, store: str) -> None:
    fill(store)
    ran = em("mirror", store, f"{store}-2")
    assert (ran.code, ran.err) == (0, "")
    table, _, sums = ran.out.partition("\n\n")
    assert [(line[0], line[1], line[-1]) for line in lines(table)] == [
        ("Action", "Kind", "Path"),
        ("add", "Folder", "alice/"),
        ("add", "Folder", "alice/cv/"),
        ("add", "Folder", "alice/cv/mnist/"),
        ("add", "Run", "alice/cv/mnist/cnn"),
        ("add", "Artifact", "alice/cv/mnist/model"),
    ]
    words = lines(sums)
    assert words[0] == ["mirrored", f"{store}#/", "->", f"{store}-2#/"]
    assert words[1] == ["nodes", "2", "added"]
    assert (words[2][0], words[3][:3], words[4][0], len(words[4][1])) == (
        "moved",
        ["verified", "2", "nodes,"],
        "digest",
        64,
    )
    again = em("mirror", store, f"{store}-2")
    assert lines(again.out)[1:3] == [["nodes", "2", "unchanged"], ["moved", "0", "files,", "0", "B"]]
    assert lines(again.out)[-1] == words[-1]
    assert em_.load_run(f"{store}-2#cv/mnist/cnn").associations["input"]


def test_a_dry_run_says_what_would_be_done(em: Em, store: str) -> None:
    fill(store)
    ran = em("mirror", "--dry-run", store, f"{store}-2")
    assert (ran.code, ran.err) == (0, "nothing was changed; without --dry-run it is done\n")
    assert lines(ran.out)[-3:-1] == [["plan", f"{store}#/", "->", f"{store}-2#/"], ["nodes", "2", "added"]]
    assert lines(ran.out)[-1][:2] == ["to", "move"]
    assert not Path(f"{store}-2".removeprefix("file://")).exists()


def test_paths_are_those_of_the_backend(em: Em, logged_in: str) -> None:
    fill(logged_in)
    ran = em("mirror", "--json", "cv/mnist", "/bob/copy", "--no-history")
    assert ran.code == 0
    assert {**ran.json, "entries": ..., "digest": ..., "size": ..., "moved": ..., "files": ..., "moved_files": ...} == {
        "source": f"{logged_in}#/alice/cv/mnist",
        "target": f"{logged_in}#/bob/copy",
        "applied": True,
        "complete": True,
        "counts": {"add": 2, "update": 0, "replace": 0, "unchanged": 0, "delete": 0, "failed": 0},
        "nodes": 2,
        **dict.fromkeys(("files", "size", "moved_files", "moved", "digest", "entries"), ...),
        "outside": [],
        "partial": [],
    }


def test_only_delete_deletes(em: Em, store: str) -> None:
    fill(store)
    em("mirror", store, f"{store}-2")
    make_run("extra").upload(f"{store}-2#cv")
    assert em("mirror", store, f"{store}-2").code == 0
    assert "alice/cv/extra" in em("mirror", store, f"{store}-2", "--delete", "-n").out
    assert em("ls", f"{store}-2#cv/extra").code == 0
    assert lines(em("mirror", store, f"{store}-2", "--delete").out)[1] == ["delete", "Run", "alice/cv/extra"]
    assert em("ls", f"{store}-2#cv/extra").code == 1


def test_what_could_not_be_mirrored_is_told_and_the_rest_goes_on(em: Em, store: str) -> None:
    fill(store)
    make_artifact("model").upload(f"{store}-2#cv/mnist", make_folder=True)
    make_artifact("cnn").upload(f"{store}-2#cv/mnist")
    ran = em("mirror", store, f"{store}-2")
    assert ran.code == 3
    assert ran.err.splitlines() == [
        (
            "em: alice/cv/mnist/cnn: /alice/cv/mnist/cnn is of kind Artifact in the target, and of kind Run in the "
            "source; delete it, or mirror with --delete"
        ),
        "em: 1 problem, see above; correct it and run the command again",
    ]
    assert ["nodes", "1", "replaced,", "1", "failed"] in lines(ran.out)
    assert em("mirror", store, f"{store}-2", "--delete").code == 0


def test_artifacts_that_stay_behind_are_named(em: Em, store: str) -> None:
    artifact = make_artifact()
    artifact.upload(f"{store}#data", make_folder=True)
    run = make_run()
    run.mark_input(artifact)
    run.upload(f"{store}#cv", make_folder=True)
    ran = em("mirror", f"{store}#cv", f"{store}-2#cv")
    assert (ran.code, ran.err) == (0, f"runs refer to artifacts that are not among these: {artifact.id}\n")


def test_what_makes_no_sense_is_refused(em: Em, store: str) -> None:
    run = make_run()
    fill(store)
    assert "em upload sends it" in em("mirror", run.local, store).err
    assert "lies in it" in em("mirror", f"{store}#cv", f"{store}#cv/mnist").err
    assert "mirror without --delete" in em("mirror", "--delete", f"{store}#cv/mnist", f"{store}#cv").err
    assert "did you mean" in em("mirror", store, f"{store}/alice").err
    ran = em("mirror", f"{store}#nothing", f"{store}-2")
    assert ran.code == 1
    assert session.backend_at(f"{store}-2").list("/") == []


def test_progress_goes_to_its_end_and_no_further(em: Em, store: str, terminal: None) -> None:
    for value in (0.5, 0.25):
        run = make_run(values=(value,))
        run.upload(f"{store}#default")
        run.log("train", {"loss": value}, step=2)
        run.upload(f"{store}#default")
    err = em("mirror", store, f"{store}-2").err
    assert "mirroring /" in err
    total = sum(session.backend_at(store).stat(f"/alice/default/{name}").file_count for name in names(store))
    shown = re.findall(r"(\d+)/(\d+) files", err)
    assert shown[-1] == (str(total), str(total))
    assert all(int(done) <= int(of) for done, of in shown)


def names(store: str) -> list[str]:
    return [node.name for node in session.backend_at(store).list("/alice/default")]


def test_one_folder_is_not_mirrored_over_a_whole_store(em: Em, logged_in: str) -> None:
    fill(logged_in)
    for source, folder in (("cv/mnist", "cv/mnist"), ("cv/mnist/cnn", "cv/mnist"), ("cv", "cv")):
        ran = em("mirror", source, f"{logged_in}-2")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.endswith(f"give the folder as the target: {logged_in}-2#/alice/{folder}\n")
    assert not Path("store-2").exists()


def test_a_disaster_is_refused_until_it_is_allowed(em: Em, store: str) -> None:
    make_artifact("kept").upload(f"{store}#cv", make_folder=True)
    for number in range(11):
        make_artifact(f"m{number}").upload(f"{store}-2#cv", make_folder=True)
    ran = em("mirror", store, f"{store}-2", "--delete")
    assert ran.code == 1
    assert "11 of the 11 runs and artifacts" in ran.err
    assert "--max-delete 11" in ran.err
    assert "nothing was changed" in ran.err
    plan = em("mirror", store, f"{store}-2", "--delete", "-n")
    assert (plan.code, plan.out.count("delete  ")) == (3, 11)
    assert em("mirror", store, f"{store}-2", "--delete", "--max-delete", "100%").code == 0
    assert em("ls", f"{store}-2#cv/m1").code == 1


def test_a_limit_without_delete_and_one_that_is_none_are_refused(em: Em, store: str) -> None:
    fill(store)
    assert em("mirror", store, f"{store}-2", "--max-delete", "5").code == 2
    assert "--max-delete 'x' is no number" in em("mirror", store, f"{store}-2", "--delete", "--max-delete", "x").err
