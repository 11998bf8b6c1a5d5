"""The manifest as pydantic models: the one source of its keys, types, documentation and JSON Schema. Pure.

The parameters of a request stand here under the API's own names. What a single model of Kling takes is not
said here but in `batcher.catalog`.
"""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model, model_validator
from pydantic.json_schema import GenerateJsonSchema

from batcher.manifest.fields import (
    MAX_PROMPT,
    CameraMove,
    CfgScale,
    ClipSeconds,
    Cron,
    Directory,
    Id,
    Job,
    MaxFailures,
    Mode,
    ModelName,
    NotifyUrl,
    Ratio,
    Seconds,
    Strict,
    Template,
    Text,
    Timezone,
    wrong,
)

OWNED = frozenset({"callback_url", "external_task_id", "model", "prompt"})
"""Request fields that batcher sets itself; `model` is the old name of `model_name`, which gateways read."""


class CameraMoves(Strict):
    """How the camera moves; exactly one of the six is not zero."""

    horizontal: CameraMove = 0
    vertical: CameraMove = 0
    pan: CameraMove = 0
    tilt: CameraMove = 0
    roll: CameraMove = 0
    zoom: CameraMove = 0

    @model_validator(mode="after")
    def _one_move(self) -> CameraMoves:
        moves = [name for name, value in self if value]
        if len(moves) != 1:
            what = " and ".join(moves) or "none"
            raise wrong("E105", f"exactly one move must be other than zero, not {what}", "keep one, as in zoom: 5")
        return self


class CameraControl(Strict):
    """A camera movement: `simple` with its `config`, or a preset without."""

    type: Literal["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"]
    config: CameraMoves | None = None

    @model_validator(mode="after")
    def _config_goes_with_simple(self) -> CameraControl:
        if self.type == "simple" and self.config is None:
            raise wrong("E106", "type simple needs a config", "add config: {zoom: 5}")
        if self.type != "simple" and self.config is not None:
            raise wrong("E114", f"type {self.type} takes no config", "remove config, or use type: simple")
        return self


class WatermarkInfo(Strict):
    enabled: bool


class Shot(Strict):
    """One shot of a clip of several."""

    index: Annotated[int, Field(ge=1, le=6)]
    prompt: Annotated[str, Field(min_length=1, max_length=512)]
    duration: ClipSeconds


class Voice(Strict):
    voice_id: Annotated[str, Field(min_length=1)]


class Parameters(Strict):
    """What the API takes beside the prompt, under its own names. `null` unsets what came from `defaults`."""

    model_name: ModelName | None = None
    """The model, for instance kling-v1-6. Without it the API takes kling-v1."""
    mode: Mode | None = None
    """std (720p), pro (1080p) or 4k; which of them depends on the model."""
    duration: ClipSeconds | None = None
    """Seconds: 5 or 10; kling-v3 takes 3 to 15."""
    aspect_ratio: Ratio | None = None
    """Width to height. CometAPI names all seven, Kling's own page the first three."""
    negative_prompt: str | None = None
    """What must not be seen; at most 200 characters. A template."""
    cfg_scale: CfgScale | None = None
    """0 to 1: how closely the prompt is followed. Not for kling-v2 models."""
    sound: Literal["on", "off"] | None = None
    """From kling-v2-6 on, there with mode pro only."""
    camera_control: CameraControl | None = None
    """Only kling-v1 in mode std for 5 seconds."""
    watermark_info: WatermarkInfo | None = None
    """Whether a watermarked copy is made too."""
    multi_shot: bool | None = None
    """Several shots in one clip (kling-v3); needs shot_type."""
    shot_type: Literal["customize", "intelligence"] | None = None
    """Who plans the shots: you in multi_prompt, or the model."""
    multi_prompt: Annotated[list[Shot], Field(min_length=1, max_length=6)] | None = None
    """The shots, for shot_type customize; their durations add up to the clip's."""
    voice_list: Annotated[list[Voice], Field(max_length=2)] | None = None
    """Voices for sound: on, named <<<voice_1>>> in the prompt."""


PARAMETERS = tuple(Parameters.model_fields)
"""The names the API knows; every other name on an axis, in a row or in a prompt entry is a variable."""


