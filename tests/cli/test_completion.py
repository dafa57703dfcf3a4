from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from tests.cli.conftest import Em


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_completes_em(em: Em, shell: str) -> None:
    ran = em("completion", shell)
    assert ran.code == 0
    assert "_EM_COMPLETE" in ran.out
    assert ran.out.startswith("# ")


def test_another_shell_is_wrong_usage(em: Em) -> None:
    assert em("completion", "tcsh").code == 2


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_accepts_it_and_gets_the_commands(em: Em) -> None:
    subprocess.run(["bash", "-n"], input=em("completion", "bash").out, text=True, check=True)
    environment = os.environ | {"_EM_COMPLETE": "bash_complete", "COMP_WORDS": "em l", "COMP_CWORD": "1"}
    code = "from t9k.em.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["plain,ls", "plain,login", "plain,logout"]
    assert ran.returncode == 0
