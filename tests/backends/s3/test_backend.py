"""Which driver a bucket is reached by."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPEN = """
import sys
for missing in sys.argv[2:]:
    sys.modules[missing] = None
from t9k.em.errors import MissingExtra
from t9k.em.registry import open_backend
try:
    print(type(open_backend(sys.argv[1]).store).__name__)
except MissingExtra as error:
    print(error)
"""


FORKED = """
from t9k_em_backends import obstore
obstore._used_in = -1
"""


def opened(uri, *missing, before=""):
    """What a process says in which some libraries are not installed."""
    command = [sys.executable, "-c", before + OPEN, uri, *missing]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def test_the_best_that_is_installed_is_taken():
    assert opened("s3://bucket/root") == "ObstoreStore"
    assert opened("s3://bucket/root", "obstore") == "S3Store"


def test_without_any_both_are_named_the_better_one_first():
    said = opened("s3://bucket/root", "obstore", "s3fs")
    assert said == "s3:// needs a driver; pip install 't9k-em[obstore]', or 't9k-em[s3]' for s3fs"


def test_after_a_fork_obstore_is_not_advised_to_who_has_it():
    assert opened("s3://bucket/root", before=FORKED) == "S3Store"
    said = opened("s3://bucket/root", "s3fs", before=FORKED)
    assert said == "s3fs is not installed; pip install 't9k-em[s3]'"


@pytest.mark.parametrize(("driver", "library", "extra"), [("obstore", "obstore", "obstore"), ("fsspec", "s3fs", "s3")])
def test_without_the_one_that_was_asked_for_its_own_extra_is_named(driver, library, extra):
    said = opened(f"s3://bucket/root?driver={driver}", library)
    assert said == f"{library} is not installed; pip install 't9k-em[{extra}]'"
