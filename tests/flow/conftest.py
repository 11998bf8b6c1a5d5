from __future__ import annotations

import pytest
import trio
from trio import testing

from .harness import Lab


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def same_order_every_time(monkeypatch):
    """Trio shuffles the tasks that are ready; with a seed, what a test once showed it shows again."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    trio._core._run._r.seed(0)


@pytest.fixture(autouse=True)
def no_certificates_to_load(monkeypatch):
    """They take 30 ms a client, and nothing here speaks TLS."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make_lab(tmp_path):
    def make(**settings):
        return Lab(tmp_path, **settings)

    return make
