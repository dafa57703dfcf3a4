"""Which driver a bucket is reached by."""

from __future__ import annotations

import subprocess
import sys

import pytest

from t9k.em.records import Body
from t9k.em.registry import open_backend

OPEN = """
import sys
for missing in sys.argv[2:]:
    sys.modules[missing] = None
from t9k.em.errors import EMError
from t9k.em.registry import open_backend
try:
    store = open_backend(sys.argv[1]).store
    {use}
except EMError as error:
    print(error)
"""


FORKED = """
from t9k_em_backends.s3 import obstore_store
obstore_store._used_in = -1
"""


def opened(uri, *missing, before="", use="print(type(store).__name__)"):
    """What a process says in which some libraries are not installed."""
    command = [sys.executable, "-c", before + OPEN.format(use=use), uri, *missing]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def test_the_best_that_is_installed_is_taken():
    assert opened("s3://bucket/root") == "ObstoreStore"
    assert opened("s3://bucket/root", "obstore") == "S3fsStore"


@pytest.mark.parametrize("driver", ["obstore", "fsspec"])
def test_the_scheme_of_hadoop_means_the_same_bucket_by_either_driver(s3, driver):
    root = s3.new_root()
    with open_backend(f"{root}?driver={driver}") as ours, open_backend(f"s3a{root[2:]}?driver={driver}") as theirs:
        ours.store.put("a", Body.of(b"data"))
        assert type(theirs.store) is type(ours.store)
        assert b"".join(theirs.store.get("a")) == b"data"
        theirs.store.put("b", Body.of(b"more"))
        assert [info.key for info in ours.store.list("")] == ["a", "b"]


def test_without_any_both_are_named_the_better_one_first():
    said = opened("s3://bucket/root", "obstore", "s3fs")
    assert said == "s3:// needs a driver; pip install 't9k-em[obstore]', or 't9k-em[s3]' for s3fs"


@pytest.mark.long
def test_after_a_fork_another_is_taken_and_without_one_obstore_says_why_it_cannot_be_used():
    assert opened("s3://bucket/root", before=FORKED) == "S3fsStore"
    assert opened("s3://bucket/root", "s3fs", before=FORKED) == "ObstoreStore"
    said = opened("s3://bucket/root", "s3fs", before=FORKED, use="next(store.list(''), None)")
    assert "forked after it was used; start processes with 'spawn', or pip install 't9k-em[s3]'" in said


@pytest.mark.parametrize(("driver", "library", "extra"), [("obstore", "obstore", "obstore"), ("fsspec", "s3fs", "s3")])
def test_without_the_one_that_was_asked_for_its_own_extra_is_named(driver, library, extra):
    said = opened(f"s3://bucket/root?driver={driver}", library)
    assert said == f"{library} is not installed; pip install 't9k-em[{extra}]'"
