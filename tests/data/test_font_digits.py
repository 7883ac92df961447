"""Printed digits: what they show, how they vary, and that they suit the handwritten ones."""

from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import ImageFont
from sklearn.linear_model import LogisticRegression

from vaelite import data
from vaelite.data import font_digits


def classifier(dataset):
    return LogisticRegression(max_iter=300).fit(dataset.flat(), dataset.labels)


def accuracy(model, dataset):
    return model.score(dataset.flat(), dataset.labels)


@pytest.mark.parametrize(("size", "count"), [(1, 3), (8, 23), (13, 7), (28, 11), (50, 2)])
def test_shapes(size, count):
    grey = data.load("font_digits", size=size, count=count)
    assert grey.x.shape == (count, size, size) and grey.x.dtype == torch.uint8
    assert grey.labels.shape == (count,) and grey.labels.dtype == torch.int64
    assert grey.source == "stand-in"
    colour = data.load("font_digits", size=size, count=count, clutter=True)
    assert colour.x.shape == (count, 3, size, size) and colour.x.dtype == torch.uint8


@pytest.mark.parametrize("clutter", [False, True])
def test_seed_and_split_decide_everything(clutter):
    def load(**options):
        return data.load("font_digits", count=40, size=12, clutter=clutter, **options)

    first, same = load(seed=1), load(seed=1)
    assert torch.equal(first.x, same.x) and torch.equal(first.labels, same.labels)
    for other in (load(seed=2), load(seed=1, split="test")):
        assert (first.x != other.x).flatten(1).any(1).all()
        assert not torch.equal(first.labels, other.labels)
    assert len(first.flat().unique(dim=0)) == 40


@pytest.mark.parametrize("clutter", [False, True])
def test_the_first_images_do_not_depend_on_the_count(clutter):
    few = data.load("font_digits", count=37, clutter=clutter)
    many = data.load("font_digits", count=6000, clutter=clutter)  # drawn in several chunks
    assert torch.equal(few.x, many.x[:37]) and torch.equal(few.labels, many.labels[:37])


def test_every_ten_images_are_the_ten_digits_in_random_order():
    tens = data.load("font_digits", count=500).labels.view(50, 10)
    assert (tens.sort(1).values == torch.arange(10)).all()
    assert len(tens.unique(dim=0)) == 50
    assert data.load("font_digits", count=23).labels.bincount(minlength=10).tolist() != [3] * 10


def test_labels_tell_the_digit_and_other_draws_show_the_same_classes():
    train = data.load("font_digits")
    test = data.load("font_digits", split="test", count=1000)
    assert accuracy(classifier(train), test) > 0.95


def test_they_are_the_digits_that_people_write():
    # Chance is 0.1; digits upside down, mirrored, or with shifted labels fall below 0.35.
    hand = classifier(data.load("digits"))
    printed = data.load("font_digits", count=1000)
    assert accuracy(hand, printed) > 0.5
    for changed in (printed.x.flip(1), printed.x.flip(2), printed.x.transpose(1, 2)):
        assert hand.score(changed.flatten(1) / 255, printed.labels) < 0.35


def test_they_fill_the_picture_as_handwritten_digits_do():
    printed, hand = data.load("font_digits").images(), data.load("digits").images()
    for axis in (1, 2):  # columns, then rows, that hold ink
        inked = [(x.amax(axis) > 0.3).float().sum(1).mean() for x in (printed, hand)]
        assert abs(inked[0] - inked[1]) < 0.5
    assert abs(printed.mean() - hand.mean()) < 0.04
    assert abs(printed.amax((1, 2)).mean() - hand.amax((1, 2)).mean()) < 0.04
    middle = (torch.arange(8) - 3.5) @ (printed.sum(1) / printed.sum((1, 2))[:, None]).mean(0)
    assert abs(middle) < 0.3


@pytest.mark.parametrize("size", [4, 16, 28])
def test_sizes_show_the_same_picture(size):
    small, large = (data.load("font_digits", size=n, count=50).images() for n in (size, size * 4))
    averaged = torch.nn.functional.avg_pool2d(large[:, None], 4)[:, 0]
    assert (small - averaged).abs().mean() < 0.01
    torch.testing.assert_close(small, averaged, atol=0.2, rtol=0)
    shifted = (small - averaged.roll(1, 2)).abs().mean()
    assert shifted > 0.03  # what a picture one pixel beside it would give


