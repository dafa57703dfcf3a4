"""How large files are cut into the parts of a multipart upload; everybody who resumes one has to cut alike."""

from __future__ import annotations

MIB = 1 << 20
PART_BYTES = 8 * MIB
MOST_PARTS = 10_000  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MULTIPART_FROM_BYTES = 16 * MIB
"""From this size on a file goes in parts."""


def part_size_bytes(size_bytes: int) -> int:
    """Return the size of all parts but the last: 8 MiB, or as many MiB as it takes to have at most 8,192 of them.

    Args:
        size_bytes: Of the whole file.
    """
    mebibytes = -(-size_bytes // (8192 * MIB))
    return max(PART_BYTES, mebibytes * MIB)
