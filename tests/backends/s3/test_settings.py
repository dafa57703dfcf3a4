"""What the environment and profiles say holds for small files, for files in parts and for listings, by every driver."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.services.places import BUCKET, S3Place
from tests.services.proxy import Exchange, Proxy

from t9k.em.errors import BackendError, InvalidURI
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k_em_backends.s3.access import find_access
from t9k_em_backends.s3.location import S3Location as Place
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES

DRIVERS = ["obstore", "fsspec"]
LARGE = bytes(MULTIPART_FROM_BYTES)


class ForwardProxy:
    """An HTTP proxy as companies have them: it takes absolute URLs; all of them lead to one service here.

    Args:
        to: 'host:port' of the service, which wants the bucket in the path.
    """

    def __init__(self, to: str) -> None:
        self.asked: list[str] = []
        self.authorizations: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                outer.authorizations.add(self.headers.get("Proxy-Authorization", ""))
                url = urlsplit(self.path)
                path = self.path.partition(url.netloc)[2]
                if url.netloc.startswith(f"{BUCKET}."):
                    path = f"/{BUCKET}{path}"
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
                connection = HTTPConnection(to)
                connection.request(self.command, path, body, headers | {"Host": to})
                answer = connection.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"transfer-encoding", "content-length", "server", "date", "connection"}:
                        self.send_header(name, value)
                length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815 - http.server names them

            def log_message(self, format: str, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def forward(service) -> Iterator[ForwardProxy]:
    proxy = ForwardProxy(service.address)
    yield proxy
    proxy.close()


@pytest.fixture
def service(moto_service: S3Place, monkeypatch) -> Iterator[Proxy]:
    """S3, of which every request is seen, and nothing of AWS in the environment but keys."""
    for name in [*os.environ]:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_service.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_service.secret_key)
    with Proxy(urlsplit(moto_service.endpoint).netloc) as proxy:
        yield proxy


@pytest.fixture
def root(service, moto_service) -> str:
    """A place that names its endpoint."""
    return f"{moto_service.new_root()}?endpoint=http://{service.address}"


def write_config(text: str) -> None:
    path = Path.home() / ".aws" / "config"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def use(uri: str, tmp_path: Path) -> None:
    """Does all that a store does, small and large, by sockets too where those are used."""
    path = tmp_path / "file"
    path.write_bytes(b"many")
    sha256 = hashlib.sha256(b"many").hexdigest()
    body = Body(size=4, sha256=sha256, open=lambda: path.open("rb"), path=path)
    many = [(f"many-{number}", body) for number in range(4)]
    with open_backend(uri) as backend:
        backend.store.put("small", Body.of(b"data"), if_absent=True)
        backend.store.put("large", Body.of(LARGE))
        backend.store.put_many(many)
        backend.store.copy("small", "copy")
        assert {info.key for info in backend.store.list("")} == {"small", "large", "copy", *(key for key, _ in many)}
        assert b"".join(backend.store.get("copy")) == b"data"
        assert b"".join(backend.store.get("large")) == LARGE
        list(backend.store.sweep(0.0))
        backend.store.delete(["small", "large", "copy"])


@pytest.mark.parametrize("driver", DRIVERS)
class TestProxies:
    def test_everything_goes_by_the_proxy_that_is_named(self, root, service, forward, monkeypatch, tmp_path, driver):
        monkeypatch.setenv("HTTP_PROXY", forward.url.replace("//", "//me:password@"))
        use(f"{root.partition('?')[0]}?endpoint=http://s3.lab&driver={driver}", tmp_path)
        assert len(forward.asked) == len(service.exchanges)
        assert any("partNumber" in line for line in forward.asked)
        assert forward.authorizations == {"Basic bWU6cGFzc3dvcmQ="}

    @pytest.mark.long
    @pytest.mark.parametrize("entry", ["127.0.0.0/8", "10.0.0.0/8,127.0.0.1/32", "*", "elsewhere"])
    def test_nothing_goes_by_it_on_this_machine_whatever_no_proxy_names(
        self, root, service, forward, monkeypatch, tmp_path, driver, entry
    ):
        monkeypatch.setenv("HTTP_PROXY", forward.url)
        monkeypatch.setenv("NO_PROXY", entry)
        use(f"{root}&driver={driver}", tmp_path)
        assert not forward.asked
        assert any("partNumber" in exchange.line for exchange in service.exchanges)

    @pytest.mark.long
    @pytest.mark.parametrize("entry", ["*.localhost", ".localhost", "localhost"])
    def test_names_are_matched_by_their_ends(
        self, service, moto_service, forward, monkeypatch, tmp_path, driver, entry
    ):
        monkeypatch.setenv("HTTP_PROXY", forward.url)
        monkeypatch.setenv("NO_PROXY", entry)
        port = service.address.rpartition(":")[2]
        use(f"{moto_service.new_root()}?endpoint=http://localhost:{port}&driver={driver}", tmp_path)
        assert not forward.asked
        assert service.exchanges


OBEYED_BY_OBSTORE = {
    "AWS_ALLOW_HTTP": "false",
    "AWS_ALLOW_INVALID_CERTIFICATES": "true",
    "AWS_BUCKET": "other",
    "AWS_BUCKET_NAME": "other",
    "AWS_CHECKSUM_ALGORITHM": "rubbish",
    "AWS_CONDITIONAL_PUT": "disabled",
    "AWS_CONNECT_TIMEOUT": "rubbish",
    "AWS_COPY_IF_NOT_EXISTS": "rubbish",
    "AWS_DEFAULT_CONTENT_TYPE": "text/rubbish",
    "AWS_DEFAULT_HEADERS": "rubbish",
    "AWS_DISABLE_BULK_DELETE": "true",
    "AWS_DISABLE_TAGGING": "rubbish",
    "AWS_ENDPOINT": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_HTTP1_ONLY": "rubbish",
    "AWS_IMDSV1_FALLBACK": "rubbish",
    "AWS_METADATA_ENDPOINT": "rubbish",
    "AWS_PROXY_EXCLUDES": "rubbish",
    "AWS_PROXY_URL": "http://127.0.0.1:9",
    "AWS_RANDOMIZE_ADDRESSES": "rubbish",
    "AWS_REQUEST_PAYER": "true",
    "AWS_S3_EXPRESS": "true",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_SSE_BUCKET_KEY_ENABLED": "true",
    "AWS_SSE_CUSTOMER_KEY_BASE64": "rubbish",
    "AWS_SSE_KMS_KEY_ID": "rubbish",
    "AWS_TIMEOUT": "rubbish",
    "AWS_UNSIGNED_PAYLOAD": "false",
    "AWS_USER_AGENT": "rubbish",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
}


def seen(service: Proxy, uri: str, tmp_path: Path) -> list[tuple[str, list[str], bool]]:
    """What the service sees of `use`, without what is random or a time."""
    service.forget()
    use(uri, tmp_path)
    ignored = {"connection", "user-agent", "host", "amz-sdk-invocation-id", "content-length", "content-md5"}
    return sorted(
        (
            f"{exchange.method} {'part' if 'partNumber' in exchange.target else 'clock' if '.em/' in exchange.target else ''}",
            sorted(exchange.headers.keys() - ignored),
            "authorization" in exchange.headers,
        )
        for exchange in service.exchanges
    )


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(OBEYED_BY_OBSTORE))
def test_variables_that_obstore_alone_reads_change_nothing(root, service, moto_service, monkeypatch, tmp_path, name):
    other = f"{moto_service.new_root()}?endpoint=http://{service.address}&driver=obstore"
    expected = seen(service, other, tmp_path)
    monkeypatch.setenv(name, OBEYED_BY_OBSTORE[name])
    assert seen(service, f"{root}&driver=obstore", tmp_path) == expected


def test_one_that_cannot_be_overruled_is_refused_and_named(root, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms")
    with pytest.raises(BackendError, match=r"AWS_SERVER_SIDE_ENCRYPTION .* set the default encryption of the bucket"):
        use(f"{root}&driver=obstore", tmp_path)
    use(f"{root}&driver=fsspec", tmp_path)


@pytest.mark.parametrize("driver", DRIVERS)
class TestEndpoints:
    @pytest.mark.parametrize(
        ("value", "advice"),
        [
            ("localhost:9000", "write it like 'https://localhost:9000'"),
            ("minio.lab", "write it like 'https://minio.lab'"),
            ("//host", "write it like 'https://host:9000'"),
            ("http://", "write it like"),
            ("http://host:99999", "write it like"),
            ("http://a b", "write it like"),
            ("https:/host", "write it like"),
            ("http://[::1", "write it like"),
            ("ftp://host", "write it like"),
        ],
    )
    @pytest.mark.parametrize("where", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "profile", "services", "option"])
    def test_what_is_no_url_is_refused_with_the_right_form(self, service, monkeypatch, driver, where, value, advice):
        uri = f"s3://bucket/root?driver={driver}"
        if where == "profile":
            write_config(f"[default]\nendpoint_url = {value}\n")
        elif where == "services":
            write_config(f"[default]\nservices = lab\n[services lab]\ns3 =\n  endpoint_url = {value}\n")
        elif where == "option":
            uri += f"&endpoint={value}"
        else:
            monkeypatch.setenv(where, value)
        with pytest.raises(InvalidURI, match=r"is no URL of a service; ") as caught:
            open_backend(uri).store.put("key", Body.of(b""))
        assert advice in str(caught.value)

    def test_a_password_in_one_is_not_repeated(self, service, monkeypatch, driver):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hidden@host")
        with pytest.raises(InvalidURI, match="AWS_ENDPOINT_URL in the environment is no URL") as caught:
            open_backend(f"s3://bucket/root?driver={driver}").store.put("key", Body.of(b""))
        assert "hidden" not in str(caught.value)

    def test_that_of_the_profile_is_used(self, service, moto_service, tmp_path, driver):
        write_config(f"[default]\nservices = lab\n[services lab]\ns3 =\n  endpoint_url = http://{service.address}\n")
        use(f"{moto_service.new_root()}?driver={driver}", tmp_path)
        assert service.exchanges

    def test_the_bucket_stands_in_the_host_when_that_is_said(
        self, service, forward, moto_service, monkeypatch, tmp_path, driver
    ):
        monkeypatch.setenv("HTTP_PROXY", forward.url)  # which finds all hosts
        use(f"{moto_service.new_root()}?endpoint=http://s3.lab&path_style=false&driver={driver}", tmp_path)
        assert {urlsplit(line.split()[1]).netloc for line in forward.asked} == {f"{BUCKET}.s3.lab"}


class TestWhere:
    """What is decided for Amazon, which cannot be asked here."""

    @pytest.fixture(autouse=True)
    def _service(self, service):
        """Nothing of AWS in the environment but keys."""

    def test_a_bucket_with_a_dot_stands_in_the_path_for_no_certificate_covers_its_host(self):
        assert find_access(Place(bucket="a.b")).url_of("a.b") == "https://s3.us-east-1.amazonaws.com/a.b"
        assert find_access(Place(bucket="ab")).url_of("ab") == "https://ab.s3.us-east-1.amazonaws.com"
        assert find_access(Place(bucket="a.b", path_style=False)).url_of("a.b").startswith("https://a.b.s3.")

    @pytest.mark.parametrize(("style", "path_style"), [("path", True), ("virtual", False), ("auto", False)])
    def test_the_profile_says_where_the_bucket_stands(self, style, path_style):
        write_config(f"[default]\ns3 =\n  addressing_style = {style}\n")
        assert find_access(Place(bucket="b")).path_style == path_style

    def test_configured_endpoints_may_be_ignored_but_not_that_of_the_uri(self, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://env")
        assert find_access(Place(bucket="b")).endpoint == "http://env"
        monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
        assert not find_access(Place(bucket="b")).endpoint
        assert find_access(Place(bucket="b", endpoint="http://uri")).endpoint == "http://uri"
        monkeypatch.delenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        write_config("[default]\nignore_configured_endpoint_urls = true\n")
        assert not find_access(Place(bucket="b")).endpoint

    @pytest.mark.parametrize(
        ("settings", "host"),
        [
            ({"AWS_REGION": "cn-north-1"}, "s3.cn-north-1.amazonaws.com.cn"),
            ({"AWS_USE_FIPS_ENDPOINT": "true"}, "s3-fips.us-east-1.amazonaws.com"),
            ({"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_DEFAULT_REGION": "eu-1"}, "s3.dualstack.eu-1.amazonaws.com"),
        ],
    )
    def test_the_host_follows_the_region_and_the_kind_of_endpoint(self, monkeypatch, settings, host):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        assert find_access(Place(bucket="b")).service == f"https://{host}"

    def test_what_is_no_region_is_refused(self, monkeypatch):
        monkeypatch.setenv("AWS_REGION", "eu west")
        with pytest.raises(InvalidURI, match="'eu west' is no region; write it like 'eu-west-1'"):
            find_access(Place(bucket="b"))


@pytest.mark.long
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("code", ["AuthorizationHeaderMalformed", "PermanentRedirect"])
def test_a_bucket_in_another_region_is_found_there_or_the_region_is_named(root, service, tmp_path, driver, code):
    def instead(exchange: Exchange) -> bytes | None:
        if exchange.line == f"HEAD /{BUCKET}" and "/eu-west-3/" in exchange.headers.get("authorization", ""):
            return b"HTTP/1.1 200 OK\r\nx-amz-bucket-region: eu-west-3\r\nContent-Length: 0\r\n\r\n"
        if "/eu-west-3/s3/" in exchange.headers.get("authorization", ""):
            return None
        status = "301 Moved Permanently" if code == "PermanentRedirect" else "400 Bad Request"
        told = "<Region>eu-west-3</Region>" if code == "AuthorizationHeaderMalformed" else ""
        body = "" if exchange.method == "HEAD" else f"<Error><Code>{code}</Code><Message>m</Message>{told}</Error>"
        head = f"HTTP/1.1 {status}\r\nx-amz-bucket-region: eu-west-3\r\nContent-Type: application/xml\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    service.instead = instead
    if driver == "obstore":  # botocore goes there by itself
        told = "the bucket lies in the region eu-west-3; add '?region=eu-west-3' to the URI"
        with pytest.raises(InvalidURI, match=re.escape(told)):
            use(f"{root}&driver={driver}", tmp_path)
        root += "&region=eu-west-3"
    use(f"{root}&driver={driver}", tmp_path)
