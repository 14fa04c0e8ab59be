"""From results to a static site: opens from the file system, needs no server and no network."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

import cloudsched_env
from cloudsched_env.evaluation.metrics import METRICS, metric
from cloudsched_env.leaderboard.compare import ALL, compare
from cloudsched_env.leaderboard.downloads import write_downloads
from cloudsched_env.leaderboard.intervals import paired_interval
from cloudsched_env.leaderboard.site import format as text
from cloudsched_env.leaderboard.site.charts import (
    SERIES,
    Line,
    bar_axis,
    bar_chart_range,
    interval_bar,
    line_chart,
    strip_chart,
)
from cloudsched_env.leaderboard.standings import THRESHOLDS, Board, Profile, Row
from cloudsched_env.leaderboard.units import DECISION_TIME
from cloudsched_env.whole_file import write_whole

__all__ = ["KEY_METRICS", "markdown_table", "put_into", "render_site"]

KEY_METRICS = ("useful_utilisation", "scheduling_latency_mean_ms", "slo_attainment", "minimum_tenant_share")
MARKERS = ("<!-- leaderboard: begin -->", "<!-- leaderboard: end -->")
_SUITES = ("standard", "trace", "stress", "transfer", "quick")


def render_site(boards: Sequence[Board], out: Path) -> Path:
    """Write the site; what was there from an earlier rendering is replaced as a whole.

    Args:
        boards: what to show.
        out: folder; made if it is not there.

    Returns:
        The page to open.

    Raises:
        ValueError: the folder holds something else than a site.
        ModuleNotFoundError: Jinja2 is not installed.
    """
    if out.exists() and any(out.iterdir()) and not (out / "index.html").exists():
        raise ValueError(f"{out} is neither empty nor an earlier site: use another folder")
    boards = sorted(boards, key=_order)
    environment, styles = _environment(), _styles(boards)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        folder = Path(aside) / "site"
        assets = resources.files("cloudsched_env.leaderboard.site")
        for name in ("style.css", "page.js"):
            write_whole(folder / name, assets.joinpath(name).read_text(encoding="utf-8"))
        _write(environment, folder / "index.html", "index.html", "", _index(boards, styles))
        for slug in sorted({row.slug for board in boards for row in board.rows}):
            _write(environment, folder / "agents" / f"{slug}.html", "agent.html", "../", _agent(boards, slug, styles))
        scenarios = {entry.scenario: entry for board in boards for entry in board.results.suite.scenarios}
        for name, entry in sorted(scenarios.items()):
            content = _scenario(boards, name, entry.load(), styles)
            _write(environment, folder / "scenarios" / f"{name}.html", "scenario.html", "../", content)
        for board in boards:
            write_downloads(board, folder / "data")
        write_whole(folder / "leaderboard.md", "\n".join(markdown_table(board) for board in boards))
        if out.exists():
            out.rename(Path(aside) / "before")
        folder.rename(out)
    return out / "index.html"


def _order(board: Board) -> tuple[int, str]:
    """The headline first, the first look last; suites of one's own after those of the package."""
    name = board.results.suite.name
    return (_SUITES.index(name) if name in _SUITES else len(_SUITES), board.label)


def markdown_table(board: Board) -> str:
    """The table for a README: the ranked agents, then those without a score and why."""
    suite, data = board.results.suite, board.results.data
    names = [*KEY_METRICS, DECISION_TIME]
    lines = [
        f"**{suite.id}**, data: {data.tag} ({data.operator}), {suite.episodes_per_run} windows, {suite.runs} runs",
        "",
        "| rank | agent | score (IQM) | " + " | ".join(text.title_of(name) for name in names) + " | training | runs |",
        "|---:|---|---:|" + "---:|" * len(names) + "---|---:|",
    ]
    for row in board.ranked:
        assert row.score is not None
        cells = [f"{text.figure(row.score, 'score')} {text.spread(row.score, 'score')}".strip()]
        cells += [text.figure(row.metrics[name], text.form_of(name)) for name in names]
        name = row.declaration.name.replace("|", "\\|")
        tied = "=" if row.tied else ""
        lines.append(f"| {row.rank}{tied} | `{name}` | " + " | ".join(cells) + f" | {row.budget} | {row.runs} |")
    without = [f"`{row.declaration.name}`: {row.status}: {row.message}" for row in board.rows if row.status != "ok"]
    if without:
        lines += ["", "Without a score: " + "; ".join(without).replace("\n", " ")]
    return "\n".join(lines) + "\n"


def put_into(page: Path, boards: Sequence[Board]) -> None:
    """Replace what stands between the markers of a page by the tables.

    Raises:
        ValueError: the page has no markers.
    """
    content = page.read_text(encoding="utf-8")
    begin, end = (content.find(marker) for marker in MARKERS)
    if begin < 0 or end < begin:
        raise ValueError(
            f"{page.name} has no lines {MARKERS[0]} and {MARKERS[1]}: put them where the table is to stand"
        )
    tables = "\n".join(markdown_table(board) for board in boards)
    write_whole(page, content[: begin + len(MARKERS[0])] + "\n" + tables + content[end:])


