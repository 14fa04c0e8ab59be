"""What is compared: the variants of ``comparison.yaml``, read and checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

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
class Experiment:
    """All of ``comparison.yaml``.

    Attributes:
        variants: in the order of the table.
        expert: agent that warm starts clone; its validation score is also the threshold of convergence.
        recorded_episodes: train windows on which it is recorded.
        minuend: variant that the second table subtracts from; None for no such table.
        subtrahends: variants and rules that it is compared with.
        studies: names of variants that are compared with the first of them, by name of the study.
    """

    variants: tuple[Variant, ...]
    expert: str = "linear_feedback"
    recorded_episodes: int = 48
    minuend: str | None = None
    subtrahends: tuple[str, ...] = ()
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
    differences = content.get("differences") or {}
    _refuse_unknown(differences, {"of", "from"}, f"{path}: differences")
    if differences and differences.get("of") not in names:
        raise ValueError(f"{path}: differences.of is {differences.get('of')!r}: expected one of {', '.join(names)}")
    studies = {str(study): tuple(members) for study, members in (content.get("studies") or {}).items()}
    for study, members in studies.items():
        _refuse_missing(members, set(names), f"variant of study {study}")
    return Experiment(
        variants,
        str(content.get("expert", Experiment.expert)),
        int(content.get("recorded_episodes", Experiment.recorded_episodes)),
        differences.get("of"),
        tuple(differences.get("from", ())),
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


def _refuse_unknown(found: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(found) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}: expected some of {', '.join(sorted(known))}")


def _refuse_missing(wanted: Sequence[str], known: set[str], what: str) -> None:
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ValueError(f"there is no {what} {', '.join(missing)}: expected some of {', '.join(sorted(known))}")
