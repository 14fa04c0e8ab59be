"""The last layers of a trained policy, tuned by the cross-entropy method on measured rewards, as the linear rules were.

    python benchmarks/policy_search.py baselines/hrac_lgrs+team/policy --trace google.parquet --out runs/search
    python benchmarks/policy_search.py runs/mine/policy --roles scheduler --generations 40 --jobs 2 --out runs/search
    python benchmarks/policy_search.py runs/mine/policy --rule linear_feedback --generations 0 --out runs/search

Where policy gradients are noise (`docs/dev/learning-log.md`), measured rewards still say which of two policies is
better: all candidates of a generation play the same train windows with the same seeds. What is searched are the
weights that turn a role's features into scores (the scheduler's output layers, the biases of the nodes' heads), a
hundred or so numbers; all else stays as it was trained. With ``--rule`` the score of a tuned rule is added to the
scheduler's, times the scale that is best on validation windows, and the weights of that rule are searched instead of
the scheduler's own layers (``--generations 0``: not searched, only added). The search, its windows and its choice on
validation windows are those of the tuned rules (`cloudsched headroom`, `cloudsched_env/headroom/tuning.py`), so a
comparison with them is one of equal means.

Interrupt it at any time: the same command goes on from the last generation. The result is a policy in ``--out``/policy;
nothing is measured on test windows.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from cloudsched_env.agents.identity import policy_digest
from cloudsched_env.cli.headroom import StudyBar
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.play import team_reward
from cloudsched_env.headroom.tuning import Search, tune
from cloudsched_env.rllib.networks import LoadedPolicy, TrainedAgent, load_policy, save_policy
from cloudsched_env.rllib.networks.residual import rule_parameters, with_rule
from cloudsched_env.rllib.portable import portable_command
from cloudsched_env.scenario import Scenario, load_scenario
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.tasks import RawTasks

Floats = NDArray[np.float64]

SEARCHED = {
    "scheduler": ("score.weight", "direct.weight", "defer.weight", "defer.bias"),
    "compute": ("head.bias",),
    "storage": ("head.bias",),
}
RULE = ("rule.weight", "rule_defer.weight")
RULE_SCALES = [0.5, 1.0, 2.0, 3.0, 4.0, 8.0]
SEED = 0
TOGETHER = 10
console = Console(stderr=True, highlight=False)


def searched_names(role: str, network: nn.Module) -> tuple[str, ...]:
    """The parameters of a role's network that are searched; of a scheduler with the path of a rule only that."""
    return RULE if role == "scheduler" and hasattr(network, "rule") else SEARCHED[role]


def searched_tensors(networks: Mapping[str, nn.Module], roles: Sequence[str]) -> list[Tensor]:
    """The tensors that are searched, in a fixed order."""
    return [
        dict(networks[role].named_parameters())[name] for role in roles for name in searched_names(role, networks[role])
    ]


def to_vector(tensors: Sequence[Tensor]) -> Floats:
    """All of them in one vector."""
    return np.concatenate([tensor.detach().double().numpy().ravel() for tensor in tensors])


def put(vector: Floats, tensors: Sequence[Tensor]) -> None:
    """Write a vector into tensors."""
    first = 0
    with torch.no_grad():
        for tensor in tensors:
            part = vector[first : first + tensor.numel()]
            tensor.copy_(torch.from_numpy(part.copy()).reshape(tensor.shape))
            first += tensor.numel()


def beginnings(
    policy: Path, rule: str, scales: Sequence[float], roles: Sequence[str], out: Path
) -> tuple[LoadedPolicy, Path, list[Floats]]:
    """What the search can begin with.

    Args:
        policy: folder of the trained policy.
        rule: that is added to its scheduler; empty for none.
        scales: of the rule.
        roles: that are searched.
        out: where the policy with the rule is kept.

    Returns:
        The policy, its folder, and its searched weights: one vector, or one for each scale.
    """
    loaded = load_policy(policy)
    if not rule:
        return loaded, policy, [to_vector(searched_tensors(loaded.networks, roles))]
    joined = [with_rule(loaded, rule_parameters(rule), scale) for scale in scales]
    first, folder = joined[0], out / "start"
    save_policy(folder, first.networks, first.scenario, first.config, first.metadata)
    return first, folder, [to_vector(searched_tensors(each.networks, roles)) for each in joined]


def deviations(tensors: Sequence[Tensor], share: float) -> Floats:
    """First standard deviations: a share of the root mean square of each tensor's entries, one entry like the other."""
    parts = [np.full(tensor.numel(), share * float(tensor.detach().square().mean().sqrt())) for tensor in tensors]
    return np.concatenate(parts)


