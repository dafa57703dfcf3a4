"""Settings from the environment: how much is recorded and reported."""

from __future__ import annotations

import os

from t9k.em.errors import InvalidInput

ENABLED, DISABLED = "enabled", "disabled"
"""What `EM_MODE` may be."""

_OFF = frozenset({"0", "false", "no", "off"})
# Of mpirun, horovodrun and srun; torchrun, accelerate and Lightning set the first.
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "HOROVOD_RANK", "SLURM_PROCID", "LOCAL_RANK")


def is_disabled() -> bool:
    """Return whether nothing is to be recorded: `EM_MODE=disabled`.

    Raises:
        InvalidInput: `EM_MODE` is something else than 'enabled' or 'disabled'.
    """
    mode = os.environ.get("EM_MODE", "").strip().lower()
    if mode in ("", ENABLED, DISABLED):
        return mode == DISABLED
    raise InvalidInput(f"EM_MODE is {mode!r}; it may be {ENABLED!r} (the same as not set) or {DISABLED!r}")


def is_silent() -> bool:
    """Return whether the line about where a run goes is not wanted: `EM_SILENT=1`, or not the first of several processes."""
    if _is_on("EM_SILENT", default=False):
        return True
    rank = next((os.environ[name] for name in _RANKS if name in os.environ), "0")
    return rank.strip() not in ("", "0")


def captures_diff() -> bool:
    """Return whether uncommitted changes are recorded: not with `EM_CAPTURE_DIFF=0`."""
    return _is_on("EM_CAPTURE_DIFF", default=True)


def _is_on(variable: str, *, default: bool) -> bool:
    value = os.environ.get(variable, "").strip().lower()
    return value not in _OFF if value else default
