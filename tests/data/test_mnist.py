"""The real loader, against a small MNIST served on this machine: no test leaves it."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from vaelite import data
from vaelite.data import DataError, cache, mnist

LABELS = "t10k-labels-idx1-ubyte.gz"


def small_arrays():
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (5, 28, 27), dtype=np.uint8),
        "y_train": rng.integers(0, 10, 5, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (3, 28, 27), dtype=np.uint8),
        "y_test": rng.integers(0, 10, 3, dtype=np.uint8),
    }


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes())


class Site:
    """A web site with a small MNIST; ``truncate`` names files that it breaks off half-way."""

    def __init__(self, folder, arrays):
        self.folder, self.truncate, self.requests = folder, set(), []
        folder.mkdir()
        for name, array in zip(mnist.REAL.files, arrays.values(), strict=True):
            (folder / name).write_bytes(idx(array))
        self.checksums = {
            path.name: "md5:" + hashlib.md5(path.read_bytes()).hexdigest()
            for path in folder.iterdir()
        }
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *arguments):
                site.requests.append(Path(self.path).name)

            def copyfile(self, source, target):
                content = source.read()
                cut = Path(self.path).name in site.truncate
                target.write(content[: len(content) // 2] if cut else content)

        handler = functools.partial(Handler, directory=folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.mirrors = [f"http://127.0.0.1:{self.server.server_port}/"]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The site, with the loader pointed at it, and an empty cache."""
    arrays = small_arrays()
    site = Site(tmp_path / "site", arrays)
    site.cache = tmp_path / "cache"
    monkeypatch.setenv("VAELITE_DATA", str(site.cache))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    real = dataclasses.replace(
        mnist.REAL,
        mirrors=lambda: site.mirrors,
        files={name: site.checksums[name] for name in mnist.REAL.files},
        digest=cache.arrays_digest(arrays),
    )
    monkeypatch.setattr(mnist, "REAL", real)
    yield site
    site.close()


def left_behind(site):
    return list(site.cache.rglob("*")) if site.cache.exists() else []


def one_sentence(error):
    text = str(error.value)
    return "\n" not in text and text.count(". ") == 0


def test_a_first_load_downloads_and_a_second_does_not(site):
    arrays = small_arrays()
    for split, count in (("train", 5), ("test", 3)):
        dataset = data.load("mnist", split=split)
        assert torch.equal(dataset.x, torch.from_numpy(arrays[f"x_{split}"]))
        assert dataset.labels.tolist() == arrays[f"y_{split}"].tolist()
        assert dataset.labels.dtype == torch.int64
        assert dataset.x.shape == (count, 28, 27)
        assert dataset.source == "real"
    assert len(site.requests) == 4
    assert [path.name for path in left_behind(site)] == ["mnist.npz"]
    with np.load(site.cache / "mnist.npz", allow_pickle=False) as file:
        assert set(file.files) == {"x_train", "y_train", "x_test", "y_test"}


def test_a_second_mirror_helps_out(site):
    site.mirrors = [site.mirrors[0] + "moved/", *site.mirrors]
    assert len(data.load("mnist")) == 5


def test_a_download_that_breaks_off_leaves_nothing(site):
    site.truncate = {LABELS}
    with pytest.raises(DataError, match=r"could not be downloaded \(the download broke off\)") as e:
        data.load("mnist")
    assert one_sentence(e)
    assert left_behind(site) == []
    site.truncate = set()
    assert len(data.load("mnist")) == 5


@pytest.mark.parametrize(
    "change", [lambda old: old[:-9], lambda old: old[:-1] + b"!", lambda _: b""]
)
def test_a_wrong_file_leaves_nothing(site, change):
    path = site.folder / LABELS
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=r"a file has the wrong checksum.*try again") as e:
        data.load("mnist")
    assert one_sentence(e)
    assert left_behind(site) == []


def test_a_missing_file_leaves_nothing(site):
    (site.folder / LABELS).unlink()
    with pytest.raises(DataError, match="the server answered 404"):
        data.load("mnist")
    assert left_behind(site) == []


