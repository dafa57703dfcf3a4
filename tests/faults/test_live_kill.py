"""SIGKILL at calls of the store while a run is uploaded and finished: another process sends the rest, once."""

import os

from tests.faults import dying_live

STEP = int(os.environ.get("EM_KILL_STEP", "2"))  # 1 for every call, which takes twice as long


def test_a_run_that_died_anywhere_is_finished_by_another_process(tmp_path):
    assert dying_live.run(tmp_path, STEP) > 40 // STEP
