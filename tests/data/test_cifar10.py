"""The loader of CIFAR-10, on a small archive in the original's format."""

import dataclasses
import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch

from vaelite import data
from vaelite.data import DataError, cache, cifar10

ORIGINAL = "cifar-10-binary.tar.gz"
SAMPLE = "cifar10_lossless_4000train_1000test.npz"
COUNTS, FIRST = {"train": 100, "test": 30}, {"train": 8, "test": 4}


def arrays():
    """Images and labels in the layout of the cache, three or ten of each class, mixed."""
    rng = np.random.default_rng(0)
    made = {}
    for split, count in COUNTS.items():
        made[f"x_{split}"] = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        made[f"y_{split}"] = rng.permutation(np.arange(count) % 10).astype(np.uint8)
    return made


def first(made):
    return {key: array[: FIRST[key[2:]]] for key, array in made.items()}


def write(path, made, leave_out=()):
    records = {}
    for split in COUNTS:
        channels = made[f"x_{split}"].transpose(0, 3, 1, 2).reshape(len(made[f"x_{split}"]), -1)
        records[split] = np.hstack([made[f"y_{split}"][:, None], channels])
    files = {
        f"data_batch_{n}.bin": part for n, part in enumerate(np.split(records["train"], 5), 1)
    } | {"test_batch.bin": records["test"]}
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, part in [("readme.html", np.zeros(9, np.uint8)), *reversed(files.items())]:
            if name not in leave_out:
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = part.nbytes
                archive.addfile(member, io.BytesIO(part.tobytes()))


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that lays an archive into an empty cache; there is no network."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    monkeypatch.setattr(cifar10, "COUNTS", COUNTS)
    monkeypatch.setattr(cifar10, "SAMPLE", FIRST)
    monkeypatch.setattr(cifar10, "_SAMPLE_DIGEST", cache.arrays_digest(first(arrays())))
    monkeypatch.setattr(cifar10, "REAL", dataclasses.replace(cifar10.REAL, mirrors=lambda: []))

    def put(made, **options):
        path = tmp_path / ORIGINAL
        write(path, made, **options)
        known = {ORIGINAL: "md5:" + hashlib.md5(path.read_bytes()).hexdigest()}
        monkeypatch.setattr(cifar10, "REAL", dataclasses.replace(cifar10.REAL, files=known))

    return put


def test_the_archive_is_converted_and_kept(put, tmp_path):
    put(arrays())
    for split in COUNTS:
        dataset = data.load("cifar10", split=split)
        assert dataset.x.shape == (COUNTS[split], 3, 32, 32) and dataset.x.dtype == torch.uint8
        expected = arrays()[f"x_{split}"]
        assert torch.equal(dataset.x.permute(0, 2, 3, 1), torch.from_numpy(expected))
        assert dataset.labels.tolist() == arrays()[f"y_{split}"].tolist()
        part = data.load("cifar10", split=split, sample=True)
        assert torch.equal(part.x, dataset.x[: FIRST[split]]) and len(part) == FIRST[split]
    assert {path.name for path in tmp_path.iterdir()} == {ORIGINAL, "cifar10.npz"}


def test_the_sample_needs_no_download(put, tmp_path):
    np.savez(tmp_path / SAMPLE, **first(arrays()))
    part = data.load("cifar10", split="test", sample=True)
    assert part.x.shape == (4, 3, 32, 32)
    assert torch.equal(part.x[3], torch.from_numpy(arrays()["x_test"][3]).permute(2, 0, 1))
    with pytest.raises(DataError, match=f"put cifar10.npz .*or the original {ORIGINAL}") as error:
        data.load("cifar10", split="test")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_a_wrong_sample_is_refused(put, tmp_path, content):
    if content is None:
        wrong = first(arrays())
        wrong["x_test"][2, 3, 4, 1] ^= 1
        np.savez(tmp_path / SAMPLE, **wrong)
    else:
        (tmp_path / SAMPLE).write_bytes(content)
    with pytest.raises(DataError, match="is damaged or is another data set; remove it"):
        data.load("cifar10", sample=True)


def tampered(key, row, value):
    made = arrays()
    made[key][row] = value
    return made


@pytest.mark.parametrize(
    "made",
    [
        tampered("x_train", 7, 0),  # in the sample
        tampered("y_train", 90, (arrays()["y_train"][90] + 1) % 10),  # one class has one too many
        {key: array[:20] for key, array in arrays().items()},
    ],
)
def test_archives_that_hold_something_else(put, tmp_path, made):
    put(made)
    with pytest.raises(DataError, match="is not the data set that this version of vaelite knows"):
        data.load("cifar10")
    assert [path.name for path in tmp_path.iterdir()] == [ORIGINAL]


def test_an_archive_without_one_of_its_files(put):
    put(arrays(), leave_out=("data_batch_3.bin",))
    with pytest.raises(DataError, match=r"cannot be read .*data_batch_3"):
        data.load("cifar10")


def test_bad_split(put):
    with pytest.raises(ValueError, match="split is 'valid'; it must be 'train' or 'test'"):
        data.load("cifar10", split="valid")


def test_the_real_sample():
    if not ((cache.folder() / SAMPLE).exists() or cifar10.REAL.path.exists()):
        pytest.skip("CIFAR-10 is not in the cache")
    train, test = (data.load("cifar10", split=split, sample=True) for split in ("train", "test"))
    assert train.x.shape == (4000, 3, 32, 32) and test.x.shape == (1000, 3, 32, 32)
    # Ships stand before more blue than frogs do.
    blue = train.images()[:, 2].mean((1, 2)) - train.images()[:, 0].mean((1, 2))
    ship, frog = (blue[train.labels == cifar10.CLASSES.index(name)] for name in ("ship", "frog"))
    assert ship.mean() > frog.mean() + 0.05
