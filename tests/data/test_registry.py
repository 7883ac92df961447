import dataclasses
import re

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from vaelite import data
from vaelite.data import DataError, Dataset


def test_names():
    assert {"digits", "mnist", "sprites"} <= set(data.names())
    for name in data.names():
        assert 20 < len(data.summary(name)) < 100
    assert data.real_set("digits") is None
    assert data.real_set("mnist").name == "mnist"


@pytest.mark.parametrize("ask", [data.load, data.real_set, data.summary])
def test_an_unknown_data_set_names_the_known_ones(ask):
    with pytest.raises(
        ValueError, match=r"no data set 'minst'; there are: bars, .*digits, .*mnist"
    ):
        ask("minst")


def test_an_unknown_option_names_the_known_ones():
    message = "digits has no option 'sise'; it takes size, binary, split"
    with pytest.raises(ValueError, match=message):
        data.load("digits", sise=8)


@pytest.mark.parametrize(
    ("name", "file", "original"),
    [
        ("binary_mnist", "binarized_mnist_packbits", "binarized_mnist_train.amat, into"),
        ("cars3d", "cars3d", "nips2015-analogy-data.tar.gz"),
        ("dsprites", "dsprites", "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"),
        ("flowers17", "flowers17_64x64", "17flowers.tgz"),
        ("omniglot", "omniglot_28x28", "images_background.zip, into"),
        ("usps", "usps", "usps.bz2"),
    ],
)
def test_a_real_set_that_is_nowhere_is_one_sentence(name, file, original, tmp_path, monkeypatch):
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    nowhere = dataclasses.replace(data.real_set(name), mirrors=lambda: [])
    monkeypatch.setattr(f"vaelite.data.{name}.REAL", nowhere)
    message = rf"put {re.escape(file)}\.npz .*or the original {re.escape(original)}"
    with pytest.raises(DataError, match=message) as error:
        data.load(name)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_digits_are_scaled_to_the_whole_range():
    digits, original = data.load("digits"), load_digits()
    assert digits.x.dtype == torch.uint8
    assert digits.x.shape == (1797, 8, 8)
    assert digits.x.min() == 0 and digits.x.max() == 255
    np.testing.assert_allclose(digits.images().numpy(), original.images / 16, atol=0.5 / 255)
    assert digits.labels.tolist() == original.target.tolist()
    assert digits.source == "real"


def test_one_pixel_is_a_size():
    assert data.load("digits", size=1).x.shape == (1797, 1, 1)


@pytest.mark.parametrize("size", [5, 16, 28])
def test_resized_digits_keep_their_ink(size):
    small, digits = data.load("digits", size=size), data.load("digits")
    assert small.x.shape == (1797, size, size)
    ink = small.images().mean((1, 2))
    torch.testing.assert_close(ink, digits.images().mean((1, 2)), atol=0.06, rtol=0)


def test_resizing_does_not_turn_or_flip():
    # Each quarter of the picture keeps its ink: a transposed picture would not.
    def quarters(x):
        half = x.shape[-1] // 2
        return torch.stack([x[:, :half, half:].mean((1, 2)), x[:, half:, :half].mean((1, 2))])

    old, new = data.load("digits").images(), data.load("digits", size=16).images()
    torch.testing.assert_close(quarters(new), quarters(old), atol=0.1, rtol=0)


def test_binary_digits_take_the_nearer_value():
    digits, binary = data.load("digits"), data.load("digits", binary=True)
    assert set(binary.x.unique().tolist()) == {0, 255}
    assert torch.equal(binary.images(), (digits.images() >= 0.5).float())


def test_splits_of_the_digits_share_nothing_and_miss_nothing():
    whole, train, test = (data.load("digits", split=split) for split in ("all", "train", "test"))
    assert (len(whole), len(train), len(test)) == (1797, 1437, 360)
    rows = torch.cat([train.flat(), test.flat()])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, whole.flat().tolist()))
    assert torch.bincount(test.labels).min() >= 20  # every digit is there
    again = data.load("digits", split="test")
    assert torch.equal(test.x, again.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be a positive integer; got 0"),
        ({"size": 8.0}, r"size must be a positive integer; got 8\.0"),
        ({"split": "valid"}, "split is 'valid'; it must be one of all, train, test"),
    ],
)
def test_bad_options_of_the_digits(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **options)


def small(**changes):
    fields = {
        "name": "small",
        "x": torch.arange(5 * 2 * 3, dtype=torch.uint8).reshape(5, 2, 3),
        "source": "stand-in",
        "citation": "none",
        "labels": torch.arange(5),
    }
    return Dataset(**(fields | changes))


def test_images_and_flat():
    dataset = small()
    assert len(dataset) == 5
    assert dataset.images().shape == (5, 2, 3)
    assert dataset.images(torch.tensor([4, 0])).shape == (2, 2, 3)
    assert dataset.images(slice(1, 3)).dtype == torch.float32
    assert dataset.flat().shape == (5, 6)
    assert dataset.flat(torch.tensor([1, 3])).shape == (2, 6)
    torch.testing.assert_close(dataset.flat()[4, 5], torch.tensor(29 / 255))
    assert small(x=torch.ones(5, 4, dtype=torch.float64) * 7).flat().unique().tolist() == [7.0]


def test_what_a_data_set_says_of_itself():
    assert repr(small()) == "Dataset(small, stand-in: x (5, 2, 3) uint8, labels)"
    sprites = data.load("sprites", size=8, steps=(3, 6, 40, 16, 32))
    assert repr(sprites).endswith("labels, factors: shape, scale, orientation, x, y)")


def test_selecting_rows_takes_all_parts_along():
    dataset = small(factors=torch.arange(10).view(5, 2), factor_names=("a", "b"))
    for index in (torch.tensor([4, 1]), torch.tensor([0, 1, 0, 0, 1]).bool(), slice(1, 3)):
        chosen = dataset.select(index)
        for part in ("x", "labels", "factors"):
            assert torch.equal(getattr(chosen, part), getattr(dataset, part)[index])
        assert chosen.factor_names == ("a", "b")
    packed = data.load("sprites", size=8, steps=(3, 6, 20, 16, 16), packed=True)
    assert torch.equal(
        packed.select(packed.factors[:, 3] > 0).x, packed.x[packed.factors[:, 3] > 0]
    )


def test_moving_a_data_set():
    moved = small().to("meta")
    assert moved.x.device.type == moved.labels.device.type == "meta"
    assert moved.factors is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "copied"}, "source is 'copied'"),
        ({"labels": torch.arange(4)}, "labels has 4 rows, x has 5"),
        ({"factors": torch.zeros(6, 2)}, "factors has 6 rows"),
        ({"factors": torch.zeros(5, 2), "factor_names": ("a",)}, "1 factor names for 2 factors"),
    ],
)
def test_parts_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)
