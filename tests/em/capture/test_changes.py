"""The patch of what was not committed, made with the real git."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from t9k import em
from t9k.em.capture import changes, git, gitcommand

if shutil.which("git") is None:
    pytest.skip("needs the program git", allow_module_level=True)


def run(*args, cwd, **options):
    return subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *args],
        cwd=cwd,
        check=True,
        capture_output=True,
        **options,
    ).stdout


def started_in(path, monkeypatch):
    (path / "train.py").write_text("print(1)\n")
    run("init", "--initial-branch", "dev", cwd=path)
    monkeypatch.setattr(sys, "argv", [str(path / "train.py")])


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, whose script was started."""
    path = tmp_path / "repository"
    path.mkdir()
    started_in(path, monkeypatch)
    run("add", ".", cwd=path)
    run("commit", "-m", "first", cwd=path)
    return path


def body(patch: bytes) -> bytes:
    return b"".join(line for line in patch.splitlines(keepends=True) if not line.startswith(b"# "))


def test_a_clean_repository_has_none(repository):
    assert changes.patch(git.collect(30), 30) == b""


def test_the_patch_brings_back_what_was_run(repository, tmp_path):
    """Staged, not staged, added, removed; blanks at the ends of lines, no newline at the end, bytes that are no UTF-8."""
    (repository / "gone.py").write_text("x\n")
    (repository / "both.py").write_bytes(b"a\nb \xff\nc")
    run("add", ".", cwd=repository)
    run("commit", "-m", "second", cwd=repository)
    (repository / "gone.py").unlink()
    (repository / "both.py").write_bytes(b"a\nb \xfe\t\nc\r\nd")
    run("add", "both.py", cwd=repository)
    (repository / "train.py").write_text("print(2)\n")
    (repository / "new.py").write_text("new\n")
    run("add", "new.py", cwd=repository)
    patch = changes.patch(git.collect(30), 30)
    clone = tmp_path / "clone"
    run("clone", repository, clone, cwd=tmp_path)
    run("apply", "-", cwd=clone, input=patch)
    for name in ("both.py", "train.py", "new.py"):
        assert (clone / name).read_bytes() == (repository / name).read_bytes()
    assert not (clone / "gone.py").exists()


def test_a_file_whose_time_alone_changed_is_not_in_it(repository):
    (repository / "b.py").write_text("b\n")
    run("add", ".", cwd=repository)
    run("commit", "-m", "second", cwd=repository)
    os.utime(repository / "b.py", (1, 1))
    os.utime(repository / "train.py", (1, 1))
    (repository / "train.py").write_text("print(2)\n")
    assert b"b.py" not in changes.patch(git.collect(30), 30)


def test_the_repository_is_not_written(repository):
    (repository / "train.py").write_text("print(2)\n")
    os.utime(repository / "train.py", (1, 1))
    index = repository / ".git" / "index"
    os.utime(index, (1, 1))
    before = hashlib.sha256(index.read_bytes()).digest(), index.stat()
    assert changes.patch(git.collect(30), 30)
    after = hashlib.sha256(index.read_bytes()).digest(), index.stat()
    assert (after[0], after[1].st_ino, after[1].st_mtime_ns) == (before[0], before[1].st_ino, before[1].st_mtime_ns)


