"""What the experiments on bars and walks measure, on cases whose answer is known."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from vaelite import data as data_sets
from vaelite.experiments import get
from vaelite.experiments.factvae import bars, common, grid, mocap
from vaelite.metrics import log_marginal_likelihood

SMALL = {"hidden": [7], "latent_dim": 3, "batch_size": 20, "codes": 6}
BARS = {**bars.SETTINGS["quick"], **SMALL, "size": 6, "train": 50, "test": 11, "steps": 5}
WALKS = {**mocap.SETTINGS["quick"], **SMALL, "steps": 5, "checks": [2, 9], "candidates": 4}


def run(experiment, settings, **trial):
    ((result,), _) = get(experiment).run_group([{"seed": 3, **trial}], settings)
    return result


def links(*columns):
    return torch.tensor(columns, dtype=torch.bool).T


TOP, BOTTOM, ALL, NONE = (1, 1, 0, 0), (0, 0, 1, 1), (1, 1, 1, 1), (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("columns", "exact", "apart"),
    [
        ((TOP, BOTTOM, NONE, TOP), True, 1.0),
        ((TOP, TOP), False, 1.0),  # nothing serves the lower half
        ((TOP, BOTTOM, ALL), False, 2 / 3),
        ((TOP, BOTTOM, (1, 0, 0, 0)), False, 1.0),  # a quadrant on its own
        ((TOP, BOTTOM, (1, 0, 1, 0)), False, 2 / 3),  # the left half
        ((NONE, NONE), False, math.nan),
    ],
)
def test_the_pattern_of_bars_is_judged(columns, exact, apart):
    linked = links(*columns)
    assert bars.follows_the_bars(linked) is exact
    assert bars.share_apart(linked) == pytest.approx(apart, nan_ok=True)


@pytest.mark.parametrize("method", bars.COMMON["methods"])
def test_bars_are_trained_and_measured(method):
    result = run("factvae_bars", BARS, method=method)
    assert np.shape(result["norms"]) == (4, 3)
    assert result["links"] == result["groups_per_latent"] * result["latents"]
    assert 0.01 < result["right_variance"] < 0.05


def test_bars_miss_quadrants_but_never_all_and_tests_are_complete():
    train, test = bars.dataset(0, {**BARS, "train": 4000})
    share = train[-1].double().mean()
    # Three quarters, and in each image one quadrant for certain.
    assert abs(share - (3 * 0.75 + 1) / 4) < 0.02
    assert train[-1].any(1).all() and test[-1].all()
    assert not torch.equal(bars.dataset(1, BARS)[0][0], bars.dataset(0, BARS)[0][0])


@pytest.mark.parametrize("method", mocap.COMMON["methods"])
def test_walks_are_trained_and_measured(method):
    result = run("factvae_mocap", WALKS, method=method, walks=2)
    assert np.shape(result["norms"]) == (5, 3)
    assert result["curve"][0] < 0 and result["curve"][1] == 0  # beyond the last step
    assert result["log_likelihood_early"] == result["curve"][0]
    assert result["above_gaussian"] == pytest.approx(
        result["log_likelihood"] - result["gaussian"], abs=1e-6
    )
    assert result["core_gain"] == pytest.approx(result["from_mean"] - result["from_core"], abs=1e-6)
    assert 1 <= result["effective"] <= 6


def test_training_walks_are_nested_and_never_hold_the_one_held_out():
    real = {"data": "walker", "candidates": 11}
    for seed in range(5):
        sets = []
        for count in (1, 2, 5, 10):
            train, held_out = mocap.walks({"seed": seed, "walks": count}, real)
            sets.append(set(train.labels.tolist()))
            assert len(sets[-1]) == count
            assert len(set(held_out.labels.tolist())) == 1
            assert not sets[-1] & set(held_out.labels.tolist())
            # scaled by the training walks
            assert train.x.min() == 0 and train.x.max() == 1
        assert sets[0] < sets[1] < sets[2] < sets[3]


def test_the_real_walks_are_those_of_the_papers_code():
    assert mocap.REAL["candidates"] == 11 and 12 in data_sets.mocap.TRIALS  # the faster one
    assert mocap.SETTINGS["standard"]["walks"] == [1, 2, 5, 10]


def test_the_gaussian_beside_is_that_of_scipy():
    known, new = torch.randn(40, 3), torch.randn(9, 3)
    known[:, 2] = 0.5  # a channel that never changes
    sd = np.maximum(known.double().std(0, correction=0).numpy(), 0.01)
    from scipy.stats import norm

    truth = norm(known.double().mean(0).numpy(), sd).logpdf(new.double().numpy()).sum(1).mean()
    assert mocap.diagonal_gaussian(known, new) == pytest.approx(truth, rel=1e-5)


def test_likelihoods_are_those_of_the_metric_and_exact_where_the_code_says_nothing():
    """Of a whole frame, and of a limb given the others, where the code says nothing."""
    torch.manual_seed(0)
    trial = {"method": "factvae", "walks": 1, "seed": 3}
    settings = {**WALKS, "hidden": [40], "noise": 0.3}
    model = mocap.make_model(trial, settings).eval()
    data = mocap.every_fourth(mocap.batch(mocap.walks(trial, settings)[1]))
    data = tuple(part[:13] for part in data)
    torch.manual_seed(1)
    weights = mocap._log_weights(model, data, 4000)
    torch.manual_seed(1)
    again = log_marginal_likelihood(model, data, 4000)
    torch.testing.assert_close(mocap._evidence(weights), again, rtol=1e-4, atol=1e-3)
    # p(limb | rest) is a difference of evidences; exact once all ties to z are cut.
    with torch.no_grad():
        model.W.zero_()
        model.V.zero_()
    means = [part[0] for part in model.decode(torch.zeros(1, 3))]
    exact = [
        Normal(mean, (0.5 * likelihood.log_var).exp()).log_prob(part).sum(1).mean()
        for mean, likelihood, part in zip(means, model.likelihoods, data, strict=False)
    ]
    with torch.no_grad():
        found = mocap._conditional(model, data, 50)
    assert found == pytest.approx(float(sum(exact) / 5), rel=1e-4)


def test_errors_are_in_degrees_and_of_what_is_hidden_alone():
    trial = {"method": "factvae", "walks": 1, "seed": 3}
    model = mocap.make_model(trial, WALKS).eval()
    _, motion = mocap.walks(trial, WALKS)
    with torch.no_grad():  # nothing depends on z: every decoder says 0.25
        model.W.zero_()
        model.decoder.weights[-1].zero_()
        model.decoder.biases[-1].fill_(0.25)
    away = motion.degrees() - motion.degrees(torch.full_like(motion.x, 0.25))
    core, *limbs = motion.groups.split(away)
    limbs = torch.cat(limbs, 1)
    truth = float(limbs.square().mean().sqrt())
    assert mocap._error(model, motion, [[0]]) == pytest.approx(truth, rel=1e-4)
    assert mocap._error(model, motion, [[1, 2, 3, 4]]) == pytest.approx(
        float(core.square().mean().sqrt()), rel=1e-4
    )


def test_only_hides_and_adds_nothing():
    observed = torch.tensor([[True, False, True], [False, True, True]])
    kept = common.only((torch.zeros(2, 1), observed), [0, 1])[-1]
    assert kept.tolist() == [[True, False, False], [False, True, False]]


def test_the_grid_has_the_papers_scale_as_a_number():
    trial = {"method": "factvae", "walks": 1, "sparsity": "1/N", "step_size": 0.01, "seed": 3}
    model = grid.make_model(trial, {**WALKS, "step_size": 1.0})
    frames = len(mocap.walks(trial, WALKS)[0].x)
    assert model.sparsity == 1 / frames and model.phi_lr == 0.01
    result = run(
        "factvae_grid",
        WALKS,
        **{key: value for key, value in trial.items() if key not in ("seed", "sparsity")},
        sparsity=1e4,
    )
    assert result["zeros"] == 15 and result["latents"] == 0


def test_the_grid_crosses_everything():
    settings = grid.SETTINGS["standard"]
    trials = grid.trials(settings)
    cells = {(trial["sparsity"], trial["step_size"]) for trial in trials}
    assert len(cells) == 18 and len(trials) == 18 * settings["seeds"]


@pytest.mark.parametrize("module", [bars, mocap])
def test_an_unknown_method_is_refused(module):
    settings = BARS if module is bars else WALKS
    with pytest.raises(ValueError, match="no method 'vae'; there are: factvae, "):
        module.make_model({"method": "vae", "walks": 1, "seed": 0}, settings)


def test_dense_has_no_penalty_and_sparse_has_that_of_the_settings():
    dense, sparse = (
        bars.make_model({"method": method, "seed": 0}, BARS)
        for method in bars.COMMON["methods"][::-1]
    )
    assert dense.sparsity == 0 and sparse.sparsity == BARS["sparsity"]
    assert sparse.dataset_size == 50


@pytest.mark.parametrize(
    ("name", "settings", "trial", "at"),
    [
        ("factvae_bars", BARS, {"method": "factvae"}, 3),
        ("factvae_mocap", WALKS, {"method": "factvae", "walks": 1}, 2),  # where it is looked at
        ("factvae_mocap", WALKS, {"method": "mmvae", "walks": 1}, 4),
    ],
)
def test_training_that_was_interrupted_within_a_trial_goes_on(
    name, settings, trial, at, stopped_trial
):
    whole, resumed = stopped_trial(name, settings, {"seed": 3, **trial}, at, steps=5)
    assert resumed == whole
