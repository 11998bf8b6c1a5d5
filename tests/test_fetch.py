"""Downloads: which URLs are refused before any packet, and what counts as having arrived."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import socket
import ssl
import sys
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from assets.cdn import Cdn, answer, redirect, running
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from batcher.fetch import (
    Fetched,
    FetchError,
    FetchFault,
    FetchPolicy,
    Intake,
    Target,
    check_address,
    check_url,
    threaded_fetch,
    threads,
)

BODY = bytes(range(256)) * 9000
STRICT = FetchPolicy()
LOCAL = FetchPolicy(allow_loopback=True)

TRICKS = [
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "https://127.0.0.1/clip.mp4",
    "https://127.1/clip.mp4",
    "https://2130706433/clip.mp4",
    "https://0x7f.1/clip.mp4",
    "https://0177.0.0.1/clip.mp4",
    "https://[::1]/clip.mp4",
    "https://[::ffff:10.0.0.1]/clip.mp4",
    "https://100.64.0.1/clip.mp4",
    "https://8.8.8.8/clip.mp4",
    "https://localhost/clip.mp4",
    "http://v16.klingai.com/clip.mp4",
    "https://v16.klingai.com:8443/clip.mp4",
    "https://v16.klingai.com:99999/clip.mp4",
    "https://key@v16.klingai.com/clip.mp4",
    "https://@v16.klingai.com/clip.mp4",
    "https://evil.example/v16.klingai.com",
    "https://evilklingai.com/clip.mp4",
    "https://klingai.com.evil.example/clip.mp4",
    "https://klingai.com\\@evil.example/clip.mp4",
    "https://evil.example\\.klingai.com/clip.mp4",
    "https://evil.example#.klingai.com/clip.mp4",
    "https://v16.klingai.com/clip.mp4\r\nX-Evil: 1",
    "https://v16.klingai.com/ clip.mp4",
    "\thttps://v16.klingai.com/clip.mp4",
    "https://[v16.klingai.com/clip.mp4",
    "https://klingai.com./clip.mp4",
    "https:///clip.mp4",
    "//v16.klingai.com/clip.mp4",
    "file:///etc/passwd",
    "ftp://v16.klingai.com/clip.mp4",
    "data:video/mp4;base64,AAAA",
    "",
]

INTERNAL = [
    "10.0.0.1", "172.16.3.4", "192.168.1.1", "127.0.0.1", "0.0.0.0", "100.64.0.1", "169.254.169.254", "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "fe80::1",
    "fe80::1%eth0", "fec0::1", "fc00::1", "ff02::1", "2001:db8::1", "2002:0a00:0001::1", "2001:0:1::1",
    "64:ff9b::10.0.0.1", "64:ff9b:1::1", "a name",
]  # fmt: skip

PLAIN = Target(host="v16.klingai.com", port=443, path="/", is_tls=True, is_loopback=False)
OWN = Target(host="localhost", port=80, path="/", is_tls=False, is_loopback=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def cdn():
    with running(Cdn()) as server:
        yield server


@pytest.fixture
def connections(monkeypatch):
    """Every address that anything in this process connects to."""
    seen = []
    watching = True

    def hook(event, args):
        if watching and event == "socket.connect":
            seen.append(args[1])

    sys.addaudithook(hook)
    yield seen
    watching = False


@pytest.fixture
def names(monkeypatch):
    """A resolver under our control: host -> addresses. There is no real one that would answer so."""
    table = {}
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        host = host.decode() if isinstance(host, bytes) else host
        if host not in table:
            return real(host, port, *args, **kwargs)
        if not table[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


async def fetch(url, policy=LOCAL, **options):
    sink = io.BytesIO()
    fetched = await threaded_fetch(policy, limiter=anyio.CapacityLimiter(2), **options)(url, sink)
    return fetched, sink.getvalue()


async def fault(url, policy=LOCAL, **options):
    with pytest.raises(FetchError) as caught:
        await fetch(url, policy, **options)
    assert "SECRET" not in str(caught.value)
    return caught.value.fault


# ---- which URLs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", TRICKS)
@pytest.mark.parametrize("policy", [STRICT, LOCAL])
def test_a_url_that_leads_elsewhere_is_refused(url, policy):
    if policy is LOCAL and url in (TRICKS[2], TRICKS[7], TRICKS[11]):
        assert check_url(url, policy).is_loopback
        return
    with pytest.raises(FetchError) as caught:
        check_url(url, policy)
    assert caught.value.fault is FetchFault.FORBIDDEN_URL


@pytest.mark.anyio
async def test_no_packet_goes_to_a_refused_url(connections):
    for url in TRICKS:
        assert await fault(url, STRICT) is FetchFault.FORBIDDEN_URL
    assert connections == []


@pytest.mark.anyio
@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "100.64.0.1"])
async def test_no_packet_goes_to_an_allowed_name_with_one_internal_address(connections, names, address):
    """A name is refused whole when one of its addresses is internal, also where loopback URLs are allowed."""
    names["v16.klingai.com"] = ["8.8.8.8", address]
    for policy in (STRICT, LOCAL):
        assert await fault("https://v16.klingai.com/clip.mp4", policy) is FetchFault.FORBIDDEN_URL
    assert connections == []


@pytest.mark.anyio
async def test_a_loopback_name_that_leads_outside_is_refused(connections, names):
    names["localhost"] = ["8.8.8.8"]
    assert await fault("http://localhost/clip.mp4") is FetchFault.FORBIDDEN_URL
    assert connections == []


@pytest.mark.parametrize("address", INTERNAL)
def test_an_internal_address_is_refused(address):
    with pytest.raises(FetchError) as caught:
        check_address(address, PLAIN)
    assert caught.value.fault is FetchFault.FORBIDDEN_URL


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_taken_but_not_for_this_machine(address):
    check_address(address, PLAIN)
    with pytest.raises(FetchError):
        check_address(address, OWN)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_this_machine_is_taken_only_where_it_is_meant(address):
    check_address(address, OWN)


def test_a_signed_url_is_asked_for_byte_for_byte():
    """A signature covers the query as it stands; only what HTTP cannot carry is escaped."""
    url = "https://V16-kling-fdl.klingai.com:443/bs2/a%20b~c.mp4?Signature=a+b/c=&x={1}|2;é#fragment"
    target = check_url(url, STRICT)
    assert (target.authority, target.port) == ("v16-kling-fdl.klingai.com", 443)
    assert target.path == "/bs2/a%20b~c.mp4?Signature=a+b/c=&x={1}|2;%C3%A9"


def test_a_target_does_not_show_its_signature():
    """It stands in the frames of a traceback."""
    assert "SECRET" not in repr(check_url("https://v1.klingai.com/x.mp4?Signature=SECRET", STRICT))


def test_a_configured_host_is_allowed_with_all_below_it():
    policy = FetchPolicy(hosts=("klingai.com", "cdn.example"))
    assert check_url("https://eu.cdn.example/x", policy).host == "eu.cdn.example"
    assert check_url("https://cdn.example", policy).path == "/"
    with pytest.raises(FetchError, match=r"klingai\.com, cdn\.example"):
        check_url("https://cdn.example.evil/x", policy)


def test_the_host_header_names_any_port_that_is_not_the_usual_one():
    assert check_url("http://[::1]:8000/x", LOCAL).authority == "[::1]:8000"
    assert check_url("https://localhost/x", LOCAL).authority == "localhost"


# ---- what arrives -----------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_clip_arrives_with_its_hash_and_without_a_header_of_ours(cdn):
    fetched, body = await fetch(cdn.add("/clip.mp4", answer(BODY)))
    assert body == BODY
    sha256 = hashlib.sha256(BODY).hexdigest()
    assert fetched == Fetched(size_bytes=len(BODY), sha256=sha256, is_length_proven=True)
    lines = cdn.requests[0].splitlines()
    assert lines[0] == "GET /clip.mp4?Signature=SECRET HTTP/1.1"
    headers = {line.partition(":")[0] for line in lines[1:] if line}
    assert headers == {"Host", "Accept-Encoding", "User-Agent", "Connection"}
    assert "Accept-Encoding: identity" in lines


@pytest.mark.anyio
async def test_a_chunked_body_is_proven_by_its_frame(cdn):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:70_000], BODY[70_000:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    fetched, body = await fetch(cdn.add("/whole", head + chunks + b"0\r\n\r\n"))
    assert (body, fetched.is_length_proven) == (BODY, True)
    assert await fault(cdn.add("/cut", head + chunks)) is FetchFault.CUT
    assert await fault(cdn.add("/cut-within", head + chunks[:-9000])) is FetchFault.CUT


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["", "Content-Length: many\r\n", "Content-Length: -5\r\n"])
async def test_a_body_without_a_length_arrives_unproven(cdn, length):
    """It may be cut without a sign; whoever asked must look into the file."""
    fetched, body = await fetch(cdn.add("/clip.mp4", f"HTTP/1.1 200 OK\r\n{length}\r\n".encode() + BODY[:500]))
    assert (body, fetched.is_length_proven) == (BODY[:500], False)


@pytest.mark.anyio
@pytest.mark.parametrize("arrived", [0, 1, 500, len(BODY) - 1])
async def test_a_body_shorter_than_announced_is_cut(cdn, arrived):
    assert await fault(cdn.add("/clip.mp4", answer(BODY[:arrived], length=len(BODY)))) is FetchFault.CUT


@pytest.mark.anyio
async def test_nothing_beyond_the_announced_length_is_taken(cdn):
    _, body = await fetch(cdn.add("/clip.mp4", answer(BODY + b"<script>", length=len(BODY))))
    assert body == BODY


@pytest.mark.anyio
async def test_a_compressed_body_is_refused(cdn):
    packed = gzip.compress(BODY)
    url = cdn.add("/clip.mp4", answer(packed[: len(packed) // 2], headers="Content-Encoding: gzip\r\n"))
    assert await fault(url) is FetchFault.CUT


@pytest.mark.anyio
async def test_a_body_beyond_the_cap_is_refused_announced_or_not(cdn):
    policy = FetchPolicy(allow_loopback=True, max_bytes=len(BODY) // 3)
    assert await fault(cdn.add("/announced", answer(b"", length=len(BODY))), policy) is FetchFault.TOO_LARGE
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + BODY
    assert await fault(cdn.add("/endless", endless, stalls=True), policy) is FetchFault.TOO_LARGE


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("403 Forbidden", FetchFault.GONE),
        ("404 Not Found", FetchFault.GONE),
        ("410 Gone", FetchFault.GONE),
        ("400 Bad Request", FetchFault.GONE),
        ("401 Unauthorized", FetchFault.GONE),
        ("408 Timeout", FetchFault.NETWORK),
        ("429 Slow down", FetchFault.NETWORK),
        ("500 Oops", FetchFault.NETWORK),
        ("503 Later", FetchFault.NETWORK),
        ("204 Nothing", FetchFault.NETWORK),
        ("206 Half", FetchFault.NETWORK),
        ("304 Same", FetchFault.NETWORK),
    ],
)
async def test_a_status_tells_whether_a_fresh_url_could_help(cdn, status, expected):
    assert await fault(cdn.add("/clip.mp4", answer(b"no", status=status))) is expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    "says",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000],
)
async def test_what_is_no_http_is_a_fault_of_the_network(cdn, says):
    assert await fault(cdn.add("/clip.mp4", says)) is FetchFault.NETWORK


@pytest.mark.anyio
async def test_a_head_that_was_cut_proves_nothing(cdn):
    """`http.client` takes it for a whole one."""
    fetched, body = await fetch(cdn.add("/clip.mp4", b"HTTP/1.1 200 OK\r\nContent-Le"))
    assert (body, fetched.is_length_proven) == (b"", False)


@pytest.mark.anyio
async def test_a_silent_server_is_left_in_time(cdn):
    """Silence before the head, and in the middle of a body."""
    policy = FetchPolicy(allow_loopback=True, idle_s=0.05)
    assert await fault(cdn.add("/mute", b"", stalls=True), policy) is FetchFault.NETWORK
    half = answer(BODY[:1000], length=len(BODY))
    assert await fault(cdn.add("/half", half, stalls=True), policy) is FetchFault.NETWORK


def test_silence_is_counted_from_the_last_byte(monkeypatch):
    """A slow download is not a silent one. The total deadline ends it; waiting for a thread counts for neither."""
    clock = [0.0]
    monkeypatch.setattr(threads.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(threads.from_thread, "check_cancelled", lambda: None)
    near, far = socket.socketpair()
    with near, far:
        patience = threads._Patience(FetchPolicy(idle_s=30, deadline_s=100))
        reader = threads._Reader(near, patience)
        clock[0] = 5000.0
        patience.start()
        for clock[0] in (5025.0, 5050.0, 5075.0, 5100.0):
            far.sendall(b"x")
            assert reader.readinto(bytearray(9)) == 1
        clock[0] = 5101.0
        with pytest.raises(TimeoutError, match="too long"):
            reader.readinto(bytearray(9))
        hasty = threads._Patience(FetchPolicy(idle_s=30))
        hasty.start()
        clock[0] += 31
        with pytest.raises(TimeoutError, match="silent for 30 s"):
            threads._Reader(near, hasty).readinto(bytearray(9))


@pytest.mark.anyio
async def test_endless_interim_answers_meet_the_deadline(cdn):
    """Each one is a sign of life, so that only the total deadline ends them."""
    policy = FetchPolicy(allow_loopback=True, idle_s=5, deadline_s=0.1)
    url = cdn.add("/clip.mp4", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, repeats=True)
    started = time.monotonic()
    assert await fault(url, policy) is FetchFault.NETWORK
    assert time.monotonic() - started < 4


@pytest.mark.anyio
async def test_nobody_there_is_a_fault_of_the_network(names):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert await fault(f"http://127.0.0.1:{port}/clip.mp4") is FetchFault.NETWORK
    names["v16.klingai.com"] = []
    assert await fault("https://v16.klingai.com/clip.mp4") is FetchFault.NETWORK


@pytest.mark.anyio
async def test_a_file_that_cannot_be_written_is_no_fault_of_the_network(cdn):
    """The disk's own error goes to the caller, so that a full disk is not tried again and again."""
    get = threaded_fetch(LOCAL, limiter=anyio.CapacityLimiter(1))
    with Path("/dev/full").open("wb", buffering=0) as full:  # noqa: ASYNC230  # a device, always full at once
        with pytest.raises(OSError, match="No space left") as caught:
            await get(cdn.add("/clip.mp4", answer(BODY)), full)
        assert not isinstance(caught.value, FetchError)