def _passed_through(values: Any) -> Any:
    for name in values if isinstance(values, dict) else ():
        if name in OWNED:
            raise wrong("E113", f"{name} is set by batcher and cannot be passed", f"remove {name}")
        if name in PARAMETERS:
            raise wrong("E113", f"{name} is a known parameter", f"write {name} beside `params`, not in it")
    return values


RESERVED = frozenset({"job", "edition", "take", "axes", "today", "week", "month"})
"""Names that templates get from batcher; axes, columns and `vars` cannot have them."""


class Settings(Parameters):
    """Parameters, and under `params` what a newer API takes and this version does not know."""

    params: Annotated[dict[str, Any], BeforeValidator(_passed_through)] | None = None
    """Fields passed to the API untouched and unchecked."""


class AxesBase(Strict):
    """Lists of values under names of yours."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[list[Text], Field(min_length=1)]] = Field(init=False)


if TYPE_CHECKING:

    class Axes(AxesBase):
        """As below; a type checker cannot see through `create_model`."""

else:
    Axes = create_model(
        "Axes",
        __base__=AxesBase,
        __doc__="Lists of values by name. Names the API knows are parameters, others are variables.",
        **{
            name: (Annotated[list[field.annotation], Field(min_length=1)] | None, None)
            for name, field in Parameters.model_fields.items()
        },
    )


class Combination(Parameters):
    """Values by name: parameters, and variables of yours."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Text] = Field(init=False)


class Matrix(Axes):
    """Every combination of the axes, by the rules of GitHub Actions: exclude first, then include."""

    exclude: list[Combination] = Field(default_factory=list)
    """Combinations left out: those that have all of these values."""
    include: list[Combination] = Field(default_factory=list)
    """Added to each combination whose axes it does not change; else a combination of its own."""


class PromptFields(Settings):
    """What a prompt entry, a file entry and a row have in common."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Text] = Field(init=False)

    id: Id | None = None
    """Names the clips, as a template; made from the words of the prompt where it is missing."""
    zip: Axes | None = None
    """Axes walked together, here only."""
    priority: int = 0
    """Higher goes first."""


class PromptEntry(PromptFields):
    """One prompt with its own parameters. Any other key is a variable for its templates."""

    prompt: Template
    """What is to be seen, at most 500 characters. A template."""


class FileEntry(PromptFields):
    """Prompts from a file: one a row (.csv, .jsonl), one a line (.txt), or one a file (a glob of .txt)."""

    file: Template
    """A path or glob, relative to the manifest."""
    template: Template | None = None
    """A template for the prompts; columns are variables, a line's or file's own text is {{ prompt }}."""


PROMPT_KINDS = ("text", "prompt", "file")


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "file" if isinstance(value, FileEntry) or (isinstance(value, dict) and "file" in value) else "prompt"


Prompt = Annotated[
    Annotated[Template, Tag("text")] | Annotated[PromptEntry, Tag("prompt")] | Annotated[FileEntry, Tag("file")],
    Discriminator(_kind),
]


class OverrideSet(Settings):
    """What an override changes."""

    priority: int | None = None
    """Higher goes first."""


class Override(Strict):
    """Changes the tasks that have all values of `when`; later ones win."""

    when: Combination
    """Values to match: id, take, parameters and variables."""
    set: OverrideSet


class Output(Strict):
    """Where clips go."""

    dir: Directory = "out"
    """The folder for all jobs; each job has its own in it."""
    name: Template | None = None
    """A template for paths below `dir`; the last part is the task's name."""


