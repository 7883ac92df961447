"""The angle of a code on codes whose angle is known."""

import numpy as np
import pytest

from vaelite.experiments import get
from vaelite.experiments.isa import orientation as isa_orientation
from vaelite.experiments.isa.orientation import orientation, positions_only

GRID = np.stack(np.meshgrid(np.arange(7), np.arange(5), indexing="ij"), -1).reshape(-1, 2)
SQUARE = (GRID - GRID.mean(0)) / GRID.std(0)


def turned(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return SQUARE @ np.array([[c, -s], [s, c]])


@pytest.mark.parametrize(
    ("degrees", "angle"), [(0, 0), (10, 10), (45, 45), (80, 10), (90, 0), (200, 20), (-30, 30)]
)
def test_the_angle_of_a_turned_code(degrees, angle):
    found, explained = orientation(turned(degrees) + np.array([3.0, -1.0]), GRID)
    assert found == pytest.approx(angle, abs=1e-6)
    assert explained == pytest.approx(1)


def test_a_code_that_follows_nothing_has_no_say():
    codes = turned(15) * [1.0, 0.0]
    assert orientation(codes, GRID)[0] == pytest.approx(15)


def test_what_is_not_linear_is_not_explained():
    linear = turned(30)
    folded = np.abs(SQUARE[:, :1]) - np.abs(SQUARE[:, :1]).mean()  # even: no linear part
    codes = np.concatenate([linear[:, :1], linear[:, :1] * 0 + folded], 1)
    share = linear[:, 0].var() / (linear[:, 0].var() + folded.var())
    assert orientation(codes, GRID)[1] == pytest.approx(share)


def test_only_the_position_varies():
    dataset = positions_only(16)
    assert len(dataset) == 1024
    assert dataset.factors[:, :3].unique(dim=0).tolist() == [[0, 5, 0]]
    assert dataset.images()[0].sum() == pytest.approx(float(dataset.images()[-1].sum()))


def test_priors_share_seeds_and_a_group_is_measured():
    settings = {**isa_orientation.SETTINGS["quick"], "size": 8, "hidden": 5, "steps": 3}
    group = [{"p0": 2.1, "p": 2.2, "seed": seed} for seed in (0, 1)]
    results, _ = get("isa_orientation").run_group(group, settings)
    assert len(results) == 2
    for result in results:
        assert 0 <= result["angle"] <= 45
        assert 0 <= result["explained"] <= 1
    standard = isa_orientation.trials(isa_orientation.SETTINGS["standard"])
    by_prior = {}
    for trial in standard:
        by_prior.setdefault((trial["p0"], trial["p"]), []).append(trial["seed"])
    assert {(2.1, 2.2), (2.0, 2.0)} <= by_prior.keys()
    assert all(seeds == list(range(16)) for seeds in by_prior.values())
