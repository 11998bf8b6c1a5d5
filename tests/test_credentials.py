from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.credentials import clean_key, key_fingerprint, normalise_base_url, scope_of
from batcher.errors import ConfigurationError, MissingKeyError

KEY = "sk-test-0001"


class TestKey:
    @pytest.mark.parametrize("text", ["sk-1\n23", "sk-ü23", "sk 123", "sk-\x00", "sk-1\u200b"])
    def test_a_key_that_fits_no_header_is_refused_without_being_quoted(self, text):
        with pytest.raises(ConfigurationError) as caught:
            clean_key(text)
        assert text not in f"{caught.value!r} {caught.value.hint}"

    @pytest.mark.parametrize("text", ["", " \n"])
    def test_an_empty_key_is_a_missing_one(self, text):
        with pytest.raises(MissingKeyError):
            clean_key(text)

    def test_blanks_around_a_key_are_not_part_of_it(self):
        assert clean_key(" sk-1\r\n") == "sk-1"

    def test_a_fingerprint_is_the_start_of_the_hash(self):
        assert key_fingerprint(KEY) == hashlib.sha256(KEY.encode()).hexdigest()[:12]


class TestBaseUrl:
    @pytest.mark.parametrize(
        ("text", "normal"),
        [
            ("https://api.cometapi.com", "https://api.cometapi.com"),
            (" https://API.CometAPI.com:443/v1/ ", "https://api.cometapi.com"),
            ("https://gw.example:8443/proxy/", "https://gw.example:8443/proxy"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://127.0.0.1:80/", "http://127.0.0.1"),
            ("http://[::1]:9/v1", "http://[::1]:9"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ],
    )
    def test_one_address_has_one_spelling(self, text, normal):
        assert normalise_base_url(text) == normal
        assert normalise_base_url(normal) == normal

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "api.cometapi.com",
            "http://api.cometapi.com",
            "http://127.0.0.1.evil.example",
            "http://10.0.0.1",
            "ftp://api.cometapi.com",
            "file:///etc/passwd",
            "https://",
            "https://user:secret@api.cometapi.com",
            "https://api.cometapi.com\\@evil.example",
            "https://api.cometapi.com?token=secret",
            "https://api.cometapi.com/#x",
            "https://api.cometapi.com\n.evil.example",
            "https://api.cometapi.com:port",
            "https://api.cometapi.com:99999",
            "https://" + "a" * 70 + ".example",
            "https://api.cometapi.com/../x",
            "https://[::1",
        ],
    )
    def test_anything_else_is_refused_without_its_secrets(self, text):
        with pytest.raises(ConfigurationError) as caught:
            normalise_base_url(text)
        assert "secret" not in str(caught.value)
        assert caught.value.hint

    @given(st.text())
    def test_no_text_makes_it_fail_in_another_way(self, text):
        for candidate in (text, f"https://{text}", f"https://api.example/{text}"):
            try:
                normal = normalise_base_url(candidate)
            except ConfigurationError:
                continue
            assert normalise_base_url(normal) == normal


class TestScope:
    @pytest.mark.parametrize(
        ("url", "scope"),
        [
            ("https://api.cometapi.com", "cometapi"),
            ("https://API.cometapi.com:443/v1/", "cometapi"),
            ("https://gw.example", "cometapi@https://gw.example"),
            ("http://127.0.0.1:8000/v1", "cometapi@http://127.0.0.1:8000"),
        ],
    )
    def test_a_world_has_one_name(self, url, scope):
        assert scope_of(url) == scope

    def test_a_bad_url_has_none(self):
        with pytest.raises(ConfigurationError):
            scope_of("http://gw.example")
