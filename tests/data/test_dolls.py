"""Dolls: what a scene shows, where its factors come from, and which cameras worked."""

import numpy as np
import pytest
import torch
from scipy import stats

from vaelite import data
from vaelite.data import dolls


def drawn(**amounts):
    """Return the seven pictures of one scene, ``(7, 24, 24)``, 0 where nothing is said."""
    row = torch.tensor([[float(amounts.get(name, 0)) for name in dolls.FACTORS]])
    return dolls._pictures(row, 24)[0].int()


def test_shapes_and_names():
    scenes = data.load("dolls", counts=(5, 3), size=7)
    assert scenes.x.shape == (8, 7, 7, 7) and scenes.x.dtype == torch.uint8
    assert scenes.labels.tolist() == [0] * 5 + [1] * 3
    assert scenes.amounts.shape == scenes.factors.shape == (8, 6)
    assert scenes.observed.shape == (8, 7) and scenes.observed.dtype == torch.bool
    assert scenes.factor_names == dolls.FACTORS and scenes.source == "stand-in"
    assert scenes.groups.sizes == (49,) * 7


def test_the_pose_is_a_subspace_and_attributes_are_even():
    scenes = data.load("dolls", counts=(4000, 1), size=1)
    azimuth, elevation, glasses, hair, light, fog = scenes.amounts[:4000].double().numpy().T
    squares = (azimuth / 12) ** 2 + (elevation / 9) ** 2
    inside = squares < dolls._FAR**2 - 1e-6
    # Half the squared distance of two standard normals is exponential, here cut at the largest.
    cut = stats.truncexpon(dolls._FAR**2 / 2)
    assert stats.kstest(squares[inside] / 2, cut.cdf).pvalue > 1e-3
    angle = np.arctan2(elevation / 9, azimuth / 12)
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    assert stats.kstest(light, stats.uniform(-60, 120).cdf).pvalue > 1e-3
    counts = np.bincount((2 * glasses + hair).astype(int))
    assert stats.chisquare(counts).pvalue > 1e-3
    assert not fog.any()


def test_each_population_has_one_private_factor():
    scenes = data.load("dolls", counts=(40, 30), size=1)
    light, fog = scenes.amounts[:, 4], scenes.amounts[:, 5]
    sun = scenes.labels == 0
    assert (light[sun] != 0).all() and not light[~sun].any()
    assert (fog[~sun] > 0).all() and not fog[sun].any()
    # No pose says which population it is of: the shared factors have one distribution.
    many = data.load("dolls", counts=(3000, 3000), size=1)
    for column in (0, 1):
        one, other = many.amounts[:3000, column], many.amounts[3000:, column]
        assert stats.ks_2samp(one.numpy(), other.numpy()).pvalue > 1e-3


def test_a_camera_goes_round_as_the_head_turns():
    still, turned = drawn(), drawn(azimuth=30)
    # By one camera's distance: what the next one saw, but for the light, which does not turn.
    lit = lambda x: (x > 0).float()  # noqa: E731
    assert torch.equal(lit(turned), lit(still))
    straight = dolls._ball(*map(torch.tensor, ([[30.0]], [[0.0]], [[0.0]], [[1.0]], [[1.0]])), 24)
    other = dolls._ball(*map(torch.tensor, ([[-30.0]], [[0.0]], [[0.0]], [[1.0]], [[1.0]])), 24)
    torch.testing.assert_close(straight, other.flip(-1), atol=2e-2, rtol=0)


def test_the_light_comes_from_its_side_and_fog_hides():
    middle = len(dolls.CAMERAS) // 2
    right = drawn(light=60)[middle]
    assert right[:, 12:].sum() > 1.5 * right[:, :12].sum()
    clear, thick = drawn()[middle], drawn(fog=0.7)[middle]
    assert thick.float().std() < 0.4 * clear.float().std()
    corner = int(thick[0, 0])
    assert corner == round(0.7 * 0.6 * 255) and int(clear[0, 0]) == 0


def test_glasses_and_hair_are_dark():
    plain = drawn()
    for name in ("glasses", "hair"):
        change = drawn(**{name: 1}) - plain
        assert (change <= 0).all() and (change.flatten(1).min(1).values < -20).all(), name


def test_what_was_not_seen_is_minus_one_and_missing_at_random():
    scenes = data.load("dolls", counts=(900, 100), size=3, failing=0.3)
    seen = scenes.seen().view(1000, 7, 9)
    assert torch.equal((seen == -1).all(-1), ~scenes.observed)
    assert (seen[scenes.observed] >= 0).all()
    failed = int((~scenes.observed).sum())
    assert stats.binomtest(failed, 7000, 0.3).pvalue > 1e-3
    everything = torch.ones_like(scenes.observed)
    torch.testing.assert_close(scenes.seen(everything), scenes.flat())


def test_a_scene_has_one_picture_at_least():
    scenes = data.load("dolls", counts=(60, 60), size=1, failing=0.99)
    assert scenes.observed.any(1).all()
    alone = scenes.observed.sum(1) == 1
    assert alone.sum() > 60 and scenes.observed[:, 3].sum() > 60


def test_a_seed_draws_the_same_scenes_and_another_others():
    one, same, other = (data.load("dolls", counts=(9, 4), size=5, seed=s) for s in (3, 3, 4))
    assert torch.equal(one.x, same.x) and torch.equal(one.observed, same.observed)
    assert not torch.equal(one.amounts, other.amounts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": (5,)}, "counts must be two, of sun and of fog"),
        ({"counts": (5, 0)}, "counts must be a positive integer; got 0"),
        ({"size": 0}, "size must be a positive integer"),
        ({"failing": 1.0}, "failing must be a number from 0 to below 1; got 1.0"),
        ({"seed": -1}, "seed must be an integer from 0"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("dolls", **options)
