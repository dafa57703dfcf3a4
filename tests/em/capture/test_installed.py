"""The list of all packages is what `importlib.metadata` says, and pip takes it."""

from __future__ import annotations

import importlib.metadata
import re
import sys

from t9k.em.capture import installed


def by_metadata() -> set[str]:
    """The first of each name, as for an import."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        found.setdefault(re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution.version)
    return {f"{name}=={version}" for name, version in found.items()}


def test_all_that_is_installed_is_listed_once_and_by_name():
    lines = installed.requirements().decode().splitlines()
    assert set(lines) == by_metadata()
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    assert any(line.startswith("scikit-learn==") for line in lines)


def test_of_two_the_first_on_the_path_counts(tmp_path, monkeypatch):
    for directory, version in (("one", "1.0+cu12"), ("two", "2.0")):
        (tmp_path / directory / f"My_Package-{version}.dist-info").mkdir(parents=True)
    (tmp_path / "one" / "broken.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "missing"), str(tmp_path / "one"), str(tmp_path / "two")])
    assert installed.requirements() == b"my-package==1.0+cu12\n"


def test_packages_of_old_installers(tmp_path, monkeypatch):
    old = tmp_path / "old_package.egg-info"
    old.mkdir()
    (old / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Old.Package\nVersion: 3.1\n")
    (tmp_path / "nameless.egg-info").mkdir()
    (tmp_path / "nameless.egg-info" / "PKG-INFO").write_text("Metadata-Version: 1.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed.requirements() == b"old-package==3.1\n"
