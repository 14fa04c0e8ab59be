"""How much of a policy gradient is signal: do independent roll-outs of one training agree on it?

    python benchmarks/gradient_agreement.py runs/mine --rollouts 12
    python benchmarks/gradient_agreement.py runs/mine --vary vtrace.lambda=0.5 --vary lgrs.lambda=0.3 --json out.json

Restores the last checkpoint of a training, samples independent roll-outs with its policies and computes, for each role,
the gradient of the policy loss on each roll-out (at the anchor, so without clipping). *Agreement* is the mean cosine of
the gradients of two roll-outs: with signal S and independent noise N of the same size on each it is S² / (S² + N²), 1
without noise and near 0 if there is nothing but noise. *Alignment* is the cosine between the mean gradient under
changed settings on one half of the roll-outs and that under the run's own on the other half: a setting that agrees more
but aligns less has exchanged noise for bias. Both say nothing of how well a policy does; they say what to try. What is
common to the advantages of clusters that meet the same arrivals is given as well (``common_luck``).

The training must be of HRAC, MAPPO, IPPO or HAPPO without memory.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from cloudsched_env.rllib.portable import portable_command
from cloudsched_env.rllib.ray_session import ray_session, silence_ray
from cloudsched_env.whole_file import write_whole

OWN = "as trained"
_SAMPLES = 20_000  # decisions of a role in each roll-out, at most
_CHUNK = 2_500

console = Console(highlight=False)


class Metrics:
    """Keeps what the connector logs."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def log_value(self, key: tuple[str, str], value: float, **kwargs: Any) -> None:
        """As RLlib's metrics logger has it."""
        self.values.setdefault("/".join(key), []).append(value)


def gradients(module: Any, settings: Any, rollouts: Sequence[Any]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The policy gradient of each role on each roll-out, ``{role: [roll-outs, parameters]}``, and common luck."""
    from cloudsched_env.rllib.connector import HRACBatchConnector
    from cloudsched_env.rllib.modules import CRITIC

    shaping = module[CRITIC].unwrapped().lgrs
    before = shaping.config
    shaping.config = dataclasses.replace(
        before, mode=settings.lgrs.mode, weight=settings.lgrs.lambda_, weight_by_role=settings.lgrs.lambda_by_role
    )
    found: dict[str, list[Tensor]] = {role: [] for role in module.roles()}
    metrics = Metrics()
    for rollout in track(rollouts, description="gradients", console=console, transient=True):
        batch = HRACBatchConnector(settings=settings)(rl_module=module, batch={}, episodes=[rollout], metrics=metrics)
        for role in found:
            found[role].append(policy_gradient(module, role, batch[role]))
    shaping.config = before
    luck = {role: float(torch.tensor(metrics.values[f"{role}/common_luck"]).mean()) for role in found}
    return {role: torch.stack(rows) for role, rows in found.items()}, luck


def policy_gradient(module: Any, role: str, columns: Mapping[str, Tensor]) -> Tensor:
    """Gradient of the mean of log-probability times advantage over the decisions of a batch."""
    parameters = [p for p in module[role].parameters() if p.requires_grad]
    row, agent = columns["active"].nonzero(as_tuple=True)
    chosen = torch.randperm(len(row), generator=torch.Generator().manual_seed(0))[:_SAMPLES]
    row, agent = row[chosen], agent[chosen]
    total = [torch.zeros_like(p) for p in parameters]
    for index in torch.arange(len(row)).split(_CHUNK):
        part = {role: {name: values[row[index], agent[index]].unsqueeze(1) for name, values in columns.items()}}
        output = module.forward_train(part)[role]
        loss = -(output["log_probs"] * part[role]["advantages"]).sum() / len(row)
        for sum_, gradient in zip(total, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                sum_ += gradient
    return torch.cat([part.flatten() for part in total])


def agreement(rows: Tensor) -> float:
    """Mean cosine between different rows."""
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    cosines, count = unit @ unit.T, len(rows)
    return float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))


def alignment(rows: Tensor, reference: Tensor) -> float:
    """Cosine of the means over different halves."""
    return float(torch.cosine_similarity(rows[::2].mean(0), reference[1::2].mean(0), dim=0))


def main(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of a training.")],
    rollouts: Annotated[int, typer.Option(min=4, help="Independent roll-outs.")] = 12,
    steps: Annotated[int, typer.Option(min=2, help="Env steps of each cluster in a roll-out.")] = 100,
    vary: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a setting; each is tried by itself.")] = None,
    result: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Measure agreement and alignment."""
    silence_ray()
    torch.set_num_threads(1)
    with ray_session():
        from ray.rllib.algorithms.algorithm import Algorithm

        from cloudsched_env.rllib.environments import register_environments
        from cloudsched_env.rllib.run_folder import RunFolder

        register_environments()
        checkpoint, state = RunFolder(run).last_checkpoint()
        algorithm = Algorithm.from_checkpoint(str(checkpoint.resolve() / "algorithm"))
        runner, module = algorithm.env_runner, algorithm.learner_group._learner.module
        settings = algorithm.config.settings
        count = steps * settings.sampling.clusters
        runner.sample(num_timesteps=count)  # away from the common start
        sampled = [
            runner.sample(num_timesteps=count)[0]
            for _ in track(range(rollouts), description="sampling", console=console, transient=True)
        ]
        tried = {OWN: settings}
        for change in vary or ():
            name, _, value = change.partition("=")
            tried[change] = settings.override({name: json.loads(value)})
        found = {name: gradients(module, changed, sampled) for name, changed in tried.items()}
    figures = {
        name: {
            role: {
                "agreement": agreement(rows),
                "alignment": alignment(rows, found[OWN][0][role]),
                "common_luck": luck[role],
            }
            for role, rows in by_role.items()
        }
        for name, (by_role, luck) in found.items()
    }
    table = Table("settings", *(f"{role}: agreement / alignment" for role in figures[OWN]), "common luck")
    for name, roles in figures.items():
        cells = [f"{values['agreement']:.3f} / {values['alignment']:.3f}" for values in roles.values()]
        table.add_row(name, *cells, " ".join(f"{values['common_luck']:.2f}" for values in roles.values()))
    console.print(table)
    if result is not None:
        record = {
            "command": portable_command("gradient_agreement.py"),
            "scenario": settings.scenario,
            "data": "trace" if settings.trace else "generated",
            "epoch": state.epoch,
            "env_steps_of_a_rollout": count,
            "rollouts": rollouts,
            "figures": figures,
        }
        write_whole(result, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
