"""The loader of the real flowers, on a small archive in the original's format."""

import dataclasses
import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from vaelite import data
from vaelite.data import DataError, flowers, flowers17

ORIGINAL = "17flowers.tgz"
EACH, TRAIN = 5, 3


def photograph(number):
    """A wide or a tall photograph: grey sides, and a square in the middle that tells its number."""
    height, width = (90, 130) if number % 2 else (120, 80)
    side = min(height, width)
    pixels = np.full((height, width, 3), 128, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = colour(number)
    pixels[top : top + side // 2, left : left + side // 2] = 0  # upper left
    return pixels


def colour(number):
    return (number * 2 + 40, 250 - number * 2, 90)


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that lays an archive into an empty cache; there is no network."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))
    for name, value in {"EACH": EACH, "TRAIN": TRAIN}.items():
        monkeypatch.setattr(flowers17, name, value)
    monkeypatch.setattr(flowers17, "REAL", dataclasses.replace(flowers17.REAL, mirrors=lambda: []))

    def put(count=EACH * 17, change=lambda content: content):
        path = tmp_path / ORIGINAL
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for number in [*reversed(range(count)), None]:  # not in the order of the names
                content = io.BytesIO()
                if number is None:
                    member = tarfile.TarInfo("jpg/files.txt")
                else:
                    Image.fromarray(photograph(number)).save(content, "JPEG", quality=95)
                    member = tarfile.TarInfo(f"jpg/image_{number + 1:04d}.jpg")
                content = io.BytesIO(change(content.getvalue()))
                member.size = len(content.getvalue())
                archive.addfile(member, content)
        known = {ORIGINAL: "md5:" + hashlib.md5(path.read_bytes()).hexdigest()}
        monkeypatch.setattr(flowers17, "REAL", dataclasses.replace(flowers17.REAL, files=known))
        return path

    return put


def test_every_photograph_is_in_its_place(put, tmp_path):
    path = put()
    dataset = data.load("flowers17", split="all")
    assert dataset.x.shape == (85, 3, 64, 64) and dataset.x.dtype == torch.uint8
    assert dataset.source == "real"
    assert dataset.labels.tolist() == [place for place in range(17) for _ in range(EACH)]
    for number in (0, 1, 42, 84):
        for corner in (dataset.x[number, :, 45:, 3:29], dataset.x[number, :, 3:29, 45:]):
            expected = torch.tensor(colour(number)).float()
            torch.testing.assert_close(corner.float().mean((1, 2)), expected, atol=4, rtol=0)
        assert dataset.x[number, :, 3:29, 3:29].float().mean() < 4
    path.unlink()
    again = data.load("flowers17", split="all", size=16)
    assert again.x.shape == (85, 3, 16, 16)
    assert [path.name for path in tmp_path.iterdir()] == ["flowers17_64x64.npz"]


def test_classes_are_found_by_name_in_the_order_asked_for(put, tmp_path):
    put()
    whole = data.load("flowers17", split="all")
    tasks = data.load("flowers17", split="all", classes=flowers.CLASSES)
    assert tasks.labels.tolist() == [place for place in range(5) for _ in range(EACH)]
    for task, name in enumerate(flowers.CLASSES):
        place = flowers17.CLASSES.index(name)
        assert torch.equal(tasks.x[tasks.labels == task], whole.x[whole.labels == place])
    # Another cache may hold the classes in another order.
    stored = dict(np.load(tmp_path / "flowers17_64x64.npz"))
    turned = {key: np.roll(array, 2 * EACH, axis=0) for key, array in stored.items()}
    np.savez(tmp_path / "flowers17_64x64.npz", **turned)
    assert torch.equal(data.load("flowers17", split="all").x, whole.x)


def test_splits_share_nothing_and_miss_nothing(put):
    put()
    parts = [data.load("flowers17", split=split) for split in ("train", "test", "all")]
    assert [part.labels.bincount().tolist() for part in parts] == [[n] * 17 for n in (3, 2, 5)]
    both = torch.cat([parts[0].flat(), parts[1].flat()])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, parts[2].flat().tolist()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 84}, "holds 84 pictures; it should hold 85"),
        ({"change": lambda content: content[:20]}, "cannot be read"),
    ],
)
def test_archives_that_are_not_the_flowers(put, tmp_path, options, message):
    put(**options)
    with pytest.raises(DataError, match=message):
        data.load("flowers17")
    assert [path.name for path in tmp_path.iterdir()] == [ORIGINAL]


def test_a_cached_file_that_is_something_else_is_refused(put, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (85, 64, 64, 3), dtype=np.uint8)
    label = np.arange(17, dtype=np.uint8).repeat(EACH)
    empty = images.copy()
    empty[7] = 9
    for wrong in (
        {"imgs": images, "label": np.roll(label, 1) // 2},
        {"imgs": images[:, :32], "label": label},
        {"imgs": empty, "label": label},
        {"imgs": images},
    ):
        np.savez(tmp_path / "flowers17_64x64.npz", **wrong)
        with pytest.raises(DataError, match=r"get it afresh with: .* data fetch flowers17$"):
            data.load("flowers17")
    np.savez(tmp_path / "flowers17_64x64.npz", imgs=images, label=label)
    assert len(data.load("flowers17")) == 17 * TRAIN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "split is 'valid'; it must be one of train, test, all"),
        ({"classes": ["rose"]}, "there is no class 'rose'; there are: daffodil, snowdrop"),
        ({"size": 65}, "size must not exceed 64, that of the stored pictures; got 65"),
        ({"size": 0}, "size must be a positive integer; got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("flowers17", **options)


def test_the_real_thing():
    if not flowers17.REAL.path.exists():
        pytest.skip("the 17 Flowers are not in the cache")
    train = data.load("flowers17", classes=("sunflower", "daisy", "bluebell"))
    test = data.load("flowers17", split="test", classes=("sunflower", "daisy", "bluebell"))
    assert train.x.shape == (180, 3, 64, 64) and test.x.shape == (60, 3, 64, 64)
    for part in (train, test):
        red, green, blue = part.images().mean((2, 3)).unbind(1)
        yellow, violet = (red + green) / 2 - blue, blue - green
        assert yellow[part.labels == 0].mean() > 0.2 > 0.1 > yellow[part.labels == 1].mean()
        assert violet[part.labels == 2].mean() > violet[part.labels == 1].mean()
