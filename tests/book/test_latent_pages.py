"""The grid and the explorable figures of the first two chapters, against independent sums."""

import re

import numpy as np
import pytest
import torch

from vaelite.book import latent_explore, latent_figures
from vaelite.book.latent_grid import LatentGrid
from vaelite.vae import VAE

ABOUT = {"alt": "a", "caption": "c"}


@pytest.fixture
def model():
    """A small VAE whose two latents play different parts."""
    torch.manual_seed(3)
    model = VAE.mlp(6, [5], 2, activation=torch.nn.Tanh)  # smooth, as quadrature wants
    with torch.no_grad():
        model.decoder[0].weight.mul_(torch.tensor([2.0, 0.5]))
    return model.eval()


@pytest.fixture
def explored(monkeypatch):
    """What a function hands to ``explore``: the function of the inputs, and the inputs."""
    caught = {}

    def catch(compute, *, alt, caption, **inputs):
        caught.update(compute=compute, inputs=inputs)

    monkeypatch.setattr(latent_explore, "explore", catch)
    return caught


def hermite(mean, sd, count=40):
    """Nodes (count**2, 2) and weights of an average over a diagonal Gaussian in the plane."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / weights.sum()
    z = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2) * sd + mean
    return torch.tensor(z, dtype=torch.float32), np.outer(weights, weights).ravel()


X = torch.tensor([[1.0, 0, 0, 1, 1, 0], [0.0, 1, 0, 0, 0, 1]])


def test_evidence_on_the_grid_is_the_quadrature_of_the_likelihood(model):
    z, weights = hermite(np.zeros(2), np.ones(2))
    with torch.no_grad():
        likelihood = torch.stack([model.log_likelihood(x[None].expand(len(z), -1), z) for x in X])
    wanted = np.log(likelihood.exp().double().numpy() @ weights)
    np.testing.assert_allclose(LatentGrid(model).log_evidence(X), wanted, atol=1e-4)


def test_elbo_on_the_grid_is_reconstruction_minus_price(model):
    mean, log_var = torch.tensor([[0.7, -0.4]]), torch.tensor([[-1.0, -0.3]])
    z, weights = hermite(mean.numpy(), (0.5 * log_var).exp().numpy())
    with torch.no_grad():
        likelihood = model.log_likelihood(X[:1].expand(len(z), -1), z).double().numpy()
    price = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum().item()
    found = LatentGrid(model).elbo(X[:1], mean, log_var)
    np.testing.assert_allclose(found, [likelihood @ weights - price], atol=1e-4)


def test_square_has_the_first_latent_to_the_right_and_the_second_upwards():
    grid = LatentGrid(VAE.mlp(6, [5], 2), points=41, reach=2.0)
    density = grid.square(grid.log_gaussian(torch.tensor([[1.0, -0.5]]), torch.full((1, 2), -5.0)))
    row, column = divmod(int(density.argmax()), 41)
    assert grid.axis[column] == pytest.approx(1.0, abs=0.051)
    assert grid.axis[row] == pytest.approx(-0.5, abs=0.051)


def test_grid_refuses_models_that_it_cannot_sum():
    with pytest.raises(ValueError, match="two latents"):
        LatentGrid(VAE.mlp(6, [5], 3))
    with pytest.raises(ValueError, match="Bernoulli"):
        LatentGrid(VAE.mlp(6, [5], 2, likelihood="gaussian"))


def numbers(text):
    return [float(n.replace("\u2212", "-")) for n in re.findall(r"[-+\u2212]?\d+(?:\.\d+)?", text)]


def test_two_peaks_a_perfect_fit_of_one_misses_log_two(explored):
    latent_explore.explore_two_peaks(np.random.default_rng(0), **ABOUT)
    variance = 1 / (1 + 100)
    perfect, _ = explored["compute"](mean=variance * 200, width=np.sqrt(variance))
    useful, error = numbers(perfect.text)
    assert useful == 100 and error == pytest.approx(-np.log(2), abs=0.01)


def test_hand_made_q_the_two_numbers_add_up_and_the_posterior_closes_the_gap(explored):
    latent_explore.explore_hand_made_q(0.9, 0.3, -2.9, **ABOUT)
    for mean, width in ((0.0, 1.0), (-1.0, 0.2), (0.9, np.sqrt(0.3))):
        densities, _ = explored["compute"](mean=mean, width=width)
        elbo, divergence, evidence = numbers(densities.text)
        assert elbo + divergence == pytest.approx(evidence, abs=0.011)
    assert divergence == 0
    posterior, q = densities.curves
    np.testing.assert_allclose(q.y, posterior.y)


def test_score_and_path_all_estimates_agree_on_average(explored):
    latent_explore.explore_score_and_path(np.random.default_rng(0), **ABOUT)
    strips, climbs = explored["compute"](count=2, draws=100)
    for points in strips.points:
        error = np.nanstd(points.x) / np.sqrt(60)
        assert np.nanmean(points.x) == pytest.approx(2, abs=4 * error)
    path = climbs.curves[2]
    assert path.label == "path" and path.y[-1] == pytest.approx(2 / 3, abs=0.1)


def test_narrowing_average_climbs_from_the_elbo_to_the_evidence(explored):
    latent_explore.explore_narrowing_average(np.random.default_rng(0), **ABOUT)
    _, climb = explored["compute"](size=1, width=1.5)
    bounds = climb.curves[0].y
    elbo = -0.5 * (1.5**2 + 0.5**2 - 1 - np.log(1.5**2))
    assert bounds[0] == pytest.approx(elbo, abs=0.02)
    assert (np.diff(bounds) > 0).all() and -0.01 < bounds[-1] < 0


def test_holes_the_ratio_is_that_of_the_grid(explored):
    # A VAE of 64 pixels, as the figure's pictures want it.
    torch.manual_seed(0)
    model = VAE.mlp(64, [4], 2)
    mean = torch.tensor([[1.0, -0.5], [-1.5, 0.2], [0.3, 1.1]])
    log_var = torch.tensor([[-1.0, -2.0], [-0.5, -1.0], [-2.0, 0.0]])
    grid = LatentGrid(model)
    latent_explore.explore_holes(grid, model, mean, log_var, **ABOUT)
    at = 80 * len(grid.axis) + 130  # a point of the grid, its two coordinates unequal
    plane, _ = explored["compute"](place=grid.z[at].double().numpy())
    log_all = torch.logsumexp(grid.log_gaussian(mean, log_var), 0) - np.log(3)
    wanted = (log_all - grid.log_prior).exp()[at].item()
    assert numbers(plane.text)[0] == pytest.approx(wanted, abs=0.006)


def test_the_rate_is_drawn_below_the_evidence():
    axes = latent_figures.rate_of_bounds([-0.3, -0.1], 0.4).axes[0]
    rule, dots = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(rule, [[1, 0.2], [2, 0.1]])
    np.testing.assert_allclose(dots, [[1, 0.3], [2, 0.1]])


def test_gaps_are_stacked_from_the_first_name_down():
    bars = latent_figures.gap_bars(
        {"best": (np.array([1.0, 2.0]), np.zeros(2)), "blind": (np.ones(2), np.array([3.0, 4.0]))}
    )
    found = [(bar.get_y() > 0.5, bar.get_x(), bar.get_width()) for bar in bars.axes[0].patches]
    assert found == [(True, 0, 1.5), (True, 1.5, 0), (False, 0, 1), (False, 1, 3.5)]