def test_no_program_of_the_user_is_run_and_no_setting_changes_it(repository, tmp_path):
    (repository / "a.bin").write_bytes(b"\0one")
    (repository / ".gitattributes").write_text("*.py diff=mine\n*.bin diff=mine\n")
    run("add", ".", cwd=repository)
    run("commit", "-m", "second", cwd=repository)
    (repository / "train.py").write_text("print(2)\n")
    (repository / "a.bin").write_bytes(b"\0two")
    plain = changes.patch(git.collect(30), 30)
    mark = tmp_path / "was run"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\necho never\n")
    program.chmod(0o755)
    settings = {
        "diff.external": program,
        "diff.mine.command": program,
        "diff.mine.textconv": program,
        "core.pager": program,
        "pager.diff": program,
        "core.fsmonitor": program,
        "core.hooksPath": tmp_path / "hooks",
        "color.ui": "always",
        "color.diff": "always",
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "diff.context": "0",
        "diff.renames": "copies",
        "diff.submodule": "log",
        "diff.wsErrorHighlight": "all",
        "diff.colorMoved": "zebra",
        "diff.relative": "true",
    }
    for name, value in settings.items():
        run("config", name, str(value), cwd=repository)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    shutil.copy(program, hooks / "post-index-change")
    assert changes.patch(git.collect(30), 30) == plain
    assert b"+print(2)\n" in plain
    assert b"Binary files a/a.bin and b/a.bin differ" in plain
    assert not mark.exists()


def test_an_environment_that_names_a_diff_changes_nothing(repository, monkeypatch):
    (repository / "train.py").write_text("print(2)\n")
    plain = changes.patch(git.collect(30), 30)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_DIFF_OPTS", "-u0")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert changes.patch(git.collect(30), 30) == plain


def test_a_repository_without_commits(tmp_path, monkeypatch):
    path = tmp_path / "repository"
    path.mkdir()
    started_in(path, monkeypatch)
    run("add", ".", cwd=path)
    found = git.collect(30)
    assert found["commit"] is None
    patch = changes.patch(found, 30)
    assert patch.startswith(f"# Changes in {path} that were not committed, against nothing.\n".encode())
    assert b"+print(1)\n" in patch


def test_a_submodule_that_moved(repository, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "lib.py").write_text("1\n")
    run("init", cwd=other)
    run("add", ".", cwd=other)
    run("commit", "-m", "first", cwd=other)
    run("-c", "protocol.file.allow=always", "submodule", "add", other, "lib", cwd=repository)
    run("commit", "-m", "with a submodule", cwd=repository)
    assert changes.patch(git.collect(30), 30) == b""
    (repository / "lib" / "lib.py").write_text("2\n")
    patch = changes.patch(git.collect(30), 30)
    assert b"-Subproject commit " in patch
    assert b"-dirty\n" in patch


def test_a_script_in_a_submodule_has_the_changes_of_the_submodule(repository, tmp_path, monkeypatch):
    lib = repository / "lib"
    lib.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    started_in(other, monkeypatch)
    run("add", ".", cwd=other)
    run("commit", "-m", "first", cwd=other)
    run("-c", "protocol.file.allow=always", "submodule", "add", other, "lib/sub", cwd=repository)
    monkeypatch.setattr(sys, "argv", [str(lib / "sub" / "train.py")])
    (lib / "sub" / "train.py").write_text("print(3)\n")
    assert b"+print(3)\n" in changes.patch(git.collect(30), 30)


def test_it_ends_after_a_mebibyte_with_a_whole_file_and_says_so(repository, tmp_path):
    for name in ("a", "b", "c"):
        (repository / f"{name}.txt").write_text(f"{name} line\n" * 60_000)
    run("add", ".", cwd=repository)
    patch = changes.patch(git.collect(30), 30)
    assert len(patch) < changes.MAX_BYTES + 1000
    assert b"# There is more: only the first 1 MiB are kept.\n" in patch
    clone = tmp_path / "clone"
    run("clone", repository, clone, cwd=tmp_path)
    run("apply", "-", cwd=clone, input=patch)
    assert (clone / "a.txt").exists()
    assert not (clone / "c.txt").exists()


def test_one_huge_file_is_cut_at_a_line(repository):
    (repository / "a.txt").write_text("line\n" * 500_000)
    run("add", ".", cwd=repository)
    patch = changes.patch(git.collect(30), 30)
    assert patch.endswith(b"\n+line\n")
    assert b"# There is more" in patch


