"""Renders the videos: soft lights adrift over a gradient, the prompt as caption, a badge that says SIMULATED.

Needs av and pillow; without them `SAMPLE` is served. `write_sample()` makes that file again.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.simulator.luck import luck

try:
    import av
    from PIL import Image, ImageDraw, ImageFont, ImageOps
except ImportError:
    CAN_RENDER = False
else:
    CAN_RENDER = True

if TYPE_CHECKING:
    from random import Random

SAMPLE = Path(__file__).with_name("sample.mp4")

_PIXELS = 512 * 288
_TICKS = 24  # a second; as the real clips
_FRAMES = 90  # about so many a clip: rendering must stay under 0.4 s of CPU
_CODEC = {"preset": "ultrafast", "crf": "28", "tune": "zerolatency"}
_BLUR = 4  # the lights are drawn this many times smaller, and blown up
_CAPTION_LINES = 4
_CACHED = 32
_RIM = 75  # what an inverted radial gradient still has in the middle of its sides; outside is no light
_FALL_OFF = [255 * (share := max(0, level - _RIM) / (255 - _RIM)) ** 2 * (3 - 2 * share) for level in range(256)]
_INDEX_BYTES = "8192"  # kept free at the front for the index (15 s need 3 kB): faststart would write the file twice


@dataclass(frozen=True, slots=True)
class _Light:
    """A soft disc on a slow circle."""

    colour: tuple[int, int, int]
    mask: Image.Image
    x: float
    """Where the circle's middle is, as a share of the frame's width; `y` of its height."""
    y: float
    swing: float
    """The circle's radius in pixels of the small picture."""
    phase: float
    pace: float
    """Radians a second."""


@lru_cache(maxsize=_CACHED)
def render(prompt: str, *, aspect_ratio: str = "16:9", seconds: int = 5, seed: str = "") -> bytes:
    """Return an MP4 (H.264, index first) of that ratio, `seconds` and one 24th long, as the real ones are.

    The same arguments give the same bytes, so that a download may go on where it broke off.
    """
    width, height = size(aspect_ratio)
    rng = luck(seed, prompt, aspect_ratio)
    across, down = width // _BLUR, height // _BLUR
    sky, lights = _sky(rng, across, down), _lights(rng, max(across, down))
    veil = _veil(prompt, width, height)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"moov_size": _INDEX_BYTES}) as container:
        stream = container.add_stream("libx264", rate=_TICKS, options=_CODEC)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        end = seconds * _TICKS
        for tick in (*range(0, end, math.ceil(end / _FRAMES)), end):
            picture = _picture(sky, lights, tick / _TICKS).resize((width, height), Image.Resampling.BILINEAR)
            picture.paste(veil, (0, 0), veil)
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]  # av has no types for it
            frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@cache
def sample() -> bytes:
    """Return the small clip that is served where nothing can be rendered."""
    return SAMPLE.read_bytes()


def stamped(text: str) -> bytes:
    """Return the small clip with `text` in a box that players skip: cheap, and another file for each text."""
    body = text.encode()
    return sample() + (8 + len(body)).to_bytes(4, "big") + b"free" + body


def padded(clip: bytes, size_bytes: int) -> bytes:
    """Return `clip` with a box that players skip, up to this size. The same bytes for the same clip."""
    missing = size_bytes - len(clip) - 8
    if missing < 0:
        return clip
    return clip + (8 + missing).to_bytes(4, "big") + b"free" + hashlib.shake_128(clip).digest(missing)


def size(aspect_ratio: str) -> tuple[int, int]:
    """Return width and height for a ratio such as `9:16`: even numbers, about as many pixels for each ratio."""
    across, down = map(int, aspect_ratio.split(":"))
    scale = math.sqrt(_PIXELS / (across * down))
    return round(across * scale / 2) * 2, round(down * scale / 2) * 2


def write_sample() -> None:
    """Render the file `sample` reads."""
    SAMPLE.write_bytes(render("A clip from the built-in simulator", seconds=5))


def _sky(rng: Random, across: int, down: int) -> Image.Image:
    hue = rng.random()
    top = Image.new("RGB", (across, down), _colour(hue, 0.85, 0.2))
    bottom = Image.new("RGB", (across, down), _colour(hue + rng.uniform(-0.12, 0.12), 0.85, 0.45))
    return Image.composite(bottom, top, Image.linear_gradient("L").resize((across, down)))


def _lights(rng: Random, side: int) -> list[_Light]:
    hue = rng.random()
    soft = ImageOps.invert(Image.radial_gradient("L"))
    lights = []
    for _ in range(5):
        diameter = round(side * rng.uniform(0.4, 0.8))
        strength = rng.uniform(0.7, 1.0)
        lights.append(
            _Light(
                colour=_colour(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.5, 0.85), rng.uniform(0.65, 0.95)),
                mask=soft.resize((diameter, diameter)).point([round(strength * level) for level in _FALL_OFF]),
                x=rng.random(),
                y=rng.uniform(0.1, 0.8),
                swing=side * rng.uniform(0.05, 0.2),
                phase=rng.uniform(0, math.tau),
                pace=rng.choice((-1, 1)) * rng.uniform(0.4, 1.0),
            )
        )
    return lights


def _picture(sky: Image.Image, lights: list[_Light], second: float) -> Image.Image:
    picture = sky.copy()
    for light in lights:
        angle, half = light.phase + light.pace * second, light.mask.width / 2
        x = light.x * sky.width + light.swing * math.cos(angle) - half
        y = light.y * sky.height + light.swing * math.sin(angle) - half
        picture.paste(light.colour, (round(x), round(y)), light.mask)
    return picture


def _veil(prompt: str, width: int, height: int) -> Image.Image:
    """Return what lies over every frame: a shade below, the caption in it, the badge."""
    veil = Image.new("RGBA", (width, height))
    shade = Image.linear_gradient("L").resize((width, height // 2)).point([level * 3 // 5 for level in range(256)])
    veil.paste((0, 0, 0, 255), (0, height - shade.height), shade)
    draw, margin = ImageDraw.Draw(veil), min(width, height) // 18
    font = ImageFont.load_default(max(13, min(width, height) // 17))
    lines = _wrapped(prompt, font, width - 2 * margin)
    caption = "\n".join(lines)
    below = height - margin
    draw.multiline_text((margin, below), caption, font=font, fill=(255, 255, 255, 235), anchor="ld")
    draw.text((margin, margin), "SIMULATED", font=ImageFont.load_default(12), fill=(255, 255, 255, 190), anchor="la")
    return veil


def _wrapped(prompt: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in prompt.encode(errors="replace").decode().split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return (
        lines if len(lines) <= _CAPTION_LINES else [*lines[: _CAPTION_LINES - 1], f"{lines[_CAPTION_LINES - 1]} ..."]
    )


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
