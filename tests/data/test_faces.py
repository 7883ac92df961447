"""The loaders of the three sets of faces, on small files in the originals' formats."""

import dataclasses
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from scipy.io import savemat

from vaelite import data
from vaelite.data import DataError, cache, frey_faces, olivetti_faces, umist_faces

MODULES = {m.REAL.name: m for m in (frey_faces, olivetti_faces, umist_faces)}
CACHED = {
    "frey_faces": "frey_faces.npz",
    "olivetti_faces": "olivetti_faces.npz",
    "umist_faces": "umist_32x32.npz",
}
EACH = (3, 1, 4)  # pictures of a person in the small UMIST


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def know(monkeypatch, name, **arrays):
    """Make the loader take these arrays for the right ones."""
    module = MODULES[name]
    known = dataclasses.replace(module.REAL, digest=cache.arrays_digest(arrays))
    monkeypatch.setattr(module, "REAL", known)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, and small sets."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    monkeypatch.setattr(frey_faces, "COUNT", 6)
    monkeypatch.setattr(umist_faces, "EACH", EACH)
    return tmp_path


def test_frey_faces_from_the_original(folder, monkeypatch):
    images = noise(6, 28, 20)
    savemat(folder / "frey_rawface.mat", {"ff": images.reshape(6, 560).T})
    know(monkeypatch, "frey_faces", imgs=images)
    dataset = data.load("frey_faces")
    assert torch.equal(dataset.x, torch.from_numpy(images)) and dataset.labels is None
    assert dataset.source == "real"
    (folder / "frey_rawface.mat").unlink()
    assert torch.equal(data.load("frey_faces").x, dataset.x)
    assert names(folder) == ["frey_faces.npz"]


def test_olivetti_faces_from_scikit_learn(folder, monkeypatch):
    images = np.minimum(noise(4, 64, 64), 242)
    subject = np.array([0, 0, 1, 1], np.uint8)

    def fetch(data_home, **options):
        scaled = images.astype(np.float32) / np.float32(242)
        return SimpleNamespace(images=scaled, target=subject.astype(int))

    monkeypatch.setattr("sklearn.datasets.fetch_olivetti_faces", fetch)
    know(monkeypatch, "olivetti_faces", imgs=images, subject=subject)
    dataset = data.load("olivetti_faces", size=(64, 64))
    assert torch.equal(dataset.x, torch.from_numpy(images))
    assert dataset.labels.tolist() == [0, 0, 1, 1] and dataset.labels.dtype == torch.int64
    assert names(folder) == ["olivetti_faces.npz"]


def test_umist_faces_from_the_original(folder):
    # Pictures whose left and upper halves tell who it is and which view.
    people = np.empty((1, len(EACH)), object)
    for person, count in enumerate(EACH):
        people[0, person] = np.zeros((112, 92, count), np.uint8)
        people[0, person][:, :46] += np.uint8(40 * (person + 1))
        people[0, person][:56] += np.arange(10, 10 + count, dtype=np.uint8)
    savemat(folder / "umist_cropped.mat", {"facedat": people})
    dataset = data.load("umist_faces", size=(32, 32))
    assert dataset.labels.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert dataset.x.shape == (8, 32, 32) and dataset.x.dtype == torch.uint8
    view = torch.tensor([0, 1, 2, 0, 0, 1, 2, 3]) + 10
    assert torch.equal(dataset.x[:, 25, 5], (40 * (dataset.labels + 1)).to(torch.uint8))
    assert torch.equal(dataset.x[:, 5, 25], view.to(torch.uint8))
    assert data.load("umist_faces").x.shape == (8, 28, 20)
    assert names(folder) == ["umist_32x32.npz", "umist_cropped.mat"]


@pytest.mark.parametrize(("size", "shape"), [((14, 5), (14, 5)), ([9, 30], (9, 30))])
def test_sizes_scale_height_and_width_on_their_own(folder, monkeypatch, size, shape):
    ramp = np.linspace(0, 255, 28 * 20).reshape(28, 20).round().astype(np.uint8)
    images = np.stack([ramp, ramp[::-1], ramp[:, ::-1]] * 2)
    np.savez(folder / "frey_faces.npz", imgs=images)
    know(monkeypatch, "frey_faces", imgs=images)
    x = data.load("frey_faces", size=size).images()
    assert x.shape == (6, *shape)
    expected = torch.linspace(0.5 / shape[0], 1 - 0.5 / shape[0], shape[0])
    torch.testing.assert_close(x[0].mean(1), expected, atol=0.03, rtol=0)
    torch.testing.assert_close(x[1], x[0].flip(0), atol=1.1 / 255, rtol=0)
    torch.testing.assert_close(x[2], x[0].flip(1), atol=1.1 / 255, rtol=0)


