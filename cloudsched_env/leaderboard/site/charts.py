"""Charts as inline SVG: coordinates in per cent, so that they stretch with the page while text keeps its size.

Colours are classes of the style sheet, so that charts follow the light or dark scheme. Every chart has a title and a
description for screen readers; the numbers behind it are in a table on the same page.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.evaluation.statistics import Interval

__all__ = ["SERIES", "Line", "bar_axis", "bar_chart_range", "interval_bar", "line_chart", "strip_chart", "ticks"]

Floats = NDArray[np.float64]
SERIES = 6
"""Lines that one chart can hold."""
_COLOURS, _DASHES = 8, 5  # of the style sheet; they have no common divisor, so that 40 lines can be told apart

# Room for labels, in per cent of the chart.
_LEFT, _RIGHT, _TOP, _BOTTOM = 9.0, 2.0, 4.0, 16.0


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        style: number of its colour and dash: the same line in another chart should have the same.
        x: ascending, ``[points]``.
        y: ``[points]``.
        low: lower edge of its band, ``[points]``; None without one.
        high: upper edge.
    """

    name: str
    style: int
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None

    @property
    def classes(self) -> str:
        """Names of its colour and dash in the style sheet."""
        return f"c{self.style % _COLOURS + 1} d{self.style % _DASHES + 1}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that divide a range into a few parts."""
    span = max(high - low, 1e-9)
    raw = span / most
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first = np.ceil(low / step - 1e-9)
    return [round(float((first + i) * step), 10) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def bar_chart_range(intervals: Sequence[Interval]) -> tuple[float, float]:
    """A range of scores that shows all intervals, 0 and a little room."""
    values = [v for i in intervals for v in (i.estimate, i.low, i.high) if not np.isnan(v)]
    low, high = min([0.0, *values]), max([0.1, *values])
    return low - 0.03 * (high - low), high + 0.05 * (high - low)


def bar_axis(span: tuple[float, float]) -> str:
    """The numbers below bars; the bars themselves have labels, so screen readers skip it."""
    marks = "".join(
        f'<text class="tick" x="{_place(tick, span):.2f}%" y="70%" text-anchor="middle">{_short(tick)}</text>'
        for tick in ticks(*span, most=4)
    )
    return f'<svg class="bar" aria-hidden="true">{marks}</svg>'


def interval_bar(interval: Interval, span: tuple[float, float], label: str) -> str:
    """A bar from 0 to the estimate with its interval, one line high.

    Args:
        interval: what to show.
        span: values at the left and right edge.
        label: for screen readers.
    """
    zero, at = _place(0.0, span), _place(interval.estimate, span)
    left, width = min(zero, at), abs(at - zero)
    whisker = ""
    if not np.isnan(interval.low):
        low, high = _place(interval.low, span), _place(interval.high, span)
        whisker = f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="50%" y2="50%"/>' + "".join(
            f'<line class="whisker" x1="{x:.2f}%" x2="{x:.2f}%" y1="28%" y2="72%"/>' for x in (low, high)
        )
    grid = "".join(
        f'<line class="grid" x1="{_place(t, span):.2f}%" x2="{_place(t, span):.2f}%" y1="0" y2="100%"/>'
        for t in ticks(*span, most=4)
    )
    return (
        f'<svg class="bar" role="img" aria-label="{html.escape(label)}">{grid}'
        f'<rect class="fill" x="{left:.2f}%" width="{width:.2f}%" y="22%" height="56%" rx="3"/>{whisker}'
        f'<circle class="dot" cx="{at:.2f}%" cy="50%" r="3.5"/></svg>'
    )


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    identifier: str,
    marks: Sequence[tuple[float, str]] = (),
    y_range: tuple[float, float] | None = None,
) -> str:
    """Lines with bands and a legend.

    Args:
        lines: what to draw.
        title: for people and screen readers.
        description: what the chart says, for screen readers.
        x_label: with the unit.
        y_label: with the unit.
        identifier: unique on the page.
        marks: horizontal reference lines with their names.
        y_range: of the vertical axis; by default what is there.
    """
    xs = np.concatenate([line.x for line in lines])
    ys = np.concatenate([np.concatenate([line.y, *([line.low, line.high] if line.low is not None else [])])
                         for line in lines] + [np.array([value for value, _ in marks])])  # fmt: skip
    x_span = (float(xs.min()), float(xs.max()) if xs.max() > xs.min() else float(xs.min()) + 1.0)
    room = 0.06 * (float(ys.max() - ys.min()) or 1.0)
    y_span = y_range or (float(ys.min()) - room, float(ys.max()) + room)

    def across(value: float) -> float:
        return _LEFT + (100 - _LEFT - _RIGHT) * (value - x_span[0]) / (x_span[1] - x_span[0])

    def down(value: float) -> float:
        return _TOP + (100 - _TOP - _BOTTOM) * (y_span[1] - value) / (y_span[1] - y_span[0])

    axes = []
    for tick in ticks(*y_span, most=5):
        axes.append(
            f'<line class="grid" x1="{_LEFT}%" x2="{100 - _RIGHT}%" y1="{down(tick):.2f}%" y2="{down(tick):.2f}%"/>'
        )
        axes.append(
            f'<text class="tick" x="{_LEFT - 1}%" y="{down(tick):.2f}%" dy="0.35em" text-anchor="end">{_short(tick)}</text>'  # noqa: E501
        )
    for tick in ticks(*x_span, most=5):
        axes.append(
            f'<text class="tick" x="{across(tick):.2f}%" y="{100 - _BOTTOM + 6.5}%" text-anchor="middle">{_short(tick)}</text>'  # noqa: E501
        )
    axes.append(
        f'<text class="axis" x="{(100 + _LEFT - _RIGHT) / 2}%" y="98%" text-anchor="middle">{html.escape(x_label)}</text>'  # noqa: E501
    )
    for value, name in marks:
        axes.append(
            f'<line class="mark" x1="{_LEFT}%" x2="{100 - _RIGHT}%" y1="{down(value):.2f}%" y2="{down(value):.2f}%"/>'
        )
        axes.append(
            f'<text class="tick" x="{100 - _RIGHT}%" y="{down(value):.2f}%" dy="-0.4em" text-anchor="end">{html.escape(name)}</text>'  # noqa: E501
        )
    drawn = []
    for line in lines:
        if line.low is not None and line.high is not None:
            edge = [*zip(line.x, line.high, strict=True), *zip(line.x[::-1], line.low[::-1], strict=True)]
            points = " ".join(f"{across(x):.2f},{down(y):.2f}" for x, y in edge)
            drawn.append(f'<polygon class="band {line.classes}" points="{points}"/>')
    for line in lines:
        points = " ".join(f"{across(x):.2f},{down(y):.2f}" for x, y in zip(line.x, line.y, strict=True))
        drawn.append(f'<polyline class="line {line.classes}" points="{points}"/>')
    legend = "".join(
        f'<li><svg class="key" aria-hidden="true"><line class="line {line.classes}" x1="0" x2="100%" y1="50%" y2="50%"/>'  # noqa: E501
        f"</svg>{html.escape(line.name)}</li>"
        for line in lines
    )
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}<span class="unit">{html.escape(y_label)}</span></figcaption>'  # noqa: E501
        f'<svg class="plot" role="img" aria-labelledby="{identifier}-t {identifier}-d">'
        f'<title id="{identifier}-t">{html.escape(title)}</title><desc id="{identifier}-d">{html.escape(description)}</desc>'  # noqa: E501
        f'{"".join(axes)}<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">{"".join(drawn)}</svg>'  # noqa: E501
        f'</svg><ul class="legend">{legend}</ul></figure>'
    )  # fmt: skip


