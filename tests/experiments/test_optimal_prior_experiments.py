"""What the experiments on optimal priors measure, on cases whose answer is known."""

import pytest
import torch

from vaelite.experiments import get
from vaelite.experiments.optimal_prior import common, faces, mnist_usps, usps_mnist
from vaelite.metrics import log_marginal_likelihood
from vaelite.optimal_prior import CVAE, OptimalPriorVAE
from vaelite.vae import StandardNormal

SMALL = {
    "hidden": [9],
    "latent_dim": 3,
    "pseudo_inputs": 7,
    "batch_size": 20,
    "steps": 4,
    "check_every": 3,
    "ratio_hidden": [8],
    "codes": 4,
    "normalizer_samples": 300,
}
DIGITS = {
    **usps_mnist.SETTINGS["quick"],
    **SMALL,
    "source": 120,
    "target": 60,
    "valid": 40,
    "scored": 50,
    "likelihood_data": 20,
}
FACES = {
    **faces.SETTINGS["quick"],
    **SMALL,
    "counts": [[60, 11, 12], [40, 9, 12], [50, 8, 12]],
    "likelihood_data": 10,
}


def run(experiment, settings, method):
    ((result,), _) = get(experiment).run_group([{"method": method, "seed": 0}], settings)
    return result


@pytest.mark.parametrize("method", common.METHODS)
def test_every_method_trains_on_digits_and_is_measured(method):
    result = run("optimal_prior_usps_mnist", DIGITS, method)
    if method != "cvae vamp":  # it has a prior of its own
        own = "ratio" if method.startswith("proposed") else "normal"
        assert result["log_likelihood"] == result[f"log_likelihood_{own}"]
    assert result["log_likelihoods"] == [result["log_likelihood"]]
    assert ("accuracy_transfer" in result) == (method != "vae target")
    assert all(0 <= result[key] <= 1 for key in ("accuracy", "auc", "auc_linear"))
    assert result["checks"] == 3  # before steps 0 and 3, and at the end


@pytest.mark.parametrize("method", faces.COMMON["methods"])
def test_every_method_trains_on_three_tasks_and_is_measured(method):
    result = run("optimal_prior_faces", FACES, method)
    assert len(result["log_likelihoods"]) == 3
    assert result["log_likelihood"] == pytest.approx(sum(result["log_likelihoods"]) / 3)
    assert "accuracy" not in result


def test_the_slides_sizes_are_those_of_the_standard_profile():
    for module, sizes in ((usps_mnist, (6438, 100)), (mnist_usps, (10_000, 100))):
        settings = module.SETTINGS["standard"]
        assert (settings["source"], settings["target"]) == sizes
    assert usps_mnist.SETTINGS["standard"]["tasks"] == ["usps", "mnist"]
    assert mnist_usps.SETTINGS["standard"]["tasks"] == ["mnist", "usps"]


def test_no_datum_is_in_two_parts():
    usps_mnist._dataset.cache_clear()
    data = usps_mnist.dataset(3, usps_mnist.SETTINGS["quick"])
    for k in range(2):
        parts = [part.only(k).x for part in (data.train, data.valid, data.test)]
        rows = [{bytes(row.numpy()) for row in x} for x in parts]
        # A few digits of 64 black or white pixels look alike; more would be the same draw.
        common_rows = [rows[a] & rows[b] for a, b in ((0, 1), (0, 2), (1, 2))]
        assert max(map(len, common_rows)) < 0.1 * min(map(len, rows))
    assert data.train.task.bincount().tolist() == [1500, 100]
    assert set(data.train.x.unique().tolist()) == {0, 255}


def test_seeds_draw_other_data_and_all_methods_the_same():
    first, second = (usps_mnist.dataset(seed, DIGITS).train.x for seed in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, usps_mnist.dataset(0, DIGITS | {"hidden": [3]}).train.x)


def test_balanced_rows_hold_every_task_as_often():
    task = torch.tensor([0] * 12 + [1] * 3 + [2] * 5)
    rows = common.balanced_rows(task)
    assert task[rows].bincount().tolist() == [12, 12, 10]  # 5 data go twice into 12
    assert set(rows.tolist()) == set(range(20))


def test_the_stop_looks_at_the_targets_alone():
    data = usps_mnist.dataset(0, DIGITS)
    best = common.Best(data, 0)
    assert [set(part.task.tolist()) for part in best.parts] == [{1}]


def test_the_best_weights_are_kept():
    data = usps_mnist.dataset(0, DIGITS)
    model = common.make_model("cvae", data, DIGITS)
    best = common.Best(data, 0)
    best.look(model)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3)
    best.look(model)
    model = best.restore(model)
    assert model.bounds[0] > model.bounds[1]
    for name, tensor in state.items():
        torch.testing.assert_close(model.state_dict()[name], tensor)


def test_likelihood_of_an_experiment_is_that_of_the_metric():
    torch.manual_seed(0)
    data = usps_mnist.dataset(0, DIGITS)
    model = CVAE.mlp(2, 64, [9], 3)
    part = data.test.only(1)
    with torch.no_grad():
        found = common._log_likelihood(model, part, {"own": StandardNormal(3)}, 3000)["own"]
    metric = log_marginal_likelihood(model, (part.x, part.task), 3000).mean()
    assert found == pytest.approx(float(metric), abs=0.02)


def test_the_bound_of_an_experiment_is_the_negative_loss():
    data = usps_mnist.dataset(0, DIGITS)
    for method in ("vae", "cvae", "proposed"):
        model = common.make_model(method, data, DIGITS)
        part = data.valid.only(1)
        found = common.bound(model, part, 5)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            loss = model.loss(common._batch(model, part))[0]
        assert found == pytest.approx(-float(loss), rel=1e-5)
    assert isinstance(model, OptimalPriorVAE)


def test_a_code_without_its_task_is_not_told_and_one_that_repeats_it_is():
    class Fixed(CVAE):
        shift = 0.0

        def encode(self, x, task):
            mean = torch.zeros(len(x), 3)
            mean[:, 0] = self.shift * task
            return mean, torch.full_like(mean, -2.0)

    data = usps_mnist.dataset(0, DIGITS | {"scored": 400})
    model = Fixed.mlp(2, 64, [9], 3)
    torch.manual_seed(0)
    blind = common._dependence(model, data, 0)
    model.shift = 3.0
    telling = common._dependence(model, data, 0)
    assert 0.4 < blind["auc_linear"] < 0.6 and abs(blind["task_information"]) < 0.02
    assert telling["auc_linear"] > 0.99 and telling["auc"] > 0.99
    assert telling["task_information"] == pytest.approx(0.693, abs=0.01)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="there is no method 'vea'"):
        usps_mnist.make_model({"method": "vea", "seed": 0}, DIGITS)


@pytest.mark.parametrize("at", [2, 3, 4])  # in the first phase, at its end, and at the very end
@pytest.mark.parametrize(
    ("name", "settings", "method"),
    [
        ("optimal_prior_usps_mnist", DIGITS, "vae"),
        ("optimal_prior_usps_mnist", DIGITS, "proposed 3"),
        ("optimal_prior_faces", FACES, "cvae vamp"),
    ],
    ids=["vae", "proposed", "vamp"],
)
def test_training_that_was_interrupted_within_a_trial_goes_on(
    name, settings, method, at, stopped_trial
):
    whole, resumed = stopped_trial(name, settings, {"method": method, "seed": 3}, at, steps=4)
    assert resumed == whole