@pytest.mark.parametrize(
    ("name", "original", "content", "message"),
    [
        (
            "frey_faces",
            "frey_rawface.mat",
            {"ff": noise(560, 5)},
            r"shape \(560, 5\); it should be",
        ),
        ("frey_faces", "frey_rawface.mat", {"gg": noise(560, 6)}, "holds no variable ff"),
        ("frey_faces", "frey_rawface.mat", {"ff": noise(560, 6)}, "is not the data set"),
        ("umist_faces", "umist_cropped.mat", {"facedat": noise(2, 5)}, "8 pictures of 3 people"),
    ],
)
def test_originals_that_hold_something_else(folder, name, original, content, message):
    savemat(folder / original, content)
    with pytest.raises(DataError, match=message) as error:
        data.load(name)
    assert "\n" not in str(error.value) and names(folder) == [original]


@pytest.mark.parametrize(
    ("name", "original"),
    [("frey_faces", "frey_rawface.mat"), ("umist_faces", "umist_cropped.mat")],
)
def test_an_original_that_is_no_file_of_matlab(folder, name, original):
    for content in (b"", b"MATLAB 5.0", bytes(noise(300))):
        (folder / original).write_bytes(content)
        with pytest.raises(DataError, match=f"{original} cannot be read"):
            data.load(name)
        assert names(folder) == [original]


@pytest.mark.parametrize(
    ("name", "original"),
    [("frey_faces", "frey_rawface.mat"), ("umist_faces", "umist_cropped.mat")],
)
def test_nothing_there_says_what_to_do(folder, name, original):
    with pytest.raises(DataError, match=f"get https://.*{original} and put it.*into") as error:
        data.load(name)
    assert "\n" not in str(error.value) and names(folder) == []


def test_no_network_says_what_to_do(folder, monkeypatch):
    def fail(**options):
        raise URLError("no route")

    monkeypatch.setattr("sklearn.datasets.fetch_olivetti_faces", fail)
    with pytest.raises(DataError, match=r"could not be downloaded .*put olivetti_faces\.npz"):
        data.load("olivetti_faces")
    assert names(folder) == []


def test_a_cached_file_that_is_something_else_is_refused(folder):
    images, subject = noise(8, 32, 32), np.arange(3, dtype=np.uint8).repeat(EACH)
    empty = images.copy()
    empty[4] = 7
    for wrong in (
        {"imgs": images[:, :20], "subject": subject},
        {"imgs": images, "subject": np.sort(np.roll(subject, 1)) // 2},
        {"imgs": empty, "subject": subject},
        {"imgs": images},
    ):
        np.savez(folder / "umist_32x32.npz", **wrong)
        with pytest.raises(DataError, match=r"get it afresh with: .* data fetch umist_faces$"):
            data.load("umist_faces")
    np.savez(folder / "umist_32x32.npz", imgs=images, subject=subject)
    assert len(data.load("umist_faces")) == 8


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    ("size", "message"),
    [
        (28, r"size must be a pair \(height, width\); got 28"),
        ((28, 20, 1), r"size must be a pair \(height, width\); got \(28, 20, 1\)"),
        ("28", r"size must be a pair \(height, width\); got '28'"),
        ((0, 20), "height must be a positive integer; got 0"),
        ((28, 2.5), r"width must be a positive integer; got 2\.5"),
    ],
)
def test_bad_sizes(name, size, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, size=size)


@pytest.mark.parametrize(
    ("name", "count", "people"),
    [("frey_faces", 1965, 0), ("olivetti_faces", 400, 40), ("umist_faces", 575, 20)],
)
def test_the_real_thing(name, count, people):
    real = MODULES[name].REAL
    assert real.path.name == CACHED[name]
    if not real.path.exists():
        pytest.skip(f"{name} is not in the cache")
    dataset = data.load(name)
    assert dataset.x.shape == (count, 28, 20) and dataset.x.dtype == torch.uint8
    x = dataset.flat()
    assert 0.2 < x.mean() < 0.7 and x.std(1).min() > 0.05 and x.amax() > 0.8
    # They stand upright: where they look at the camera, left and right are alike; of UMIST's
    # people most look to the picture's right, and their hair is dark on its left.
    mean = dataset.images().mean(0)
    views = torch.stack([mean.flatten(), mean.flip(1).flatten(), mean.flip(0).flatten()])
    _, mirrored, fallen = torch.corrcoef(views)[0]
    if name == "umist_faces":
        assert mean[:14, :10].mean() < mean[:14, 10:].mean() - 0.05
    else:
        assert mirrored > 0.8 > 0.4 > fallen
    if not people:
        near = (x[1:] - x[:-1]).norm(dim=1).mean()
        far = (x[100:] - x[:-100]).norm(dim=1).mean()
        assert near < 0.7 * far  # frames of a film
        assert torch.equal(dataset.x, torch.from_numpy(real.arrays()["imgs"]))
        return
    # The nearest other picture nearly always shows the same person.
    assert dataset.labels.unique().tolist() == list(range(people))
    distances = torch.cdist(x, x).fill_diagonal_(torch.inf)
    assert (dataset.labels[distances.argmin(1)] == dataset.labels).float().mean() > 0.85
