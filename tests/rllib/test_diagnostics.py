"""Every diagnostic on data in which the problem is present, and on data in which it is not."""

import math

import numpy as np
import pytest

pytest.importorskip("ray")

import torch

from cloudsched_env.rllib.diagnostics import DIAGNOSTICS, Diagnostics, Thresholds
from cloudsched_env.rllib.lgrs import LGRS, LGRSConfig
from cloudsched_env.rllib.monitoring import PlacementConflicts, attention_statistics, policy_attention_statistics
from cloudsched_env.rllib.networks import NetworkConfig, build_networks
from cloudsched_env.rllib.progress import describe_epoch
from tests.rllib.random_observations import cluster, random_observations
from tests.rllib.toy_env import toy_config, toy_value_config

HEALTHY = {
    "compute/kl_to_anchor": 2e-3,
    "compute/policy_loss": -0.01,
    "compute/entropy": 1.2,
    "compute/gradient_norm": 0.3,
    "storage/kl_to_anchor": 1e-3,
    "central_critic/explained_variance_team": 0.6,
    "central_critic/explained_variance_compute": 0.4,
    "central_critic/value_loss_team": 0.2,
    "compute/lgrs_running_local_std": 0.01,
    "compute/lgrs_running_global_std": 0.2,
    "storage/lgrs_running_local_std": 0.004,
    "storage/lgrs_running_global_std": 0.2,
    "central_critic/attention_entropy_compute": 0.7,
    "placement_conflicts": 0.35,
    "placement_conflicts_by_chance": 0.3,
    "minimum_tenant_share": 0.6,
}


def watch(rows):
    """Findings of the last epoch, by name."""
    diagnostics = Diagnostics()
    for row in rows:
        findings = diagnostics.check(row)
    return {finding.name: finding for finding in findings}


def sick(**changes):
    return {**HEALTHY, **{name.replace("__", "/"): value for name, value in changes.items()}}


SYMPTOMS = {
    "stalled policy loss": (sick(compute__kl_to_anchor=1e-9), "compute"),
    "diverging value estimator": (sick(central_critic__explained_variance_team=-3.0), "team"),
    "reward scale out of balance": (sick(compute__lgrs_running_local_std=0.2), "compute"),
    "attention collapsed": (sick(central_critic__attention_entropy_compute=0.001), "compute in central_critic"),
    "conflicting placements": (sick(placement_conflicts=0.8), ""),
    "starving tenant": (sick(minimum_tenant_share=0.03), ""),
}


def test_every_diagnostic_has_a_case():
    assert set(SYMPTOMS) == set(DIAGNOSTICS)


def test_a_healthy_run_is_not_disturbed():
    assert watch([HEALTHY] * 20) == {}


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_problem_is_named_with_its_place_and_no_other_one_is(name):
    row, where = SYMPTOMS[name]
    found = watch([HEALTHY] * 8 + [row] * 5)
    assert list(found) == [name]
    assert found[name].where == where
    assert any(character.isdigit() for character in found[name].text)


@pytest.mark.parametrize("name", SYMPTOMS)
def test_one_odd_epoch_is_no_problem(name):
    assert watch([HEALTHY] * 8 + [SYMPTOMS[name][0]]) == {}
    assert watch([HEALTHY] * 4 + [SYMPTOMS[name][0], HEALTHY] * 4) == {}


@pytest.mark.parametrize("name", SYMPTOMS)
def test_what_has_passed_is_no_longer_reported(name):
    assert watch([SYMPTOMS[name][0]] * 6 + [HEALTHY]) == {}


def test_a_value_loss_that_grows_tenfold_is_a_diverging_estimator():
    losses = [0.2, 0.3, 0.1, 0.2, 5.0, 9.0, 20.0]
    rows = [sick(central_critic__value_loss_team=loss) for loss in losses]
    assert list(watch(rows)) == ["diverging value estimator"]
    assert watch([sick(central_critic__value_loss_team=loss) for loss in (5.0, 9.0, 20.0)]) == {}  # nothing to compare
    slow = [sick(central_critic__value_loss_team=0.2 * 1.2**k) for k in range(8)]
    assert watch(slow) == {}


# -- value methods, which report other things

HEALTHY_VALUES = {
    "mixer/td_loss": 0.8,
    "mixer/q_tot_mean": 12.0,
    "mixer/target_std": 1.5,
    "mixer/return_bound": 300.0,
    "mixer/explained_variance_q_tot": 0.4,
    "compute/q_spread": 0.3,
    "compute/deciding_share": 0.9,
    "storage/q_spread": 0.2,
    "storage/deciding_share": 0.0,
}


def sick_values(**changes):
    return {**HEALTHY_VALUES, **{name.replace("__", "/"): value for name, value in changes.items()}}


