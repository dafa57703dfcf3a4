"""What is kept of the exception that ended a run, and which status it makes."""

from __future__ import annotations

import signal
import traceback
from typing import Any

from t9k.em.ending.status import COMPLETE, FAILED, PREEMPTED, PRUNED

MOST_MESSAGE_CHARS = 4_000
MOST_TRACEBACK_CHARS = 40_000
_BEGINNING_CHARS = 8_000
_LONG_LINE = 500

WITH_ERROR = (FAILED, PREEMPTED)
"""Statuses with which an exception is kept: a trial that was pruned has met no error."""

_PRUNED = "TrialPruned"
_TERMINATED_CODE = 128 + signal.SIGTERM  # what a shell makes of that signal, and programs that handle it exit with


def status_of(error: BaseException | None) -> str:
    """Return the status of a run that an exception ended; None for a normal end.

    `TrialPruned` of Optuna is told by its name. `sys.exit()` without an error is a normal end, and so is that of a generator.
    """
    if error is None or isinstance(error, GeneratorExit):
        return COMPLETE
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return COMPLETE
        return PREEMPTED if error.code == _TERMINATED_CODE else FAILED
    if any(kind.__name__ == _PRUNED for kind in type(error).__mro__):
        return PRUNED
    return FAILED


def described(error: BaseException) -> dict[str, Any]:
    """Return the content of `error.yaml`: `type`, `message` and `traceback`, as Python prints it, without the values of variables.

    Secrets are masked, see `t9k.em.masking`.

    Args:
        error: The exception. A very long text is cut in the middle.
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return {
        "type": _kept(name, MOST_MESSAGE_CHARS, MOST_MESSAGE_CHARS // 2),
        "message": _kept(_text(error), MOST_MESSAGE_CHARS, MOST_MESSAGE_CHARS // 2),
        "traceback": _kept(_traceback(error), MOST_TRACEBACK_CHARS, _BEGINNING_CHARS),
    }


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as its_own:  # noqa: BLE001 - it is the program's own code
        return f"<its text could not be made: {type(its_own).__name__}>"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as its_own:  # noqa: BLE001 - likewise
        return f"<the traceback could not be made: {type(its_own).__name__}>\n"


def _kept(text: str, most: int, beginning: int) -> str:
    from t9k.em.masking import mask_code, mask_text  # noqa: PLC0415 - costs every importer otherwise, and most runs end well

    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) > most:
        left_out = len(text) - most
        text = f"{text[:beginning]}\n... {left_out} characters are left out ...\n{text[beginning + left_out :]}"
    # Looking for names takes too long in a line that is one long word.
    return "\n".join(mask_code(line) if len(line) < _LONG_LINE else line for line in mask_text(text).split("\n"))
