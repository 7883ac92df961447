"""The pages of chapter 11: what they compute is what the models and the skeleton compute."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from vaelite.book import live
from vaelite.book import multi_aspect_figures as draw
from vaelite.data import walker
from vaelite.factvae import FactVAE

SIZES, K = (4, 2, 3), 3


def model():
    torch.manual_seed(0)
    made = FactVAE(SIZES, K, (7, 6), rank=5).double().eval()
    with torch.no_grad():
        made.W[1, :, 0], made.V[1, 0] = 0.0, 0.0  # silent about a latent
    return made


@pytest.mark.parametrize("present", [(1, 1, 1), (0, 1, 0), (0, 0, 0)])
def test_a_page_infers_and_decodes_as_the_model_does(present):
    made, page = model(), draw.LiveFactVAE(model())
    x = [torch.randn(1, size, dtype=torch.double) for size in SIZES]
    mask = torch.tensor([present]) > 0
    mean, log_var = made.encode((*x, mask))
    wanted = [*made.decode(mean), mean, (-log_var).exp()]
    out, centre, precision = page.complete([part[0].numpy() for part in x], np.array(present))
    for found, truth in zip([*out, centre, precision], wanted, strict=True):
        np.testing.assert_allclose(found, truth[0].detach().numpy(), atol=1e-6)


def test_what_the_page_repeats_is_what_it_was_traced_from():
    page = draw.LiveFactVAE(model())
    rng = np.random.default_rng(0)
    x = [rng.normal(size=size) for size in SIZES]
    inputs = [live.Expression("input", (), part, number=n) for n, part in enumerate(x)]
    present = live.Expression("input", (), np.ones(3), number=3)
    out, mean, precision = page.complete(inputs, present)
    other = [rng.normal(size=size) for size in SIZES]
    asked = np.array([1.0, 0.0, 1.0])
    given = {**dict(enumerate(other)), 3: asked}
    truth = page.complete(other, asked)
    for found, wanted in zip([*out, mean, precision], [*truth[0], truth[1], truth[2]], strict=True):
        again = live.recompute(found, given)
        np.testing.assert_allclose(again, np.asarray(wanted, dtype=float), atol=1e-5)


def test_the_skeleton_of_a_page_stands_as_the_package_puts_it():
    skeleton = walker.skeleton()
    walk = walker.load((3,), frames=9)
    positions = walk.positions(skeleton).double().numpy()
    angles = walk.degrees()[7].double().numpy()
    places = draw.joints(skeleton, dict(zip(walk.channels, angles, strict=True)))
    for name, truth in zip(skeleton.joints, positions[7], strict=True):
        np.testing.assert_allclose(places[name], truth, atol=1e-5)
    first, *_ = draw.limb_curves(places, ["k"] * 5)
    across, up = draw.seen_from_the_side(positions[7][skeleton.joints.index("head")])
    assert (first.x[-1], first.y[-1]) == (pytest.approx(across, abs=1e-5), pytest.approx(up))
    limbs = {name for chain in draw.CHAINS.values() for name in chain}
    assert limbs == set(skeleton.joints)


@pytest.mark.parametrize(("rho", "missing"), [(0.8, 0.5), (0.3, 0.2)])
def test_what_filling_in_loses_is_a_divergence(rho, missing):
    truth = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.double)
    for variance, covariance, loss in draw.imputed(rho, missing).values():
        believed = torch.tensor([[1.0, covariance], [covariance, variance]], dtype=torch.double)
        zero = torch.zeros(2, dtype=torch.double)
        wanted = kl_divergence(MultivariateNormal(zero, truth), MultivariateNormal(zero, believed))
        assert loss == pytest.approx(float(wanted), abs=1e-12)
        around = np.stack(draw.contour(variance, covariance))
        inverse = torch.linalg.inv(believed).numpy()
        np.testing.assert_allclose(np.einsum("in,ij,jn->n", around, inverse, around), 4)


def test_patterns_are_drawn_in_order_with_crosses_for_zeros():
    norms = np.array([[0.0, 1.0, 0.5, 0.0], [2.0, 0.0, 0.4, 0.0]])
    assert draw.in_order(norms).tolist() == [1, 2, 0, 3]
    figure = draw.patterns({"one": norms, "two": norms + 1}, ["a", "b"])
    first, second = figure.axes
    crosses = [tuple(line.get_xydata()[0]) for line in first.lines]
    assert sorted(crosses) == [(0, 0), (1, 1), (3, 0), (3, 1)]
    assert not second.lines
    tile = draw.tiles(norms, top=2.0, side=3)
    assert tile.shape == (6, 12) and tile[3, 0] == 0 and tile[0, 0] == 1


def test_lambda_is_marked_where_it_stands():
    norms = np.arange(12.0).reshape(3, 2, 2)
    panel = draw.against_lambda([0, 1, 2], norms, 1, ["0", "1", "2"])
    assert [point.y[0] for point in panel.points] == [6, 7]
    np.testing.assert_allclose(panel.curves[0].y, [2, 6, 10])