def _styles(boards: Sequence[Board]) -> dict[str, int]:
    """A line style for every agent, the same in all charts; those that charts show come first."""
    shown = [row for board in boards for row in (*board.ranked[:SERIES], *_learned(board.rows))]
    others = [row for board in boards for row in board.rows]
    return {slug: number for number, slug in enumerate(dict.fromkeys(row.slug for row in (*shown, *others)))}


def _learned(rows: Sequence[Row]) -> list[Row]:
    """Agents whose learning curves fit into one chart."""
    return [row for row in rows if row.curves][:SERIES]


def _environment() -> Any:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "rendering the leaderboard needs Jinja2: pip install 'cloudsched-env[leaderboard]'", name="jinja2"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cloudsched_env.leaderboard.site"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": text.figure,
        "spread": text.spread,
        "sort_value": text.sort_value,
        "form_of": text.form_of,
        "title_of": text.title_of,
        "steps": text.steps,
        "web": text.web,
        "breakable": text.breakable,
    }
    return environment


def _write(environment: Any, path: Path, template: str, root: str, content: dict[str, Any]) -> None:
    page = environment.get_template(template).render(root=root, version=cloudsched_env.__version__, **content)
    write_whole(path, page)


def _safe(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)  # made by `charts`, which escapes every name


def _column(name: str, group: str = "") -> dict[str, str]:
    entry = metric(name)
    return {
        "name": name,
        "title": text.title_of(name),
        "group": group,
        "first": "ascending" if entry.better == "lower" else "descending",
        "form": text.form_of(name),
        "definition": entry.definition,
    }


def _index(boards: Sequence[Board], styles: Mapping[str, int]) -> dict[str, Any]:
    others = [entry for entry in METRICS if entry.better and entry.name not in KEY_METRICS]
    columns = [_column(name) for name in KEY_METRICS] + [_column(entry.name, entry.group) for entry in others]
    groups = list(dict.fromkeys(entry.group for entry in others))
    views = []
    for number, board in enumerate(boards):
        scenarios = [entry.scenario for entry in board.results.suite.scenarios]
        views.append(
            {
                "id": f"b{number}",
                "board": board,
                "bars": _bars(board.ranked, {row.slug: row.score for row in board.ranked}),
                "scale": _scale([row.score for row in board.ranked]),
                "profile_chart": _profile_chart(
                    board.ranked, {r.slug: r.profile for r in board.ranked}, styles, f"p{number}"
                ),
                "curve_chart": _curve_chart(board.rows, styles, f"c{number}"),
                "profile_lines": min(SERIES, len(board.ranked)),
                "groups": (["scenarios"] if len(scenarios) > 1 else []) + groups,
                "scenarios": scenarios if len(scenarios) > 1 else [],
                "columns": columns,
            }
        )
    return {
        "views": views,
        "suites": list(dict.fromkeys(board.results.suite.id for board in boards)),
        "tags": list(dict.fromkeys(board.results.data.tag for board in boards)),
    }


def _agent(boards: Sequence[Board], slug: str, styles: Mapping[str, int]) -> dict[str, Any]:
    views = []
    for number, board in enumerate(boards):
        row = next((row for row in board.rows if row.slug == slug), None)
        if row is None:
            continue
        view: dict[str, Any] = {"id": f"b{number}", "board": board, "row": row, "made": _made(row), "comparisons": []}
        if row.status == "ok":
            matrices = list(row.scores.values())
            span = bar_chart_range(
                [*row.by_scenario.values(), *(_extremes(matrix.mean(axis=0)) for matrix in matrices)]
            )
            view["scale"] = _safe(bar_axis(span))
            view["strips"] = {
                scenario: _safe(strip_chart(row.scores[scenario], interval, span, _label(row, interval, scenario)))
                for scenario, interval in row.by_scenario.items()
            }
            shared = len({entry.windows for entry in board.results.suite.scenarios}) == 1 and len(matrices) > 1
            view["elsewhere"] = paired_interval(matrices, same_windows=shared)
            rivals = [other for other in board.ranked if other is not row]
            view["profile_chart"] = _profile_chart(
                [row, *rivals[:2]], {r.slug: r.profile for r in [row, *rivals[:2]]}, styles, f"p{number}"
            )
            view["curve_chart"] = _curve_chart([row], styles, f"c{number}")
            if rivals:
                rival = view["rival"] = rivals[0]
                view["rival_is_best"] = True
                found = compare(row.folder, rival.folder, board.anchors)
                several = any(entry.scenario == ALL for entry in found)
                view["comparisons"] = [entry for entry in found if not several or entry.scenario == ALL]
        views.append(view)
    declaration = views[0]["row"].declaration
    return {
        "declaration": declaration,
        "budget": views[0]["row"].budget,
        "views": views,
        "metrics": METRICS,
    }


