"""The real command against a hostile provider, CDN and environment: a sample of tests/chaos for every day."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

CREATES = ("taken reset", "lost reset", "taken 307 to elsewhere", "taken portal", "lost 504", "taken nested gzip")
LOOKS = ("echo", "another's", "302 to elsewhere", "depth", "strange word", "cookie", "big head", "portal")
CLIPS = ("cut body", "svg as video", "302 to elsewhere", "nested gzip", "500")


def test_one_of_each_sort_of_lie(siege):
    """Lost, cut and lying answers to creates, looks and downloads: each clip is paid once and comes home."""
    besieged = siege(len(CREATES) + len(LOOKS) + 1)
    besieged.enemy.faults = {
        "create": iter(("honest", "lost echo", *CREATES)),
        "look": iter(("honest", "honest", *LOOKS)),
        "clip": iter(CLIPS),
    }
    ended = besieged.run("-v", "-j", "30")
    assert ended.code == 0, ended.err
    besieged.assert_safe(ended)
    besieged.assert_all_home()
    assert besieged.enemy.books.met.total() == 1 + len(CREATES) + len(LOOKS) + len(CLIPS)
    assert ended.peak_mb < 300


def test_no_verb_says_or_leaves_a_secret(siege):
    """Echoes of the key, signed URLs in messages, Python's own development mode: none of it is printed or kept."""
    besieged = siege(4)
    besieged.enemy.faults = {
        "create": iter(("honest", "lost echo", "taken 500", "taken fin")),
        "look": iter(("honest", "honest", "500", "echo", "strange word", "no video")),
        "clip": iter(("302 to elsewhere", "404", "svg as video")),
    }
    said = [
        besieged.run("--json", "-v", PYTHONDEVMODE="1"),
        besieged.run("-v"),
        *(
            besieged.command(*words)
            for words in (
                ("status", "--json"),
                ("show", "wall-1-t1"),
                ("collect", "-v"),
                ("doctor",),
            )
        ),
    ]
    besieged.assert_safe(*said)
    besieged.assert_all_home()
    assert '"schema": 1' in said[0].out


def test_proxies_and_netrc_of_the_environment_get_nothing(siege, tmp_path):
    """Variables that other programs obey: nobody connects to the proxy, and no stored password is sent."""
    besieged = siege(2)
    proxy = besieged.enemy.url("elsewhere")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password netrc-canary\n")
    (tmp_path / ".netrc").chmod(0o600)
    names = ("http_proxy", "https_proxy", "all_proxy")
    environment = {each: proxy for name in names for each in (name, name.upper())}
    environment |= {"ALL_PROXY": proxy.replace("http:", "socks5:"), "NO_PROXY": "", "HOME": str(tmp_path)}
    ended = besieged.run("-v", **environment)
    assert ended.code == 0, ended.err
    besieged.assert_all_home()
    assert not besieged.enemy.books.connections["elsewhere"]
    assert all(raw.lower().count(b"authorization:") == 1 for raw in besieged.enemy.books.at("api"))
    assert not any(b"Basic " in raw or b"netrc-canary" in raw for raw in besieged.enemy.books.at("api", "cdn"))


@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_certificates_that_cannot_be_read_end_it_before_anything_is_sent(siege, tmp_path, content):
    """SSL_CERT_FILE names a file that is missing or no PEM: one line, exit 78, no traceback, no packet."""
    besieged = siege(1)
    broken = tmp_path / "broken.pem"
    if content:
        broken.write_text(content)
    url = besieged.enemy.url("api").replace("http:", "https:")
    ended = besieged.run(COMETAPI_BASE_URL=url, SSL_CERT_FILE=str(broken))
    assert ended.code == 78
    assert f"SSL_CERT_FILE={broken}" in ended.err
    assert not besieged.enemy.books.connections
    besieged.assert_safe(ended)
