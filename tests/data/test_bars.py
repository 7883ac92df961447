import pytest
import torch

from vaelite import data
from vaelite.data import bars


def test_without_noise_an_image_is_its_rows():
    dataset = data.load("bars", size=6, count=500, probability=0.3, noise=0.0)
    assert dataset.x.shape == (500, 6, 6) and dataset.x.dtype == torch.float32
    assert torch.equal(dataset.x, 0.5 * dataset.factors[:, :, None].expand(-1, 6, 6))
    assert dataset.factor_names == tuple(f"row {r}" for r in range(6))
    assert dataset.source == "stand-in"


def test_rows_are_on_as_often_as_asked_and_independent():
    count = 40_000
    on = data.load("bars", size=4, count=count, probability=0.3).factors.double()
    error = (0.3 * 0.7 / count) ** 0.5
    assert ((on.mean(0) - 0.3).abs() < 4 * error).all()
    correlation = torch.corrcoef(on.T) - torch.eye(4)
    assert correlation.abs().max() < 4.5 / count**0.5
    expected = data.load("bars", size=4, count=count).factors.double().sum(1).mean()
    assert abs(expected - 0.75) < 4 * (0.75 * (1 - 0.75 / 4) / count) ** 0.5


def test_noise_is_gaussian_and_not_cut_off():
    dataset = data.load("bars", count=4000, noise=0.2)
    noise = (dataset.x - 0.5 * dataset.factors[:, :, None]).flatten().double() / 0.2
    n = len(noise)
    assert abs(noise.mean()) < 4 / n**0.5
    assert abs(noise.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((noise**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((noise**4).mean() - 3) < 4 * (96 / n) ** 0.5
    flat = noise.view(4000, 64)
    assert (torch.corrcoef(flat.T) - torch.eye(64)).abs().max() < 5.5 / 4000**0.5


def test_draws_depend_on_seed_and_split_but_not_on_the_count():
    few, many = data.load("bars", count=7), data.load("bars", count=300)
    assert torch.equal(few.x, many.x[:7]) and torch.equal(few.factors, many.factors[:7])
    assert not torch.equal(many.x, data.load("bars", count=300, noise=0.1).x)
    for other in (data.load("bars", count=300, seed=1), data.load("bars", count=300, split="test")):
        assert not torch.equal(many.factors, other.factors)
        assert not (many.x == other.x).flatten(1).any(1).all()


def test_quadrants_are_where_their_names_say():
    image = torch.zeros(6, 6, dtype=torch.long)
    image[:3, 3:], image[3:, :3], image[3:, 3:] = 1, 2, 3
    groups = bars.quadrants(6)
    assert list(groups) == ["top left", "top right", "bottom left", "bottom right"]
    for number, part in enumerate(groups.split(image.flatten())):
        assert part.tolist() == [number] * 9
    # A quadrant is itself an image: its pixels go row by row.
    assert groups["bottom left"].tolist() == [18, 19, 20, 24, 25, 26, 30, 31, 32]


def test_left_and_right_quadrants_share_their_rows_and_upper_and_lower_do_not():
    dataset = data.load("bars", count=2000, noise=0.0, probability=0.5)
    parts = [part.view(-1, 4, 4)[:, :, 0] for part in bars.quadrants().split(dataset.flat())]
    assert torch.equal(parts[0], parts[1]) and torch.equal(parts[2], parts[3])
    assert not torch.equal(parts[0], parts[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 7}, "size must be even, so that quadrants are alike; got 7"),
        ({"size": 0}, "size must be a positive integer; got 0"),
        ({"count": 1.5}, r"count must be a positive integer; got 1\.5"),
        ({"probability": 1.1}, r"probability must be a number from 0 to 1; got 1\.1"),
        ({"probability": "half"}, "probability must be a number from 0 to 1; got 'half'"),
        ({"noise": -0.1}, r"noise must be a number from 0, and finite; got -0\.1"),
        ({"noise": float("nan")}, "noise must be a number from 0, and finite; got nan"),
        ({"split": "all"}, "split is 'all'; it must be one of train, test"),
        ({"seed": -1}, "seed must be an integer from 0; got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message) as error:
        data.load("bars", **options)
    assert "\n" not in str(error.value)
