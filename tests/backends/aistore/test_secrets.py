"""The API key and signed URLs are in no log, error or repr, and go nowhere else."""

from __future__ import annotations

import logging
import pickle
import traceback

import pytest
from tests.backends.aistore.clients import AT_ONCE, Clients
from tests.backends.aistore.scripted import Reply, Scripted, an_error
from tests.services.aistore import AIStorePlace
from tests.services.processes import free_port
from tests.services.proxy import Proxy

from t9k.em.errors import EMError
from t9k.em.testing import make_request, read_node, upload
from t9k.em.uris import parse
from t9k_em_backends.aistore import AIStoreBackend
from t9k_em_backends.aistore.address import address_of

KEY = "0e8c6a5e-7a3b-4f4e-9c8d-1234567890ab"
CONTENTS = {"small": b"small", "large": bytes(range(256)) * (20 << 12)}


def logged(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(f"{record.getMessage()} {record.args!r} {record.exc_info!r}" for record in caplog.records)


@pytest.mark.long
def test_nothing_is_told_at_the_lowest_level(
    over_s3: AIStorePlace, client: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    someone = over_s3.someone()
    signed = []
    with caplog.at_level(logging.DEBUG), Proxy(someone.url.removeprefix("http://")) as proxy:
        backend = client(someone, url=f"http://{proxy.address}")
        node = upload(backend, make_request(f"/{someone.name}/default", "m", CONTENTS), CONTENTS)
        assert read_node(backend, node) == CONTENTS
        signed = [exchange.target for exchange in proxy.exchanges if "sign" in exchange.target]
        assert not any(someone.key in exchange.target for exchange in proxy.exchanges)
    text = logged(caplog)
    assert signed, "some files went straight to the store"
    assert "connectionpool" in {record.module for record in caplog.records}, "urllib3 does log"
    assert "PUT" in text
    assert someone.key not in text
    assert "ignature" not in text
    assert someone.key not in repr((backend, backend._server, backend._direct, backend._server.connection))


@pytest.mark.parametrize(
    "reply",
    [
        an_error("key_revoked"),
        an_error("unavailable"),
        Reply(status=404, body=b"<html>"),
        Reply(status=302, headers={"Location": "http://elsewhere.invalid/"}),
        Reply(drop=True),
        Reply(body=b"{", headers={"Content-Type": "application/json"}),
    ],
)
def test_errors_tell_no_key(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    with Scripted(answers=lambda _: reply) as server, caplog.at_level(logging.DEBUG):
        backend = AIStoreBackend(address_of(parse(server.url), 5), KEY, retries=AT_ONCE)
        with pytest.raises(EMError) as caught:
            backend.stat("/alice/default/m")
        backend.close()
        assert all(request.headers.get("authorization") in (None, f"Bearer {KEY}") for request in server.requests)
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told + logged(caplog) + repr(caught.value) + repr(vars(caught.value))
    assert KEY.encode() not in pickle.dumps(caught.value)


def test_an_unreachable_server_tells_no_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        backend = AIStoreBackend(address_of(parse(f"http://127.0.0.1:{free_port()}"), 5), KEY, retries=AT_ONCE)
        with pytest.raises(EMError) as caught:
            backend.stat("/alice/default/m")
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    assert KEY not in logged(caplog)