# ---- redirects --------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_redirects_are_followed_a_few_times(cdn):
    cdn.add("/clip.mp4", answer(BODY))
    cdn.add("/2", redirect("/clip.mp4", status="307 Temporary Redirect"))
    cdn.add("/1", redirect(cdn.url("/2"), status="301 Moved Permanently"))
    url = cdn.add("/0", redirect("1"))
    assert (await fetch(url))[1] == BODY
    assert await fault(cdn.add("/-1", redirect("/0"))) is FetchFault.NETWORK
    assert await fault(cdn.add("/loop", redirect("/loop"))) is FetchFault.NETWORK


@pytest.mark.anyio
@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/", "file:///etc/passwd", "https://evil.example/", "//10.0.0.1/", "http://[::"],
)
async def test_each_hop_is_checked_like_the_first(cdn, connections, location):
    assert await fault(cdn.add("/clip.mp4", redirect(location))) is FetchFault.FORBIDDEN_URL
    assert {address[1] for address in connections} == {cdn.server_address[1]}


@pytest.mark.anyio
async def test_a_redirect_to_nowhere_is_a_fault_of_the_network(cdn):
    assert await fault(cdn.add("/clip.mp4", answer(b"", status="302 Found"))) is FetchFault.NETWORK


# ---- leaving ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("says", [b"", answer(BODY[:1000], length=len(BODY))])
async def test_a_cancelled_download_ends_before_its_caller_goes_on(cdn, says):
    """No thread is left writing to the file, and a silent server holds nobody up."""
    url = cdn.add("/clip.mp4", says, stalls=True)
    sink = io.BytesIO()
    limiter = anyio.CapacityLimiter(1)
    get = threaded_fetch(LOCAL, limiter=limiter)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, url, sink)
            await to_thread.run_sync(cdn.stalled.wait)
            tasks.cancel_scope.cancel()
    assert limiter.borrowed_tokens == 0
    assert await to_thread.run_sync(cdn.left.wait, 5)
    sink.close()  # nobody writes any more


