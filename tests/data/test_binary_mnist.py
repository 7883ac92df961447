"""The loader of binary MNIST, on small files in the original's format."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from vaelite import data
from vaelite.data import DataError, binary_mnist, cache

COUNTS = {"train": 11, "valid": 3, "test": 5}


def original(split):
    return f"binarized_mnist_{split}.amat"


def pixels(split):
    return np.random.default_rng(len(split)).integers(0, 2, (COUNTS[split], 784), np.uint8)


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that lays the three files into an empty cache; there is no network."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    digest = cache.arrays_digest({s: np.packbits(pixels(s), axis=1) for s in COUNTS})

    def put(change=lambda text: text):
        known = {}
        for split in COUNTS:
            text = "".join(" ".join(map(str, row)) + "\n" for row in pixels(split).tolist())
            content = change(text).encode()
            (tmp_path / original(split)).write_bytes(content)
            known[original(split)] = "sha256:" + hashlib.sha256(content).hexdigest()
        changed = {"mirrors": lambda: [], "files": known, "digest": digest}
        changed = dataclasses.replace(binary_mnist.REAL, **changed)
        monkeypatch.setattr(binary_mnist, "REAL", changed)

    return put


def test_the_files_are_converted_and_kept(put, tmp_path):
    put()
    for split, count in COUNTS.items():
        dataset = data.load("binary_mnist", split=split)
        assert dataset.x.shape == (count, 28, 28) and dataset.x.dtype == torch.uint8
        assert set(dataset.x.unique().tolist()) == {0, 255}
        assert (dataset.flat().numpy() == pixels(split)).all()
        assert dataset.labels is None and dataset.source == "real"
        (tmp_path / original(split)).unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["binarized_mnist_packbits.npz"]
    assert torch.equal(data.load("binary_mnist").x, data.load("binary_mnist", split="train").x)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-2],
        lambda text: text.replace("1", "2", 1),
        lambda text: text.replace("1", "/", 1),  # the character before 0
        lambda text: text.replace(" ", "\n", 1),
        lambda text: text.replace("\n", " ", 1),
    ],
)
def test_files_that_are_not_zeros_and_ones(put, tmp_path, change):
    put(change)
    message = r"binarized_mnist_train\.amat does not hold lines of 784 zeros and ones\.$"
    with pytest.raises(DataError, match=message):
        data.load("binary_mnist")
    assert {path.name for path in tmp_path.iterdir()} == set(map(original, COUNTS))


def test_other_pixels_are_another_data_set(put, tmp_path):
    put(lambda text: text.replace("0 1", "1 0", 1))
    with pytest.raises(DataError, match="is not the data set that this version of vaelite knows"):
        data.load("binary_mnist")
    assert {path.name for path in tmp_path.iterdir()} == set(map(original, COUNTS))


def test_a_damaged_cache_names_the_remedy(put):
    put()
    data.load("binary_mnist")
    binary_mnist.REAL.path.write_bytes(b"tampered")
    with pytest.raises(DataError, match=r"get it afresh with: .* data fetch binary_mnist$"):
        data.load("binary_mnist")


def test_bad_options():
    message = "split is 'all'; it must be one of train, valid, test"
    with pytest.raises(ValueError, match=message):
        data.load("binary_mnist", split="all")


def neighbours(x):
    """How many pixels an image shares on average with the next one."""
    return (x[1:] == x[:-1]).float().mean().item()


def test_the_real_thing():
    if not binary_mnist.REAL.path.exists():
        pytest.skip("binary MNIST is not in the cache")
    train, valid, test = (data.load("binary_mnist", split=split) for split in COUNTS)
    assert [len(train), len(valid), len(test)] == [50_000, 10_000, 10_000]
    for part in (train, valid, test):
        assert part.x.shape[1:] == (28, 28) and set(part.x.unique().tolist()) == {0, 255}
        assert part.images().mean().item() == pytest.approx(0.1307, abs=0.002)  # MNIST's grey
    # The docstring's warning: only in the test file do neighbours show the same digit.
    torch.manual_seed(0)
    mixed = neighbours(test.x[torch.randperm(len(test))])
    assert neighbours(test.x) > mixed + 0.02
    assert neighbours(train.x[:10_000]) == pytest.approx(mixed, abs=0.003)
    assert neighbours(valid.x) == pytest.approx(mixed, abs=0.003)
