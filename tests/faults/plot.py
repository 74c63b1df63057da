"""Draws series over time, one panel each, into a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

_WIDTH: Final = 1200
_PANEL: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 34, 30
_INK, _GRID, _LINE, _MARK = "#222222", "#dddddd", "#1f6feb", "#f3d9a4"


@dataclass(frozen=True)
class Series:
    """One value at each of the plot's times."""

    title: str
    values: Sequence[float]


def draw(
    path: Path, title: str, times: Sequence[float], series: Sequence[Series], spans: Sequence[tuple[float, float]]
) -> None:
    """Write the PNG; `times` in seconds, ascending; `spans` (from, to) are shaded in every panel."""
    image = Image.new("RGB", (_WIDTH, 40 + _PANEL * len(series)), "white")
    pen = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    pen.text((_LEFT, 10), title, _INK, font)
    last = max(times[-1], 1.0)

    def across(time: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * time / last

    for number, one in enumerate(series):
        top = 40 + _PANEL * number + _TOP
        bottom = 40 + _PANEL * (number + 1) - _BOTTOM
        most = max(*one.values, 1.0) * 1.1
        for start, end in spans:
            pen.rectangle((across(start), top, max(across(end), across(start) + 1), bottom), _MARK)
        pen.text((_LEFT, top - 22), one.title, _INK, small)
        for share in (0.0, 0.5, 1.0):
            height = bottom - (bottom - top) * share
            pen.line((_LEFT, height, _WIDTH - _RIGHT, height), _GRID)
            pen.text((10, height - 8), f"{most * share:.4g}", _INK, small)
        for minute in range(int(last // 60) + 1):
            if minute % max(1, int(last // 600)) == 0:
                pen.text((across(minute * 60), bottom + 4), f"{minute} min", _INK, small)
        points = [
            (across(time), bottom - (bottom - top) * value / most)
            for time, value in zip(times, one.values, strict=True)
        ]
        pen.line(points, _LINE, 2)
    image.save(path)