class Run(Strict):
    """How it runs. A flag of the same name wins."""

    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """At most so many clips at the provider at once; found out by itself where it is missing."""
    timeout: Seconds = 1800.0
    """How long a clip may take before it counts as overdue: 30m."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 1
    """Purchases per clip: more than 1 buys again after a failure of the provider."""
    fail_fast: bool = False
    """Submit nothing more after the first failure."""
    max_failures: MaxFailures | None = None
    """Submit nothing more after so many failures: 5 or 20%."""
    quiet_window: Seconds | None = None
    """How long a submission of unknown fate rests before it is looked up: 120s."""
    prompt_limit: Annotated[int, Field(ge=1, le=MAX_PROMPT)] | None = None
    """Characters a prompt may have: 500; raise it (to 2500) for a gateway that follows Kling's own page. Then
    negative_prompt may be as long, instead of 200."""


class Budget(Strict):
    """What may be spent. Prices are estimates where CometAPI publishes none."""

    max_usd: Annotated[float, Field(gt=0)] | None = None
    """For this job and edition, all runs and attempts together."""
    max_usd_per_day: Annotated[float, Field(gt=0)] | None = None
    """For the account, by UTC day."""
    max_tasks: Annotated[int, Field(ge=1)] | None = None
    """At most so many clips for this job and edition."""


class Notify(Strict):
    """A message to a web address."""

    on: Annotated[list[Literal["started", "failed", "finished", "stopped"]], Field(min_length=1)]
    """When to send it."""
    url: NotifyUrl
    """A web address, or ${NAME} for one that is kept in the environment."""


class Schedule(Strict):
    """When it is meant to run; `batcher schedule` writes the files for that."""

    cron: Cron | None = None
    """Minute, hour, day, month, weekday."""
    timezone: Timezone = "UTC"
    """The time zone of `cron` and of {{ today }}."""


class ManifestFile(Strict):
    """A file of prompts for batcher. Keys that begin with x- are ignored."""

    version: Literal[1] = 1
    """The version of this format."""
    job: Job | None = None
    """Names the job: its folder and its rows in the state. The file's name where it is missing."""
    provider: Literal["simulator", "cometapi"] | None = None
    """Who makes the clips, and who is paid: simulator (free) where it is missing."""
    edition: Template | None = None
    """Part of a task's identity: a new edition makes new clips. A template of today, week and month."""
    defaults: Settings = Settings()
    """Parameters of every prompt."""
    vars: dict[str, Text] = Field(default_factory=dict)
    """Variables for the templates."""
    prompts: Annotated[list[Prompt], Field(min_length=1)]
    """What to make: text, a mapping with `prompt`, or a mapping with `file`."""
    matrix: Matrix = Matrix()
    """Axes multiplied with each other and with every prompt."""
    zip: Axes | None = None
    """Axes of equal length walked together, multiplied with the rest."""
    takes: Annotated[int, Field(ge=1, le=100)] = 1
    """The same request rendered so many times."""
    overrides: list[Override] = Field(default_factory=list)
    """Changes to single tasks, applied last."""
    output: Output = Output()
    run: Run = Run()
    budget: Budget = Budget()
    notify: list[Notify] = Field(default_factory=list)
    """Messages to web addresses."""
    schedule: Schedule = Schedule()


class _JsonSchema(GenerateJsonSchema):
    """The docstring under a field is its description.

    pydantic would read them by itself (`use_attribute_docstrings`), but whenever the models are made: at the start of
    each run, which needs none, for a seventh of the time that all models take.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._docstrings = _docstrings()

    def model_schema(self, schema: Any) -> Any:
        made = super().model_schema(schema)
        model = schema["cls"]
        for each in (Parameters, *reversed(model.__mro__)) if issubclass(model, Axes) else reversed(model.__mro__):
            for name, words in self._docstrings.get(each.__name__, {}).items():
                made["properties"][name]["description"] = words
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's signature
        return False


def _docstrings() -> dict[str, dict[str, str]]:
    """The docstrings under the fields of this module's classes."""
    found: dict[str, dict[str, str]] = {}
    for each in ast.parse(inspect.getsource(sys.modules[__name__])).body:
        if isinstance(each, ast.ClassDef):
            found[each.name] = {
                field.target.id: inspect.cleandoc(under.value.value)
                for field, under in pairwise(each.body)
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                if isinstance(under, ast.Expr) and isinstance(under.value, ast.Constant)
                if isinstance(under.value.value, str)
            }
    return found


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest, for editors; what needs the whole file is left to `batcher check`."""
    schema = ManifestFile.model_json_schema(schema_generator=_JsonSchema)
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **schema,
        "title": "batcher manifest",
        "patternProperties": {"^x-": {}},
    }
