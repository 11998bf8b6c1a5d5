"""Who signed a callback, when, and whether it was seen before: Standard Webhooks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.callbacks import signature
from batcher.callbacks.signature import TOLERANCE_S, Verifier, key_of
from batcher.simulator.callbacks import sign

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
NOW = 1781080794
BODY = (
    b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
)
HEADERS = {
    "webhook-id": "9876543210",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
}


def accepts(headers=HEADERS, body=BODY, *, now=NOW, secret=SECRET):
    return Verifier(secret).accepts(headers, body, now=now)


def test_the_official_example_is_accepted():
    """Kling's own page has this secret, message and signature (API notes, 6)."""
    assert accepts()
    assert accepts(secret=SECRET.removeprefix("whsec_"))
    assert accepts(secret=SECRET.rstrip("="))


@pytest.mark.parametrize("shift", [-TOLERANCE_S, TOLERANCE_S])
def test_five_minutes_either_way_are_the_limit(shift):
    assert accepts(now=NOW + shift)
    assert not accepts(now=NOW + shift + (1 if shift > 0 else -1))


def test_one_good_signature_among_several_is_enough():
    good = HEADERS["webhook-signature"]
    for words in (f"v1,AAAA {good}", f"v1a,AAAA v2,BBBB {good}", f"v1 nonsense {good} v1,%%%"):
        assert accepts(HEADERS | {"webhook-signature": words})


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-signature": "v1,VsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="},
        {"webhook-signature": "v2,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,\u00fc"},
        {"webhook-signature": "v1,x " * 2_000 + HEADERS["webhook-signature"]},
        {"webhook-id": "9876543211"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": f"{NOW}.0"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "\u0661"},
        {"webhook-timestamp": ""},
    ],
)
def test_anything_changed_is_refused(changed):
    assert not accepts(HEADERS | changed)


def test_another_body_or_secret_is_refused():
    assert not accepts(body=BODY + b" ")
    assert not accepts(secret="whsec_c2VjcmV0")
    assert not accepts({})


def test_a_repeated_message_is_refused_and_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(signature, "MAX_SEEN", 3)
    verifier = Verifier(SECRET)
    assert [verifier.accepts(HEADERS, BODY, now=NOW) for _ in range(2)] == [True, False]
    for number in range(3):
        headers = sign(SECRET, message_id=f"m{number}", timestamp=NOW, body=BODY)
        assert verifier.accepts(headers, BODY, now=NOW)
    assert len(verifier._seen) == 3


def test_a_forged_message_takes_nobodys_id_away():
    """Who knows a message's id and not the secret cannot make the real one count as repeated."""
    verifier = Verifier(SECRET)
    assert not verifier.accepts(HEADERS | {"webhook-signature": "v1,AAAA"}, BODY, now=NOW)
    assert verifier.accepts(HEADERS, BODY, now=NOW)


@pytest.mark.parametrize("secret", ["whsec_", "", "whsec_%%%", "whsec_\u00fc\u00fc\u00fc\u00fc"])
def test_what_is_no_secret_is_an_error(secret):
    with pytest.raises(ValueError, match=r".*"):
        key_of(secret)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(HEADERS)), st.text(max_size=50)), st.binary(max_size=50))
def test_no_headers_are_an_error(headers, body):
    assert Verifier(SECRET).accepts(headers, body, now=NOW) is False
