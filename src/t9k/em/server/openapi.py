"""Print the OpenAPI document of the server: `python -m t9k.em.server.openapi > docs/aistore-openapi.json`."""

from __future__ import annotations

import json
import sys

from t9k.em.server.app import bare_app


def document() -> str:
    """Return the document as JSON with a line feed at the end."""
    return json.dumps(bare_app().openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
