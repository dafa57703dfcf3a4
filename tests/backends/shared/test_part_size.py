from __future__ import annotations

import pytest

from t9k_em_backends.shared.part_size import MIB, MOST_PARTS, PART_BYTES, part_size_bytes


@pytest.mark.parametrize(
    "size", [0, 1, 16 * MIB, 5 * 1024 * MIB + 1, 64 * 1024 * MIB, 64 * 1024 * MIB + 1, 5 * 1024 * 1024 * MIB]
)
def test_parts_are_few_enough_and_large_enough_for_s3(size):
    part = part_size_bytes(size)
    assert PART_BYTES <= part <= 5 * 1024 * MIB
    assert part % MIB == 0
    assert -(-size // part) <= MOST_PARTS
