"""Digits on grass: the layers, the randomness, and that no test grass is seen in training."""

import numpy as np
import pytest
import torch
from skimage.data import grass as photograph

from vaelite import data
from vaelite.data import digits, grassy_digits, mnist


@pytest.mark.parametrize(("split", "count"), [("train", 1437), ("test", 360)])
def test_layers_add_up_to_the_image(split, count):
    dataset = data.load("grassy_digits", split=split)
    assert dataset.x.shape == dataset.digit.shape == dataset.grass.shape == (count, 28, 28)
    assert dataset.x.dtype == torch.uint8 and dataset.source == "stand-in"
    assert torch.equal(dataset.x.int(), dataset.digit.int() + dataset.grass.int())
    assert dataset.labels.tolist() == digits.load(split=split).labels.tolist()


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_no_sum_overflows_and_weights_are_shares(weight):
    dataset = data.load("grassy_digits", count=300, weight=weight)
    assert torch.equal(dataset.x.int(), dataset.digit.int() + dataset.grass.int())
    assert dataset.digit.max() == round(255 * weight)
    brightest = photograph().max() * max(grassy_digits.LIGHT)
    assert dataset.grass.max() <= round(brightest * (1 - weight)) + 1
    bare = data.load("grassy_digits", count=300, weight=0.0)
    scaled = bare.grass.float() * (1 - dataset.digit.max() / 255)
    torch.testing.assert_close(dataset.grass.float(), scaled, atol=1.0, rtol=0)


def test_digits_lie_in_the_middle_upright():
    dataset = data.load("grassy_digits", weight=0.3)
    frame = dataset.digit.clone()
    frame[:, 4:24, 4:24] = 0
    assert not frame.any()
    inner = digits.load(20, split="train").x.float()
    torch.testing.assert_close(
        dataset.digit[:, 4:24, 4:24].float(), inner * (76 / 255), atol=0.51, rtol=0
    )


def test_no_crop_of_one_split_holds_a_pixel_of_the_other(monkeypatch):
    # A photograph in which every pixel tells its column, and columns alone.
    columns = np.broadcast_to(np.arange(512) / 511 * 255, (512, 512))
    monkeypatch.setattr("skimage.data.grass", lambda: columns)
    monkeypatch.setattr(grassy_digits, "LIGHT", (1.0, 1.0))
    train = grassy_digits.grass(3000, "train", weight=0.0)
    test = grassy_digits.grass(3000, "test", weight=0.0)
    assert train.min() == 0 and test.max() == 255  # both are used up to their ends
    assert train.max() <= 352 / 2 < 383 / 2 <= test.min() + 0.5
    assert len(train.unique()) > 170 and len(test.unique()) > 60


def test_crops_are_cut_from_the_photograph(monkeypatch):
    monkeypatch.setattr(grassy_digits, "LIGHT", (1.0, 1.0))
    monkeypatch.setattr(grassy_digits, "MAGNIFICATIONS", (1.0,))
    part = photograph()[:, 384:]
    windows = np.lib.stride_tricks.sliding_window_view(part, (9, 9)).reshape(-1, 81)
    known = set(map(bytes, windows))
    ways = []
    for crop in grassy_digits.grass(40, "test", size=9, weight=0.0).numpy():
        views = {"as it is": crop, "turned": crop.T, "mirrored": crop[:, ::-1]}
        views["both"] = crop[:, ::-1].T
        found = [
            way for way, view in views.items() if np.ascontiguousarray(view).tobytes() in known
        ]
        assert found
        ways += found
    assert set(ways) == {"as it is", "turned", "mirrored", "both"}


def test_every_crop_has_a_light_of_its_own(monkeypatch):
    monkeypatch.setattr("skimage.data.grass", lambda: np.full((512, 512), 200, np.uint8))
    lights = {}
    for split in grassy_digits.SPLITS:
        crops = grassy_digits.grass(2000, split, size=2, weight=0.0).flatten(1)
        assert (crops == crops[:, :1]).all()
        lights[split] = crops[:, 0].double() / 200
        low, high = grassy_digits.LIGHT
        assert low - 0.003 <= lights[split].min() and lights[split].max() <= high
        # Five standard errors of the mean of 2,000 uniform numbers.
        middle, error = (low + high) / 2, (high - low) / 12**0.5 / 2000**0.5
        assert abs(lights[split].mean() - middle) < 5 * error
    both = torch.stack([lights["train"], lights["test"]])
    assert abs(torch.corrcoef(both)[0, 1]) < 5 / 2000**0.5


