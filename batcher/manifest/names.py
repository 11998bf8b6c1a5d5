"""Ids, slugs and file names: text -> names that every file system takes and that stay distinct. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_NAME = 80
_WORDS = 32
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))})
"""Names that Windows keeps for itself, with any extension."""

_PLAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")


def slug(text: str) -> str:
    """`16:9` -> `16x9`, `Café au lait` -> `cafe-au-lait`. Text that loses letters gets a hash and stays distinct."""
    flat = re.sub(r"(?<=\d):(?=\d)", "x", _flat(text).lower())
    return _kept_distinct(re.sub(r"[^a-z0-9.]+|(?<!\d)\.|\.(?!\d)", "-", flat), text)


def file_part(text: str) -> str:
    """One part of a path: `[A-Za-z0-9._-]`, at most 80 characters, nothing hidden, no option, no device."""
    part = text if _PLAIN.fullmatch(text) else _kept_distinct(re.sub(r"[^A-Za-z0-9._-]+", "-", _flat(text)), text)
    if part.partition(".")[0].lower() in _DEVICES:
        part = f"_{part}"
    return cut(part, MAX_NAME)


def id_from_words(prompt: str) -> str:
    """The first words of a prompt, and a hash of it where that is not all of it.

    It depends on nothing but the prompt, so that reordering prompts renames none.
    """
    words = slug(prompt)
    if words == prompt.casefold().replace(" ", "-") and len(words) <= _WORDS:
        return words
    head = words[: _WORDS + 1].rpartition("-")[0] if len(words) > _WORDS else words
    return f"{head or words[:_WORDS]}-{_hash(prompt)}"


def cut(text: str, length: int) -> str:
    """`text`, or its beginning and a hash of all of it where it is longer."""
    return text if len(text) <= length else f"{text[: length - 7].rstrip('.-')}-{_hash(text)}"


def same_key(text: str) -> str:
    """What two names share that a file system or a reader would take for one."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _flat(text: str) -> str:
    """Letters without their accents."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _kept_distinct(mapped: str, text: str) -> str:
    mapped = re.sub(r"-{2,}", "-", mapped).lstrip(".-").rstrip(".-")
    lost = any(c.isalnum() and not c.isascii() for c in _flat(text))
    if not mapped:
        return _hash(text)
    return f"{mapped}-{_hash(text)}" if lost else mapped


def _hash(text: str) -> str:
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")).hexdigest()[:6]
