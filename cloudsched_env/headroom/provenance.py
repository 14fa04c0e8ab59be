"""How a headroom study was made, from its stored content: sizes, where its searches began, its time, the command."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.study import with_needed
from cloudsched_env.scenario import load_scenario, scenario_ids

__all__ = [
    "OWN_DATA",
    "TASK_TABLE",
    "command",
    "command_lines",
    "duration",
    "search_warnings",
    "sizes",
    "starts",
]

TASK_TABLE = "TASKS.parquet"  # a study knows its tasks by a digest, not the file that they came from
OWN_DATA = "generator"  # what stands in the place of that digest for a scenario's own work
_LINE = 110
# Where searches began that did not record it: all were made with the policies that were packaged first.
_FIRST_PACKAGED = {
    "static": "tuned for 60 generations on train windows of the Google 2011 excerpt",
    "feedback": "tuned for 160 generations on train windows of the Google 2011 excerpt",
}
# Two measurements of one policy on the same windows, stored with nine digits.
_SAME_J = 1e-7


def command(content: Mapping[str, Any]) -> list[str]:
    """The command that makes a study again, as words; of a trace's study the task table is called `TASK_TABLE`.

    Args:
        content: of the study.
    """
    settings = HeadroomSettings().changed(content["settings"])
    words = ["cloudsched", "headroom", str(content["scenario"]["id"])]
    if content["data"]["trace"] != OWN_DATA:
        words += ["--trace", TASK_TABLE]
    for name, value in _overrides(content["scenario"]):
        words += ["--override", f"{name}={_plain(value)}"]
    words += _settings(settings)
    stages = list(content["results"])
    if stages != [stage.name for stage in with_needed([], bool(settings.learned))]:
        words += ["--stages", ",".join(stages)]
    return words


def _settings(settings: HeadroomSettings) -> list[str]:
    """Options that turn the defaults into these settings, from the quick ones if those are nearer."""
    words = [] if settings.seed == 0 else ["--seed", str(settings.seed)]
    words += ["--learned", settings.learned] if settings.learned else []
    bases = [dataclasses.replace(HeadroomSettings(), seed=settings.seed, learned=settings.learned)]
    bases.append(bases[0].quick())
    full, quick = ([f for f in dataclasses.fields(base) if _of(settings, f) != _of(base, f)] for base in bases)
    if len(quick) < len(full):
        words.append("--quick")
    for entry in quick if len(quick) < len(full) else full:
        words += ["--set", f"{entry.name}={_plain(_of(settings, entry))}"]
    return words


def _of(settings: HeadroomSettings, entry: dataclasses.Field[Any]) -> Any:
    return getattr(settings, entry.name)


def _overrides(scenario: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields in which a study's scenario differs from the shipped one of its name."""
    if scenario["id"] not in scenario_ids():
        return
    for group, shipped in load_scenario(scenario["id"]).to_dict().items():
        if isinstance(shipped, Mapping):
            for name, value in scenario.get(group, {}).items():
                if name in shipped and value != shipped[name]:
                    yield f"{group}.{name}", value


def _plain(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def command_lines(content: Mapping[str, Any]) -> list[str]:
    """The command on lines for a shell, each option beside its value."""
    words = [shlex.quote(word) for word in command(content)]
    lines, line = [], words[0]
    for place, word in enumerate(words[1:], 1):
        value = words[place + 1] if place + 1 < len(words) and word.startswith("--") else ""
        together = len(line) + len(word) + (0 if value.startswith("--") else len(value)) + 2
        if word.startswith("--") and together > _LINE:
            lines.append(f"{line} \\")
            line = f"    {word}"
        else:
            line += f" {word}"
    return [*lines, line]


def duration(content: Mapping[str, Any]) -> str:
    """How long the stages took, by the clock."""
    hours = sum(content["seconds"].values()) / 3600
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"


def sizes(content: Mapping[str, Any]) -> str:
    """Generations, candidates and windows of the searches, as far as they were made."""
    settings = content["settings"]
    of_each = f"{settings['population']} candidates x {settings['windows']} windows"
    searched = [
        f"{kind} {settings[f'{kind}_generations']} generations x {of_each}"
        for kind in ("static", "feedback")
        if kind in content["results"]
    ]
    return (
        f"Searches: {', '.join(searched) or 'none'}; the windows of a generation are drawn from "
        f"{settings['train_windows']} train windows, what is chosen is chosen on {settings['validation_windows']} "
        f"validation windows. Seed {settings['seed']}."
    )


def starts(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where the searches of the tuned policies began, a sentence each."""
    return [
        f"The {kind} search began at {_start(results, kind)}." for kind in ("static", "feedback") if kind in results
    ]


def _start(results: Mapping[str, Mapping[str, Any]], kind: str) -> str:
    found, static = results[kind], results["static"]
    if "start" not in found:
        from_static = kind == "feedback" and abs(found["curve"][0][1] - static["validation"]) < _SAME_J
        return "the tuned static policy" if from_static else f"the packaged policy ({_FIRST_PACKAGED[kind]})"
    if kind == "feedback" and found["start"] == static["parameters"]["origin"]:
        return "the tuned static policy"
    return f"the packaged policy ({found['start']})"


def search_warnings(content: Mapping[str, Any]) -> list[str]:
    """What a reader of the comparison of the tuned policies has to know of their searches, a sentence each."""
    results, settings = content["results"], content["settings"]
    warnings = []
    if "static" in results:
        static = results["static"]
        (_, first), *later = static["curve"]
        best = max(value for _, value in later)
        if best <= first:
            changed = static["validation"] - first > _SAME_J
            constants = "with constants chosen anew" if changed else "as it is; other constants were tried, none better"
            warnings.append(
                f"The static search never beat its start (J {first:.4f} on validation windows, at best {best:.4f} "
                f"later): the tuned static policy is the packaged one {constants}."
            )
    if "feedback" in results:
        generations = [settings[f"{kind}_generations"] for kind in ("feedback", "static")]
        reasons = [f"{generations[0]} generations against {generations[1]}"] if generations[0] > generations[1] else []
        if "stretch" not in results["static"]:
            reasons.append("steps tried at several lengths, which the static search's were not")
        if reasons:
            warnings.append(
                f"The feedback search had {', and '.join(reasons)}: what feedback gains over static may be too high."
            )
    return warnings
