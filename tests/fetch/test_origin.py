"""Which URLs are refused before any packet is sent."""

from __future__ import annotations

import pytest
from assets.cdn import answer, redirect

from batcher.fetch import (
    FetchError,
    FetchFault,
    FetchPolicy,
    Target,
    check_address,
    check_url,
)
from fetch.asking import BODY, LOCAL, STRICT, fault, fetch

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
