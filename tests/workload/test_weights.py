"""Weights of tenants: equal unless asked for, and otherwise the only thing that changes."""

import dataclasses

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload.source import GeneratedSource
from cloudsched_env.workload.weights import WEIGHT_TIERS, draw_tenant_weights


def test_skewed_weights_change_nothing_else_of_an_episode():
    scenario = load_scenario("tiny-v1", {"workload.tenants": 16, "cluster.schedulers": 2})
    skewed = scenario.override({"workload.tenant_weights": "skewed"})
    one, other = (GeneratedSource(s).episode(np.random.default_rng(4)) for s in (scenario, skewed))
    assert (one.tenant_weight == 1).all()
    assert set(other.tenant_weight) <= set(WEIGHT_TIERS)
    assert len(set(other.tenant_weight)) > 1
    for column in dataclasses.fields(one):
        if column.name not in ("tenant_weight", "details", "data_tag"):
            np.testing.assert_array_equal(getattr(one, column.name), getattr(other, column.name))


def test_tiers_are_entitled_to_equal_parts_in_the_mean():
    scenario = load_scenario("tiny-v1", {"workload.tenants": 4000, "workload.tenant_weights": "skewed"})
    weights = draw_tenant_weights(scenario, np.random.default_rng(0))
    parts = [weights[weights == tier].sum() / weights.sum() for tier in WEIGHT_TIERS]
    assert parts == pytest.approx([1 / 3] * 3, abs=0.04)


def test_unknown_choices_are_refused_by_name():
    with pytest.raises(ValueError, match=r"reward\.team' is 'fair': expected one of mixed, goodput, alpha_fair"):
        load_scenario("tiny-v1", {"reward.team": "fair"})
