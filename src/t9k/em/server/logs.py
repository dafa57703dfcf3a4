"""The server's log: one JSON object a line on standard error, without addresses' queries and without headers."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from t9k.em.records import utc_text


class JSONLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        line = {
            "time": utc_text(datetime.fromtimestamp(record.created, timezone.utc)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: int = logging.INFO) -> None:
    """Send the logs of this library and of uvicorn to standard error; those of drivers only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("t9k", "t9k_em_backends", "uvicorn"):
        logging.getLogger(name).setLevel(level)
