"""``cloudsched attention``: draw what the roles of a trained policy, or of a run's critic, attend to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cloudsched_env.cli.evaluate import SplitName

__all__ = ["app"]

app = typer.Typer(rich_markup_mode="markdown")

_EPILOG = """
**Examples**

`cloudsched attention runs/first --out attention.png` (the critic's attention, as of the last checkpoint)

`cloudsched attention runs/summaries/policy --out attention.svg --seed 3` (that of policies that read role summaries)

`cloudsched attention runs/google --trace google.parquet --split test --out attention.png` (on windows of a trace)
"""


@app.command(epilog=_EPILOG, no_args_is_help=True)
def attention(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, or of a trained policy.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (.png, .svg, .pdf).")],
    clusters: Annotated[int, typer.Option(min=1, help="Episodes to average over.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the episodes.")] = 0,
    split: Annotated[SplitName, typer.Option(help="Windows or seeds the episodes come from.")] = SplitName.validation,
    trace: Annotated[
        Path | None, typer.Option(exists=True, help="Task table of an imported trace; default: the generator.")
    ] = None,
) -> None:
    """Draw attention weights between roles and their entropy over an episode of the generated workload or a trace."""
    try:
        from cloudsched_env.rllib.attention_record import draw_attention, record_attention
        from cloudsched_env.rllib.networks import TrainedAgent
        from cloudsched_env.vector import CloudSchedVectorEnv
        from cloudsched_env.workload.source import make_source

        critic: Any = None
        policy = folder
        if (folder / "latest.json").is_file():
            policy, critic = _of_run(folder)
        agent = TrainedAgent(policy)
        if agent.execution != "none":
            critic = None  # the policies' own attention is the one that acts
        source = make_source(agent.scenario, split.value, trace)
        env = CloudSchedVectorEnv(agent.scenario, clusters, source=source)
        record = record_attention(env, agent, critic, seed=seed)
        where = "policies" if critic is None else "critic"
        draw_attention(record, out, f"Role attention of the {where}, {agent.name} on {agent.scenario.id}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("ray", "torch", "safetensors"):
            raise
        typer.echo(f"attention needs {error.name}: pip install 'cloudsched-env[rllib]'", err=True)
        raise typer.Exit(1) from None
    except (ValueError, FileNotFoundError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    for role, weights in zip(record.roles, record.weights.mean(0), strict=True):
        shares = ", ".join(f"{other} {weight:.2f}" for other, weight in zip(record.roles, weights, strict=True))
        typer.echo(f"{role}: {shares}")
    typer.echo(str(out))


def _of_run(folder: Path) -> tuple[Path, Any]:
    """Policy folder and critic of a run's last checkpoint."""
    from cloudsched_env.rllib.ray_session import silence_ray

    silence_ray()
    from ray.rllib.core.rl_module.rl_module import RLModule

    from cloudsched_env.rllib.modules import CRITIC
    from cloudsched_env.rllib.run_folder import RunFolder

    checkpoint, _ = RunFolder(folder).last_checkpoint()
    if not (checkpoint / "policy").is_dir():
        raise ValueError(f"{folder} is a run of another algorithm than ours, or of other networks: it has no policy")
    modules = RLModule.from_checkpoint(str(checkpoint / "algorithm" / "learner_group" / "learner" / "rl_module"))
    if CRITIC not in modules:
        raise ValueError(f"{folder} was trained without a central critic: nothing attends there")
    return checkpoint / "policy", modules[CRITIC].network
