"""The loader of Omniglot, on small archives in the original's format."""

import dataclasses
import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vaelite import data
from vaelite.data import DataError, omniglot

# Characters of each alphabet; between the sorted alphabets of one split stands one of the other.
CONTENT = {"background": {"Latin": 1, "Angelic": 2}, "evaluation": {"Keble": 3}}
DRAWERS = 2
ALPHABETS = ["Angelic", "Keble", "Latin"]


def original(split):
    return f"images_{split}.zip"


def drawing(alphabet, character, drawer):
    """A black square on white, 105 x 105; its place and its size are the drawing's own."""
    white = np.ones((105, 105), bool)
    top, left = 10 + 3 * ALPHABETS.index(alphabet), 20 * character
    white[top : top + 20 + drawer, left : left + 17] = False
    return white


def boxes():
    """Which of the 105 rows (or columns) each of 28 boxes averages, with their weights."""
    middles = (np.arange(105) + 0.5) / 3.75
    inside = np.ceil(middles) - 1 == np.arange(28)[:, None]  # on a border: the box before it
    return inside / inside.sum(1, keepdims=True)


def expected(split):
    """Rows ``(alphabet, character, drawer)`` and their small drawings, by hand."""
    rows = {
        "background": [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (2, 5, 0), (2, 5, 1)],
        "evaluation": [(1, c, d) for c in (2, 3, 4) for d in (0, 1)],
    }[split]
    first = {0: 0, 1: 2, 2: 5}
    ink = [1.0 - drawing(ALPHABETS[a], c - first[a] + 1, d + 1) for a, c, d in rows]
    return rows, boxes() @ np.stack(ink) @ boxes().T


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that lays both archives into an empty cache; there is no network."""
    monkeypatch.setenv("VAELITE_DATA", str(tmp_path))

    def put(content=CONTENT, change=lambda content: content, make=drawing, digest=None):
        known = {}
        for split, characters in content.items():
            path, root = tmp_path / original(split), f"images_{split}"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"{root}/", "")
                archive.writestr(f"__MACOSX/{root}/Latin/character01/._0001_01.png", b"no drawing")
                for alphabet, count in characters.items():
                    for character in range(count, 0, -1):  # not in the order of the names
                        for drawer in range(DRAWERS, 0, -1):
                            image = io.BytesIO()
                            Image.fromarray(make(alphabet, character, drawer)).save(image, "PNG")
                            # Numbers run over both archives and all characters, drawers do not.
                            name = f"character{character:02d}/{900 - character:04d}_{drawer:02d}"
                            name = f"{root}/{alphabet}/{name}.png"
                            archive.writestr(name, change(image.getvalue()))
            known[path.name] = "md5:" + hashlib.md5(path.read_bytes()).hexdigest()
        changed = {"mirrors": lambda: [], "files": known}
        if digest is None:
            changed |= {"digest": None, "looks_right": lambda arrays: "imgs" in arrays}
        monkeypatch.setattr(omniglot, "REAL", dataclasses.replace(omniglot.REAL, **changed))

    return put


def test_the_archives_are_converted_and_kept(put, tmp_path):
    put()
    for split in CONTENT:
        dataset = data.load("omniglot", split=split)
        rows, ink = expected(split)
        assert dataset.x.shape == (6, 28, 28) and dataset.x.dtype == torch.uint8
        # Rounded once for the columns and once for the rows.
        np.testing.assert_allclose(dataset.images().numpy(), ink, atol=1.01 / 255)
        assert dataset.labels.tolist() == [character for _, character, _ in rows]
        assert dataset.factors.tolist() == [[alphabet, drawer] for alphabet, _, drawer in rows]
        assert dataset.factor_names == ("alphabet", "drawer") and dataset.source == "real"
        (tmp_path / original(split)).unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["omniglot_28x28.npz"]
    assert omniglot.alphabets() == tuple(ALPHABETS)
    both = data.load("omniglot", split="all")
    parts = [data.load("omniglot", split=split) for split in CONTENT]
    for part in ("x", "labels", "factors"):
        joined = torch.cat([getattr(dataset, part) for dataset in parts])
        assert torch.equal(getattr(both, part), joined)


def test_the_layout_of_the_cache(put):
    put()
    arrays = omniglot.REAL.arrays()
    kinds = {key: (array.dtype.str, array.shape) for key, array in arrays.items()}
    assert kinds == {
        "imgs": ("|u1", (12, 28, 28)),
        "split_eval": ("|u1", (12,)),
        "alphabet": ("|u1", (12,)),
        "character": ("<i2", (12,)),
        "drawer": ("|u1", (12,)),
        "alphabet_names": ("<U7", (3,)),
    }
    assert arrays["split_eval"].tolist() == [0] * 6 + [1] * 6
    assert arrays["drawer"].tolist() == [1, 2] * 6


def test_size(put):
    put()
    small, large = data.load("omniglot", size=5), data.load("omniglot", size=40)
    assert small.x.shape == (6, 5, 5) and large.x.shape == (6, 40, 40)
    mean = data.load("omniglot").images().mean((1, 2))
    torch.testing.assert_close(large.images().mean((1, 2)), mean, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"change": lambda content: content[:40]}, r"images_background\.zip cannot be read"),
        ({"change": lambda content: b"text"}, r"\.zip cannot be read \(a drawing is no picture\)"),
        (
            {"make": lambda *place: drawing(*place)[:100]},
            r"images_background\.zip cannot be read \(a drawing is 100 x 105, not 105 x 105\)",
        ),
        ({"content": CONTENT | {"evaluation": {}}}, r"images_evaluation\.zip holds no drawings"),
        ({"digest": "known"}, "is not the data set that this version of vaelite knows"),
    ],
)
def test_archives_that_are_not_omniglot(put, tmp_path, options, message):
    put(**options)
    with pytest.raises(DataError, match=message) as error:
        data.load("omniglot")
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == set(map(original, CONTENT))


def test_an_archive_that_is_no_archive(put, tmp_path, monkeypatch):
    put()
    name = original("evaluation")
    (tmp_path / name).write_bytes(b"text")
    known = omniglot.REAL.files | {name: "md5:" + hashlib.md5(b"text").hexdigest()}
    monkeypatch.setattr(omniglot, "REAL", dataclasses.replace(omniglot.REAL, files=known))
    with pytest.raises(DataError, match=r"images_evaluation\.zip cannot be read"):
        data.load("omniglot")


def test_torchvision_still_names_the_same_files():
    from torchvision.datasets import Omniglot

    theirs = {f"{name}.zip": f"md5:{md5}" for name, md5 in Omniglot.zips_md5.items()}
    assert theirs == omniglot.REAL.files
    (mirror,) = omniglot._mirrors()
    assert mirror.startswith("https://") and mirror.endswith("/omniglot/master/python/")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "train"}, "split is 'train'; it must be one of background, evaluation, all"),
        ({"size": 0}, "size must be a positive integer; got 0"),
        ({"size": 28.0}, r"size must be a positive integer; got 28\.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("omniglot", **options)


def test_the_real_thing():
    if not omniglot.REAL.path.exists():
        pytest.skip("Omniglot is not in the cache")
    background, evaluation = (data.load("omniglot", split=split) for split in CONTENT)
    assert background.x.shape == (19_280, 28, 28) and evaluation.x.shape == (13_180, 28, 28)
    both = data.load("omniglot", split="all")
    assert both.labels.bincount().tolist() == [20] * 1623
    assert both.factors.amax(0).tolist() == [49, 19] and both.factors.amin(0).tolist() == [0, 0]
    names = np.array(omniglot.alphabets())
    assert len(names) == 50 and sorted(names) == names.tolist()
    found = [set(names[part.factors[:, 0].unique()]) for part in (background, evaluation)]
    assert [len(part) for part in found] == [30, 20] and not found[0] & found[1]
    assert "Latin" in found[0] and "Tibetan" in found[1]
    assert 0.05 < both.images().mean() < 0.1  # ink is bright, and there is little of it
    # Drawings of a character are more alike than drawings of others: labels belong to them.
    means = both.flat().reshape(1623, 20, -1)[:30]  # all of the first alphabet, ten of another
    other = torch.cdist(means[:, :1].flatten(1), means[:, 1:].mean(1))
    assert (other.argmin(1) == torch.arange(30)).float().mean() > 0.3
