"""The loader of the real cars, on a small archive in the original's format."""

import dataclasses
import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vaelite import data
from vaelite.data import DataError, cars3d

ORIGINAL = "nips2015-analogy-data.tar.gz"
COUNTS = (3, 24, 4)


def cars():
    """Images ``(3, 128, 128, 3, 24, 4)`` in which every pixel tells its place."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 128, 128, 3, 24, 4), dtype=np.uint8)


def write(path, images, name="car_{:03d}_mesh.mat", key="im"):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        # Not in the order of the names, and among other files.
        for number in [*reversed(range(len(images))), None]:
            content = io.BytesIO()
            if number is None:
                member = tarfile.TarInfo("data/shapes48.mat")
            else:
                savemat(content, {key: images[number], "mask": np.zeros(2)})
                member = tarfile.TarInfo("data/cars/" + name.format(number + 1))
            member.size = len(content.getvalue())
            content.seek(0)
            archive.addfile(member, content)


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that lays an archive into an empty cache; there is no network."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    monkeypatch.setattr(cars3d, "COUNTS", COUNTS)
    monkeypatch.setattr(cars3d, "REAL", dataclasses.replace(cars3d.REAL, mirrors=lambda: []))

    def put(images, **options):
        path = tmp_path / ORIGINAL
        write(path, images, **options)
        trust(path, monkeypatch)
        return path

    return put


def trust(path, monkeypatch):
    known = {ORIGINAL: "md5:" + hashlib.md5(path.read_bytes()).hexdigest()}
    monkeypatch.setattr(cars3d, "REAL", dataclasses.replace(cars3d.REAL, files=known))


def test_every_view_is_in_its_place(put, tmp_path):
    images = cars()
    path = put(images)
    dataset = data.load("cars3d")
    assert dataset.x.shape == (3 * 24 * 4, 3, 64, 64) and dataset.x.dtype == torch.uint8
    assert dataset.source == "real"
    for row in (0, 1, 5, 97, 287):
        car, azimuth, elevation = dataset.factors[row].tolist()
        view = images[car, :, :, :, azimuth, elevation].astype(float)
        quarter = (view[::2, ::2] + view[1::2, ::2] + view[::2, 1::2] + view[1::2, 1::2]) / 4
        np.testing.assert_allclose(dataset.x[row].permute(1, 2, 0), quarter, atol=0.5)
    path.unlink()
    grey = data.load("cars3d", grey=True)
    assert grey.x.shape == (3 * 24 * 4, 64, 64)
    red, green, blue = dataset.x[7].float()
    torch.testing.assert_close(
        grey.x[7].float(), 0.299 * red + 0.587 * green + 0.114 * blue, atol=0.51, rtol=0
    )
    assert [path.name for path in tmp_path.iterdir()] == ["cars3d.npz"]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda x: x[:2], {}, "holds 2 cars; it should hold 3"),
        (lambda x: x, {"name": "bus_{}.mat"}, "holds 0 cars"),
        (lambda x: x, {"key": "images"}, "cannot be read"),
        (lambda x: x[:, :64], {}, r"cannot be read \(a car's images are uint8 \(64, 128"),
        (lambda x: x[:, :64].astype(float), {}, r"cannot be read \(a car's images are float64"),
        (lambda x: 0 * x, {}, "is not the data set that this version of vaelite knows"),
    ],
)
def test_archives_that_are_not_cars3d(put, tmp_path, change, options, message):
    put(change(cars()), **options)
    with pytest.raises(DataError, match=message):
        data.load("cars3d")
    assert [path.name for path in tmp_path.iterdir()] == [ORIGINAL]


def test_a_broken_archive(put, tmp_path, monkeypatch):
    path = put(cars())
    path.write_bytes(path.read_bytes()[:5000])
    trust(path, monkeypatch)
    with pytest.raises(DataError, match="cannot be read"):
        data.load("cars3d")


def test_the_real_thing():
    if not cars3d.REAL.path.exists():
        pytest.skip("Cars3D is not in the cache")
    dataset = data.load("cars3d")
    views = dataset.images().view(183, 24, 4, -1)
    near, far = views[:, 0] - views[:, 1], views[:, 0] - views[:, 6]
    assert near.abs().mean() < far.abs().mean()