def _scenario(boards: Sequence[Board], name: str, scenario: Any, styles: Mapping[str, int]) -> dict[str, Any]:
    views = []
    for number, board in enumerate(boards):
        entries = [entry for entry in board.results.suite.scenarios if entry.scenario == name]
        if not entries:
            continue
        rows = sorted(board.ranked, key=lambda row: -row.by_scenario[name].estimate)
        windows = []
        for place, window in enumerate(entries[0].windows):
            values = {row.declaration.name: float(row.scores[name][:, place].mean()) for row in rows}
            best = max(values, key=values.__getitem__) if values else "\u2013"
            where = f"start {window.start_s:g} s, " if window.start_s is not None else ""
            where += f"at {100 * window.share:.0f} % of the split, " if window.share is not None else ""
            windows.append(
                {
                    "work": f"{where}seed {window.seed}",
                    "random": float(board.anchors.random[name][place]),
                    "bound": float(board.anchors.bound[name][place]),
                    "best": f"{best} ({values[best]:.3f})" if values else best,
                }
            )
        intervals = {row.slug: row.by_scenario[name] for row in rows}
        profiles = {row.slug: row.profiles[name] for row in rows}
        views.append(
            {
                "id": f"b{number}",
                "board": board,
                "rows": rows,
                "windows": windows,
                "bars": _bars(rows, intervals),
                "scale": _scale(list(intervals.values())),
                "profile_chart": _profile_chart(rows, profiles, styles, f"p{number}"),
            }
        )
    return {"scenario": scenario, "views": views, "columns": [_column(key) for key in KEY_METRICS]}


def _bars(rows: Sequence[Row], intervals: dict[str, Any]) -> dict[str, Any]:
    if not rows:
        return {}
    span = bar_chart_range([intervals[row.slug] for row in rows])
    return {r.slug: _safe(interval_bar(intervals[r.slug], span, _label(r, intervals[r.slug]))) for r in rows}


def _scale(intervals: Sequence[Any]) -> Any:
    """The axis below a bar chart."""
    return _safe(bar_axis(bar_chart_range(intervals))) if intervals else ""


def _label(row: Row, interval: Any, scenario: str = "") -> str:
    where = f" on {scenario}" if scenario else ""
    values = f"{text.figure(interval, 'score')} {text.spread(interval, 'score')}".strip()
    return f"{row.declaration.name}{where}: score {values}"


def _extremes(values: Any) -> Any:
    from cloudsched_env.evaluation.statistics import Interval

    return Interval(float(values.mean()), float(values.min()), float(values.max()))


def _profile_chart(
    rows: Sequence[Row], profiles: Mapping[str, Profile | None], styles: Mapping[str, int], identifier: str
) -> Any:
    """Performance profiles of the best agents."""
    chosen = [(row, profile) for row in rows[:SERIES] if (profile := profiles[row.slug]) is not None]
    if not chosen:
        return ""
    lines = [Line(row.declaration.name, styles[row.slug], THRESHOLDS, p.share, p.low, p.high) for row, p in chosen]
    half = {row.declaration.name: float(THRESHOLDS[int(np.argmax(p.share <= 0.5))]) for row, p in chosen}
    says = "; ".join(f"{name}: half of the episodes score above {value:g}" for name, value in half.items())
    chart = line_chart(
        lines,
        title="Performance profile",
        description=f"Share of episodes with a score above each threshold. {says}.",
        x_label="score τ",
        y_label="share of episodes with score > τ, 95 % band",
        identifier=identifier,
        y_range=(0.0, 1.0),
    )
    return _safe(chart)


def _curve_chart(rows: Sequence[Row], styles: Mapping[str, int], identifier: str) -> Any:
    """Learning curves: the mean over trainings with their range, up to the shortest budget."""
    learned = _learned(rows)
    if not learned:
        return ""
    lines: list[Line] = []
    marks: list[tuple[float, str]] = []
    for row in learned:
        grid = max(row.curves, key=lambda curve: len(curve.env_steps)).env_steps
        last = min(curve.env_steps[-1] for curve in row.curves)
        first = max(curve.env_steps[0] for curve in row.curves)
        grid = grid[(grid >= first) & (grid <= last)]
        if not len(grid):
            continue
        values = np.array([np.interp(grid, curve.env_steps, curve.score) for curve in row.curves])
        name = f"{row.declaration.name} ({len(row.curves)} training runs)"
        lines.append(Line(name, styles[row.slug], grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0)))
        threshold = row.declaration.convergence_threshold
        if threshold is not None and threshold not in [value for value, _ in marks]:
            marks.append((threshold, f"tuned heuristic {threshold:g}"))
    if not lines:
        return ""
    says = "; ".join(f"{line.name}: from {line.y[0]:.3f} to {line.y[-1]:.3f}" for line in lines)
    chart = line_chart(
        lines,
        title="Learning curves",
        description=f"Validation team reward over environment steps. {says}.",
        x_label="environment steps",
        y_label="validation team reward, range over training runs",
        identifier=identifier,
        marks=marks,
    )
    return _safe(chart)


def _made(row: Row) -> dict[str, Any] | None:
    for runs in row.folder.metadata().values():
        for entry in runs.values():
            found: dict[str, Any] = entry
            return found
    return None
