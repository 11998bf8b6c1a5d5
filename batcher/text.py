"""Text on its way to people: made safe to print, to paste, to put on a page; and numbers made readable. Pure."""

from __future__ import annotations

import html
import re
import shlex
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that steer a terminal or reorder what is read: controls, bidi marks, separators."""


_ORDER = re.compile(r"^\s*:(?=:)|##(?=\[)")
"""How a line of a log becomes an order to GitHub Actions: `::error::` at its beginning, `##[error]` anywhere."""


def printable(text: str) -> str:
    r"""`text` with every control, invisible or reordering character written out (`\x1b`, `\u202e`).

    For everything that is not ours (prompts, replies, file names) on its way to a terminal or a log. Line
    breaks and tabs are written out too: what is printed stays on its line. Nor is it an order to the machine that
    reads the log.
    """
    if not text.isprintable():
        text = "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in text)
    if "::" in text or "##[" in text:
        text = _ORDER.sub(lambda found: found[0][:-1] + _escaped(found[0][-1]), text)
    return text


def printable_lines(text: str) -> str:
    """Several lines of ours, each with text from outside in it, made printable line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))


def no_orders(json_text: str) -> str:
    """JSON that means the same, without `##[`, which GitHub Actions would obey wherever it stands in a log."""
    return json_text.replace("##[", "\\u0023#[")


def command(*words: str) -> str:
    """A command of batcher's as it can be pasted into a shell, whatever its words hold. Empty words are left out."""
    return shlex.join(["batcher", *filter(None, map(printable, words))])


def html_text(text: str) -> str:
    """`text` for an HTML page: between tags, or in a quoted attribute that is no address."""
    return html.escape(printable(text), quote=True)


def spreadsheet_cell(text: str) -> str:
    """`text` for a CSV cell: what a spreadsheet would run as a formula gets an apostrophe before it.

    Quotes around a cell do not help against that. The characters are those of OWASP's page on CSV injection.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def redact_url(url: str) -> str:
    """`url` without user, password, query and fragment: the parts that hold secrets."""
    return re.sub(r"(?<=//)[^/]*@", "", re.split(r"[?#]", url, maxsplit=1)[0])


def human_bytes(count: int) -> str:
    """`4.2 MB`: decimal units, as download sizes are written."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def human_duration(seconds: float) -> str:
    """`4.2s`, `42s`, `1m03s`, `2h05m`, `3d04h`: two units at most."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def human_usd(usd: float) -> str:
    """`$1,234.50`; amounts under a cent keep the digit that matters."""
    if 0 < usd < 0.005:
        return f"${usd:.4f}"
    return f"${usd:,.2f}"
