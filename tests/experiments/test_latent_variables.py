"""The experiment of chapter 02: its measures against what can be worked out by hand."""

import json

import numpy as np
import pytest
import torch

from vaelite.experiments import get, latent_variables
from vaelite.toys import factor_analysis as fa
from vaelite.vae import VAE, Gaussian


def test_quick_profile_runs_and_stores_what_the_chapter_reads():
    results = get("latent_variables").run("quick", progress=False)
    assert len(results["trials"]) == 4
    json.dumps(results)
    for entry in results["trials"]:
        result = entry["result"]
        assert -64 * np.log(2) < result["elbo"] < result["log_likelihood"] < 0
        assert 0 <= result["active"] <= entry["trial"]["latents"]


def test_a_trial_depends_on_its_seed_alone():
    settings = latent_variables.SETTINGS["quick"] | {"steps": 20, "samples": 10}
    first, again, other = (
        get("latent_variables").run_group([{"latents": 3, "seed": seed}], settings)[0][0]
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first["elbo"] != other["elbo"]


def test_measures_are_those_of_factor_analysis_when_the_networks_are_linear():
    rng = np.random.default_rng(3)
    W, noise_var = rng.standard_normal((5, 3)), rng.uniform(0.5, 1.5, 5)
    W[:, 2] = 0  # the third latent explains nothing: its posterior is the prior
    X, _ = fa.sample(W, noise_var, 40, rng)
    recognition, variance = fa.mean_field(W, noise_var)
    model = VAE.mlp(5, [], 3, likelihood=Gaussian(torch.tensor(noise_var))).double()
    with torch.no_grad():
        encoder, decoder = model.encoder.net[0], model.decoder[0]
        encoder.weight.copy_(torch.tensor(np.vstack([recognition, np.zeros((3, 5))])))
        encoder.bias.copy_(torch.tensor(np.concatenate([np.zeros(3), np.log(variance)])))
        decoder.weight.copy_(torch.tensor(W))
        decoder.bias.zero_()
    torch.manual_seed(0)
    measured = latent_variables.measure_on(model, torch.tensor(X), torch.tensor(X), samples=4000)
    bound = fa.free_energy(X, W, noise_var) / 40
    truth = fa.log_likelihood(X, W, noise_var) / 40
    assert measured["elbo"] == pytest.approx(bound, abs=0.1)
    assert measured["train_elbo"] == pytest.approx(bound, abs=0.1)
    assert measured["log_likelihood"] == pytest.approx(truth, abs=0.02)
    assert measured["active"] == 2


def test_grey_images_are_drawn_afresh_and_binary_ones_left_alone():
    torch.manual_seed(0)
    model = latent_variables.FreshlyBinarised.mlp(6, [4], 2)
    noise = torch.zeros(8, 2)
    grey, binary = torch.full((8, 6), 0.5), (torch.rand(8, 6) > 0.5).float()
    assert model.loss(grey, noise)[0] != model.loss(grey, noise)[0]
    assert model.loss(binary, noise)[0] == VAE.loss(model, binary, noise)[0]


def test_profiles_differ_in_size_only_where_they_say_so():
    settings = latent_variables.SETTINGS
    assert settings["standard"]["data"] == "digits" and settings["full"]["data"] == "mnist"
    for name in settings:
        trials = latent_variables.trials(settings[name])
        assert len(trials) == len(settings[name]["latents"]) * settings[name]["repeats"]
