"""The loader of USPS, on small files in the original's format."""

import bz2
import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from vaelite import data
from vaelite.data import DataError, cache, usps

ORIGINALS = {"train": "usps.bz2", "test": "usps.t.bz2"}
COUNTS = {"train": 13, "test": 7}


def values(split):
    """Pixels from -1 to 1, in steps of 0.001, some of them exactly 0."""
    rng = np.random.default_rng(len(split))
    drawn = rng.integers(-1000, 1001, (COUNTS[split], 256)) / 1000
    drawn[:, 3], drawn[0] = 0, -1
    return drawn


def labels(split):
    return np.arange(COUNTS[split]) * 3 % 10


def ink(split):
    """What a reader in single precision makes of them."""
    return (values(split).astype(np.float32).reshape(-1, 16, 16) + 1) / 2


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that lays both files into an empty cache; there is no network."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    arrays = {f"x_{s}": ink(s) for s in COUNTS}
    arrays |= {f"y_{s}": labels(s).astype(np.uint8) for s in COUNTS}

    def put(change=lambda line: line):
        known = {}
        for split, name in ORIGINALS.items():
            lines = [
                f"{label + 1} " + " ".join(f"{i}:{v:g}" for i, v in enumerate(row, 1))
                for label, row in zip(labels(split), values(split), strict=True)
            ]
            content = bz2.compress("\n".join(map(change, lines)).encode() + b"\n")
            (tmp_path / name).write_bytes(content)
            known[name] = "md5:" + hashlib.md5(content).hexdigest()
        changed = {"mirrors": lambda: [], "files": known, "digest": cache.arrays_digest(arrays)}
        monkeypatch.setattr(usps, "REAL", dataclasses.replace(usps.REAL, **changed))

    return put


def test_the_files_are_converted_and_kept(put, tmp_path):
    put()
    for split, name in ORIGINALS.items():
        dataset = data.load("usps", split=split)
        assert dataset.x.shape == (COUNTS[split], 16, 16) and dataset.x.dtype == torch.uint8
        np.testing.assert_allclose(dataset.images().numpy(), ink(split), atol=0.501 / 255)
        assert dataset.labels.tolist() == labels(split).tolist()
        assert dataset.labels.dtype == torch.int64 and dataset.source == "real"
        (tmp_path / name).unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["usps.npz"]
    both = data.load("usps", split="all")
    assert torch.equal(both.x[13:], data.load("usps", split="test").x) and len(both) == 20
    assert both.labels.tolist() == [*labels("train"), *labels("test")]


@pytest.mark.parametrize(
    "change", [lambda line: line.replace(":", ";"), lambda line: line + " 257:0.5"]
)
def test_files_that_are_not_usps(put, tmp_path, change):
    put(change)
    with pytest.raises(DataError, match=r"usps\.bz2 cannot be read"):
        data.load("usps")
    assert {path.name for path in tmp_path.iterdir()} == set(ORIGINALS.values())


def test_other_values_are_another_data_set(put, tmp_path):
    put(lambda line: line.replace(" 4:0 ", " 4:0.001 "))
    with pytest.raises(DataError, match="is not the data set that this version of vaelite knows"):
        data.load("usps")
    assert {path.name for path in tmp_path.iterdir()} == set(ORIGINALS.values())


def test_binary_and_size(put):
    put()
    binary = data.load("usps", binary=True)
    assert set(binary.x.unique().tolist()) == {0, 255}
    assert torch.equal(binary.x == 255, torch.from_numpy(ink("train") >= 0.5))
    small, large = data.load("usps", size=5), data.load("usps", size=28)
    assert small.x.shape == (13, 5, 5) and large.x.shape == (13, 28, 28)
    expected = torch.from_numpy(ink("train")).mean((1, 2))
    torch.testing.assert_close(large.images().mean((1, 2)), expected, atol=0.02, rtol=0)


def test_torchvision_still_names_the_same_files():
    from torchvision.datasets import USPS

    assert {name: f"md5:{md5}" for _, name, md5 in USPS.split_list.values()} == usps.REAL.files
    (mirror,) = usps._mirrors()
    assert mirror.endswith("/")
    assert {mirror + name for name in usps.REAL.files} == {
        u for u, _, _ in USPS.split_list.values()
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "split is 'valid'; it must be one of train, test, all"),
        ({"size": 0}, "size must be a positive integer; got 0"),
        ({"size": 16.0}, r"size must be a positive integer; got 16\.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("usps", **options)


def test_the_real_thing():
    if not usps.REAL.path.exists():
        pytest.skip("USPS is not in the cache")
    train, test = data.load("usps"), data.load("usps", split="test")
    assert train.x.shape == (7291, 16, 16) and test.x.shape == (2007, 16, 16)
    counts = [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert train.labels.bincount().tolist() == counts
    assert test.labels.bincount().tolist()[:3] == [359, 264, 198]
    # The mean image of each class finds most test digits: labels and pixels belong together.
    means = torch.stack([train.flat()[train.labels == k].mean(0) for k in range(10)])
    found = torch.cdist(test.flat(), means).argmin(1)
    assert (found == test.labels).float().mean() > 0.75
    assert data.load("usps", split="all", size=28, binary=True).x.shape == (9298, 28, 28)
