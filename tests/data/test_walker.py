"""The walker: that it walks, and that its limbs share the phase and nothing else."""

import math

import numpy as np
import pytest
import torch

from vaelite import data
from vaelite.data import walker


def column(dataset, channel):
    return dataset.x[:, dataset.channels.index(channel)].double()


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_shape_channels_and_limbs():
    dataset = data.load("walker", trials=(4, 2), frames=70)
    assert dataset.x.shape == (140, 30) and dataset.x.dtype == torch.float32
    assert dataset.labels.tolist() == [4] * 70 + [2] * 70
    assert dataset.source == "stand-in"
    assert list(dataset.groups) == ["core", "right arm", "left arm", "right leg", "left leg"]
    assert dataset.groups.sizes == (8, 5, 5, 6, 6)
    assert torch.cat(list(dataset.groups.values())).sort().values.tolist() == list(range(30))
    for name, columns in dataset.groups.items():
        bones = {dataset.channels[n].rpartition("_")[0] for n in columns}
        assert bones == set(walker.LIMBS[name])
    assert sorted(dataset.channels) == sorted(walker.skeleton().channels)


def test_every_channel_moves():
    assert data.load("walker", noise=0.0).x.std(0).min() > 0.5


def test_walks_depend_on_seed_and_trial_only():
    few, many = data.load("walker", trials=(3,), frames=50), data.load("walker", trials=(5, 3))
    assert torch.equal(few.x, many.x[300:350]) and torch.equal(few.factors, many.factors[300:350])
    assert not (many.x[:300] == many.x[300:]).any(1).any()
    assert not torch.equal(few.x, data.load("walker", trials=(3,), frames=50, seed=1).x)


def test_noise_is_as_large_as_asked():
    quiet, loud = (data.load("walker", noise=noise).degrees() for noise in (0.0, 2.0))
    added = (loud - quiet).double() / 2
    assert abs(added.var() - 1) < 4 * math.sqrt(2 / added.numel())
    assert (torch.corrcoef(added.T) - torch.eye(30)).abs().max() < 5.5 / math.sqrt(len(added))


def test_scaling_fills_zero_to_one_on_the_training_alone():
    train = data.load("walker", trials=(1, 2), scale_by=(1, 2))
    assert (train.x.min(0).values == 0).all() and (train.x.max(0).values == 1).all()
    test = data.load("walker", trials=(9,), scale_by=(1, 2))
    assert test.x.min() < 0 and test.x.max() > 1
    degrees, known = (data.load("walker", trials=t).x for t in ((9,), (1, 2)))
    low, high = known.min(0).values, known.max(0).values
    torch.testing.assert_close(test.x, (degrees - low) / (high - low), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(test.degrees(), degrees, atol=1e-3, rtol=1e-4)


def test_limbs_swing_against_each_other():
    for trial in walker.TRIALS:
        walk = data.load("walker", trials=(trial,), frames=600)
        hip = column(walk, "rfemur_rx")
        assert correlation(hip, column(walk, "lfemur_rx")) < -0.6
        assert correlation(hip, column(walk, "rhumerus_rx")) < -0.6
        assert correlation(hip, column(walk, "lhumerus_rx")) > 0.6


def test_the_right_foot_is_ahead_when_its_heel_strikes():
    walks = data.load("walker")
    joints = walker.skeleton().joints
    at = walks.positions(walker.skeleton())
    ahead = at[:, joints.index("rtibia"), 2] - at[:, joints.index("ltibia"), 2]
    phase = walks.factors[:, 0]
    assert ((phase >= 0) & (phase < 100)).all()
    for trial in walker.TRIALS:
        own = walks.labels == trial
        strikes = own & ((phase < 5) | (phase >= 95))
        assert ahead[strikes].min() > 0.2 and ahead[own & (phase - 50).abs().le(5)].max() < -0.2
        steps = phase[own].diff()
        assert set(steps[steps < -50].tolist()) and (steps[steps > -50] >= 0).all()


def test_it_walks_as_people_do():
    at = data.load("walker", noise=0.0).positions(walker.skeleton())
    joints = walker.skeleton().joints
    place = {name: at[:, n] for n, name in enumerate(joints)}
    for a, b in walker.skeleton().edges:
        bone = next(x for x in walker.skeleton().bones if x.name == joints[b])
        length = (at[:, a] - at[:, b]).norm(dim=1)
        torch.testing.assert_close(length, torch.full_like(length, bone.length))
    assert (place["head"][:, 1] > 0.7).all()
    assert place["rfemur"][:, 0].max() < 0 < place["lfemur"][:, 0].min()  # left is x
    # The feet carry it: the lower one is nearly at the same height all the time.
    soles = torch.stack([place[s + bone][:, 1] for s in "lr" for bone in ("foot", "toes", "tibia")])
    assert soles.amin(0).std() < 0.04
    for side in "lr":  # knees and elbows bend one way
        walk = data.load("walker", noise=0.0)
        assert column(walk, f"{side}tibia_rx").min() > -8
        assert column(walk, f"{side}radius_rx").max() < 8
        lifted = place[side + "tibia"][:, 1] - soles.amin(0)
        assert lifted.max() > 0.08


def test_beyond_the_phase_only_a_limb_knows_of_itself():
    # What is left of every channel after a regression on harmonics of the phase.
    between, within = [], []
    for trial in walker.TRIALS:
        walk = data.load("walker", trials=(trial,), frames=4000, noise=0.0)
        phase = walker._walk(trial, 4000, 0.0, 0)[1]
        waves = [f(k * phase) for k in range(9) for f in (np.sin, np.cos)]
        design, x = np.stack(waves, 1)[:, 1:], walk.x.double().numpy()
        left = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
        together = np.corrcoef(left.T)
        limb = np.array([g for g, s in enumerate(walk.groups.sizes) for _ in range(s)])
        same = limb[:, None] == limb
        between.append(np.where(same, 0, together))
        within.append(np.where(same, together, 0)[same & ~np.eye(len(limb), dtype=bool)])
    assert np.abs(np.mean(between, 0)).max() < 0.15
    assert np.mean(np.abs(within)) > 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": (0, 1)}, "trials must be different integers from 1, at least one; got"),
        ({"trials": ()}, "trials must be different integers from 1, at least one; got"),
        ({"scale_by": (2, 2)}, "scale_by must be different integers from 1, at least one; got"),
        ({"frames": 0}, "frames must be a positive integer; got 0"),
        ({"noise": -1}, "noise must be a number from 0, and finite; got -1"),
        ({"noise": math.inf}, "noise must be a number from 0, and finite; got inf"),
        ({"seed": 0.5}, r"seed must be an integer from 0; got 0\.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message) as error:
        data.load("walker", **options)
    assert "\n" not in str(error.value)
