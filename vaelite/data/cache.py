"""Real data sets: downloaded once, checked, converted, and kept as ``NAME.npz``.

The cache folder is ``VAELITE_DATA``, by default the user's own cache folder.  A file is in it
either whole and correct or not at all.  An original file that a reader has, and lays there under
its own name, takes the place of the download.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import requests

from vaelite.files import check_writable, replacing

_ELSEWHERE = "set VAELITE_DATA to a folder with room that you may write to."


class DataError(RuntimeError):
    """A data set cannot be had; the message says in one sentence why, and what to do."""


@dataclass(frozen=True)
class RealSet:
    """Where a real data set comes from, and how to tell that it is the right one.

    Attributes:
        name: the name in the registry.
        megabytes: size of the download.
        mirrors: returns the addresses of the folders that hold the files; they are tried in turn.
        files: checksum of each original file by its name, as pooch writes it: ``md5:...``.
        convert: turns the original files, by name, into the arrays that are kept; raises DataError
            where they hold something else.
        digest: :func:`arrays_digest` of those arrays.
        looks_right: tells whether arrays are the right ones, in place of the digest.
        file: the name of the cached file; by default ``NAME.npz``.
    """

    name: str
    megabytes: float
    mirrors: Callable[[], Sequence[str]]
    files: Mapping[str, str]
    convert: Callable[[Mapping[str, Path]], dict[str, np.ndarray]]
    digest: str | None = None
    looks_right: Callable[[Mapping[str, np.ndarray]], bool] | None = None
    file: str | None = None

    def __post_init__(self):
        """Check that there is one way to tell."""
        if (self.digest is None) == (self.looks_right is None):
            raise ValueError(f"{self.name} needs either a digest or looks_right.")

    @property
    def path(self) -> Path:
        """Where the cached file is, or would be."""
        return folder() / (self.file or f"{self.name}.npz")

    def fetch(self) -> None:
        """Download, check, convert and keep the data set, whether or not it is there already.

        Raises:
            DataError: if that fails; the cache is then as it was.
        """
        try:
            check_writable(self.path, self.path.name)
        except OSError as error:
            message = str(error).removesuffix(".")
            raise DataError(f"{message}; {_ELSEWHERE}") from error
        with tempfile.TemporaryDirectory() as downloads:
            originals = {name: self._download(name, downloads) for name in self.files}
            arrays = self.convert(originals)
        if not self._is_right(arrays):
            raise DataError(
                f"{self.name} was downloaded but is not the data set that this version of vaelite "
                "knows; update vaelite."
            )
        try:
            with replacing(self.path) as file:
                np.savez_compressed(file, **arrays)
        except OSError as error:
            raise DataError(
                f"{self.name} cannot be kept in {self.path.parent} ({_reason(error)}); {_ELSEWHERE}"
            ) from error

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays, after a download where the cache does not hold them.

        Raises:
            DataError: if the download fails, or the cached file is damaged.
        """
        if not self.path.exists():
            self.fetch()
        arrays = read_arrays(self.path)
        if not self._is_right(arrays):
            raise DataError(
                f"{self.path} is damaged or is another data set; get it afresh with: "
                f"python -m vaelite data fetch {self.name}"
            )
        return arrays

    def _is_right(self, arrays: Mapping[str, np.ndarray]) -> bool:
        if self.looks_right is not None:
            return self.looks_right(arrays)
        return arrays_digest(arrays) == self.digest

    def _download(self, name: str, downloads: str) -> Path:
        """Return an original file: the reader's own, if it lies in the cache folder, or fresh."""
        pooch.get_logger().setLevel("ERROR")
        reasons = []
        own = folder() / name
        if own.is_file():
            algorithm, _, checksum = self.files[name].partition(":")
            if pooch.file_hash(str(own), algorithm) == checksum:
                return own
            reasons.append(f"{name} in the cache has the wrong checksum")
        for mirror in self.mirrors():
            try:
                downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
                path = pooch.retrieve(
                    mirror + name, self.files[name], name, downloads, downloader=downloader
                )
                return Path(path)
            except (requests.RequestException, OSError, ValueError) as error:
                reasons.append(_reason(error))
        raise DataError(
            f"{self.name} could not be downloaded ({'; '.join(dict.fromkeys(reasons))}); try again "
            f"when the network is there, or put {self.path.name} from another machine's cache, or "
            f"the original {name}, into {self.path.parent}."
        )


def folder() -> Path:
    """Return the cache folder: ``VAELITE_DATA``, else the user's cache folder."""
    chosen = os.environ.get("VAELITE_DATA")
    return Path(chosen).expanduser() if chosen else pooch.os_cache("vaelite")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file, none where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception:  # bytes at random make the readers raise whatever they like
        return {}


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 digest of arrays with their names, types and shapes, in any order."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """Say in a few words what went wrong, without the libraries' long messages."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the download broke off"
    if isinstance(error, requests.RequestException):
        return "no connection"
    if isinstance(error, ValueError):
        return "a file has the wrong checksum"
    return getattr(error, "strerror", None) or type(error).__name__
