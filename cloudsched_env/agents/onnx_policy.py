"""A policy of any framework as a folder: ONNX models and a JSON file; nothing is unpickled.

    policy.json     {"format": "cloudsched-onnx/1", "name": "mine", "deterministic": false,
                     "roles": {"compute": {"agent": "balanced"}, "storage": {"agent": "balanced"},
                               "scheduler": {"model": "scheduler.onnx"}}}
    scheduler.onnx  input ``observation`` float32 [rows, observation size] and, if wanted, ``action_mask`` float32
                    [rows, sum of levels]; first output: logits float32 [rows, sum of levels]

Each row is one agent of the role, of any cluster of the batch. Masked levels cannot be chosen: their logits are put to
minus infinity here. A role with ``agent`` is played by that heuristic. Needs onnxruntime (the extra ``onnx``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.check import AgentError
from cloudsched_env.agents.protocol import Actions, Agent, ClusterInfo, Masks, Observations
from cloudsched_env.agents.sampling import cluster_generators

__all__ = ["FORMAT", "OnnxPolicy", "masked_choice"]

FORMAT = "cloudsched-onnx/1"
_ROLES = ("compute", "storage", "scheduler")


class OnnxPolicy:
    """Acts with ONNX models; implements `cloudsched_env.agents.protocol.Agent`.

    Args:
        folder: see the module.
        heuristics: the agents of roles without a model, by role.
        deterministic: take the most probable level of each sub-action instead of drawing; by default as the file says.
        name: for results; by default as the file says, or the folder's name.

    Raises:
        AgentError: the folder is not as described, or onnxruntime is not installed.
    """

    execution = "none"

    def __init__(
        self,
        folder: str | Path,
        heuristics: Mapping[str, Agent],
        *,
        deterministic: bool | None = None,
        name: str | None = None,
    ) -> None:
        path = Path(folder)
        self._description = read_description(path)
        self.name = name or str(self._description.get("name", path.name))
        self.deterministic = (
            bool(self._description.get("deterministic", False)) if deterministic is None else deterministic
        )
        self._heuristics = dict(heuristics)
        self._sessions = {
            role: _session(path / entry["model"], role)
            for role, entry in self._description["roles"].items()
            if "model" in entry
        }
        self._info: ClusterInfo | None = None

    def reset(self, info: ClusterInfo, batch_size: int, seed: int) -> None:
        """See the protocol.

        Raises:
            AgentError: a model takes or gives another number of values than the cluster's roles have.
        """
        for role, session in self._sessions.items():
            for entry in session.get_inputs():
                wanted = {"observation": info.layouts[role].size, "action_mask": int(info.action_levels[role].sum())}
                if entry.name not in wanted:
                    raise AgentError(
                        f"{self.name}: model of {role}: unknown input {entry.name!r}, expected {list(wanted)}"
                    )
                size = entry.shape[-1]
                if isinstance(size, int) and size != wanted[entry.name]:
                    raise AgentError(
                        f"{self.name}: model of {role}: {entry.name} has {size} values, {info.scenario.id} has "
                        f"{wanted[entry.name]}"
                    )
        self._info = info
        self._generators = cluster_generators(seed, batch_size)
        for agent in self._heuristics.values():
            agent.reset(info, batch_size, seed)

    def act(self, observations: Observations, masks: Masks) -> Actions:
        """See the protocol."""
        if self._info is None:
            raise RuntimeError(f"agent {self.name!r}: call reset(info, batch_size, seed) before act")
        others = {id(agent): agent.act(observations, masks) for agent in self._heuristics.values()}
        actions: Actions = {role: others[id(agent)][role] for role, agent in self._heuristics.items()}
        for role, session in self._sessions.items():
            seen, mask = observations[role], masks[role]
            rows = {
                "observation": np.ascontiguousarray(seen.reshape(-1, seen.shape[-1]), np.float32),
                "action_mask": np.ascontiguousarray(mask.reshape(-1, mask.shape[-1]), np.float32),
            }
            logits = session.run(None, {entry.name: rows[entry.name] for entry in session.get_inputs()})[0]
            if logits.shape != rows["action_mask"].shape:
                raise AgentError(
                    f"{self.name}: model of {role}: logits have shape {logits.shape}, expected "
                    f"{rows['action_mask'].shape} (agents, sum of levels)"
                )
            generators = None if self.deterministic else self._generators
            levels = self._info.action_levels[role]
            actions[role] = masked_choice(logits.reshape(mask.shape), mask, levels, generators)
        return actions


def read_description(folder: Path) -> dict[str, Any]:
    """``policy.json`` of an ONNX policy.

    Raises:
        AgentError: naming what is wrong with it.
    """
    try:
        description: dict[str, Any] = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        roles = description["roles"]
        if set(roles) != set(_ROLES):
            raise ValueError(f"roles are {sorted(roles)}, expected {list(_ROLES)}")
        for role, entry in roles.items():
            if len(set(entry) & {"model", "agent"}) != 1:
                raise ValueError(f'role {role}: expected either "model" or "agent"')
            if "model" in entry and Path(entry["model"]).name != entry["model"]:
                raise ValueError(f"role {role}: {entry['model']!r} must be a file in the folder of the policy")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise AgentError(f"{folder.name}/policy.json: {error}") from error
    return description


def masked_choice(
    logits: NDArray[Any],
    mask: NDArray[np.int8],
    levels: NDArray[np.int64],
    generators: list[np.random.Generator] | None,
) -> NDArray[np.int64]:
    """One level of each sub-action: the largest logit, or drawn with softmax probabilities (the Gumbel-max trick).

    Args:
        logits: ``[batch, agents, sum of levels]``.
        mask: 1 = allowed, the same shape.
        levels: of each sub-action.
        generators: one a cluster to draw; None to take the largest.

    Returns:
        int64 ``[batch, agents, sub-actions]``.
    """
    values = np.where(mask != 0, logits.astype(np.float64), -np.inf)
    if generators is not None:
        values = values + np.stack([generator.gumbel(size=values.shape[1:]) for generator in generators])
    parts = np.split(values, np.cumsum(levels)[:-1], axis=-1)
    return np.stack([part.argmax(axis=-1) for part in parts], axis=-1)


def _session(file: Path, role: str) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise AgentError(
            f"{file.parent.name}: an ONNX policy needs onnxruntime: pip install 'cloudsched-env[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # small models: threads cost more than they save
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that it does not document
        raise AgentError(f"{file.parent.name}: model of {role}: {error}") from error