def test_no_network(site):
    site.close()
    with pytest.raises(DataError, match=r"no connection.*put mnist\.npz from another machine") as e:
        data.load("mnist")
    assert one_sentence(e)
    assert left_behind(site) == []


def test_ctrl_c_leaves_nothing(site, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.load("mnist")
    assert left_behind(site) == []


def test_a_failed_fetch_leaves_the_good_file(site):
    mnist.REAL.fetch()
    site.truncate = {LABELS}
    with pytest.raises(DataError):
        mnist.REAL.fetch()
    assert len(data.load("mnist")) == 5


def test_a_truncated_cache_is_noticed_and_mended(site):
    mnist.REAL.fetch()
    path = site.cache / "mnist.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"is damaged .*python -m vaelite data fetch mnist") as e:
        data.load("mnist")
    assert one_sentence(e)
    mnist.REAL.fetch()
    assert len(data.load("mnist")) == 5


def test_an_array_in_the_archives_place_is_noticed(site):
    site.cache.mkdir()
    with open(site.cache / "mnist.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(DataError, match="is damaged"):
        data.load("mnist")


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip file at all"])
def test_a_file_that_is_no_archive_is_noticed(site, content):
    site.cache.mkdir()
    (site.cache / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        data.load("mnist")


@pytest.mark.parametrize("key", ["x_train", "y_test"])
def test_a_tampered_cache_is_noticed(site, key):
    arrays = small_arrays()
    arrays[key].flat[0] ^= 1
    site.cache.mkdir()
    np.savez(site.cache / "mnist.npz", **arrays)
    with pytest.raises(DataError, match="is damaged or is another data set"):
        data.load("mnist")


def test_a_pickle_is_never_opened(site, monkeypatch):
    site.cache.mkdir()
    np.savez(site.cache / "mnist.npz", x_train=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match="is damaged"):
        data.load("mnist")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the cache was unpickled",)


def test_a_folder_that_cannot_be_written_to(site):
    site.cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"mnist\.npz.*set VAELITE_DATA to a folder") as e:
        mnist.REAL.fetch()
    assert one_sentence(e)
    assert site.requests == []  # said before the download


def test_bad_split(site):
    with pytest.raises(ValueError, match="split is 'valid'; it must be 'train' or 'test'"):
        data.load("mnist", split="valid")
    assert site.requests == []


def test_the_digest_of_arrays():
    arrays = small_arrays()
    digest = cache.arrays_digest(arrays)
    assert digest == cache.arrays_digest(dict(reversed(arrays.items())))
    assert digest != cache.arrays_digest(arrays | {"more": np.zeros(1)})
    assert digest != cache.arrays_digest(arrays | {"x_test": arrays["x_test"].reshape(3, 27, 28)})
    assert digest != cache.arrays_digest(arrays | {"y_test": arrays["y_test"].astype(np.int8)})
    fortran = {key: np.asfortranarray(array) for key, array in arrays.items()}
    assert digest == cache.arrays_digest(fortran)


def test_the_default_cache_is_the_users(monkeypatch):
    monkeypatch.delenv("VAELITE_DATA", raising=False)
    assert cache.folder().name == "vaelite"
    monkeypatch.setenv("VAELITE_DATA", "~/somewhere")
    assert cache.folder() == Path.home() / "somewhere"


def test_torchvision_still_names_the_same_files():
    from torchvision.datasets import MNIST

    assert {name: f"md5:{md5}" for name, md5 in MNIST.resources} == mnist.REAL.files
    assert all(mirror.endswith("/") for mirror in mnist._mirrors())


def test_the_real_thing():
    if not mnist.REAL.path.exists():
        pytest.skip("MNIST is not in the cache")
    train, test = data.load("mnist"), data.load("mnist", split="test")
    assert train.x.shape == (60_000, 28, 28) and test.x.shape == (10_000, 28, 28)
    assert torch.bincount(test.labels).tolist()[:3] == [980, 1135, 1032]
    assert train.images().mean().item() == pytest.approx(0.1307, abs=5e-5)
