"""The headroom of every shipped scenario, at sizes that two cores can carry, for its page in `docs/scenarios/headroom`.

    python benchmarks/headroom.py                                  # what is missing, on generated work
    python benchmarks/headroom.py --only loss-30-v1 --only large-v1
    python benchmarks/headroom.py --plan                           # says how much that is, measures nothing
    python benchmarks/headroom.py --keep runs/headroom-paper-v1    # a study that `cloudsched headroom` made
    python benchmarks/headroom.py --redraw                         # pages and figures anew, from what is stored

Each is the study of `cloudsched headroom SCENARIO` (docs/headroom.md), with fewer windows and shorter searches; its
page gives the sizes and the options that make the same study without this script. Both tuned policies start from the
packaged ones, which were tuned on `paper-v1` and Google's excerpt. Couplings are switched off all together, not one at
a time; roles of `paper-v1` are also knocked out of a trained policy. Large clusters have fewer windows and candidates,
and no joint grid and couplings. `paper-v1` is also studied on that excerpt by `cloudsched headroom`, with the default
windows and candidates, and 10 and 27 generations; ``--keep`` puts such a study beside the others.

Interrupt it at any time: stages and searches go on where they were. Results are kept with all raw values in
``--results``, one JSON a scenario; a scenario with a result there is measured again only if the simulator, the agents,
the scenario or these sizes have changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cloudsched_env.cli.headroom import StudyBar
from cloudsched_env.headroom.report import page_name, write_page, write_study
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.study import Study, run_study, stage_names
from cloudsched_env.scenario import Scenario, load_scenario, scenario_ids
from cloudsched_env.whole_file import write_whole

# The grid over all twelve placements on paper-v1 chose it; here it has all pairs of knobs beside it.
PLACEMENTS = ("balanced",)
# Roles are knocked out of a trained policy too where it was trained.
LEARNED = {"paper-v1": "baselines/hrac_lgrs+team+rule/policy"}
SIGNIFICANT_DIGITS = 9

BASE = HeadroomSettings(
    episodes=16,
    validation_windows=8,
    train_windows=24,
    windows=8,
    population=24,
    static_generations=8,
    feedback_generations=24,
    grid_placements=PLACEMENTS,
    grid_windows=1,
    single_couplings=False,
    coupling_generations=8,
    coupling_windows=4,
    delays=(0, 5, 20),
    losses=(0.0, 0.3, 0.7),
    bound_windows=3,
    bound_steps=100,
    hindsight_generations=4,
    selfish_rounds=1,
    selfish_generations=3,
)
# Agents from which on a study is smaller.
SIZES: tuple[tuple[int, dict[str, Any]], ...] = (
    (0, {}),
    (40, {"episodes": 12, "population": 20, "windows": 6}),
    (
        150,
        {
            "episodes": 8,
            "validation_windows": 6,
            "population": 16,
            "windows": 4,
            "static_generations": 4,
            "feedback_generations": 12,
            "coupling_generations": 4,
            "coupling_windows": 2,
            "bound_windows": 1,
            "bound_steps": 40,
            "hindsight_generations": 2,
        },
    ),
    (600, {"episodes": 4, "validation_windows": 3, "population": 12, "windows": 2, "bound_steps": 20}),
)
# Agents from which on the two stages that play every pair of constants are left out: a day for 1,024 agents.
WITHOUT_GRIDS_FROM = 60
GRID_STAGES = ("joint", "couplings")
console = Console(stderr=True, highlight=False)


def settings_for(scenario: Scenario) -> HeadroomSettings:
    """How much is measured on a cluster of this size."""
    changes: dict[str, Any] = {}
    for agents, fewer in SIZES:
        if sum(scenario.role_counts.values()) >= agents:
            changes |= fewer
    return replace(BASE, **changes, learned=LEARNED.get(scenario.id, ""))


def stages_for(scenario: Scenario) -> list[str]:
    """What is measured: a trained policy's stage where there is one, and on large clusters none that has a grid."""
    left_out = GRID_STAGES if sum(scenario.role_counts.values()) >= WITHOUT_GRIDS_FROM else ()
    without = left_out if scenario.id in LEARNED else ("learned", *left_out)
    return [name for name in stage_names() if name not in without]


