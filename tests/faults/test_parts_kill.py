"""SIGKILL while a directory takes an object in parts: no part claims to be there that is not, and others go on."""

from __future__ import annotations

import sys

import pytest
from tests.faults import dying_parts


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_process_killed_at_any_call_of_the_system_leaves_what_others_make_whole(tmp_path):
    died = dying_parts.run(tmp_path)
    assert len(died) == len(dying_parts.MODES)
    assert min(died) > 40