def test_all_fonts_are_used_and_hold_digits_of_their_own():
    fields, half_widths = font_digits._glyphs()
    assert len(fields) == len(half_widths) == 10 * len(font_digits.FONTS)
    assert len(fields.flatten(1).unique(dim=0)) == len(fields)
    ones, others = half_widths.view(10, -1)[1], half_widths.view(10, -1)[[0, 2, 3, 8]]
    assert ones.mean() < others.mean(1).min() and half_widths.max() < 1.1


def test_kept_distances_are_distances():
    # Where it is smooth, the distance to an outline has a slope of one.
    fields, _ = font_digits._glyphs()
    step = 2 * font_digits._EXTENT / fields.shape[-1]
    down, right = torch.gradient(fields, spacing=step, dim=(1, 2))
    slope = (down**2 + right**2).sqrt()
    near = fields.abs() < 0.03
    assert slope[near].median() == pytest.approx(1, abs=0.1)
    assert (fields[:, 0] < 0).all() and (fields[:, :, 0] < 0).all()


def test_binary_digits_take_the_nearer_value():
    grey = data.load("font_digits", count=60, size=14)
    binary = data.load("font_digits", count=60, size=14, binary=True)
    assert set(binary.x.unique().tolist()) == {0, 255}
    clear = (grey.x < 126) | (grey.x > 129)
    assert torch.equal((binary.x == 255)[clear], (grey.x > 127)[clear])


def test_clutter_varies_in_colour_and_brightness_but_can_be_read():
    train = data.load("font_digits", clutter=True, size=16, count=3000)
    test = data.load("font_digits", clutter=True, size=16, count=500, split="test")
    grey = train.images().mean(1)
    contrast = grey.amax((1, 2)) - grey.amin((1, 2))
    assert contrast.min() > 0.1
    middle, border = grey[:, 4:12, 4:12].mean((1, 2)), grey[:, 0].mean(1)
    assert 0.35 < (middle > border).float().mean() < 0.65  # ink is darker or brighter
    assert (train.images().amax(1) - train.images().amin(1)).mean() > 0.1  # colours, not greys

    def signs_removed(dataset):  # whether ink is bright tells nothing of the digit
        grey = dataset.images().mean(1).flatten(1)
        grey = (grey - grey.mean(1, keepdim=True)) / grey.std(1, keepdim=True)
        return (grey.abs()).numpy()

    plain = LogisticRegression(C=0.1, max_iter=1000).fit(signs_removed(train), train.labels)
    assert plain.score(signs_removed(test), test.labels) > 0.25  # chance is 0.1


def test_neighbours_stand_on_either_side(monkeypatch):
    # All ink white on black: with neighbours, more of it at the sides, left and right alike.
    seen = []
    original = font_digits._ink

    def keep(*arguments):
        seen.append(original(*arguments))
        return seen[-1]

    monkeypatch.setattr(font_digits, "_ink", keep)
    data.load("font_digits", clutter=True, size=20, count=1000)
    inked = (seen[0].amax(1) > 0.5).float()
    left, right = inked[:, :2].amax(1), inked[:, -2:].amax(1)
    for side in (left, right):
        assert 0.25 < side.mean() < 0.75
    both = (left * right).mean() - left.mean() * right.mean()
    assert abs(both) < 0.1  # one neighbour does not call for the other


def test_no_system_font_is_asked_for(monkeypatch):
    asked = []
    open_font = ImageFont.truetype
    monkeypatch.setattr(
        ImageFont,
        "truetype",
        lambda path, *more, **options: asked.append(path) or open_font(path, *more, **options),
    )
    font_digits._glyphs.cache_clear()
    font_digits._glyphs()
    assert len(asked) == len(font_digits.FONTS) == 21
    assert all(Path(path).is_relative_to(matplotlib.get_data_path()) for path in asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be a positive integer; got 0"),
        ({"size": 8.0}, r"size must be a positive integer; got 8\.0"),
        ({"count": 0}, "count must be a positive integer; got 0"),
        ({"count": True}, "count must be a positive integer; got True"),
        ({"split": "all"}, "split is 'all'; it must be one of train, test"),
        ({"seed": -1}, "seed must be an integer from 0; got -1"),
        ({"seed": 0.5}, r"seed must be an integer from 0; got 0\.5"),
        ({"binary": True, "clutter": True}, "binary is for digits without clutter"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message) as error:
        data.load("font_digits", **options)
    assert "\n" not in str(error.value)
