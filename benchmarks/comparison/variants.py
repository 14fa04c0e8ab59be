"""What is compared: the variants of ``comparison.yaml``, read and checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cloudsched_env.agents.registry import list_agents

TRAJECTORIES = "warm_start.trajectories"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: of the row, and of folders.
        algorithm: shipped configuration that it begins from.
        warm_start: whether it begins as a clone of the expert.
        settings: changes of the configuration, by dotted name.
    """

    name: str
    algorithm: str
    warm_start: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What its trainings depend on, as JSON types."""
        return {"algorithm": self.algorithm, "warm_start": self.warm_start, "settings": dict(self.settings)}


@dataclass(frozen=True)
class Difference:
    """One table of differences.

    Attributes:
        minuend: variant that others are subtracted from.
        subtrahends: variants and rules that it is compared with.
    """

    minuend: str
    subtrahends: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """All of ``comparison.yaml``.

    Attributes:
        variants: in the order of the table.
        expert: agent that warm starts clone; its validation score is also the threshold of convergence.
        recorded_episodes: train windows on which it is recorded.
        differences: which variants are compared with which others, a table each.
        studies: names of variants that are compared with the first of them, by name of the study.
    """

    variants: tuple[Variant, ...]
    expert: str = "linear_feedback"
    recorded_episodes: int = 48
    differences: tuple[Difference, ...] = ()
    studies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_experiment(path: Path) -> Experiment:
    """Read the file of variants.

    Raises:
        ValueError: naming the variant, the key and what was expected.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a mapping with 'variants'")
    _refuse_unknown(content, {"expert", "recorded_episodes", "differences", "studies", "variants"}, str(path))
    variants = tuple(_variant(entry, f"{path}, variant {place}") for place, entry in enumerate(content["variants"], 1))
    names = [variant.name for variant in variants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: several variants are called {', '.join(twice)}")
    differences = _differences(content.get("differences") or [], names, f"{path}: differences")
    studies = {str(study): tuple(members) for study, members in (content.get("studies") or {}).items()}
    for study, members in studies.items():
        _refuse_missing(members, set(names), f"variant of study {study}")
    return Experiment(
        variants,
        str(content.get("expert", Experiment.expert)),
        int(content.get("recorded_episodes", Experiment.recorded_episodes)),
        differences,
        studies,
    )


def of_studies(experiment: Experiment, studies: Sequence[str]) -> list[Variant]:
    """The variants of some studies, in their order; all without a study.

    Raises:
        ValueError: for a study that there is not.
    """
    _refuse_missing(studies, set(experiment.studies), "study")
    wanted = {name for study in studies for name in experiment.studies[study]}
    return [variant for variant in experiment.variants if not studies or variant.name in wanted]


def choose(
    variants: Sequence[Variant],
    algorithms: Sequence[str] | None = None,
    warm_start: Sequence[str] | None = None,
    only: Sequence[str] = (),
) -> list[Variant]:
    """Some of the variants, in their order.

    Args:
        variants: all.
        algorithms: algorithms whose variants without warm start are wanted; all by default.
        warm_start: algorithms whose variants with warm start are wanted; by default those of ``algorithms``.
        only: names; the two above do not matter then.

    Raises:
        ValueError: for a name or an algorithm without a variant.
    """
    if only:
        _refuse_missing(only, {v.name for v in variants}, "variant")
        return [v for v in variants if v.name in only]
    cold = {v.algorithm for v in variants if not v.warm_start}
    warm = {v.algorithm for v in variants if v.warm_start}
    _refuse_missing(algorithms or (), cold, "variant without warm start of algorithm")
    _refuse_missing(warm_start or (), warm, "variant with warm start of algorithm")
    wanted_cold = cold if algorithms is None else set(algorithms)
    wanted_warm = set(warm_start) if warm_start is not None else warm if algorithms is None else set(algorithms)
    return [v for v in variants if v.algorithm in (wanted_warm if v.warm_start else wanted_cold)]


def check_settings(variants: Sequence[Variant]) -> dict[str, dict[str, Any]]:
    """Build the configuration of every variant, so that a mistake is told before the first training.

    Returns:
        All settings of each variant, defaults included, by its name.

    Raises:
        ValueError: naming the variant and the setting.
    """
    from cloudsched_env.rllib.config_files import load_experiment
    from cloudsched_env.rllib.role_config import RoleBatchedConfig

    found: dict[str, dict[str, Any]] = {}
    for variant in variants:
        try:
            config = load_experiment(variant.algorithm).config
            if not isinstance(config, RoleBatchedConfig):
                raise ValueError(f"{variant.algorithm} is none of the package's own algorithms")
            changes = dict(variant.settings)
            # Any path will do: settings do not look at the disk.
            config.change_settings({**changes, TRAJECTORIES: "trajectories"} if variant.warm_start else changes)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"variant {variant.name}: {error}") from error
        found[variant.name] = config.settings.to_dict()
    return found


