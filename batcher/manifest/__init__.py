"""Text -> Manifest -> tasks, in a stream; what is wrong carries its file, line and column."""

from batcher.manifest.check import Checked, check, examine
from batcher.manifest.load import load
from batcher.manifest.manifest import Budget, LoadOptions, Manifest, Notify, RunSettings, Schedule
from batcher.manifest.pricefile import read_prices
from batcher.manifest.problems import (
    CODES,
    ManifestError,
    Place,
    Problem,
    Problems,
    render_github,
    render_json,
    render_text,
)
from batcher.manifest.schema import json_schema

__all__ = [
    "CODES",
    "Budget",
    "Checked",
    "LoadOptions",
    "Manifest",
    "ManifestError",
    "Notify",
    "Place",
    "Problem",
    "Problems",
    "RunSettings",
    "Schedule",
    "check",
    "examine",
    "json_schema",
    "load",
    "read_prices",
    "render_github",
    "render_json",
    "render_text",
]
