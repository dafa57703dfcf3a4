"""Keep signed URLs out of the logs of urllib3."""

from __future__ import annotations

import logging

_LOGGERS = ("urllib3.connectionpool", "urllib3.util.retry", "urllib3.connection")


def keep_signatures_out() -> None:
    """Cut the query off every URL with a signature that urllib3 logs; may be called again."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_without_signatures)


def _without_signatures(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and any("ignature" in str(argument) for argument in record.args):
        record.args = tuple(
            str(argument).partition("?")[0] + "?..." if "ignature" in str(argument) else argument
            for argument in record.args
        )
    return True
