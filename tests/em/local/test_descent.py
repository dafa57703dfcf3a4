"""The uploads that a local copy comes from."""

from __future__ import annotations

import os
import stat

import pytest

from t9k.em.errors import NodeSymlinkError
from t9k.em.local.descent import BEGAN, THERE, Descent
from t9k.em.names import new_op
from t9k.em.wire import MOST_ANCESTORS

HERE, ELSEWHERE = "file:///em#/alice/default", "s3://bucket#/alice/default"


def test_a_copy_of_which_nothing_is_known_has_none(tmp_path):
    descent = Descent(tmp_path)
    assert not descent.is_kept_for(HERE)
    assert descent.ancestors(HERE) == ()
    assert not (tmp_path / ".em").exists()


def test_they_are_those_it_began_and_those_it_was_loaded_from(tmp_path):
    loaded, begun = new_op(), new_op()
    Descent(tmp_path).note(THERE, loaded, HERE)
    Descent(tmp_path).note(BEGAN, begun, HERE)
    assert set(Descent(tmp_path).ancestors(HERE)) == {loaded, begun}
    assert stat.S_IMODE((tmp_path / ".em" / "ancestors").stat().st_mode) == 0o600


def test_what_is_known_to_be_published_elsewhere_counts_too(tmp_path):
    descent, there, begun = Descent(tmp_path), new_op(), new_op()
    descent.note(THERE, there, ELSEWHERE)
    descent.note(BEGAN, begun, ELSEWHERE)
    assert descent.ancestors(HERE) == (there,)


def test_a_piece_of_a_line_spoils_no_other(tmp_path):
    descent, first, second = Descent(tmp_path), new_op(), new_op()
    descent.note(THERE, first, HERE)
    with (tmp_path / ".em" / "ancestors").open("ab") as file:
        file.write(b"began 2023\xff")
    descent.note(THERE, second, HERE)
    assert set(descent.ancestors(HERE)) == {first, second}


@pytest.mark.parametrize("op", ["", "../x", "20230817T080524.390002Z-4e48t2abc/"])
def test_what_is_no_upload_is_not_noted(tmp_path, op):
    Descent(tmp_path).note(THERE, op, HERE)
    assert not Descent(tmp_path).is_kept_for(HERE)


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / ".em").mkdir()
    (tmp_path / "target").write_text("mine")
    (tmp_path / ".em" / "ancestors").symlink_to(tmp_path / "target")
    with pytest.raises(NodeSymlinkError, match="remove the link"):
        Descent(tmp_path).note(THERE, new_op(), HERE)
    assert (tmp_path / "target").read_text() == "mine"


def test_of_very_many_those_are_told_that_may_be_the_newest(tmp_path):
    descent, published, lines = Descent(tmp_path), new_op(), []
    place, other = (_place(tmp_path / name, target) for name, target in (("a", HERE), ("b", ELSEWHERE)))
    lines += [f"there {new_op()} {place}" for _ in range(3000)]
    lines += [f"there {new_op()} {other}" for _ in range(3000)]
    lines += [f"there {published} {place}", *(f"began {new_op()} {place}" for _ in range(500))]
    (tmp_path / ".em").mkdir()
    (tmp_path / ".em" / "ancestors").write_text("\n".join(lines) + "\n")
    told = descent.ancestors(HERE)
    assert published in told
    assert len(told) < 600 < MOST_ANCESTORS
    assert lines[-1].split()[1] in told


def _place(directory: os.PathLike[str], target: str) -> str:
    from pathlib import Path

    descent = Descent(Path(directory))
    descent.note(THERE, new_op(), target)
    return (Path(directory) / ".em" / "ancestors").read_text().split()[2]
