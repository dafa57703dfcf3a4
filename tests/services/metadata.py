"""Where containers, machines and people get credentials of AWS from: the services beside STS, as far as the SDKs ask them.

Each answer has a key of its own, which ends after an hour, as those of STS do.
"""

from __future__ import annotations

import itertools
import json
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import Self

LIFETIME = timedelta(hours=1)
TOKEN = "metadata-token"
ROLE = "the-role"
SSO_TOKEN = "sso-token"
CONTAINER_TOKEN = "container-token"


class Metadata:
    """Serves on a free port of 127.0.0.1 between `with` and its end.

    Attributes:
        url: Of the service.
        given: The ids of the keys that it gave, in order.
    """

    def __init__(self) -> None:
        self.given: list[str] = []
        self._numbers = itertools.count()

        class Handler(_Handler):
            service = self

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def new_key(self) -> dict[str, str]:
        """A key, as the metadata services write it."""
        self.given.append(f"ASIA{next(self._numbers):012}")
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": self.given[-1],
            "SecretAccessKey": "secret",
            "Token": "session",
            "Expiration": (datetime.now(timezone.utc) + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Metadata

    def do_PUT(self) -> None:
        is_right = self.path == "/latest/api/token" and self.headers.get("x-aws-ec2-metadata-token-ttl-seconds")
        self._answer(TOKEN if is_right else None)

    def do_GET(self) -> None:
        roles = "/latest/meta-data/iam/security-credentials/"
        if self.path in (
            roles,
            roles + ROLE,
        ):  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
            known = self.headers.get("x-aws-ec2-metadata-token") == TOKEN
            found: Any = ROLE if self.path == roles else self.service.new_key()
            self._answer(found if known else None, 401)
        elif self.path == "/container":
            self._answer(self.service.new_key() if self.headers["Authorization"] == CONTAINER_TOKEN else None, 401)
        elif self.path.startswith("/federation/credentials?"):
            key = self.service.new_key()
            told = {
                "accessKeyId": key["AccessKeyId"],
                "secretAccessKey": key["SecretAccessKey"],
                "sessionToken": key["Token"],
                "expiration": int((datetime.now(timezone.utc) + LIFETIME).timestamp() * 1000),
            }
            known = self.headers.get("x-amz-sso_bearer_token") == SSO_TOKEN
            self._answer({"roleCredentials": told} if known else None, 401)
        else:
            self._answer(None)

    def _answer(self, content: object, otherwise: int = 404) -> None:
        body = b"" if content is None else (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(otherwise if content is None else 200)
        self.send_header("Content-Type", "application/json" if body.startswith(b"{") else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:
        """Says nothing."""
