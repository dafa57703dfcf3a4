"""Which protocol uvicorn serves connections by: ours, as long as uvicorn has the names that ours builds on.

`BoundedConnection` and `LargeBody` extend classes of uvicorn that are not part of its documented interface. Tested with uvicorn
0.30.0 and 0.54.0; with a version that lacks a name, the server starts with uvicorn's own protocol and reports what is lost.
"""

from __future__ import annotations

import logging

OURS = "t9k.em.server.http.connections:BoundedConnection"
PLAIN = "auto"

_METHODS = (
    *("connection_made", "connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing"),
    *("on_message_begin", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete"),
    *("send_400_response", "timeout_keep_alive_handler"),
)
_ATTRIBUTES = ("client", "cycle", "flow", "headers", "loop", "parser", "transport")
_OF_CYCLE = ("receive", "response_complete")
_OF_FLOW = ("pause_reading", "resume_reading")

_log = logging.getLogger(__name__)


def missing_names() -> list[str]:
    """Return the names that our protocol needs and the installed uvicorn and httptools lack."""
    try:
        from httptools import HttpRequestParser  # noqa: PLC0415 - whether it is there is the question
        from uvicorn.protocols.http.flow_control import FlowControl  # noqa: PLC0415 - likewise
        from uvicorn.protocols.http.httptools_impl import (  # noqa: PLC0415 - likewise
            HttpToolsProtocol,
            RequestResponseCycle,
        )
    except ImportError as error:
        return [str(error)]
    wanted = {
        HttpToolsProtocol: (_METHODS, _ATTRIBUTES),
        RequestResponseCycle: ((), _OF_CYCLE),
        FlowControl: (_OF_FLOW, ()),
        HttpRequestParser: (("set_dangerous_leniencies", "should_upgrade"), ()),
    }
    missing = []
    for owner, (methods, attributes) in wanted.items():
        made = getattr(getattr(vars(owner).get("__init__"), "__code__", None), "co_names", ())  # of `self.name = ...`
        lacking = [name for name in methods if not hasattr(owner, name)]
        lacking += [name for name in attributes if name not in made and not hasattr(owner, name)]
        missing += [f"{owner.__name__}.{name}" for name in lacking]
    return missing


def protocol() -> str:
    """Return the protocol for `uvicorn.run`, and report in the log why it is not ours where it is not."""
    missing = missing_names()
    if not missing:
        return OURS
    _log.warning(
        "this version of uvicorn lacks %s: connections are not bounded, slow clients are not closed, and large bodies take more "
        "processor time; install a version that t9k-em was tested with (0.30.0 to 0.54.0), or put a proxy with such limits in front",
        ", ".join(missing),
    )
    return PLAIN