def study_one(scenario: Scenario, runs: Path, results: Path, docs: Path, threads: int) -> bool:
    """Measure what is missing of one scenario; returns whether anything was."""
    folder, kept = runs / scenario.id, results / f"{scenario.id}.json"
    if kept.is_file() and not (folder / "stages").is_dir():
        restore(kept, folder)
    with StudyBar(console) as bar:
        study = run_study(
            scenario,
            folder,
            settings_for(scenario),
            stages=stages_for(scenario),
            threads=threads,
            progress=bar,
            entered=bar.enter,
        )
    if study.measured or not kept.is_file():
        keep(study.content, results)
    write_study(study, folder, docs)
    return bool(study.measured)


def keep(content: dict[str, Any], results: Path) -> Path:
    """Store a study with its raw values, rounded to digits that say something; returns the file."""
    path = results / f"{page_name(content)}.json"
    write_whole(path, json.dumps(_rounded(content), allow_nan=False, separators=(",", ":")) + "\n")
    return path


def restore(kept: Path, folder: Path) -> None:
    """Put the stages of a stored study back where a run looks for them."""
    content = json.loads(kept.read_text(encoding="utf-8"))
    for stage, result in content["results"].items():
        stored = {"key": content["keys"][stage], "seconds": content["seconds"][stage], "result": result}
        write_whole(folder / "stages" / f"{stage}.json", json.dumps(stored) + "\n")


def redraw(results: Path, docs: Path) -> list[Path]:
    """Write the pages and figures of all stored studies, without measuring anything; returns the files."""
    written = []
    for path in sorted(results.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        written += write_page(Study(content["results"], content, []), docs, page_name(content), redraw=True)
    return written


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _rounded(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_rounded(value) for value in content]
    return float(f"{content:.{SIGNIFICANT_DIGITS}g}") if isinstance(content, float) else content


def chosen(only: Sequence[str]) -> list[Scenario]:
    """The scenarios to study, small clusters first.

    Raises:
        typer.BadParameter: for an unknown id.
    """
    ids = only or scenario_ids()
    try:
        scenarios = [load_scenario(name) for name in ids]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    return sorted(scenarios, key=lambda each: (sum(each.role_counts.values()), each.id))


def main(
    only: Annotated[list[str] | None, typer.Option(help="Just this scenario; repeatable.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of studies.")] = Path("runs/headroom"),
    results: Annotated[Path, typer.Option(help="Folder of results.")] = Path("benchmarks/results/headroom"),
    docs: Annotated[Path, typer.Option(help="Folder of pages and figures.")] = Path("docs/scenarios/headroom"),
    threads: Annotated[int | None, typer.Option(min=1, help="Results do not depend on it; all cores.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be measured.")] = False,
    keep_study: Annotated[
        Path | None, typer.Option("--keep", help="Measure nothing: store this finished study in --results.")
    ] = None,
    redraw_all: Annotated[
        bool, typer.Option("--redraw", help="Measure nothing: write the pages of all studies in --results anew.")
    ] = False,
) -> None:
    """Study the scenarios one after the other."""
    if redraw_all:
        for path in redraw(results, docs):
            console.print(f"wrote {path}")
        return
    if keep_study is not None:
        finished = keep_study / "headroom.json"
        if not finished.is_file():
            raise typer.BadParameter(f"no file {finished}: expected a study's --out folder", param_hint="--keep")
        console.print(f"wrote {keep(json.loads(finished.read_text(encoding='utf-8')), results)}")
        return
    scenarios = chosen(only or ())
    for number, scenario in enumerate(scenarios, 1):
        settings = settings_for(scenario)
        console.print(
            f"{number}/{len(scenarios)} {scenario.id}: {sum(scenario.role_counts.values())} agents, "
            f"{settings.episodes} test windows, {settings.static_generations} and {settings.feedback_generations} "
            f"generations of {settings.population} candidates on {settings.windows} windows",
            soft_wrap=True,
        )
        if plan:
            continue
        try:
            measured = study_one(scenario, runs, results, docs, threads or os.cpu_count() or 1)
        except KeyboardInterrupt:
            console.print(f"interrupted: the same command goes on from what is in {runs}")
            raise typer.Exit(130) from None
        console.print("done" if measured else "done before")
    if not plan:
        console.print("links on the scenarios' pages: python -m tests.env.scenario_pages")


if __name__ == "__main__":
    typer.run(main)
