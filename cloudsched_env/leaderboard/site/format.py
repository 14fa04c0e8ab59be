"""Numbers as text, the same on every page, in the Markdown table and in the terminal."""

from __future__ import annotations

import math

from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.evaluation.statistics import Interval
from cloudsched_env.leaderboard.units import DECISION_TIME

__all__ = ["breakable", "figure", "form_of", "number", "sort_value", "spread", "steps", "title_of", "web"]

_UNITS = {entry.name: entry.unit for entry in METRICS} | {DECISION_TIME: "us", "score": "score"}
_TITLES = {
    "score": "score",
    "useful_utilisation": "useful CPU",
    "scheduling_latency_mean_ms": "latency, mean ms",
    "scheduling_latency_p50_ms": "latency, p50 ms",
    "scheduling_latency_p95_ms": "latency, p95 ms",
    "scheduling_latency_p99_ms": "latency, p99 ms",
    "slo_attainment": "on time",
    "minimum_tenant_share": "least tenant share",
    "response_time_mean_s": "response, mean s",
    "response_time_p95_s": "response, p95 s",
    "team_reward": "team reward J",
    "spill_gb": "spill, GB",
    "lost_core_s": "lost work, core s",
    "slowdown_mean": "slowdown, mean",
    "slowdown_p95": "slowdown, p95",
    "jain_index": "Jain index",
    DECISION_TIME: "decision µs",
}


def form_of(name: str) -> str:
    """How a metric is written: ``score``, ``share``, ``us``, or a plain number."""
    unit = _UNITS[name]
    return unit if unit in ("score", "us") else "share" if unit == "1" else "plain"


def title_of(name: str) -> str:
    """Heading of a metric."""
    return _TITLES.get(name) or name.replace("_", " ")


def number(value: float, form: str = "plain") -> str:
    """A number with as many digits as it deserves; a dash where there is none."""
    if math.isnan(value):
        return "\u2013"
    if form in ("score", "share"):
        text = f"{value:.3f}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}".replace(",", "\u202f")
    elif abs(value) >= 100:
        text = f"{value:.0f}"
    else:
        text = f"{value:.3g}"
    if float(text.replace("\u202f", "")) == 0:
        return "0" if form == "plain" else text.lstrip("-")
    return text.replace("-", "\u2212")


def figure(interval: Interval, form: str) -> str:
    """The estimate."""
    return number(interval.estimate, form)


def spread(interval: Interval, form: str) -> str:
    """The interval in brackets, ±0 where nothing varies at all; empty where there is none."""
    if math.isnan(interval.low):
        return ""
    if math.isclose(interval.low, interval.high, rel_tol=1e-9, abs_tol=1e-12):
        return "±0"
    return f"[{number(interval.low, form)}, {number(interval.high, form)}]"


def sort_value(interval: Interval) -> str:
    """What columns are sorted by; empty where there is no number."""
    return "" if math.isnan(interval.estimate) else f"{interval.estimate:.9g}"


def steps(count: float) -> str:
    """Environment steps."""
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count:,.0f}".replace(",", "\u202f")


def breakable(name: str) -> str:
    """A name that lines may break in after ``_``, ``/``, ``:`` and ``(``: with zero-width spaces."""
    return "".join(c + ("\u200b" if c in "_/:(,+" else "") for c in name)


def web(address: str) -> str:
    """An address that may be linked to; a submission's ``javascript:`` may not."""
    return address if address.startswith(("https://", "http://")) else "#"