def strip_chart(values: Floats, interval: Interval, span: tuple[float, float], label: str) -> str:
    """Every window as a tick (mean over runs), and the score with its interval.

    Args:
        values: scores, ``[runs, windows]``.
        interval: the score.
        span: values at the left and right edge.
        label: for screen readers.
    """
    windows = "".join(
        f'<line class="window" x1="{_place(v, span):.2f}%" x2="{_place(v, span):.2f}%" y1="25%" y2="75%"/>'
        for v in values.mean(axis=0)
    )
    grid = "".join(
        f'<line class="grid" x1="{_place(t, span):.2f}%" x2="{_place(t, span):.2f}%" y1="0" y2="100%"/>'
        for t in ticks(*span, most=4)
    )
    whisker = ""
    if not np.isnan(interval.low):
        low, high = _place(interval.low, span), _place(interval.high, span)
        whisker = f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="50%" y2="50%"/>'
    return (
        f'<svg class="bar" role="img" aria-label="{html.escape(label)}">{grid}{windows}{whisker}'
        f'<circle class="dot" cx="{_place(interval.estimate, span):.2f}%" cy="50%" r="4.5"/></svg>'
    )


def _place(value: float, span: tuple[float, float]) -> float:
    return float(100 * (np.clip(value, *span) - span[0]) / (span[1] - span[0]))


def _short(value: float) -> str:
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}".replace("-", "\u2212")