VALUE_SYMPTOMS = {
    "a joint value beyond all returns": (sick_values(mixer__q_tot_mean=-900.0), "diverging value estimator", "q_tot"),
    "errors above all earlier ones": (sick_values(mixer__td_loss=20.0), "diverging value estimator", "q_tot"),
    "worse than a constant": (
        sick_values(mixer__explained_variance_q_tot=-4.0),
        "diverging value estimator",
        "q_tot",
    ),
    "no preference": (sick_values(compute__q_spread=1e-6), "stalled policy loss", "compute"),
}


def test_healthy_value_methods_are_not_disturbed():
    assert watch([HEALTHY_VALUES] * 20) == {}


@pytest.mark.parametrize("case", VALUE_SYMPTOMS)
def test_problems_of_value_methods_are_named_once_they_last(case):
    row, name, where = VALUE_SYMPTOMS[case]
    found = watch([HEALTHY_VALUES] * 8 + [row] * 5)
    assert list(found) == [name]
    assert found[name].where == where
    assert watch([HEALTHY_VALUES] * 4 + [row, HEALTHY_VALUES] * 4) == {}
    assert watch([row] * 6 + [HEALTHY_VALUES]) == {}


def test_an_error_that_grows_with_the_values_that_are_learned_is_no_problem():
    rows = [
        sick_values(mixer__td_loss=0.01 * 2**k, mixer__target_std=0.2 * 2 ** (k / 2), mixer__q_tot_mean=2.0**k)
        for k in range(8)
    ]
    assert rows[-1]["mixer/td_loss"] > 10 * rows[2]["mixer/td_loss"]
    assert watch(rows) == {}


def test_a_role_that_never_has_a_choice_is_not_said_to_have_no_preference():
    assert watch([sick_values(storage__q_spread=0.0)] * 6) == {}


def test_what_is_not_reported_is_not_judged():
    assert watch([{"epoch": 1.0, "team_reward": 0.5}] * 10) == {}


def test_without_local_rewards_there_is_no_balance_to_lose():
    assert watch([sick(compute__lgrs_running_local_std=0.0)] * 5) == {}
    assert watch([sick(compute__lgrs_running_local_std=5.0, storage__lgrs_running_global_std=0.0)] * 5) == {}


def test_findings_are_announced_once_and_again_after_they_had_gone():
    diagnostics = Diagnostics()
    bad = SYMPTOMS["reward scale out of balance"][0]
    announced = [len(diagnostics.new(diagnostics.check(row))) for row in [bad] * 4 + [HEALTHY] + [bad] * 3]
    assert announced == [0, 0, 1, 0, 0, 0, 0, 1]


def test_logs_have_a_column_for_each_diagnostic_in_every_epoch():
    diagnostics = Diagnostics(Thresholds(starving_epochs=1))
    columns = diagnostics.columns(diagnostics.check(sick(minimum_tenant_share=0.0)))
    assert set(columns) == {"diagnostics/" + name.replace(" ", "_") for name in DIAGNOSTICS}
    assert [name for name, value in columns.items() if value] == ["diagnostics/starving_tenant"]


def test_the_progress_line_names_problems():
    text = describe_epoch({"team_reward": 0.5}, ["starving tenant"])
    assert text.endswith("[yellow]starving tenant[/yellow]")


# -- what is measured


def test_schedulers_that_herd_are_told_from_those_that_meet_by_chance():
    rng = np.random.default_rng(0)
    batch, schedulers, slots, nodes = 200, 3, 4, 16
    masks = np.ones((batch, schedulers, slots * (nodes + 1)), np.int8)
    candidates = np.tile(np.arange(nodes, dtype=np.int32), (batch, schedulers, 1))
    monitor = PlacementConflicts()
    monitor.observe(rng.integers(0, nodes, (batch, schedulers, slots)), masks, candidates, nodes)
    chance = monitor.take()
    assert chance["placement_conflicts"] == pytest.approx(1 - (1 - 1 / nodes) ** 8, abs=0.03)
    assert chance["placement_conflicts"] == pytest.approx(chance["placement_conflicts_by_chance"], abs=0.03)
    herd = np.broadcast_to(rng.integers(0, nodes, (batch, 1, 1)), (batch, schedulers, slots)).copy()
    monitor.observe(herd, masks, candidates, nodes)
    shares = monitor.take()
    assert shares["placement_conflicts"] == 1
    assert list(watch([{**HEALTHY, **shares}] * 3)) == ["conflicting placements"]
    assert watch([{**HEALTHY, **chance}] * 3) == {}


