"""A user without an account and without a home, as in many a container: what a URI does not need is not asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UID = 12345

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root becomes somebody else, by setpriv"
)


@pytest.fixture
def work(tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if directory != Path("/") and directory.stat().st_uid == os.getuid():
            directory.chmod(directory.stat().st_mode | 0o055)
    tmp_path.chmod(0o777)
    return tmp_path


def run(work, *command, **environment) -> subprocess.CompletedProcess[str]:
    """Runs something as that user, who may read what root has installed, with nothing in the environment."""
    caps = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return subprocess.run(
        ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", *caps, *command],
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )


def python(work, program, **environment) -> str:
    done = run(
        work, sys.executable, "-W", "error", "-c", f"import os\nassert os.getuid() == {UID}\n{program}", **environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def em(work, *arguments, **environment) -> subprocess.CompletedProcess[str]:
    return run(work, str(Path(sys.executable).parent / "em"), *arguments, **environment)


PROGRAM = """
from t9k import em
from t9k.em import session
em.login(URI)
run = em.create_run(name="first")
run.log("train", {"loss": 1.0}, step=1)
run.finish()
em.upload(".em/runs", folder="/alice/team", make_folder=True)
print([node.path for node in session.current().list("/alice/team")])
"""


def test_a_run_is_kept_and_uploaded_to_the_folder_of_somebody(work):
    assert "/alice/team/first" in python(work, f"URI = 'file://{work}/store'" + PROGRAM)


@pytest.mark.long
def test_what_lies_there_is_listed_shown_collected_and_mirrored(work):
    uri = f"file://{work}/store"
    python(work, f"URI = {uri!r}" + PROGRAM)
    for arguments, expected in (
        (("ls", uri), "alice"),
        (("ls", f"{uri}#/alice/team"), "first"),
        (("show", f"{uri}#/alice/team/first"), "first"),
        (("gc", uri), ""),
        (("ls",), "first"),
        (("mirror", f"{uri}#/alice", f"file://{work}/other#/alice"), ""),
    ):
        done = em(work, *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        assert expected in done.stdout


@pytest.mark.long
def test_keys_in_the_environment_are_enough_for_s3(moto, work):
    environment = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    for driver in ("obstore", "fsspec"):
        uri = f"{moto.new_root()}?driver={driver}"
        assert "/alice/team/first" in python(work, f"URI = {uri!r}" + PROGRAM, **environment)
        done = em(work, "ls", f"{uri}#/alice/team", **environment)
        assert done.returncode == 0, done.stderr
        assert "first" in done.stdout
        shutil.rmtree(work / ".em")


def test_where_a_name_is_needed_the_message_says_how_to_have_one(work):
    uri = f"file://{work}/store"
    python(work, f"URI = {uri!r}" + PROGRAM)
    done = em(work, "ls", f"{uri}#team")
    assert done.returncode != 0
    assert "set the environment variable EM_USER" in done.stderr
    assert "Traceback" not in done.stderr
    assert em(work, "ls", f"{uri}#team", EM_USER="alice").returncode == 0


def test_to_save_a_login_the_message_says_where_it_could_be(work):
    uri = f"file://{work}/store"
    done = em(work, "login", uri)
    assert done.returncode != 0
    assert "T9K_CONFIG" in done.stderr
    assert "Traceback" not in done.stderr
    done = em(work, "login", uri, T9K_CONFIG=str(work / "config.yaml"))
    assert done.returncode == 0, done.stderr
    assert "EM_USER" in done.stdout


@pytest.mark.parametrize("place", ["~/x", "~nobody-of-this-name/x"])
def test_a_home_that_is_not_there_is_no_traceback(work, place):
    for command in (("show", place), ("upload", place), ("ls", place)):
        assert "Traceback" not in em(work, *command).stderr
