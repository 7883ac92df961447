"""The made-up flowers."""

import pytest
import torch

from vaelite import data
from vaelite.data import flowers


@pytest.mark.parametrize(("split", "each"), [("train", 60), ("test", 20)])
def test_shapes_and_order(split, each):
    dataset = data.load("flowers", split=split, size=16)
    assert dataset.x.shape == (5 * each, 3, 16, 16) and dataset.x.dtype == torch.uint8
    assert dataset.labels.tolist() == [place for place in range(5) for _ in range(each)]
    assert dataset.source == "stand-in"
    assert len(dataset.flat().unique(dim=0)) == len(dataset)
    assert (dataset.flat().std(1) > 0.02).all()


def test_a_picture_depends_on_its_place_alone():
    few = data.load("flowers", classes=("iris", "daisy"), count=3, size=16)
    many = data.load("flowers", count=70, size=16)
    assert torch.equal(few.x[:3], many.x[many.labels == 2][:3])
    assert torch.equal(few.x[3:], many.x[many.labels == 1][:3])
    assert len(many.flat().unique(dim=0)) == 350  # more than are drawn at once


def test_seeds_and_splits_decide():
    first, same, other = (data.load("flowers", count=4, size=12, seed=seed) for seed in (1, 1, 2))
    test = data.load("flowers", split="test", count=4, size=12, seed=1)
    assert torch.equal(first.x, same.x)
    for changed in (other, test):
        assert (first.x != changed.x).flatten(1).any(1).all()


def test_a_picture_is_the_same_at_any_size():
    small, large = (data.load("flowers", count=4, size=size).images() for size in (16, 64))
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert (shrunk - small).abs().mean() < 0.02
    assert (shrunk - small.roll(1, 0)).abs().mean() > 0.08


def test_grounds_are_shared_and_flowers_are_not():
    dataset = data.load("flowers", count=64, size=16)
    x = dataset.images().unflatten(0, (5, 64))
    corners = x[..., :2, :2].mean((1, 3, 4))  # (5, 3)
    middles = x[..., 7:9, 7:9].mean((1, 3, 4))
    # The standard error of a corner's mean colour is about 0.015.
    assert (corners[:, None] - corners).abs().max() < 0.07
    apart = (middles[:, None] - middles).abs().amax(-1) + torch.eye(5)
    assert apart.min() > 0.1
    red, green, blue = middles.unbind(1)
    daisy, iris, sunflower = (flowers.CLASSES.index(n) for n in ("daisy", "iris", "sunflower"))
    assert blue[iris] > green[iris] and red[daisy] > blue[daisy]
    assert middles[sunflower].mean() == middles.mean(1).min()  # a dark disc


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split is 'all'; it must be one of train, test"),
        ({"classes": ["rose"]}, "there is no class 'rose'; there are: sunflower, daisy"),
        ({"classes": "iris"}, "classes must be a sequence of names; got 'iris'"),
        ({"classes": []}, r"classes must be a sequence of names; got \[\]"),
        ({"classes": ["iris", "iris"]}, "classes must differ from each other; got"),
        ({"size": 0}, "size must be a positive integer; got 0"),
        ({"count": 1.5}, r"count must be a positive integer; got 1\.5"),
        ({"seed": -1}, "seed must be an integer from 0; got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("flowers", **options)