def test_deferred_and_masked_placements_do_not_conflict_and_candidates_are_looked_up():
    nodes = 4
    candidates = np.array([[[2, 3], [3, 0]]], np.int32)
    masks = np.ones((1, 2, 2 * 3), np.int8)
    monitor = PlacementConflicts()
    monitor.observe(np.array([[[1, 2], [0, 2]]]), masks, candidates, nodes)  # both to node 3, the rest deferred
    assert monitor.take()["placement_conflicts"] == 1
    monitor.observe(np.array([[[0, 2], [0, 2]]]), masks, candidates, nodes)  # nodes 2 and 3
    assert monitor.take() == {"placement_conflicts": 0.0, "placement_conflicts_by_chance": 0.25}
    masks[0, 1, 0] = 0
    monitor.observe(np.array([[[1, 2], [0, 2]]]), masks, candidates, nodes)  # the second one is masked
    assert monitor.take()["placement_conflicts"] == 0
    assert monitor.take() == {}


class Modules(dict):
    """As much of an `HRACMultiModule` as is looked at."""

    def embeddings(self, observations, memories):
        return {role: self[role].network.encode(seen) for role, seen in observations.items()}

    def attended(self, embeddings, summaries):
        return self["attention"].network(embeddings)


class Wrapped:
    def __init__(self, network):
        self.network = network

    def unwrapped(self):
        return self


def attention_of(sharpness, **changes):
    """What is logged with queries and keys multiplied."""
    torch.manual_seed(0)
    scenario = cluster()
    networks = build_networks(scenario, NetworkConfig(execution="full", count_bias=False, **changes))
    modules = Modules({name: Wrapped(network) for name, network in networks.items() if name != "critic"})
    modules["central_critic"] = Wrapped(networks["critic"])
    with torch.no_grad():
        for attention in (networks["attention"], networks["critic"].attention):
            for layer in (*attention.query.values(), *attention.key.values()):
                layer.weight.mul_(sharpness)
    observations, _ = random_observations(scenario, 20, 0)
    states = torch.rand(20, networks["critic"].encoder.layout.size)
    columns = {role: {"observations": seen} for role, seen in observations.items()}
    return attention_statistics(modules, "central_critic", states) | policy_attention_statistics(
        modules, "attention", columns
    )


def entropies(logged):
    return [value for name, value in logged.items() if "/attention_entropy_" in name]


def test_collapsed_attention_is_seen_and_a_mean_is_not_taken_for_it():
    mean, sharp = attention_of(0.0), attention_of(1e4)
    names = {f"{m}/attention_entropy_{r}" for m in ("central_critic", "attention") for r in ("compute", "storage")}
    assert names < set(mean)
    assert entropies(mean) == pytest.approx([1.0] * 6, abs=1e-4)
    assert all(value < 0.02 for value in entropies(sharp))
    assert set(watch([sharp] * 3)) == {"attention collapsed"}
    assert watch([mean] * 3) == {}


@pytest.mark.parametrize("top_k", [0, 1])
def test_the_weight_of_every_role_for_every_other_one_is_logged(top_k):
    mean, sharp = attention_of(0.0), attention_of(1e4, attention_top_k=top_k)
    roles = ("compute", "storage", "scheduler")
    for module in ("central_critic", "attention"):
        for role in roles:
            names = [f"{module}/attention_weight_{role}_to_{other}" for other in roles]
            assert [mean[name] for name in names] == pytest.approx([1 / 3] * 3, abs=1e-4)
            assert sum(sharp[name] for name in names) == pytest.approx(1.0, abs=1e-4)
    assert entropies(sharp) == [] or top_k == 0  # one role only by the configuration: nothing to tell from a collapse


@pytest.mark.ray
@pytest.mark.parametrize("execution", ["full", "role_summary"])
def test_the_policies_attention_is_logged_as_it_was_while_they_acted(ray_local, execution):
    """With memory and late summaries: both are part of what agents attend by."""
    from cloudsched_env.rllib.results import epoch_row

    changes = {"networks.execution": execution, "networks.memory": "gru", "epoch_env_steps": 800}
    algorithm = toy_config({**changes, "replay.rollouts": 0, "replay.passes": 0}).build_algo()
    try:
        attention = algorithm.env_runner.module["attention"].unwrapped().network
        with torch.no_grad():
            for layer in (*attention.query.values(), *attention.key.values()):
                layer.weight.mul_(5.0)
        algorithm.learner_group.foreach_learner(
            lambda learner: learner.module["attention"].load_state_dict(
                algorithm.env_runner.module["attention"].state_dict()
            )
        )
        acted = []
        original = attention.contexts
        attention.contexts = lambda *arguments: acted.append(original(*arguments)) or acted[-1]
        row = epoch_row(algorithm.train(), 1, 0.0)
    finally:
        algorithm.stop()
    assert len(acted) == 20
    for role in ("compute", "storage", "scheduler"):
        entropy = float(np.mean([step.entropy[role].mean() for step in acted])) / math.log(3)
        assert row[f"attention/attention_entropy_{role}"] == pytest.approx(entropy, rel=1e-4)
        weights = torch.stack([step.weights[role] for step in acted]).flatten(0, -2).mean(0)
        for other, weight in zip(attention.roles, weights, strict=True):
            assert row[f"attention/attention_weight_{role}_to_{other}"] == pytest.approx(float(weight), rel=1e-4)


