"""A service over TLS whose certificate an authority of the user's own has signed, as in many a cluster."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.services.proxy import Proxy

from t9k.em.errors import BackendError, BackendUnavailable
from t9k.em.records import Body
from t9k.em.registry import open_backend
from t9k_em_backends.shared.part_size import MULTIPART_FROM_BYTES

pytestmark = pytest.mark.parametrize("driver", ["obstore", "fsspec"])


def write(path, certificate, key):
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority and, signed by it, a certificate of 127.0.0.1, one of another address, and one that has expired."""
    directory = tmp_path_factory.mktemp("certificates")
    now = datetime.now(timezone.utc)
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    authority_key = ec.generate_private_key(ec.SECP256R1())
    for name, address, until in (
        ("authority", "", 1),
        ("good", "127.0.0.1", 1),
        ("other", "127.0.0.2", 1),
        ("old", "127.0.0.1", -2),
    ):
        key = ec.generate_private_key(ec.SECP256R1()) if address else authority_key
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(authority, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=3)).not_valid_after(now + timedelta(days=until))
        builder = builder.add_extension(x509.BasicConstraints(ca=not address, path_length=None), critical=True)
        keys = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(keys, critical=False)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        builder = builder.add_extension(signer, critical=False)
        if address:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        write(directory / f"{name}.pem", builder.sign(authority_key, hashes.SHA256()), key)
    return directory


@pytest.fixture
def serve(s3, certificates, monkeypatch):
    """Puts TLS before the service."""
    proxies = []

    def start(name="good"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        proxy = Proxy(urlsplit(s3.endpoint).netloc, tls=tls).__enter__()
        proxies.append(proxy)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{proxy.address}")
        return proxy

    yield start
    for proxy in proxies:
        proxy.__exit__()


def use(root, driver):
    """Writes small and large objects, and reads them."""
    large = bytes(MULTIPART_FROM_BYTES)
    with open_backend(f"{root}?driver={driver}") as backend:
        backend.store.put("small", Body.of(b"data"))
        backend.store.put("large", Body.of(large))
        assert {info.key for info in backend.store.list("")} == {"small", "large"}
        assert b"".join(backend.store.get("small")) == b"data"
        assert b"".join(backend.store.get("large")) == large


def test_the_authority_that_the_environment_names_is_trusted(s3, driver, serve, certificates, monkeypatch):
    proxy = serve()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "authority.pem"))
    use(s3.new_root(), driver)
    assert len(proxy.exchanges) > 5


def test_its_path_may_be_relative_to_where_the_process_was(s3, driver, serve, certificates, monkeypatch, tmp_path):
    serve()
    monkeypatch.chdir(certificates)
    monkeypatch.setenv("AWS_CA_BUNDLE", "authority.pem")
    with open_backend(f"{s3.new_root()}?driver={driver}") as backend:
        monkeypatch.chdir(tmp_path)
        backend.store.put("large", Body.of(bytes(MULTIPART_FROM_BYTES)))


def test_an_empty_variable_names_none(s3, driver, monkeypatch):
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    use(s3.new_root(), driver)


def test_that_of_the_profile_is(s3, driver, serve, certificates, monkeypatch, tmp_path):
    serve()
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {certificates / 'authority.pem'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    use(s3.new_root(), driver)


@pytest.mark.long
@pytest.mark.parametrize(("name", "bundle"), [("good", ""), ("other", "authority.pem"), ("old", "authority.pem")])
def test_any_other_certificate_is_refused_and_said_to_be_the_reason(
    s3, driver, serve, certificates, monkeypatch, name, bundle
):
    proxy = serve(name)
    if bundle:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / bundle))
    for size in (1, MULTIPART_FROM_BYTES):
        store = open_backend(f"{s3.new_root()}?driver={driver}").store
        with pytest.raises(BackendUnavailable, match=r"the TLS certificate.* set AWS_CA_BUNDLE to its path"):
            store.put("key", Body.of(bytes(size)))
        store.close()
    assert not proxy.exchanges


@pytest.mark.long
@pytest.mark.parametrize("content", [None, b"", b"rubbish"])
def test_what_holds_no_certificates_is_named(s3, driver, monkeypatch, tmp_path, content):
    if content is not None:
        (tmp_path / "bundle").write_bytes(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "bundle"))
    use(s3.new_root(), driver)  # without TLS
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    with pytest.raises(BackendError, match=r"bundle is no file of certificates; correct AWS_CA_BUNDLE"):
        use(s3.new_root(), driver)
