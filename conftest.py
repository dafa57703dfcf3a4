"""What holds for every test: nothing of the machine it runs on, and examples in the documentation are tests too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

_examples = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], fixtures=["_isolated"])
pytest_collect_file = _examples.pytest()


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Before any test runs, see to it that the measurement of coverage cannot hang."""
    from tests.measuring import be_patient  # noqa: PLC0415 - `tests` can be found only now

    be_patient()


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test a home, a configuration, a working directory and a session of its own."""
    home = tmp_path / ".home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("EM_", "T9K_", "GIT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("T9K_CONFIG", str(home / "t9k-config.yaml"))
    monkeypatch.setenv("EM_USER", "alice")
    monkeypatch.setenv("EM_SILENT", "1")
    # The temporary directory may lie inside a repository, and the machine's git may have a configuration.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.chdir(tmp_path)
    yield
    # Before the next test logs in: what goes on would go there.
    if live := sys.modules.get("t9k.em.live.uploading"):
        live.abandon_all(10)
    if leaving := sys.modules.get("t9k.em.ending.shutdown"):
        leaving.forget_all()
    # Only what the test itself imported: what `import t9k.em` loads is under test as well.
    if session := sys.modules.get("t9k.em.session"):
        session.logout()
    if config := sys.modules.get("t9k.config"):
        config.CONFIG.reload()
