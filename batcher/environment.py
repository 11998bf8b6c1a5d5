"""Which provider, which account: flags, environment and `.env` made into one value. Reads, never writes.

Precedence: flag, environment, `.env`, manifest, default. The key comes from the environment or a file, never from a
flag or a manifest, and a base URL from a `.env` counts only with the key that stands in the same file: else a
stranger's `.env` could send your key to a server of theirs.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batcher.callbacks.signature import key_of
from batcher.credentials import BASE_URL, clean_key, is_loopback, key_fingerprint, normalise_base_url, scope_of
from batcher.errors import ConfigurationError, MissingKeyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIMULATOR = "simulator"
COMETAPI = "cometapi"
PROVIDERS = (SIMULATOR, COMETAPI)

SIMULATED_KEY = "sk-simulated-0000"
"""What a run shows the built-in simulator. Opens nothing anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One account at one provider."""

    provider: str
    scope: str
    key: str = field(repr=False)
    base_url: str | None
    """None: the built-in simulator, started when it is needed."""
    callback_url: str | None = field(default=None, repr=False)
    """Where the provider is asked to post when a generation moves; whole, its end is a secret."""
    notes: tuple[str, ...] = ()
    """What a person may have meant otherwise."""

    @property
    def is_simulated(self) -> bool:
        return self.provider == SIMULATOR

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        return self.base_url is None or is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def fingerprint(self) -> str:
        return key_fingerprint(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The process's environment over a `.env` file."""

    process: Mapping[str, str] = field(repr=False)
    file: Mapping[str, str] = field(default_factory=dict, repr=False)
    path: Path | None = None
    """Of the `.env` file."""

    @classmethod
    def read(cls, env_file: Path | None = None) -> Environment:
        """This process's environment, and `.env` in the working directory or the file named.

        Raises `UsageError` when a named file is not there.
        """
        path = env_file or Path(".env")
        if not path.is_file():
            if env_file is not None:
                raise UsageError(
                    f"--env-file {env_file}: no such file", hint="check the path, or leave --env-file out"
                )
            return cls(process=dict(os.environ))
        from dotenv import dotenv_values  # noqa: PLC0415 - most runs have no .env

        file = {name: value for name, value in dotenv_values(path).items() if value is not None}
        return cls(process=dict(os.environ), file=file, path=path)

    def get(self, name: str) -> str | None:
        return self.process.get(name) or self.file.get(name) or None

    def has_key(self) -> bool:
        return bool(self.get("COMETAPI_KEY") or self.get("COMETAPI_KEY_FILE"))

    def endpoint(self, provider: str, *, needs_key: bool = True) -> Endpoint:
        """The account to use. A plan needs no key, as it asks nobody.

        Raises `UsageError` for a provider nobody knows, `MissingKeyError` and `ConfigurationError` as they say.
        """
        if provider == SIMULATOR:
            return Endpoint(provider=SIMULATOR, scope=SIMULATOR, key=SIMULATED_KEY, base_url=None)
        if provider != COMETAPI:
            raise UsageError(f"no provider is called {provider!r}", hint=f"one of {', '.join(PROVIDERS)}")
        key, is_of_file, path = self._key() if needs_key or self.has_key() else ("none", True, None)
        base_url, notes = self.process.get("COMETAPI_BASE_URL"), []
        if path is not None and _is_open_to_others(path):
            notes.append(f"{path} holds the key, and others on this machine may read it: chmod 600 {path}")
        if not base_url and is_of_file:
            base_url = self.file.get("COMETAPI_BASE_URL")
        elif not base_url and self.file.get("COMETAPI_BASE_URL"):
            notes.append(
                "COMETAPI_BASE_URL in .env is not used, as the key does not stand there too:"
                f" requests go to {BASE_URL}"
            )
        base_url = normalise_base_url(base_url or BASE_URL)
        return Endpoint(
            provider=COMETAPI, scope=scope_of(base_url), key=clean_key(key), base_url=base_url, notes=tuple(notes)
        )

    def endpoint_of(self, scope: str, *, needs_key: bool = True) -> Endpoint:
        """The account that tasks of this scope belong to.

        Raises `ConfigurationError` where the environment now points somewhere else.
        """
        endpoint = self.endpoint(scope.partition("@")[0], needs_key=needs_key)
        if endpoint.scope != scope:
            raise ConfigurationError(
                f"these tasks belong to {scope}, but the base URL now is {endpoint.base_url}",
                hint=f"set COMETAPI_BASE_URL={scope.partition('@')[2] or BASE_URL}",
            )
        return endpoint

    def _key(self) -> tuple[str, bool, Path | None]:
        """The key, whether it stands in the `.env`, and the file that holds it, if one does.

        A path in the `.env` does not prove that its author knows the key.
        """
        for source in (self.process, self.file):
            if source.get("COMETAPI_KEY"):
                is_of_file = source is self.file
                return source["COMETAPI_KEY"], is_of_file, self.path if is_of_file else None
            if source.get("COMETAPI_KEY_FILE"):
                path = Path(source["COMETAPI_KEY_FILE"])
                return _read_key(path), False, path
        raise MissingKeyError(
            "provider cometapi needs an API key and there is none",
            hint="set COMETAPI_KEY (or COMETAPI_KEY_FILE), or rehearse for nothing: --provider simulator",
        )

    def asset_hosts(self) -> tuple[str, ...]:
        """`BATCHER_ASSET_HOSTS`: more hosts that clips may come from, beside Kling's own; a gateway may keep them.

        Names separated by commas; each stands for itself and what is below it.
        """
        text = self.get("BATCHER_ASSET_HOSTS") or ""
        hosts = tuple(host.strip().lower() for host in text.split(",") if host.strip())
        for host in hosts:
            if not re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*", host):
                raise ConfigurationError(
                    f"BATCHER_ASSET_HOSTS: {host!r} is no host name", hint="write it like cdn.example.com"
                )
        return hosts

    def callback_port(self) -> int | None:
        """`BATCHER_CALLBACK_PORT`: where a run listens for callbacks itself, at 127.0.0.1."""
        text = self.get("BATCHER_CALLBACK_PORT")
        if text is not None and not (re.fullmatch(r"[0-9]{1,5}", text) and int(text) < 2**16):
            raise ConfigurationError(
                f"BATCHER_CALLBACK_PORT: {text!r} is no port", hint="write a number up to 65535, like 8080"
            )
        return None if text is None else int(text)

    def webhook_secret(self) -> str | None:
        """`BATCHER_WEBHOOK_SECRET`, checked: with it only callbacks signed by Standard Webhooks count."""
        text = self.get("BATCHER_WEBHOOK_SECRET")
        if text is not None:
            try:
                key_of(text)
            except ValueError:
                raise ConfigurationError(
                    "BATCHER_WEBHOOK_SECRET is not base64", hint="copy it whole, as whsec_..., from the console"
                ) from None
        return text

    def namespace(self) -> str | None:
        """`BATCHER_NAMESPACE`, checked."""
        text = self.get("BATCHER_NAMESPACE")
        if text is not None and not re.fullmatch(r"[\x21-\x7e]{8,200}", text):
            raise ConfigurationError(
                "BATCHER_NAMESPACE must be 8 to 200 printable ASCII characters without blanks",
                hint="make one with: python3 -c 'import secrets; print(secrets.token_hex(16))'",
            )
        return text


_MAX_KEY_BYTES = 10_000


def _read_key(path: Path) -> str:
    """The file's text. It may be a pipe, as `<(pass show key)` is one; what is larger than any key is none."""
    hint = "point it at a file with the key alone"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES + 1)
    except OSError as exc:
        raise ConfigurationError(f"COMETAPI_KEY_FILE={path} cannot be read: {exc.strerror}", hint=hint) from exc
    if len(data) > _MAX_KEY_BYTES:
        raise ConfigurationError(f"COMETAPI_KEY_FILE={path} holds more than a key", hint=hint)
    return data.decode(errors="replace")


def _is_open_to_others(path: Path) -> bool:
    """Whether other users may read a file of ours. The machine's, as a container's secrets, are its business."""
    try:
        facts = path.stat()
    except OSError:
        return False
    ours = facts.st_uid == getattr(os, "geteuid", lambda: -1)()
    return ours and stat.S_ISREG(facts.st_mode) and bool(facts.st_mode & 0o077)
