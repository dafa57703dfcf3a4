"""SIGKILL at every call of the store while a run is uploaded and finished: another process sends the rest, once."""

import pytest
from tests.faults import dying_live


@pytest.mark.long
def test_a_run_that_died_anywhere_is_finished_by_another_process(tmp_path):
    assert dying_live.run(tmp_path) > 40
