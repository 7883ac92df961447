"""What the CPVAE experiments measure, on cases whose answer is known."""

import numpy as np
import pytest
import torch

from vaelite.cpvae import CPVAE
from vaelite.experiments import get, probes
from vaelite.experiments.cpvae import classes, common, flowers, grassy, heads

GRASSY = {
    **grassy.SETTINGS["quick"],
    "size": 8,
    "hidden": [9],
    "shared_dim": 4,
    "private_dim": 3,
    "batch_size": 6,
    "steps": 3,
    "train": 90,
    "test": 300,  # 128 of each population, for the likelihoods
}
CLASSES = {
    **classes.SETTINGS["quick"],
    "size": 8,
    "hidden": [7],
    "batch_size": 3,
    "steps": 4,
    "test": 60,
    "samples": 5,
    "classifier": {"batch_size": 12, "width": 2},
}
FLOWERS = {**flowers.SETTINGS["quick"], "size": 8, "width": 3, "batch_size": 4, "steps": 10}
HEADS = {
    **heads.SETTINGS["quick"],
    "size": 8,
    "hidden": [6],
    "train": 160,
    "test": 60,
    "steps": 4,
    "batch_size": 5,
}


def run(experiment, settings, *methods):
    group = [{"method": method, "seed": 0} for method in methods]
    return get(experiment).run_group(group, settings)[0]


@pytest.mark.parametrize("method", grassy.METHODS)
def test_every_method_on_grass_trains_and_is_measured(method):
    (result,) = run("cpvae_grassy", GRASSY, method)
    assert result["elbo"] == pytest.approx(result["reconstruction"] - result["kl"])
    assert all(-1 <= result[f"{part}_ari"] <= 1 for part in ("shared", "private"))
    assert (method == "vae") == ("digit_explained" not in result)
    if method == "vae":
        assert result["shared_ari"] == result["private_ari"]


def test_the_plain_structure_and_the_objective_differ_in_the_weights_of_two_terms_alone():
    models = [
        grassy.make_model({"method": method, "seed": 0}, GRASSY)
        for method in ("structure", "cpvae")
    ]
    assert [model.mutual_information for model in models] == [0.0, 1.0]
    assert all(model.alpha == 1.0 for model in models)


@pytest.mark.parametrize("experiment", ["cpvae_classes", "cpvae_classes_grassy"])
@pytest.mark.parametrize("method", classes.METHODS)
def test_every_classifier_trains_and_is_measured(experiment, method):
    settings = CLASSES | {"grass": experiment.endswith("grassy")}
    (result,) = run(experiment, settings, method)
    assert 0 <= result["accuracy"] <= 1
    assert 0.1 <= result["no_class"] <= 1
    if method != "classifier":
        gain = result["accuracy"] - result["accuracy_reconstruction"]
        assert result["accuracy_gain"] == pytest.approx(gain)
        assert 1 <= result["effective_samples"] <= 5


def test_the_weight_of_an_annealed_run_ends_at_a_thousand():
    trial = {"method": "anneal", "seed": 0}
    (model,), _ = classes.train([trial], CLASSES | {"steps": 400})
    assert model.model.alpha == 1000.0
    (plain,), _ = classes.train([{"method": "alpha 1", "seed": 0}], CLASSES)
    assert plain.model.alpha == 1.0


def test_perfect_scores_are_judged_perfect_and_random_ones_are_not():
    rng = np.random.default_rng(0)
    truth = rng.integers(10, size=400)
    scores = 50.0 * np.eye(10)[truth]
    perfect = classes.judged(scores, np.zeros((7, 10)), truth)
    assert perfect["accuracy"] == 1
    assert perfect["calibration_error"] < 1e-3
    assert perfect["no_class"] == pytest.approx(0.1)
    chance = classes.judged(100 * rng.standard_normal((400, 10)), np.zeros((7, 10)), truth)
    assert chance["accuracy"] < 0.2
    assert chance["temperature"] > 100  # there is nothing to be sure of
    assert chance["calibration_error"] < 0.1


def test_calibration_error_of_an_overconfident_forecast():
    correct = np.arange(100) < 60
    assert common.calibration_error(np.full(100, 0.95), correct) == pytest.approx(0.35)
    mixed = np.where(correct, 0.95, 0.15)
    assert common.calibration_error(mixed, correct) == pytest.approx(0.6 * 0.05 + 0.4 * 0.15)


def test_an_offset_of_each_pixel_costs_nothing_and_noise_costs_its_share():
    torch.manual_seed(0)
    truth = torch.randn(5000, 3)
    offset = torch.tensor([4.0, -2.0, 0.0])
    assert common.explained(truth + offset, truth) == pytest.approx(1)
    noisy = truth + offset + 0.5 * torch.randn_like(truth)
    assert common.explained(noisy, truth) == pytest.approx(0.75, abs=0.02)
    assert common.explained(torch.zeros_like(truth), truth) == pytest.approx(0)


