"""The loader of the real images, on a small set in the original's format."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from vaelite import data
from vaelite.data import DataError, cache, dsprites, sprites

ORIGINAL = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
COUNTS = (3, 2, 5, 2, 3)


def original(**changes):
    """The arrays of the original file, for a grid of a few classes, a few pixels wrong."""
    classes = torch.cartesian_prod(*map(torch.arange, COUNTS))
    images = sprites.render(classes)
    images[::7, 20, 20] ^= 1
    arrays = {
        "imgs": images.numpy(),
        "latents_classes": np.pad(classes.numpy(), ((0, 0), (1, 0))),
        "metadata": np.array({"pickled": True}, dtype=object),
    }
    return arrays | changes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, a set of few classes, and no network."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    monkeypatch.setattr(sprites, "CLASSES", COUNTS)
    monkeypatch.setattr(dsprites, "REAL", dataclasses.replace(dsprites.REAL, mirrors=lambda: []))
    return tmp_path


def put(folder, monkeypatch, **changes):
    """Lay an original file into the cache, and let its checksum be the known one."""
    path = folder / ORIGINAL
    np.savez_compressed(path, **original(**changes))
    known = {ORIGINAL: "md5:" + hashlib.md5(path.read_bytes()).hexdigest()}
    monkeypatch.setattr(dsprites, "REAL", dataclasses.replace(dsprites.REAL, files=known))


def test_the_readers_own_file_is_converted_and_kept(folder, monkeypatch):
    put(folder, monkeypatch)
    whole = data.load("dsprites", steps=(1, 1, 1, 1, 1))
    assert torch.equal(whole.x, torch.from_numpy(original()["imgs"]) * 255)
    assert whole.source == "real" and whole.factor_names == sprites.FACTORS
    (folder / ORIGINAL).unlink()
    again = data.load("dsprites", steps=(1, 1, 1, 1, 1), packed=True)
    assert torch.equal(again.x[:], whole.x)
    assert [path.name for path in folder.iterdir()] == ["dsprites.npz"]


def test_steps_select_what_they_select_of_the_drawings(folder, monkeypatch):
    put(folder, monkeypatch)
    for steps in [(1, 1, 2, 1, 2), (2, 1, 3, 2, 1), (1, 1, 4, 2, 2)]:
        real, drawn = data.load("dsprites", steps=steps), data.load("sprites", size=64, steps=steps)
        assert torch.equal(real.factors, drawn.factors) and torch.equal(real.labels, drawn.labels)
        assert real.x.shape == drawn.x.shape
        assert (real.x != drawn.x).sum((1, 2)).max() <= 1


def part(folder, steps=dsprites.PART_STEPS):
    classes = sprites.grid(steps)
    images = sprites.render(classes).flatten(1).numpy()
    np.savez(folder / "dsprites_real_grid.npz", imgs=np.packbits(images, axis=1))


def test_a_part_in_the_cache_is_enough_for_coarse_steps(folder):
    part(folder)
    for steps in [(1, 1, 4, 2, 2), (2, 1, 4, 2, 4)]:
        real = data.load("dsprites", steps=steps, packed=True)
        assert torch.equal(real.x[:], data.load("sprites", size=64, steps=steps).x)
    with pytest.raises(DataError, match="dsprites could not be downloaded"):
        data.load("dsprites", steps=(1, 1, 2, 2, 2))


@pytest.mark.parametrize("steps", [(1, 1, 4, 1, 2), (1, 1, 4, 1, 1)])
def test_a_wrong_part_is_refused(folder, steps):
    part(folder, steps)
    with pytest.raises(DataError, match="does not hold the grid that it should; remove it"):
        data.load("dsprites")


def test_a_damaged_part_is_refused(folder):
    part(folder)
    path = folder / "dsprites_real_grid.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="is damaged; remove it"):
        data.load("dsprites")


def test_an_own_file_with_another_checksum_is_not_used(folder):
    (folder / ORIGINAL).write_bytes(b"something else")
    with pytest.raises(DataError, match=f"{ORIGINAL} in the cache has the wrong checksum"):
        data.load("dsprites")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imgs": original()["imgs"][:-1]}, "does not hold the images of dSprites"),
        ({"imgs": original()["imgs"].astype(np.int16)}, "does not hold the images of dSprites"),
        ({"imgs": original()["imgs"][:, :, :32]}, "cannot be read|does not hold the images"),
        ({"latents_classes": original()["latents_classes"][::-1]}, "in their known order"),
        ({"imgs": original()["imgs"][::-1]}, "is not the data set that this version of vaelite"),
        ({"imgs": 0 * original()["imgs"]}, "is not the data set that this version of vaelite"),
    ],
)
def test_originals_that_are_not_dsprites(folder, monkeypatch, changes, message):
    put(folder, monkeypatch, **changes)
    with pytest.raises(DataError, match=message):
        data.load("dsprites")
    assert not (folder / "dsprites.npz").exists()


def test_a_cached_file_that_is_something_else_is_refused(folder, monkeypatch):
    put(folder, monkeypatch)
    data.load("dsprites")
    np.savez(folder / "dsprites.npz", imgs=np.zeros((180, 512), np.uint8))
    with pytest.raises(DataError, match="is damaged or is another data set; get it afresh"):
        data.load("dsprites")


def test_steps_are_checked_first(folder):
    with pytest.raises(ValueError, match="steps must be five positive integers"):
        data.load("dsprites", steps=(1, 1, 1))


def test_a_real_set_can_be_told_in_one_way():
    with pytest.raises(ValueError, match="dsprites needs either a digest or looks_right"):
        dataclasses.replace(dsprites.REAL, digest="0")
    with pytest.raises(ValueError, match="dsprites needs either a digest or looks_right"):
        dataclasses.replace(dsprites.REAL, looks_right=None)


def test_the_real_thing():
    if not ((cache.folder() / "dsprites_real_grid.npz").exists() or dsprites.REAL.path.exists()):
        pytest.skip("dSprites is not in the cache")
    real = data.load("dsprites")
    drawn = data.load("sprites", size=64)
    assert torch.equal(real.factors, drawn.factors)
    assert (real.x != drawn.x).sum((1, 2)).double().mean() < 0.1