def _variant(entry: Any, where: str) -> Variant:
    if not isinstance(entry, Mapping) or not {"name", "algorithm"} <= set(entry):
        raise ValueError(f"{where}: expected a mapping with 'name' and 'algorithm', got {entry!r}")
    _refuse_unknown(entry, {"name", "algorithm", "warm_start", "settings"}, where)
    name, settings, warm = str(entry["name"]), entry.get("settings") or {}, entry.get("warm_start", False)
    if not _NAME.fullmatch(name):
        raise ValueError(f"{where}: name {name!r}: expected letters, digits and any of _ . + -")
    if not isinstance(settings, Mapping) or not isinstance(warm, bool):
        raise ValueError(f"{where} ({name}): expected settings to be a mapping and warm_start to be true or false")
    if TRAJECTORIES in settings:
        raise ValueError(f"{where} ({name}): {TRAJECTORIES}: write warm_start: true, trajectories are recorded here")
    return Variant(name, str(entry["algorithm"]), warm, dict(settings))


def _differences(entries: Any, variants: Sequence[str], where: str) -> tuple[Difference, ...]:
    """The tables of differences, each of a variant of its own."""
    if not isinstance(entries, list):
        raise ValueError(f"{where}: expected a list of {{of: VARIANT, from: [NAME, ...]}}, got {entries!r}")
    found = tuple(_difference(entry, variants, f"{where}, entry {place}") for place, entry in enumerate(entries, 1))
    minuends = [difference.minuend for difference in found]
    twice = sorted({name for name in minuends if minuends.count(name) > 1})
    if twice:
        raise ValueError(f"{where}: several entries are of {', '.join(twice)}: expected one, with all names in 'from'")
    return found


def _difference(entry: Any, variants: Sequence[str], where: str) -> Difference:
    if not isinstance(entry, Mapping) or not {"of", "from"} <= set(entry):
        raise ValueError(f"{where}: expected a mapping with 'of' and 'from', got {entry!r}")
    _refuse_unknown(entry, {"of", "from"}, where)
    minuend, subtrahends = entry["of"], entry["from"]
    if minuend not in variants:
        raise ValueError(f"{where}: of is {minuend!r}: expected one of {', '.join(variants)}")
    if not (isinstance(subtrahends, list) and subtrahends and all(isinstance(name, str) for name in subtrahends)):
        raise ValueError(f"{where}: from is {subtrahends!r}: expected a list of names of variants and rules")
    if minuend in subtrahends or len(set(subtrahends)) < len(subtrahends):
        raise ValueError(f"{where}: from is {subtrahends!r}: expected each name once, and not {minuend} itself")
    for name in subtrahends:
        if name not in variants and not _may_be_agent(name):
            raise ValueError(f"{where}: from has {name!r}: expected a rule or one of {', '.join(variants)}")
    return Difference(minuend, tuple(subtrahends))


def _may_be_agent(spec: str) -> bool:
    """Whether it names a known rule, or a file, module or folder; what these hold is not looked at."""
    head = _head(spec)
    return "/" in head or ":" in head or head in {_head(entry.name) for entry in list_agents()}


def _head(spec: str) -> str:
    """An agent without its parameters and its rule for node knobs."""
    return re.split(r"[+(]", spec, maxsplit=1)[0]


def _refuse_unknown(found: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(found) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}: expected some of {', '.join(sorted(known))}")


def _refuse_missing(wanted: Sequence[str], known: set[str], what: str) -> None:
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ValueError(f"there is no {what} {', '.join(missing)}: expected some of {', '.join(sorted(known))}")
