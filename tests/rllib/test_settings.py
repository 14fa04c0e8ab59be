import json

import pytest

from cloudsched_env.config_tree import field_names
from cloudsched_env.rllib.settings import HRACSettings


def test_dotted_and_nested_names_mean_the_same():
    dotted = HRACSettings().override({"lgrs.mode": "mix", "lgrs.lambda": 0.5, "update.epochs": 2})
    nested = HRACSettings().override({"lgrs": {"mode": "mix", "lambda": 0.5}, "update": {"epochs": 2}})
    assert dotted == nested
    assert (dotted.lgrs.mode, dotted.lgrs.lambda_, dotted.update.epochs) == ("mix", 0.5, 2)


def test_settings_survive_json():
    settings = HRACSettings().override(
        {
            "overrides": {"telemetry.loss_probability": 0.3},
            "networks.embedding_size": 16,
            "update.entropy_by_role": {"scheduler": 0.01},
            "trace": "a.parquet",
        }
    )
    assert HRACSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert settings.overrides == {"telemetry.loss_probability": 0.3}
    assert settings.networks == {"embedding_size": 16}
    assert (settings.entropy_of("scheduler"), settings.entropy_of("compute")) == (0.01, settings.update.entropy)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("lgrs.mdoe", "lgrs.mode"), ("lamda", "lambda"), ("update.epoch", "update.epochs"), ("replay", "group")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name, suggested):
    with pytest.raises(ValueError, match=suggested) as caught:
        HRACSettings().override({name: 1})
    assert repr(name) in str(caught.value)


def test_group_name_that_has_no_such_member_suggests_the_full_name():
    with pytest.raises(ValueError, match=r"sampling\.clusters"):
        HRACSettings().override({"clusters": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lgrs.lambda": 1.5}, "expected 0 to 1"),
        ({"lgrs.mode": "magic"}, "expected one of literal"),
        ({"update.epochs": 2.5}, "expected int"),
        ({"validation.deterministic": 1}, "expected bool"),
        ({"sampling.clusters": 7, "sampling.phases": 2}, "multiple of"),
        ({"sampling.clusters": 50, "sampling.phases": 5, "sampling.copies": 4}, "sampling.phases = 10"),
        ({"replay.rollouts": 1, "replay.passes": 2}, "at most replay.rollouts"),
        ({"network_builder": "nowhere"}, "module:function"),
        ({"lgrs.mode.x": 1}, "single value"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(changes, message):
    with pytest.raises(ValueError, match=message):
        HRACSettings().override(changes)


def test_every_setting_can_be_set_by_its_listed_name():
    values = HRACSettings().to_dict()
    for name in field_names(HRACSettings):
        node = values
        for part in name.split("."):
            node = node[part]
        assert HRACSettings().override({name: node}) == HRACSettings()
