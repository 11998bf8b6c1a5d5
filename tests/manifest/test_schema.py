from __future__ import annotations

import json
from pathlib import Path

import pytest

import batcher
from batcher.manifest import json_schema
from batcher.manifest.schema import OWNED, PARAMETERS, RESERVED, ManifestFile

COMMITTED = Path(batcher.__file__).parent / "manifest.schema.json"


def test_the_committed_schema_is_the_one_of_the_models():
    """After a change of the models:  batcher schema > batcher/manifest.schema.json."""
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == json_schema()


def test_no_name_has_two_meanings():
    assert RESERVED.isdisjoint(PARAMETERS)
    assert OWNED.isdisjoint(PARAMETERS)


def test_every_key_is_documented():
    """An editor shows what a key is for."""

    def undocumented(schema, at=""):
        for name, field in schema.get("properties", {}).items():
            if "description" not in field and "$ref" not in field and at not in _PLAIN:
                yield f"{at}.{name}"

    schema = json_schema()
    found = list(undocumented(schema, "Manifest"))
    for name, part in schema["$defs"].items():
        found += undocumented(part, name)
    assert found == []


_PLAIN = {"CameraMoves", "WatermarkInfo", "Shot", "Voice", "CameraControl"}
"""Their names say it; what they stand for is said where they are used."""


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"prompts": []},
        {"prompts": ["a"], "promts": []},
        {"prompts": ["a"], "defaults": {"aspect_ratio": "21:9"}},
        {"prompts": ["a"], "defaults": {"duration": 5.5}},
        {"prompts": [{"prompt": "a", "cfg_scale": 2}]},
        {"prompts": ["a"], "matrix": {"mode": ["fast"]}},
        {"prompts": ["a"], "matrix": {"light": "dawn"}},
        {"prompts": ["a"], "run": {"timeout": "soon"}},
        {"prompts": ["a"], "job": "Autumn Launch"},
        {"prompts": ["a"], "provider": "kling"},
    ],
)
def test_an_editor_sees_what_the_models_refuse(bad):
    import jsonschema  # noqa: PLC0415 - used by this one test

    validator = jsonschema.Draft202012Validator(json_schema())
    assert not validator.is_valid(bad)
    with pytest.raises(ValueError, match="validation error"):
        ManifestFile.model_validate(bad)