@pytest.mark.parametrize("shape", [(300, 11, 21), (300, 2, 11, 21)])
def test_images_move_by_whole_pixels_within_a_tenth(shape):
    torch.manual_seed(0)
    x = torch.zeros(shape)
    x[..., 5, 10] = 1.0
    moved = common.translate(x, 0.1)
    assert moved.shape == x.shape
    rows, columns = moved.nonzero()[:, -2:].unbind(1)
    assert set(rows.tolist()) == {4, 5, 6}
    assert set(columns.tolist()) == {8, 9, 10, 11, 12}
    assert moved.sum() == x.sum()


def test_clusters_and_readers_find_what_is_there_and_nothing_else():
    torch.manual_seed(0)
    labels = torch.arange(600) % 3
    codes = torch.nn.functional.one_hot(labels, 3) * 8.0 + torch.randn(600, 3)
    assert probes.cluster_agreement(codes, labels, 3, 0) > 0.95
    assert probes.read_off(codes, labels) > 0.95
    noise = torch.randn(600, 3)
    assert abs(probes.cluster_agreement(noise, labels, 3, 0)) < 0.05
    assert probes.read_off(noise, labels) < 0.45


@pytest.mark.parametrize("method", flowers.METHODS)
def test_every_learner_of_flowers_is_measured_after_each_phase(method):
    (result,) = run("cpvae_flowers", FLOWERS, method)
    errors = np.array(result["errors"])
    assert errors.shape == (4, 5)
    rises = [errors[3, 0] - errors[0, 0], errors[3, 1] - errors[0, 1]]
    rises += [errors[3, 2] - errors[1, 2], errors[3, 3] - errors[2, 3]]
    assert result["forgetting"] == pytest.approx(np.mean(rises))
    assert result["final_error"] == pytest.approx(errors[3].mean())
    if method == "cpvae frozen":
        assert result["forgetting"] == 0.0


def test_the_wide_vae_has_the_parameters_of_the_cpvae():
    for settings in (FLOWERS, flowers.SETTINGS["standard"]):
        counts = {
            method: flowers.parameters(flowers.make_model({"method": method}, settings))
            for method in flowers.METHODS
        }
        assert counts["vae"] < counts["vae equal"]
        assert counts["vae equal"] == pytest.approx(counts["cpvae"], rel=0.1)


def test_fresh_statistics_are_those_of_all_flowers_so_far():
    model = flowers.make_model({"method": "cpvae"}, FLOWERS)
    images = [flowers.flowers("train", FLOWERS, task) for task in range(3)]
    fresh = flowers.refresh(model, images)
    first = fresh.trunk[0][1]
    assert isinstance(first, torch.nn.BatchNorm2d)
    x = model.prepare(torch.cat(images))
    features = model.trunk[0][0](x)
    torch.testing.assert_close(first.running_mean, features.mean((0, 2, 3)))
    torch.testing.assert_close(model.trunk[0][1].running_mean, torch.zeros(3))  # a copy was changed


def test_heads_are_swapped_and_judged():
    results = run("cpvae_heads", HEADS | {"at_once": 2}, *heads.METHODS[:1])
    for result in results:
        assert result["kept"] == pytest.approx(sum(result["kept_by_factor"]) / 4)
        assert all(0 <= result[name] <= 1 for name in ("swapped", "shape", "kept"))


def test_a_perfect_swap_is_judged_as_one():
    """A model whose other decoder draws real heads of the other shape."""
    settings = heads.SETTINGS["quick"]
    judge = heads.judges(settings)
    real = heads.dataset("test", settings)
    x, shape = real.images().flatten(1), real.labels.numpy()
    assert judge["shape"].confidence(x, shape) > 0.95
    assert judge["shape"].confidence(x, 1 - shape) < 0.05
    assert judge["light"].confidence(x, heads.column(real, "light")) > 0.9


@pytest.mark.parametrize("module", [grassy, classes, flowers, heads])
def test_an_unknown_method_is_named(module):
    settings = {grassy: GRASSY, classes: CLASSES, flowers: FLOWERS, heads: HEADS}[module]
    with pytest.raises(ValueError, match="no method 'nothing'; there are"):
        module.make_model({"method": "nothing", "seed": 0}, settings)


def test_layers_of_a_cpvae_add_up_to_its_picture():
    model = grassy.make_model({"method": "cpvae", "seed": 0}, GRASSY)
    assert isinstance(model, CPVAE)
    x = torch.rand(5, 64)
    shared, private = grassy.layers_of(model, x, 1)
    torch.testing.assert_close(shared + private, model.reconstruct(x, 1))


@pytest.mark.parametrize("at", [2, 4, 5, 10])  # in the first phases, and at ends of phases
@pytest.mark.parametrize(
    ("name", "method"),
    [("cpvae_flowers", "vae"), ("cpvae_flowers", "cpvae frozen"), ("cpvae_flowers_again", "cpvae")],
)
def test_learning_flowers_that_was_interrupted_within_a_trial_goes_on(
    name, method, at, stopped_trial, tmp_path
):
    whole, resumed = stopped_trial(name, FLOWERS, {"method": method, "seed": 3}, at, steps=10)
    assert resumed == whole
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]  # the caller deletes it
