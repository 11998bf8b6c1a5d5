"""The types of the manifest's values: what each may be, in the words of its error. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from batcher.manifest.values import as_text, shown
from batcher.times import DURATION, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PROMPT = 3072
"""The most any Kling text-to-video page allows; CometAPI's allows 500."""


class Strict(BaseModel):
    """No conversions, no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


def wrong(code: str, message: str, hint: str | None = None) -> PydanticCustomError:
    """An error of ours in the midst of pydantic's: `code` is one of `problems.CODES`."""
    # The message goes in as context, as its own braces would be taken for placeholders.
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


def _scalar(value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        raise wrong("E104", f"must be text, a number or true/false, not {shown(value)}")
    return as_text(value)


Text = Annotated[str, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""Any scalar, as the text that templates see."""


def _seconds(value: Any) -> float:
    """Seconds in `90`, `120s`, `30m`, `5h` or `2d`."""
    try:
        return seconds(str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value)
    except (ValueError, TypeError) as exc:
        raise wrong("E114", f"{shown(value)} is not a time", "write 90, 120s, 30m, 5h or 2d") from exc


Seconds = Annotated[
    float,
    PlainValidator(_seconds),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": f"^{DURATION}$"}]}
    ),
]


def _clip_seconds(value: Any) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[1-9][0-9]?", text) or int(text) > 60:
        raise wrong(
            "E114", f"{shown(value)} is not a whole number of seconds", "write 5 or 10; kling-v3 takes 3 to 15"
        )
    return text


ClipSeconds = Annotated[
    str,
    PlainValidator(_clip_seconds),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 60}, {"type": "string", "pattern": "^[1-9][0-9]?$"}]}
    ),
]
"""The API takes text here and refuses numbers, so text is what it becomes."""


def _share(value: Any) -> int | float:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(\.\d+)?)%", value)) and 0 < float(match[1]) <= 100:
        return float(match[1]) / 100
    raise wrong("E114", f"{shown(value)} is neither a count nor a percentage", "write 5 or 20%")


MaxFailures = Annotated[
    int | float,
    PlainValidator(_share),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d+(\.\d+)?%$"}]}),
]
"""An int counts tasks, a float is a share of them: `5`, `20%` = 0.2."""


def _whole(value: float) -> float:
    return int(value) if value.is_integer() else value  # what was written 1 is sent as 1, not as 1.0


def _number(least: float, most: float) -> Any:
    return Annotated[float, Field(ge=least, le=most), AfterValidator(_whole)]


def _matching(pattern: str, message: str, hint: str) -> Any:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise wrong("E114", f"{shown(text)} {message}", hint)
        return text

    return Annotated[str, AfterValidator(check), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})]


def _checked(check: Callable[[str], str]) -> Any:
    return Annotated[str, AfterValidator(check)]


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        hint = "write a name such as Europe/Berlin, or UTC" if available_timezones() else "pip install tzdata"
        raise wrong("E114", f"{shown(name)} is not a time zone of this machine", hint) from None
    return name


def _notify_url(url: str) -> str:
    if name := re.fullmatch(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", url):
        if name[1].upper().startswith(("COMETAPI_", "BATCHER_")):
            raise wrong("E112", f"{url} is not given to other sites", "name a variable made for this url")
        return url
    if "${" in url:
        raise wrong("E112", "a variable must be the whole url", "write url: ${NAME}, or the url itself")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise wrong("E114", f"{shown(url)} is not a web address", "write https://... or ${NAME}")
    return url


def _directory(path: str) -> str:
    if not path or "\0" in path:
        raise wrong("E114", "is not a folder", "write out")
    return path


def _some(text: str) -> str:
    if not text.strip():
        raise wrong("E105", "is empty", "write some text, or remove the key")
    return text


Template = _checked(_some)
"""Text with `{{ name }}` in it, rendered for each task."""
Id = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),  # `"id": 7` in a JSON line
    AfterValidator(_some),
    WithJsonSchema({"type": ["string", "integer"]}),
]
Job = _matching(
    "[a-z0-9][a-z0-9-]{0,62}",
    "is not a job name",
    "use a-z, 0-9 and -, at most 63 characters: autumn-launch",
)
Cron = _matching(r"(@(hourly|daily|weekly|monthly)|\S+( +\S+){4})", "is not a cron line", 'write "0 2 * * *"')
Timezone = _checked(_timezone)
NotifyUrl = _checked(_notify_url)
Directory = _checked(_directory)

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Mode = Literal["std", "pro", "4k"]
Ratio = Literal["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3"]
CfgScale = _number(0, 1)
CameraMove = _number(-10, 10)
