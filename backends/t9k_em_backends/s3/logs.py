"""Keep secrets out of the logs of botocore and what is built on it."""

from __future__ import annotations

import logging

# At DEBUG these write down whole requests, with the session token among the headers.
_TELLTALES = (
    *(
        f"{package}.{module}"
        for package in ("aiobotocore", "botocore")
        for module in ("endpoint", "httpsession", "hooks")
    ),
    "botocore.auth",
    "botocore.parsers",
)


def keep_secrets_out() -> None:
    """Silences the loggers that would write down a request, at DEBUG and only there; may be called again."""
    for name in _TELLTALES:
        logging.getLogger(name).addFilter(_is_no_secret)


def _is_no_secret(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