@pytest.mark.anyio
async def test_no_more_downloads_at_once_than_the_limiter_has_room_for(cdn):
    for path in ("/1", "/2", "/3"):
        cdn.add(path, b"", stalls=True)
    limiter = anyio.CapacityLimiter(1)
    get = threaded_fetch(LOCAL, limiter=limiter)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for path in ("/1", "/2", "/3"):
                tasks.start_soon(get, cdn.url(path), io.BytesIO())
            await to_thread.run_sync(cdn.stalled.wait)
            while limiter.statistics().tasks_waiting < 2:
                await anyio.lowlevel.checkpoint()
            assert len(cdn.requests) == 1
            tasks.cancel_scope.cancel()


# ---- TLS --------------------------------------------------------------------------------------------------------


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


# ---- the intake, for any fetch ------------------------------------------------------------------------------------


def test_the_intake_refuses_a_body_that_is_shorter_or_longer_than_announced():
    for announced in (3, 5):
        intake = Intake(io.BytesIO(), max_bytes=10)
        intake.take(b"four")
        with pytest.raises(FetchError, match=f"4 of {announced} bytes"):
            intake.close(announced=announced)


def test_the_intake_writes_nothing_beyond_the_cap():
    sink = io.BytesIO()
    intake = Intake(sink, max_bytes=6)
    intake.take(b"four")
    with pytest.raises(FetchError, match="larger than 6 bytes"):
        intake.take(b"four")
    assert sink.getvalue() == b"four"
