"""`batcher verify` in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.report.layout import columns, next_lines

if TYPE_CHECKING:
    from batcher.report.views import VerifyView


def verify_text(view: VerifyView) -> str:
    """Word what was found, all of it."""
    rows = [(trouble.name, trouble.what, trouble.path, trouble.ailment) for trouble in view.troubles]
    wrong = f", {len(rows)} not as recorded" if rows else ""
    return "\n".join([*columns(rows), f"{view.files} files: {view.whole} whole{wrong}", *next_lines(view.next)])
