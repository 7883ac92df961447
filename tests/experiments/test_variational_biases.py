"""The criteria of the map on weights whose description is known, and one trial of each kind."""

import numpy as np
import pytest

from vaelite.experiments import get
from vaelite.experiments import variational_biases as biases
from vaelite.experiments.variational_biases import (
    GEOMETRIES,
    SETTINGS,
    coherence,
    describe,
    run_trial,
    small_steps,
    trials,
    true_weights,
)
from vaelite.toys import ica


def lines(*degrees, lengths=1.0):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)]) * lengths


def test_coherence_of_known_weights():
    assert coherence(lines(0, 90)) == pytest.approx(0, abs=1e-30)
    assert coherence(lines(10, 190)) == pytest.approx(1)
    assert coherence(lines(0, 60, 120)) == pytest.approx(0.25)
    # pairs weigh by squared lengths: (4 * 0 + 4 * 1/4 + 1 * 3/4) / (4 + 4 + 1)
    assert coherence(lines(0, 90, 60, lengths=[2, 1, 1])) == pytest.approx(1.75 / 9)
    assert np.isnan(coherence(lines(0)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_weights_have_the_directions_and_lengths_they_are_named_for(geometry):
    degrees, lengths = GEOMETRIES[geometry]
    W = true_weights(geometry)
    np.testing.assert_allclose(np.linalg.norm(W, axis=0), lengths)
    np.testing.assert_allclose(np.degrees(np.arctan2(W[1], W[0])), degrees, atol=1e-9)


@pytest.mark.parametrize(
    ("W", "pruned", "angle", "more", "beta_1", "beta_5"),
    [
        (lines(0, 60, 120), 0, 60, False, False, False),  # the truth is not more than itself
        (lines(0, 60, 90, lengths=[1, 0.2, 1]), 0, 30, True, True, False),
        (lines(0, 45, 90, lengths=[1, 0.04, 1]), 1, 90, True, False, True),
        (lines(0, 45, 79, lengths=[1, 0.04, 1]), 1, 79, True, False, False),
        (lines(0, 45, 30, lengths=[1, 0.04, 1]), 1, 30, False, False, False),
        (lines(0, 45, 90, lengths=[1, 0.04, 0.01]), 2, np.nan, False, False, False),
        (1e-3 * lines(0, 60, 90), 3, np.nan, False, False, False),
    ],
)
def test_description(W, pruned, angle, more, beta_1, beta_5):
    found = describe(W, lines(0, 60, 120), -1.0)
    assert found["pruned"] == pruned
    assert found["smallest_angle"] == pytest.approx(angle, nan_ok=True)
    assert found["more_orthogonal"] is more
    assert found["reported_for_beta_1"] is beta_1
    assert found["reported_for_beta_5"] is beta_5


def test_every_profile_has_distinct_trials_of_both_kinds():
    for name, settings in SETTINGS.items():
        found = trials(settings)
        assert {trial["method"] for trial in found} == {"fit", "small steps"}, name
        assert len({tuple(trial.items()) for trial in found}) == len(found)
    fits = [c for c in trials(SETTINGS["standard"]) if c["method"] == "fit"]
    assert len(fits) == 4 * 5 * 3 * 2 * 10


def trial(**changes):
    plain = {
        "method": "fit",
        "geometry": "one apart",
        "noise_sd": 0.5,
        "points": 30,
        "beta": 1.0,
        "seed": 3,
    }
    return plain | changes


def test_a_fit_rises_and_repeats_exactly():
    result = run_trial(trial(), SETTINGS["quick"])
    assert result["converged"] and result["free_energy_change"] > 0
    again = run_trial(trial(), SETTINGS["quick"])
    np.testing.assert_array_equal(result.pop("weights"), again.pop("weights"))
    assert result == again
    other = run_trial(trial(seed=4), SETTINGS["quick"])
    assert other["free_energy"] != result["free_energy"]


def test_small_steps_never_lower_the_free_energy_and_stay_below_the_likelihood():
    W, noise_var = true_weights("clustered"), np.full(2, 0.2)
    X, _ = ica.sample(W, noise_var, 25, 3.5, np.random.default_rng(0))
    path = list(small_steps(X, W, noise_var, 1.0, [0, 1, 2, 5, 40]))
    assert [step for step, _, _ in path] == [0, 1, 2, 5, 40]
    np.testing.assert_array_equal(path[0][1], W)
    assert np.all(np.diff([value for _, _, value in path]) > 0)
    for _, V, value in path:
        assert value < ica.log_likelihood(X, V, noise_var, 3.5) / 25


def test_the_runner_takes_it():
    experiment = get("variational_biases")
    assert experiment.name == "variational_biases"
    result = run_trial(trial(method="small steps"), {"path_steps": [0, 3]})
    assert [entry["step"] for entry in result["path"]] == [0, 3]


def fit_of(seed, pruned, beta=1.0, geometry="even", noise_sd=0.25):
    return {
        "seed": seed,
        "pruned": pruned,
        "beta": beta,
        "geometry": geometry,
        "noise_sd": noise_sd,
    }


def test_a_share_is_an_average_over_seeds():
    # Seed 0 has three settings and seed 1 one: each seed counts once.
    fits = [fit_of(0, 1), fit_of(0, 1, noise_sd=0.5), fit_of(0, 0, noise_sd=1.0), fit_of(1, 1)]
    fits += [fit_of(2, 0), fit_of(3, 0, beta=5.0)]
    share, (low, high) = biases.share(fits, lambda f: f["pruned"] == 1, beta=[1.0])
    assert share == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert low == 0.0 and high == 1.0  # three seeds say little, and a share is no more than one


def test_equal_shares_have_the_exact_interval():
    low, high = biases.interval_of_shares([1.0] * 10)
    assert high == 1.0 and low == pytest.approx(0.025 ** (1 / 10))


def test_components_left_are_counted_by_geometry_and_noise():
    fits = [fit_of(0, 1), fit_of(1, 3), fit_of(0, 0, geometry="clustered"), fit_of(0, 2, beta=5.0)]
    left = biases.components_left(fits, ["even", "clustered"], [0.25], 1.0)
    np.testing.assert_array_equal(left, [[1.0], [3.0]])


def test_turned_apart_asks_for_more_than_any_true_pair():
    # The true columns of "clustered" stand at 0, 30 and 60 degrees: no two are 70 degrees apart.
    def columns(*degrees):
        radians = np.radians(degrees)
        return np.stack([np.cos(radians), np.sin(radians)])

    third = np.zeros((2, 1))
    apart = np.concatenate([columns(0, 70), third], 1).tolist()
    kept = np.concatenate([columns(0, 60), third], 1).tolist()
    assert biases.turned_apart({"geometry": "clustered", "weights": apart})
    assert not biases.turned_apart({"geometry": "clustered", "weights": kept})
    one = np.concatenate([columns(0), third, third], 1).tolist()
    assert not biases.turned_apart({"geometry": "clustered", "weights": one})


def test_a_pair_is_seen_only_at_one_and_the_same_stop():
    def climb(seed, beta, seen):
        trial = {"method": "small steps", "geometry": "even", "noise_sd": 0.1}
        path = [{"reported_for_beta_1": s, "reported_for_beta_5": s} for s in seen]
        return {"trial": trial | {"seed": seed, "beta": beta}, "result": {"path": path}}

    trials = [climb(0, 1.0, (True, False)), climb(0, 5.0, (False, True))]
    trials += [climb(1, 1.0, (False, True)), climb(1, 5.0, (False, True))]
    pairs = biases.pairs_on_the_way({"trials": trials})
    assert pairs == {("even", 0.1, 0): False, ("even", 0.1, 1): True}
    assert biases.shares_by_seed(pairs) == [0.0, 1.0]
