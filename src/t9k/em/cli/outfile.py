"""The file that `-o` names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from t9k.em.errors import InvalidInput
from t9k.em.local.files import replacing


@contextlib.contextmanager
def replacing_output(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the place of `path` when the block succeeds, as readable as any new file.

    A device or pipe, such as /dev/stdout, is written to.

    Raises:
        InvalidInput: The file cannot be written.
    """
    umask = os.umask(0)
    os.umask(umask)
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        with replacing(path) as fd:
            with os.fdopen(fd, "wb", closefd=False) as file:
                yield file
            if hasattr(os, "fchmod"):  # on Windows a file has no such mode
                os.fchmod(fd, 0o666 & ~umask)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}; choose another file with -o") from error
