"""The metrics that Prometheus reads."""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Names the directory in which several processes count together."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """The counts of one process, or with `PROMETHEUS_MULTIPROC_DIR` of all that share it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("em_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "em_request_seconds",
            "Time to the end of the answer.",
            ("route",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._received = Counter("em_received_bytes", "Bytes of files received.", registry=self._registry)
        self._sent = Counter("em_sent_bytes", "Bytes of files sent.", registry=self._registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: Of HTTP.
            route: As declared, without what stands for its parameters.
            status: Of the answer; 0 when the client was gone.
            seconds: To the end of the answer.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def received(self, size_bytes: int) -> None:
        """Count bytes of files that came."""
        self._received.inc(size_bytes)

    def sent(self, size_bytes: int) -> None:
        """Count bytes of files that were asked for."""
        self._sent.inc(size_bytes)

    def text(self) -> bytes:
        """All counts in the text format of Prometheus."""
        registry = self._registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
