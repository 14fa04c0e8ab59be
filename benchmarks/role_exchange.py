"""Roles of trained policies exchanged: which of them are good, and what the best team made of them reaches.

    python benchmarks/role_exchange.py A=runs/a/policy B=runs/b/policy --trace google.parquet --windows 32
    python benchmarks/role_exchange.py A=runs/a/policy B=runs/b/policy --search --json exchange.json
    python benchmarks/role_exchange.py A=runs/a/policy B=runs/b/policy --split test --team linear_feedback,A,B
    python benchmarks/role_exchange.py A=runs/a/policy B=runs/b/policy --team B,A,A --save runs/team

Each policy is a network for each role, so its roles can play beside those of another agent. The table has, for every
policy, the mean team reward with all its roles, with one role (the partner plays the others), and with all but one. A
policy whose scheduler alone is better than the partner's, and which as a whole is worse, has nodes that are behind.

``--search`` goes on to the best team that can be put together: beginning with the partner, each role in turn is given
to the candidate that is best beside the others, until no exchange helps. Teams are chosen on validation windows, so
what they are worth is to be measured on others: ``--split test --team SCHEDULER,COMPUTE,STORAGE`` plays one team and
searches nothing. Every team is played once on the same windows with the same seeds and kept in ``--json``; the same
command goes on where it was. ``--save`` writes a team of policies with the same networks as one policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from comparison.evaluations import Windows
from comparison.steps import digest_of_tasks
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cloudsched_env.agents.identity import agent_identity
from cloudsched_env.evaluation.interface import first_difference
from cloudsched_env.evaluation.statistics import paired_difference
from cloudsched_env.rllib.networks import NetworkConfig, load_policy, save_policy
from cloudsched_env.rllib.portable import portable_command
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.episode import Split

ROLES = ("scheduler", "compute", "storage")
_ACTING = {
    "hidden_sizes",
    "embedding_size",
    "pointer_size",
    "execution",
    "role_map",
    "memory",
    "standardise_inputs",
    "layer_norm",
    "sequential_slots",
    "rule_features",
}
console = Console(highlight=False)

Team = tuple[str, str, str]
"""Who plays each of `ROLES`."""


def candidates(named: list[str], partner: str) -> dict[str, str]:
    """Specs of agents by the names that the table gives them; the partner is one of them.

    Raises:
        typer.BadParameter: not NAME=AGENT, or a name twice.
    """
    found = {partner: partner}
    for text in named:
        name, equals, spec = text.partition("=")
        if not (equals and name and spec) or name in found:
            raise typer.BadParameter(f"{text!r}: expected NAME=AGENT, each name once", param_hint="AGENTS")
        found[name] = spec
    return found


def spec_of(team: Team, specs: Mapping[str, str]) -> str:
    """A team as an agent that `cloudsched evaluate` takes, too."""
    if len(set(team)) == 1:
        return specs[team[0]]
    return f"mixed({', '.join(f'{role}={json.dumps(specs[name])}' for role, name in zip(ROLES, team, strict=True))})"


def exchanges(name: str, partner: str) -> dict[str, Team]:
    """The teams of one policy and its partner, by what the column says."""
    teams = {"all its own": (name, name, name)}
    for alone, role in enumerate(ROLES):
        teams[f"its {role}"] = tuple(name if i == alone else partner for i in range(3))  # type: ignore[assignment]
    for other, role in enumerate(ROLES):
        teams[f"all but its {role}"] = tuple(partner if i == other else name for i in range(3))  # type: ignore[assignment]
    return teams


class Matches:
    """Teams on the same windows, each played once.

    Args:
        windows: where they play.
        specs: agents by name.
        file: where results are kept; None keeps them in memory.
        command: written beside them, after those of earlier runs.
    """

    def __init__(self, windows: Windows, specs: Mapping[str, str], file: Path | None, command: str) -> None:
        self.windows, self.specs, self.file = windows, specs, file
        self.rewards: dict[str, NDArray[np.float64]] = {}
        self._identities = {name: agent_identity(spec) for name, spec in specs.items()}
        # Whose rewards a file holds is said of all runs that added to it; a name may stand for another agent by now.
        self.commands, self.named = [command], {name: [identity] for name, identity in self._identities.items()}
        if file is not None and file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            if different := first_difference(found["key"], windows.key, "windows"):
                raise typer.BadParameter(f"{file}: {different}; choose another file", param_hint="--json")
            self.rewards = {key: np.array(values) for key, values in found["team_reward"].items()}
            self.commands = list(dict.fromkeys([*found["commands"], command]))
            for name, identities in found["agents"].items():
                self.named[name] = list(dict.fromkeys([*identities, *self.named.get(name, [])]))

    def play(self, team: Team) -> NDArray[np.float64]:
        """Mean team reward on each window."""
        key = " ".join(f"{role}={self._identities[name]}" for role, name in zip(ROLES, team, strict=True))
        if key not in self.rewards:
            with console.status(" · ".join(f"{role} {name}" for role, name in zip(ROLES, team, strict=True))):
                self.rewards[key] = self.windows.play(spec_of(team, self.specs)).metrics["team_reward"]
            if self.file is not None:
                content = {
                    "commands": self.commands,
                    "key": self.windows.key,
                    "data_tag": self.windows.episodes[0].data_tag,
                    "agents": self.named,
                    "team_reward": {name: [round(float(v), 9) for v in row] for name, row in self.rewards.items()},
                }
                write_whole(self.file, json.dumps(content, indent=1) + "\n")
        return self.rewards[key]


def search(matches: Matches, names: list[str], begin: Team) -> Team:
    """Exchange one role at a time for the best candidate until none is better."""
    best, reward = begin, matches.play(begin).mean()
    improved = True
    while improved:
        improved = False
        for index, role in enumerate(ROLES):
            for name in names:
                team: Team = (*best[:index], name, *best[index + 1 :])  # type: ignore[assignment]
                if (found := matches.play(team).mean()) > reward:
                    best, reward, improved = team, found, True
            console.print(f"{role}: {best[index]}, team {reward:.4f}")
    return best


def _acting(config: NetworkConfig) -> dict[str, Any]:
    """What matters to policies that listen to nobody, once they are trained."""
    return {name: value for name, value in config.to_dict().items() if name in _ACTING}


def save_team(team: Team, specs: Mapping[str, str], folder: Path) -> None:
    """Write the networks of a team as one policy.

    Raises:
        typer.BadParameter: a member is no policy of this package, or their networks differ.
    """
    try:
        loaded = {role: load_policy(specs[name]) for role, name in zip(ROLES, team, strict=True)}
        first = loaded[ROLES[0]]
        for role, policy in loaded.items():
            different = first_difference(_acting(policy.config), _acting(first.config), f"networks of {role}")
            different = different or first_difference(
                policy.scenario.to_dict(), first.scenario.to_dict(), f"scenario of {role}"
            )
            if different:
                raise ValueError(f"{different}: expected those of the scheduler")
        if first.config.execution != "none":
            raise ValueError("roles that listen to each other cannot be taken apart (networks.execution)")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--save") from error
    networks = {role: policy.networks[role] for role, policy in loaded.items()}
    networks |= {name: network for name, network in first.networks.items() if name not in ROLES}
    members = {
        role: {"identity": agent_identity(specs[name]), **loaded[role].metadata}
        for role, name in zip(ROLES, team, strict=True)
    }
    deterministic = all(policy.metadata.get("deterministic", True) for policy in loaded.values())
    metadata = {"algorithm": "team", "members": members, "deterministic": deterministic}
    save_policy(folder, networks, first.scenario, first.config, metadata)


def _row(team: Team, matches: Matches, partner: str) -> list[str]:
    rewards, theirs = matches.play(team), matches.play((partner,) * 3)
    gain = paired_difference(rewards, theirs, np.random.default_rng(0))
    return [*team, f"{rewards.mean():.4f}", f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"]


def main(
    agents: Annotated[list[str], typer.Argument(help="NAME=AGENT: policy folders, or other agents.")],
    partner: Annotated[str, typer.Option(help="Who plays the other roles.")] = "linear_feedback",
    scenario: Annotated[str, typer.Option(help="Scenario id.")] = "paper-v1",
    trace: Annotated[Path | None, typer.Option(exists=True, help="Task table; default: the generator.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "validation",
    windows: Annotated[int, typer.Option(min=2, help="How many windows.")] = 16,
    find: Annotated[bool, typer.Option("--search", help="Put the best team together.")] = False,
    team: Annotated[
        list[str] | None, typer.Option(help="Play just this team: names of scheduler, compute, storage, with commas.")
    ] = None,
    result: Annotated[Path | None, typer.Option("--json", help="Where teams are kept.")] = None,
    save: Annotated[Path | None, typer.Option(help="Folder for the one --team, or what --search finds.")] = None,
) -> None:
    """Play the teams, show the table."""
    if split not in ("train", "validation", "test"):
        raise typer.BadParameter(f"{split!r}: expected train, validation or test", param_hint="--split")
    specs = candidates(agents, partner)
    wanted: Split = split  # type: ignore[assignment]
    command = portable_command("role_exchange.py")
    matches = Matches(Windows(scenario, trace, digest_of_tasks(trace), wanted, windows), specs, result, command)
    named = [_team(text, specs) for text in team or ()]
    if not named:
        columns = list(exchanges("", partner))
        table = Table("policy", *columns, title=f"Mean team reward, {split}, {windows} windows; others: {partner}")
        for name in [each for each in specs if each != partner]:
            teams = exchanges(name, partner).values()
            table.add_row(name, *(f"{matches.play(each).mean():.4f}" for each in teams))
        console.print(table)
    if find:
        named.append(search(matches, list(specs), (partner,) * 3))
    if named:
        table = Table(*ROLES, "team reward", f"minus {partner}", title=f"{split}, {windows} windows")
        for each in ((partner,) * 3, *named):
            table.add_row(*_row(each, matches, partner))
        console.print(table)
    if save is not None:
        if len(named) != 1:
            raise typer.BadParameter("expected one --team, or --search", param_hint="--save")
        save_team(named[0], specs, save)
        console.print(f"{save}: {', '.join(f'{role} {name}' for role, name in zip(ROLES, named[0], strict=True))}")


def _team(text: str, specs: Mapping[str, str]) -> Team:
    names = tuple(part.strip() for part in text.split(","))
    if len(names) != len(ROLES) or any(name not in specs for name in names):
        raise typer.BadParameter(f"{text!r}: expected three of {', '.join(specs)}", param_hint="--team")
    return names  # type: ignore[return-value]


if __name__ == "__main__":
    typer.run(main)
