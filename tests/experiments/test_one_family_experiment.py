"""One family, head to head: what each measure sees, on codes and pictures made by hand."""

import pytest
import torch

from vaelite.experiments import get, one_family
from vaelite.one_family import FAMILY, Found

SMALL = {
    **one_family.SETTINGS["quick"],
    "train": [50, 14],
    "test": [30, 30],
    "size": 4,
    "hidden": 5,
    "shared": 4,
    "private": 2,
    "components": 2,
    "batch": [12, 5],
    "steps": 20,
    "draws": 5,
    "normalizer_samples": 100,
}


@pytest.fixture(scope="module")
def drawn_scenes():
    return one_family.dataset("test", 3, {**SMALL, "test": [200, 200]})


@pytest.mark.parametrize("method", FAMILY)
def test_every_member_is_trained_and_measured(method):
    ((result,), _) = get("one_family").run_group([{"method": method, "seed": 3}], SMALL)
    assert set(one_family.MEASURES) < set(result)
    assert all(isinstance(result[name], float) for name in one_family.MEASURES)
    assert 0 <= result["leak"] <= 1 and 0 <= result["transfer"] <= 1
    assert result["error"] > 0 and result["filled"] > 0


def test_trials_are_all_members_of_a_seed_and_data_do_not_depend_on_the_method():
    trials = one_family.trials({**SMALL, "seeds": 2, "methods": list(FAMILY)})
    assert [t["method"] for t in trials] == [*FAMILY, *FAMILY]
    assert len({t["seed"] for t in trials[: len(FAMILY)]}) == 1
    train, test = (one_family.dataset(split, 3, SMALL) for split in ("train", "test"))
    assert not torch.equal(train.amounts[:10], test.amounts[:10])
    assert test.labels.bincount().tolist() == [30, 30]


def test_clusters_of_the_truth_agree_and_of_noise_do_not(drawn_scenes):
    kinds = 2 * drawn_scenes.factors[:, 2] + drawn_scenes.factors[:, 3]
    truth = torch.nn.functional.one_hot(kinds, 4).float()
    noise = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    assert one_family.clusters(truth + 0.01 * noise, drawn_scenes, 0) == pytest.approx(1.0)
    assert abs(one_family.clusters(noise, drawn_scenes, 0)) < 0.05


def test_attributes_carry_over_where_codes_are_alike_in_both_populations(drawn_scenes):
    noise = 0.1 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    told = drawn_scenes.factors[:, 2:4].float() + noise
    alike = Found(told, told, told)
    assert one_family.transfer(alike, drawn_scenes, alike, drawn_scenes) > 0.95
    # In fog the code says the opposite: who learned in sun is always wrong.
    turned = torch.where((drawn_scenes.labels == 1)[:, None], 1 - told, told)
    other = Found(turned, turned, turned)
    assert one_family.transfer(other, drawn_scenes, other, drawn_scenes) < 0.05


def test_the_error_of_missing_views_looks_at_missing_views_alone(drawn_scenes):
    truth = drawn_scenes.images().flatten(2)
    hidden = ~drawn_scenes.observed.unsqueeze(-1)
    wrong_where_seen = torch.where(hidden, truth, truth + 5.0).flatten(1)
    assert one_family.error_of_missing(wrong_where_seen, drawn_scenes) == 0
    off = torch.where(hidden, truth + 0.5, truth).flatten(1)
    assert one_family.error_of_missing(off, drawn_scenes) == pytest.approx(0.25, rel=1e-5)


def test_a_regression_fills_in_better_than_the_mean_and_neither_sees_what_is_hidden(drawn_scenes):
    train = one_family.dataset("train", 3, {**SMALL, "train": [300, 40]})
    found = one_family.baselines(train, drawn_scenes)
    assert 0 < found["baseline_ridge"] < found["baseline_mean"]
    assert one_family.DERIVED["ridge_minus_model"]({"baseline_ridge": 0.5, "filled": 0.2}) == (
        pytest.approx(0.3)
    )
