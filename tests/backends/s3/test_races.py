"""Real processes upload one name at once to S3, half of them by one driver and half by the other.

On SeaweedFS alone: moto looks for the object first and writes then, so that sometimes two writers win.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.backends.racing import check, race
from tests.services.places import S3Place

from t9k.em.names import STRATEGIES
from t9k.em.registry import open_backend


@pytest.mark.long
def test_sixteen_processes_and_one_name(s3: S3Place, tmp_path: Path) -> None:
    root = s3.new_root()
    told = race([f"{root}?driver={driver}" for driver in ("obstore", "fsspec")] * 8, tmp_path / "meeting", STRATEGIES)
    with open_backend(root) as backend:
        check(backend, STRATEGIES, told)