def test_seeds_decide_everything():
    first, same, other = (data.load("grassy_digits", count=50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.x, same.x) and torch.equal(first.labels, same.labels)
    assert (first.grass != other.grass).flatten(1).any(1).all()
    assert not torch.equal(first.digit, other.digit)
    assert len(first.grass.flatten(1).unique(dim=0)) == 50
    alone = [grassy_digits.grass(50, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(alone[0], alone[1]) and not torch.equal(alone[0], alone[2])


def test_grass_alone_is_other_grass_of_the_same_kind():
    under = data.load("grassy_digits", seed=3).grass.float()
    alone = grassy_digits.grass(len(under), seed=3).float()
    assert (under != alone).flatten(1).any(1).all()
    # Means of 1,437 crops vary by about 0.5 grey levels, and their spreads by less.
    assert under.mean().item() == pytest.approx(alone.mean().item(), abs=3)
    assert under.std().item() == pytest.approx(alone.std().item(), abs=2)


def test_a_count_draws_digits_without_replacement_and_then_again():
    whole = data.load("grassy_digits", split="test")
    few = data.load("grassy_digits", split="test", count=100)
    inks = map(bytes, whole.digit.flatten(1).numpy())
    known = dict(zip(inks, whole.labels.tolist(), strict=True))
    drawn = [bytes(row) for row in few.digit.flatten(1).numpy()]
    assert len(few) == 100 == len(set(drawn))
    assert few.labels.tolist() == [known[ink] for ink in drawn]
    many = data.load("grassy_digits", split="test", count=360 * 2 + 5)
    assert torch.equal(many.labels[:360].bincount(), whole.labels.bincount())
    assert torch.equal(many.labels[360:720].bincount(), whole.labels.bincount())
    assert len(many.grass.flatten(1).unique(dim=0)) == len(many) == 725


def test_populations_keep_their_layers():
    dataset = data.load("grassy_digits", count=90)
    low = dataset.select(dataset.labels < 5)
    assert isinstance(low, grassy_digits.GrassyDigits) and set(low.labels.tolist()) <= set(range(5))
    assert torch.equal(low.x, low.digit + low.grass)
    assert torch.equal(low.x, dataset.x[dataset.labels < 5])
    assert dataset.to("meta").grass.device.type == "meta"


@pytest.mark.parametrize("size", [1, 8, 17, 128])
def test_sizes(size):
    for split in grassy_digits.SPLITS:
        dataset = data.load("grassy_digits", split=split, size=size, count=7)
        assert dataset.x.shape == (7, size, size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split is 'all'; it must be one of train, test"),
        ({"source": "usps"}, "source is 'usps'; it must be one of digits, mnist"),
        ({"size": 0}, "size must be a positive integer; got 0"),
        ({"size": 129}, "size must not exceed 128, the width of the test grass; got 129"),
        ({"count": 0}, "count must be a positive integer; got 0"),
        ({"weight": 1.2}, "weight must lie between 0 and 1; got 1.2"),
        ({"weight": float("nan")}, "weight must lie between 0 and 1; got nan"),
        ({"seed": -1}, "seed must be an integer from 0; got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("grassy_digits", **options)


def test_bad_options_of_grass_alone():
    with pytest.raises(ValueError, match=r"count must be a positive integer; got 2\.5"):
        grassy_digits.grass(2.5)
    with pytest.raises(ValueError, match="split is 'valid'"):
        grassy_digits.grass(2, "valid")


def test_real_mnist_on_grass():
    if not mnist.REAL.path.exists():
        pytest.skip("MNIST is not in the cache")
    dataset = data.load("grassy_digits", split="test", source="mnist", weight=0.2)
    original = data.load("mnist", split="test")
    assert len(dataset) == 10_000 and torch.equal(dataset.labels, original.labels)
    ink = original.x.float() * (51 / 255)
    torch.testing.assert_close(dataset.digit.float(), ink, atol=0.51, rtol=0)
    assert data.load("grassy_digits", source="mnist", size=16, count=5).x.shape == (5, 16, 16)
