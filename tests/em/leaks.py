"""Where a secret could come out with an error."""

from __future__ import annotations

import pickle
import traceback


def told(error: BaseException) -> str:
    """All that a person sees of an error, and what another process gets, with what some programs pickle besides: where
    the error came from."""
    seen = [*traceback.format_exception(error), repr(error), str(error.__dict__), str(pickle.dumps(error))]
    pending = [error.__cause__, error.__context__]
    while pending:
        before = pending.pop()
        if before is not None:
            seen += [repr(before), str(before), str(before.__dict__)]
            pending += [before.__cause__, before.__context__]
    return "".join(seen)
