"""Reading what ``rllib train file`` takes: a Python file that defines ``config``, or a YAML file of experiments."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from cloudsched_env.config_tree import nearest_names
from cloudsched_env.rllib.algorithms.happo import HAPPOConfig
from cloudsched_env.rllib.algorithms.ippo import IPPOConfig
from cloudsched_env.rllib.algorithms.mappo import MAPPOConfig
from cloudsched_env.rllib.algorithms.qmix import QMIXConfig
from cloudsched_env.rllib.algorithms.vdn import VDNConfig
from cloudsched_env.rllib.hrac import HRACConfig
from cloudsched_env.rllib.role_config import RoleBatchedConfig

__all__ = ["Experiment", "algorithm_config", "load_experiment", "shipped_configs"]

# Our own algorithms by the names under which files may ask for them.
_OURS: dict[str, type[RoleBatchedConfig]] = {
    "HRAC": HRACConfig,
    "HRAC_LGRS": HRACConfig,
    "QMIX": QMIXConfig,
    "VDN": VDNConfig,
    "MAPPO": MAPPOConfig,
    "IPPO": IPPOConfig,
    "HAPPO": HAPPOConfig,
}

_YAML_KEYS = ("run", "env", "stop", "config", "checkpoint_config", "checkpoint_freq", "checkpoint_at_end")


@dataclass
class Experiment:
    """One training run as a file describes it.

    Attributes:
        name: of the run.
        config: of the algorithm.
        stop: criteria by (slash-separated) name of a result, as ``{"training_iteration": 100}``.
        checkpoint_every: iterations between checkpoints; None leaves the default.
    """

    name: str
    config: AlgorithmConfig
    stop: dict[str, float] = field(default_factory=dict)
    checkpoint_every: int | None = None


def shipped_configs() -> dict[str, Path]:
    """Configuration files that come with the package, by name."""
    inside = Path(str(resources.files("cloudsched_env"))) / "rllib_configs"
    # In a checkout the folder stands beside the package; the wheel has it inside.
    folder = inside if inside.is_dir() else inside.parent.parent / "rllib_configs"
    return {path.stem: path for path in sorted(folder.glob("*.py"))} if folder.is_dir() else {}


def load_experiment(source: str | Path) -> Experiment:
    """Read a configuration.

    Args:
        source: path of a ``.py``, ``.yaml`` or ``.yml`` file, or the name of a shipped configuration (``hrac_lgrs``).

    Raises:
        FileNotFoundError: if there is neither such a file nor such a name; the shipped names are listed.
        ValueError: if the file does not say what it must.
    """
    path = Path(source)
    if not path.suffix and str(source) in shipped_configs():
        path = shipped_configs()[str(source)]
    if not path.is_file():
        raise FileNotFoundError(
            f"no configuration {str(source)!r}: expected a .py or .yaml file or one of {', '.join(shipped_configs())}"
        )
    if path.suffix == ".py":
        return _from_python(path)
    if path.suffix in (".yaml", ".yml"):
        return _from_yaml(path)
    raise ValueError(f"{path}: expected a .py, .yaml or .yml file")


def algorithm_config(name: str) -> AlgorithmConfig:
    """Default configuration of an algorithm: ours, or one of RLlib's by its name.

    Raises:
        ValueError: for a name that RLlib does not know either.
    """
    ours = name.upper().replace("-", "_")
    if ours in _OURS:
        return _OURS[ours]()
    from ray.rllib.algorithms import registry

    if name not in registry.ALGORITHMS:
        known = [*_OURS, *registry.ALGORITHMS]
        raise ValueError(f"unknown algorithm {name!r}: {nearest_names(name, known)}")
    return registry.get_algorithm_class(name).get_default_config()


def _from_python(path: Path) -> Experiment:
    spec = importlib.util.spec_from_file_location(f"_rllib_config_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that classes defined in the file can be pickled for remote workers
    spec.loader.exec_module(module)
    config = getattr(module, "config", None)
    if not isinstance(config, AlgorithmConfig):
        raise ValueError(f"{path}: expected it to define `config`, an AlgorithmConfig; found {type(config).__name__}")
    return Experiment(path.stem, config, dict(getattr(module, "stop", {})))


def _from_yaml(path: Path) -> Experiment:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping) or len(content) != 1:
        found = f"{len(content)} experiments" if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{path}: expected one experiment, as {{name: {{run, env, stop, config}}}}; found {found}")
    name, body = next(iter(content.items()))
    if not isinstance(body, Mapping) or "run" not in body:
        raise ValueError(f"{path}: experiment {name!r} must say which algorithm to `run`")
    for key in body:
        if key not in _YAML_KEYS:
            raise ValueError(f"{path}: unknown key {key!r} in {name!r}: {nearest_names(str(key), _YAML_KEYS)}")
    values = dict(body.get("config") or {})
    _refuse_searches(values, f"{path}: {name}.config")
    config = algorithm_config(str(body["run"]))
    ours = {config.settings_name} if isinstance(config, RoleBatchedConfig) else set()
    known = {*config.keys(), *ours, "multiagent", "num_workers"}
    for key in values:
        # RLlib itself takes unknown keys without a word, and then trains with other values than were asked for.
        if key not in known:
            raise ValueError(f"{path}: unknown config key {key!r}: {nearest_names(str(key), known)}")
    if "env" in body:
        if isinstance(config, RoleBatchedConfig):
            config.change_settings({"scenario": str(body["env"]).removeprefix("cloudsched/")})
        else:
            config.environment(body["env"])
    config.update_from_dict(values)
    checkpoints = dict(body.get("checkpoint_config") or {})
    every = body.get("checkpoint_freq", checkpoints.get("checkpoint_frequency"))
    return Experiment(str(name), config, dict(body.get("stop") or {}), every)


def _refuse_searches(values: Mapping[str, Any], where: str) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            if "grid_search" in value:
                raise ValueError(
                    f"{where}.{key}: grid_search is a matter of Ray Tune: pass the config to `tune.Tuner` "
                    "(docs/rllib.md shows how)"
                )
            _refuse_searches(value, f"{where}.{key}")
