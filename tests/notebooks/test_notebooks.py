"""Notebooks in a real kernel; `make test-notebooks` runs them with an older ipykernel and IPython, `make test` with the newest."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

# The kernel, and what speaks to it, are programs of others: their warnings are not ours.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(180)]

SHOW = "import time; time.sleep(0.5)\nprint(repr(open(run.local + '/stdout.log').read()))"


def executed(tmp_path: Path, *cells: str) -> list[list[dict[str, Any]]]:
    """The outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = [entry for entry in sys.path if entry]
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import sys; sys.path[:0] = {path!r}"))
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    # The kernel would leave descriptors alone where it believes that pytest takes them.
    client.execute(env={name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"})
    return [cell.outputs for cell in notebook.cells[1:]]


def shown(outputs: list[dict[str, Any]], name: str = "stdout") -> str:
    return "".join(output["text"] for output in outputs if output.get("name") == name)


@pytest.mark.long
def test_cells_print_and_the_run_keeps_it(tmp_path):
    """Also in the very cell that makes the run, and after it has finished."""
    cells = executed(
        tmp_path,
        "from t9k import em\nrun = em.create_run(name='nb')\nprint('one')",
        "print('two')\nsys.stderr.write('three\\n');",
        "for number in range(3):\n    print(number)",
        "run.finish()\nprint('after')",
        "print('later')",
        "with em.create_run(name='again') as second:\n    print('four')",
        "print('last')\nprint(repr(open(second.local + '/stdout.log').read()))",
        SHOW,
    )
    assert [shown(outputs) for outputs in cells[:6]] == ["one\n", "two\n", "0\n1\n2\n", "after\n", "later\n", "four\n"]
    assert shown(cells[1], "stderr") == "three\n"
    assert shown(cells[6]) == "last\n'four\\n'\n"
    assert shown(cells[7]) == repr("one\ntwo\nthree\n0\n1\n2\n") + "\n"


@pytest.mark.long
def test_what_took_hold_of_the_stream_before_is_kept(tmp_path):
    cells = executed(
        tmp_path,
        "import logging, tqdm\nlogging.basicConfig(level=logging.INFO, format='%(message)s')",
        "from t9k import em\nrun = em.create_run(name='nb')",
        "logging.info('logged')\nfor _ in tqdm.tqdm(range(3)):\n    pass",
        "import os\nos.system('echo child');",
        "time = __import__('time'); time.sleep(0.5); run.finish()",
        SHOW,
    )
    text = shown(cells[-1])
    assert "logged\\n" in text
    assert text.count("3/3") == 1
    assert "child" in text  # the kernel itself brings what children print to its stream


def test_an_error_in_a_cell_is_no_end_of_the_run(tmp_path):
    cells = executed(
        tmp_path,
        "from t9k import em\nrun = em.create_run(name='nb')",
        "try:\n    get_ipython().run_cell('1 / 0')\nfinally:\n    pass",
        "print(run.status)\nrun.log('train', {'loss': 1.0}, step=1)\nrun.finish()\nprint(run.status)",
    )
    assert shown(cells[-1]) == "Running\nComplete\n"


@pytest.mark.long
def test_a_thousand_cells_do_not_recurse(tmp_path):
    cells = executed(
        tmp_path,
        "from t9k import em\nrun = em.create_run(name='nb')",
        "for number in range(1200):\n    get_ipython().run_cell('print(1)', store_history=False)",
        "run.finish()\nprint(len(open(run.local + '/stdout.log').read().splitlines()))",
    )
    assert shown(cells[-1]) == "1200\n"


@pytest.mark.long
def test_a_kernel_that_ends_without_finish_leaves_an_end(tmp_path):
    executed(tmp_path, "from t9k import em\nrun = em.create_run(name='nb')\nprint('one')")
    (metadata,) = tmp_path.glob(".em/runs/*/metadata.yaml")
    assert "status: Running" not in metadata.read_text()


@pytest.mark.long
def test_papermill_runs_a_notebook_with_a_run(tmp_path):
    papermill = pytest.importorskip("papermill")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("steps = 1", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(
                "from t9k import em\n"
                "with em.create_run(name='pm', hparams={'steps': steps}) as run:\n"
                "    for step in range(steps):\n"
                "        run.log('train', {'loss': 1 / (step + 1)}, step=step)\n"
                "        print('step', step)"
            ),
        ]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        str(tmp_path / "in.ipynb"),
        str(tmp_path / "out.ipynb"),
        parameters={"steps": 3},
        cwd=str(tmp_path),
        progress_bar=False,
    )
    (log,) = tmp_path.glob(".em/runs/*/stdout.log")
    assert log.read_text() == "step 0\nstep 1\nstep 2\n"
    assert len(nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs) >= 1
