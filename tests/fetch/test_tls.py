"""Downloads over TLS: whose certificate is believed."""

from __future__ import annotations

import datetime as dt
import socket
import ssl

import pytest
from assets.cdn import Cdn, answer, running
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from batcher.fetch import (
    FetchFault,
    FetchPolicy,
)
from fetch.asking import BODY, fault, fetch


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem + cert.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_cdn(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with running(Cdn(context)) as server:
        server.add("/clip.mp4", answer(BODY))
        yield server


@pytest.mark.anyio
async def test_https_is_verified_by_the_name_in_the_url(tls_cdn, certificate, names):
    """The connection goes to the checked address; the certificate must still be the name's."""
    trusting = lambda: ssl.create_default_context(cafile=certificate)  # noqa: E731  # it is an argument
    names["localhost"] = ["127.0.0.1"]
    assert (await fetch(tls_cdn.url("/clip.mp4", host="localhost"), tls=trusting))[1] == BODY
    assert await fault(tls_cdn.url("/clip.mp4", host="127.0.0.1"), tls=trusting) is FetchFault.NETWORK


@pytest.mark.anyio
async def test_https_by_an_unknown_authority_is_refused(tls_cdn, names):
    names["localhost"] = ["127.0.0.1"]
    assert await fault(tls_cdn.url("/clip.mp4", host="localhost")) is FetchFault.NETWORK
    assert tls_cdn.requests == []


@pytest.mark.anyio
async def test_a_handshake_that_never_ends_is_left_in_time(cdn):
    """A server that speaks no TLS, and does not hang up."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/clip.mp4"
        assert await fault(url, FetchPolicy(allow_loopback=True, idle_s=0.05)) is FetchFault.NETWORK
