"""What a person types becomes the address to post to; its secret end is shown to nobody."""

from __future__ import annotations

import pytest

from batcher.callbacks.address import full_url, hidden, own_port, with_port
from batcher.errors import UsageError

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://host.example", "https://host.example"),
        ("https://host.example/", "https://host.example"),
        ("https://host.example:8443/hooks/", "https://host.example:8443/hooks"),
        (f"https://host.example/callback/{TOKEN}", "https://host.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:0", "http://localhost:0"),
    ],
)
def test_the_beginning_is_enough_and_the_whole_is_taken(given, base):
    assert full_url(given, TOKEN) == f"{base}/callback/{TOKEN}"


@pytest.mark.parametrize(
    "given",
    [
        "host.example",
        "ftp://host.example",
        "https://",
        "https://host.example:99999",
        "https://[::1",
        "https://user:pass@host.example",
        "https://host.example/?a=b",
        "https://host.example/#x",
        "https://host.example/a b",
        "https://host.example/\u00fc",
        "http://host.example",
        "https://host.example/" + "x" * 2_000,
        f"https://host.example/callback/{TOKEN[::-1]}",
    ],
)
def test_what_cannot_be_is_an_error_that_shows_no_secret(given):
    with pytest.raises(UsageError) as told:
        full_url(given, TOKEN)
    assert told.value.hint
    said = told.value.message + told.value.hint
    assert TOKEN not in said
    assert TOKEN[::-1] not in said
    assert "pass" not in said


def test_six_characters_are_shown():
    assert hidden(f"http://h/callback/{TOKEN}", TOKEN) == "http://h/callback/012345..."
    assert hidden(f"http://h/callback/{TOKEN}/x") == "http://h/callback/012345.../x"


def test_a_loopback_address_says_where_to_listen():
    assert own_port("https://host.example:8443/callback/x") is None
    assert own_port("http://127.0.0.1:8080/callback/x") == 8080
    assert own_port("http://localhost/callback/x") == 80
    assert with_port("http://127.0.0.1:0/callback/x", 5000) == "http://127.0.0.1:5000/callback/x"
    assert with_port("http://127.0.0.1:8080/callback/x", 5000) == "http://127.0.0.1:8080/callback/x"