def test_running_scales_of_the_reward_normaliser_show_an_imbalance():
    generator = torch.Generator().manual_seed(0)
    shaping = LGRS(("compute", "storage"), LGRSConfig(mode="mix", weight=0.2, normalise=False))

    def row(local_std):
        values = {}
        for role, std in local_std.items():
            local = std * torch.randn(50, 20, 3, generator=generator)
            team = 0.5 * torch.randn(50, 20, generator=generator)
            nothing = torch.zeros(50, 20)
            _, statistics = shaping(role, local, team, nothing, nothing, nothing)
            values |= {f"{role}/lgrs_{name}": value for name, value in statistics.items()}
        return values

    uneven = row({"compute": 1.0, "storage": 0.01})
    assert uneven["compute/lgrs_running_local_std"] == pytest.approx(0.2 * 1.0, rel=0.1)
    assert uneven["storage/lgrs_running_global_std"] == pytest.approx(0.8 * 0.5, rel=0.1)
    assert list(watch([uneven] * 3)) == ["reward scale out of balance"]
    shaping = LGRS(("compute", "storage"), LGRSConfig(mode="mix", weight=0.2, normalise=True))
    assert watch([row({"compute": 1.0, "storage": 0.01})] * 3) == {}  # that is what normalising is for


@pytest.mark.ray
def test_a_real_epoch_reports_what_the_diagnostics_read(ray_local):
    from cloudsched_env.rllib.hrac import HRACConfig
    from cloudsched_env.rllib.results import epoch_row

    small = {
        "scenario": "paper-v1",
        "overrides": {"time.horizon_steps": 60},
        "sampling.clusters": 4,
        "sampling.phases": 2,
        "sampling.rollout_steps": 30,
        "epoch_env_steps": 240,
        "update.minibatch_steps": 60,
        "validation.every_epochs": 0,
    }
    algorithm = HRACConfig().hrac(small).build_algo()
    try:
        row = epoch_row(algorithm.train(), 1, 0.0)
    finally:
        algorithm.stop()
    expected = {"placement_conflicts", "placement_conflicts_by_chance", "minimum_tenant_share"}
    for role in ("compute", "storage", "scheduler"):
        expected |= {f"{role}/kl_to_anchor", f"central_critic/attention_entropy_{role}"}
        expected |= {f"central_critic/attention_weight_{role}_to_storage"}
        expected |= {f"{role}/lgrs_running_local_std", f"central_critic/explained_variance_{role}"}
    assert expected <= set(row)
    assert all(math.isfinite(row[name]) for name in expected)
    assert 0 < row["placement_conflicts"] < 1


@pytest.mark.ray
def test_a_learner_that_does_not_move_stalls_and_one_that_learns_does_not(ray_local):
    from cloudsched_env.rllib.results import epoch_row

    found = {}
    for rate in (0.0, 3e-3):
        changes = {"update.learning_rate": rate, "epoch_env_steps": 800, "update.epochs": 1}
        algorithm = toy_config(changes).build_algo()
        try:
            rows = [epoch_row(algorithm.train(), epoch, 0.0) for epoch in range(1, 6)]
        finally:
            algorithm.stop()
        found[rate] = watch(rows)
    assert list(found[0.0]) == ["stalled policy loss"]
    assert found[3e-3] == {}


_DIVERGING = {"discount": 0.99, "update.learning_rate": 1.0, "update.target_every": 1}
_INDIFFERENT = {"networks.level_preference": 0.0, "networks.load_aversion": 0.0, "networks.last_layer_gain": 1e-9}


@pytest.mark.ray
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"discount": 0.99}, []),
        (_DIVERGING, ["diverging value estimator"]),
        ({**_INDIFFERENT, "update.learning_rate": 1e-12}, ["stalled policy loss"]),
    ],
)
def test_a_value_method_that_diverges_or_prefers_nothing_is_told_from_one_that_learns(ray_local, changes, expected):
    from cloudsched_env.rllib.results import epoch_row

    algorithm = toy_value_config("vdn", {"epoch_env_steps": 800, **changes}).build_algo()
    try:
        rows = [epoch_row(algorithm.train(), epoch, 0.0) for epoch in range(1, 6)]
    finally:
        algorithm.stop()
    assert list(watch(rows)) == expected