class PerCandidate(nn.Module):
    """A linear layer with weights of its own for each candidate; inputs are in the order of the candidates.

    Args:
        weight: ``[candidates, out, in]``.
        bias: ``[candidates, out]``, or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.owner: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        """``[rows, ..., in]`` to ``[rows, ..., out]``; row r is of candidate ``owner[r]``, else in equal parts."""
        owner = owner_of(torch.arange(len(values)), len(self.weight), len(values)) if self.owner is None else self.owner
        flat = values.reshape(len(values), -1, values.shape[-1])
        out = flat @ self.weight[owner].transpose(1, 2)
        if self.bias is not None:
            out = out + self.bias[owner].unsqueeze(1)
        return out.reshape(*values.shape[:-1], -1)


def owner_of(rows: Tensor, candidates: int, total: int) -> Tensor:
    """The candidate of each of ``rows``, of ``total`` rows in the order of the candidates."""
    return torch.div(rows * candidates, total, rounding_mode="floor")


class Candidates(TrainedAgent):
    """A trained policy with other last layers; of several candidates each plays an equal share of the clusters.

    A step of a network costs little more for 160 clusters than for 16, so that candidates that play together are twice
    as fast as one after the other.
    """

    def __init__(self, folder: str, roles: Sequence[str], vectors: Floats) -> None:
        self.roles, self.vectors = roles, vectors
        super().__init__(folder)

    def _use(self, networks: Mapping[str, nn.Module], scenario: Scenario) -> None:
        super()._use(networks, scenario)
        tensors = searched_tensors(self._policies, self.roles)
        if len(self.vectors) == 1:
            put(self.vectors[0], tensors)
            return
        values: list[list[Tensor]] = [[] for _ in tensors]
        for vector in self.vectors:
            put(vector, tensors)
            for tensor, kept in zip(tensors, values, strict=True):
                kept.append(tensor.detach().clone())
        found = iter(values)
        for role in self.roles:
            policy = self._policies[role]
            searched = {name: torch.stack(next(found)) for name in searched_names(role, policy)}
            for layer in sorted({name.partition(".")[0] for name in searched}):
                own = getattr(policy, layer)
                weight, bias = (
                    searched.get(
                        f"{layer}.{part}",
                        None if value is None else value.detach().expand(len(self.vectors), *value.shape),
                    )
                    for part, value in (("weight", own.weight), ("bias", own.bias))
                )
                setattr(policy, layer, PerCandidate(weight, bias))
        if "scheduler" in self.roles:
            self._tell_whose_tasks(self._policies["scheduler"])

    def _tell_whose_tasks(self, policy: Any) -> None:
        """The rule scores those tasks only that have a choice: say whose they are."""
        scores = policy._scores

        def told(decision: Any, rows: Tensor, *rest: Tensor) -> Tensor:
            policy.rule.owner = owner_of(rows, len(self.vectors), len(decision.defer_score))
            return scores(decision, rows, *rest)

        policy._scores = told


class Player:
    """Plays candidates on the windows of one scenario; one in each process."""

    def __init__(self, folder: str, roles: tuple[str, ...], scenario: str, trace: Path | None, sizes: tuple[int, int]):
        self.folder, self.roles = folder, roles
        self.bench = Bench(
            load_scenario(scenario), RawTasks.from_file(trace) if trace is not None else None, SEED, threads=1
        )
        self.train, self.validation = (
            self.bench.episodes("train", sizes[0]),
            self.bench.episodes("validation", sizes[1]),
        )

    def play(self, vectors: Floats, places: Sequence[int] | None, seed: int) -> Floats:
        """Team reward of candidates on each window, ``[candidates, windows]``."""
        episodes = self.validation if places is None else [self.train[place] for place in places]
        seeds = [seed + index for index in range(len(episodes))]
        agent = Candidates(self.folder, self.roles, vectors)
        records = self.bench.player.batch(agent, episodes * len(vectors), seeds * len(vectors))
        return np.array([team_reward(record) for record in records]).reshape(len(vectors), len(episodes))


_player: Player


def _start(*arguments: Any) -> None:
    global _player
    _player = Player(*arguments)


def _play(vectors: Floats, places: Sequence[int] | None, seed: int) -> Floats:
    return _player.play(vectors, places, seed)


def main(
    policy: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a trained policy.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the search; the policy goes to OUT/policy.")],
    roles: Annotated[str, typer.Option(help="Whose last layers, with commas.")] = "scheduler,compute,storage",
    scenario: Annotated[str, typer.Option(help="Scenario id.")] = "paper-v1",
    trace: Annotated[Path | None, typer.Option(exists=True, help="Task table; default: the generator.")] = None,
    rule: Annotated[
        str, typer.Option(help="Rule whose score is added: linear_static, linear_feedback or a file.")
    ] = "",
    rule_scale: Annotated[list[float], typer.Option(help="Logits per unit of its score; repeatable.")] = RULE_SCALES,
    generations: Annotated[int, typer.Option(min=0, help="Of the search.")] = 60,
    population: Annotated[int, typer.Option(min=4, help="Candidates of a generation.")] = 40,
    windows: Annotated[int, typer.Option(min=1, help="Train windows of a generation, out of four times as many.")] = 16,
    validation: Annotated[int, typer.Option(min=1, help="Validation windows, every five generations.")] = 32,
    deviation: Annotated[float, typer.Option(min=0.0, help="First deviation, as a share of a layer's weights.")] = 0.3,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; all cores. Results do not depend on it.")] = None,
) -> None:
    """Search, then write the policy and what the search saw."""
    chosen = tuple(roles.split(","))
    if unknown := [role for role in chosen if role not in SEARCHED]:
        raise typer.BadParameter(f"{unknown[0]!r}: expected some of {', '.join(SEARCHED)}", param_hint="--roles")
    if rule and "scheduler" not in chosen:
        raise typer.BadParameter(
            "expected the scheduler among them, whose score the rule is added to", param_hint="--roles"
        )
    scales = sorted(set(rule_scale)) if rule else []
    try:
        loaded, begun_from, starts = beginnings(policy, rule, scales, chosen, out)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="POLICY or --rule") from error
    tensors = searched_tensors(loaded.networks, chosen)
    # The pointer takes the weights of its score raw: candidates that search them play one at a time.
    together = 1 if any("score.weight" in searched_names(role, loaded.networks[role]) for role in chosen) else TOGETHER
    search = Search(generations, population, 0.25, windows, 4 * windows, 5, SEED)
    arguments = (str(begun_from), chosen, scenario, trace, (search.pool, validation))
    context = multiprocessing.get_context("spawn")
    with (
        StudyBar(console) as bar,
        ProcessPoolExecutor(jobs or os.cpu_count(), context, initializer=_start, initargs=arguments) as pool,
    ):
        measured = 2 + (generations - 1) // search.validate_every
        bar.begin("search", generations * population * windows + (measured + len(starts)) * validation)

        def played(vectors: Floats, places: Sequence[int] | None, seed: int) -> Floats:
            parts = np.array_split(vectors, -(-len(vectors) // together))
            waiting = [pool.submit(_play, part, places, seed) for part in parts]
            rows = []
            for future in waiting:
                rows.append(future.result())
                bar.advance(rows[-1].size)
            return np.concatenate(rows)

        try:
            begun = played(np.stack(starts), None, SEED).mean(axis=1)
            best = int(begun.argmax())
            put(starts[best], tensors)
            tuned = tune(
                starts[best],
                deviations(tensors, deviation),
                played,
                search,
                out,
                lambda done: bar.advance(done * population * windows),
            )
        except KeyboardInterrupt:
            console.print(f"interrupted: the same command goes on from what is in {out}")
            pool.shutdown(wait=False, cancel_futures=True)
            raise typer.Exit(130) from None
    put(tuned.vector, tensors)
    found = {
        "begun_from": policy_digest(policy),
        "rule": rule,
        "rule_scale": scales[best] if rule else None,
        "generations": generations,
        "validation_score": tuned.validation,
    }
    algorithm = str(loaded.metadata.get("algorithm", "policy")) + ("+rule" if rule else "")
    metadata = {**loaded.metadata, "algorithm": algorithm, "search": found}
    save_policy(out / "policy", loaded.networks, loaded.scenario, loaded.config, metadata)
    record = {
        "command": portable_command("policy_search.py"),
        **found,
        "rule_scales": dict(zip(map(str, scales), begun.tolist(), strict=bool(rule))),
        "parameters": len(tuned.vector),
        "env_steps": generations * population * windows * loaded.scenario.time.horizon_steps,
        "curve": tuned.curve,
        "history": tuned.history,
    }
    write_whole(out / "search_result.json", json.dumps(record, indent=1) + "\n")
    console.print(f"validation {tuned.curve[0][1]:.4f} -> {tuned.validation:.4f}; policy in {out / 'policy'}")


if __name__ == "__main__":
    typer.run(main)