def test_git_that_takes_too_long_is_stopped_and_that_is_said(repository, tmp_path, monkeypatch):
    (repository / "train.py").write_text("print(2)\n")
    found = git.collect(30)
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "git").write_text("#!/bin/sh\nprintf 'diff --git a/a b/a\\nindex 1..2\\n-1\\n'\nexec sleep 60\n")
    (directory / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)
    patch = changes.patch(found, 0.5)
    assert b"# There may be more: git took longer than 0.5 s.\n" in patch
    assert patch.endswith(b"-1\n")


def test_secrets_are_masked(repository):
    (repository / "train.py").write_text("api_key = 'hunter2-hunter2'\nurl = 'https://a:hunter2@example.org'\n")
    patch = changes.patch(git.collect(30), 30)
    assert b"hunter2" not in patch
    assert b"# What looks like a key or a password is ***.\n" in patch


class TestUntracked:
    def test_names_of_files_and_directories_but_not_what_is_ignored(self, repository):
        (repository / ".gitignore").write_text("ignored\n")
        (repository / "ignored").write_text("")
        (repository / "sub").mkdir()
        (repository / "sub" / "a").write_text("")
        (repository / "sub" / "b").write_text("")
        (repository / "\u00e4 b").write_text("")
        assert git.collect(30)["untracked"] == [".gitignore", "sub/", "\u00e4 b"]

    def test_very_many_are_cut(self, repository):
        for number in range(150):
            (repository / f"{number:03}").write_text("")
        names = git.collect(30)["untracked"]
        assert (len(names), names[-2], names[-1]) == (101, "099", "...")

    def test_more_bytes_than_are_read_are_cut(self, repository, monkeypatch):
        monkeypatch.setattr(changes, "_UNTRACKED_BYTES", 50)
        for number in range(20):
            (repository / f"{number:09}").write_text("")
        assert git.collect(30)["untracked"] == [*(f"{number:09}" for number in range(5)), "..."]

    def test_of_the_whole_repository_even_from_below(self, repository, monkeypatch):
        (repository / "sub").mkdir()
        (repository / "top").write_text("")
        monkeypatch.chdir(repository / "sub")
        monkeypatch.setattr(sys, "argv", [""])
        assert git.collect(30)["untracked"] == ["top"]


class TestOfARun:
    def test_is_kept_and_uploaded_with_it(self, repository, monkeypatch, tmp_path):
        monkeypatch.chdir(repository)
        (repository / "train.py").write_text("print(2)\n")
        with em.create_run(name="a") as made:
            pass
        patch = Path(made.local, "diff.patch").read_bytes()
        assert b"+print(2)\n" in patch
        made.upload("memory://patches#x", make_folder=True)
        monkeypatch.chdir(tmp_path)
        again = em.load_run(f"memory://patches#{made.remote[-1]['path']}")
        assert Path(again.local, "diff.patch").read_bytes() == patch
        assert (
            Path(again.local, "packages.txt").read_bytes() == Path(repository, made.local, "packages.txt").read_bytes()
        )

    def test_can_be_turned_off(self, repository, monkeypatch):
        monkeypatch.setenv("EM_CAPTURE_DIFF", "0")
        (repository / "train.py").write_text("print(2)\n")
        (repository / "new").write_text("")
        with em.create_run(name="a") as made:
            pass
        assert not Path(made.local, "diff.patch").exists()
        assert made.git["dirty"] is True
        assert made.git["untracked"] is None

    def test_keeping_runs_does_not_make_the_repository_dirty(self, repository, monkeypatch):
        monkeypatch.chdir(repository)
        for _ in range(2):
            with em.create_run(name="a") as made:
                pass
            em.create_artifact("b")
        assert made.git["untracked"] == []
        assert run("status", "--porcelain", cwd=repository) == b""


def test_more_than_is_asked_for_is_not_read(repository):
    (repository / "train.py").write_text("x\n" * 100_000)
    answer = gitcommand.run(time.monotonic() + 30, str(repository), "diff", limit_bytes=1000)
    assert (answer.code, len(answer.output), answer.is_cut) == (-1, 1000, True)
