"""A reader's own data: what is read, and the sentence for what is not."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from vaelite.data.cache import DataError
from vaelite.data.own import load_own

RNG = np.random.default_rng(5)
BYTES = RNG.integers(0, 256, (7, 5, 6), dtype=np.uint8)


def table(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def pictures(folder, arrays, ending=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for index, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{index}{ending}")
    return folder


# What is read.


def test_an_array_of_floats(tmp_path):
    x = RNG.normal(size=(6, 3))
    np.save(tmp_path / "a.npy", x)
    data = load_own(tmp_path / "a.npy")
    assert data.name == "a" and data.source == "real" and data.labels is None
    assert data.x.dtype == torch.float32
    np.testing.assert_allclose(data.x, x, rtol=1e-6)


def test_whole_numbers_become_floats_and_bytes_stay_intensities(tmp_path):
    np.save(tmp_path / "i.npy", np.arange(8).reshape(4, 2))
    np.save(tmp_path / "b.npy", BYTES)
    assert load_own(tmp_path / "i.npy").x.tolist() == [
        [0.0, 1.0],
        [2.0, 3.0],
        [4.0, 5.0],
        [6.0, 7.0],
    ]
    data = load_own(str(tmp_path / "b.npy"))
    assert torch.equal(data.x, torch.from_numpy(BYTES))
    assert data.flat().shape == (7, 30) and data.flat().max() <= 1


def test_images_in_a_wider_type_are_images(tmp_path):
    np.save(tmp_path / "a.npy", BYTES.astype(np.int64))
    assert torch.equal(load_own(tmp_path / "a.npy").x, torch.from_numpy(BYTES))
    np.save(tmp_path / "b.npy", BYTES.astype(np.int64) + 300)
    assert load_own(tmp_path / "b.npy").x.dtype == torch.float32


@pytest.mark.parametrize("kind", [bool, np.uint8])
def test_black_and_white_reaches_255(tmp_path, kind):
    np.save(tmp_path / "a.npy", (BYTES > 100).astype(kind))
    assert load_own(tmp_path / "a.npy").x.unique().tolist() == [0, 255]


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first_or_last(tmp_path, axis, channels):
    x = RNG.integers(0, 256, (4, channels, 5, 6), dtype=np.uint8)
    np.save(tmp_path / "a.npy", np.moveaxis(x, 1, axis))
    assert np.array_equal(load_own(tmp_path / "a.npy").x, x[:, 0] if channels == 1 else x)


def test_several_arrays_with_labels(tmp_path):
    labels = np.array([2, 0, 1, 1, 0, 2, -1])
    np.savez(tmp_path / "a.npz", x=BYTES, labels=labels, weights=np.ones(3))
    data = load_own(tmp_path / "a.npz")
    assert torch.equal(data.x, torch.from_numpy(BYTES)) and data.labels.tolist() == labels.tolist()
    np.savez(tmp_path / "b.npz", scans=BYTES, labels=labels)
    assert torch.equal(load_own(tmp_path / "b.npz").x, data.x)


@pytest.mark.parametrize("header", ["height,width\n", "\ufeffheight,width\n", ""])
def test_a_table_with_and_without_names(tmp_path, header):
    path = table(tmp_path, header + "1,2.5\n\n-3e1, 4\n")
    assert load_own(path).x.tolist() == [[1.0, 2.5], [-30.0, 4.0]]


def test_a_column_that_counts_the_rows_is_passed_over(tmp_path):
    path = table(tmp_path, ",a,b\n0,5,6\n1,7,8\n")
    assert load_own(path).x.tolist() == [[5.0, 6.0], [7.0, 8.0]]


def test_a_table_separated_by_tabs(tmp_path):
    assert load_own(table(tmp_path, "1\t2\n3\t4\n", "a.tsv")).x.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("cells", "codes"),
    [(["sick", "", "healthy"], [1, -1, 0]), (["10", "9", "10"], [1, 0, 1])],
)
def test_a_column_of_labels(tmp_path, cells, codes):
    rows = "".join(f"{n},{cell},{n + 0.5}\n" for n, cell in enumerate(cells))
    data = load_own(table(tmp_path, "a,state,b\n" + rows), label="state")
    assert data.labels.tolist() == codes
    assert data.x.tolist() == [[n, n + 0.5] for n in range(3)]


def test_missing_values_are_kept_on_request(tmp_path):
    data = load_own(table(tmp_path, "a,b\n1,\nnan,2\nNA,3\n"), missing=True)
    assert data.x.isnan().tolist() == [[False, True], [True, False], [True, False]]


def test_columns_are_left_out_and_the_others_keep_their_names(tmp_path):
    path = table(tmp_path, "name,a,state,b\nx,1,ill,2\ny,3,well,4\n")
    data = load_own(path, label="state", drop=["name"])
    assert data.columns == ("a", "b") and data.x.tolist() == [[1, 2], [3, 4]]
    assert data.select(data.labels == 1).columns == ("a", "b")
    assert load_own(path, drop=["name", "state", "b"]).x.tolist() == [[1], [3]]
    with pytest.raises(DataError, match=r"table\.csv has no column left"):
        load_own(path, label="state", drop=["name", "a", "b"])


def test_the_folder_where_one_stands_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(pictures(tmp_path / "scans", BYTES))
    assert load_own(".").name == "scans"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "scans" / "deep")
    with pytest.raises(DataError, match=r"^deep has no image"):
        load_own(".")


def test_a_folder_of_grey_images_passes_other_files_over(tmp_path):
    folder = pictures(tmp_path / "scans", BYTES)
    (folder / "notes.txt").write_text("not an image")
    data = load_own(folder)
    assert torch.equal(data.x, torch.from_numpy(BYTES)) and data.labels is None
    assert data.name == "scans"


def test_subfolders_are_classes(tmp_path):
    pictures(tmp_path / "f" / "dog", BYTES[:2])
    pictures(tmp_path / "f" / "cat", BYTES[2:5])
    data = load_own(tmp_path / "f")
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert torch.equal(data.x, torch.from_numpy(np.concatenate([BYTES[2:5], BYTES[:2]])))


def test_colour_where_one_image_has_it(tmp_path):
    colour = RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    x = load_own(pictures(tmp_path / "f", [BYTES[0], colour])).x
    assert x.shape == (2, 3, 5, 6)
    assert torch.equal(x[0], torch.from_numpy(BYTES[0]).expand(3, 5, 6))
    assert torch.equal(x[1], torch.from_numpy(colour).permute(2, 0, 1))


def test_size_cuts_the_middle_square_and_resizes(tmp_path):
    wide = np.zeros((8, 16), dtype=np.uint8)
    wide[:, 4:8] = 200  # the left half of the middle square
    folder = pictures(tmp_path / "f", [wide, np.full((6, 4), 100, dtype=np.uint8)])
    np.save(tmp_path / "a.npy", np.stack([wide, wide]))
    for path in (folder, tmp_path / "a.npy"):
        x = load_own(path, size=4).x
        assert x.shape == (2, 4, 4)
        # The edge is smeared a little by interpolation, and by each reader in its own way.
        assert x[0, :, :2].min() > 150 and x[0, :, 2:].max() < 50


# What is not read: one sentence each, which names the file and what to do.


def write(path, content):
    if callable(content):
        content(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)


def _of(array, **options):
    return lambda path: np.save(path, array, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "", "a.xlsx is of a kind that is not read; give a .npy, .npz, .csv or .tsv"),
        ("a.npy", b"", "a.npy is no .npy file, whatever its name"),
        ("a.npy", b"1,2\n3,4\n", "a.npy is no .npy file, whatever its name"),
        ("a.npz", b"1,2\n3,4\n", "a.npz is no .npz file, whatever its name"),
        ("a.npy", b"\x93NUMPY\x01", "a.npy cannot be read"),
        ("a.npz", b"PK\x03\x04 broken", "a.npz cannot be read"),
        ("a.npz", lambda p: np.savez(p, a=BYTES, b=BYTES), "the data under the name x; .* a, b"),
        ("a.npy", _of(np.array([[1], [2, 3]], dtype=object)), "holds Python objects, which are"),
        ("a.npy", _of(np.array([["a", "b"], ["c", "d"]])), "must hold real numbers; it holds <U1"),
        ("a.npy", _of(np.ones((3, 2), dtype=complex)), "must hold real numbers; it holds complex"),
        ("a.npy", _of(np.arange(5.0)), r"must be \(N, D\), .*; its shape is \(5,\)"),
        ("a.npy", _of(np.ones((2, 2, 2, 2, 2))), r"its shape is \(2, 2, 2, 2, 2\)"),
        ("a.npy", _of(np.ones((0, 4))), r"a.npy is empty; its shape is \(0, 4\)"),
        ("a.npy", _of(np.ones((1, 4))), "a.npy has one row; nothing can be learned"),
        ("a.npy", _of(np.array([[1.0, 2], [np.nan, 3], [4, np.inf]])), "2 of 3 rows, .* datum 1,"),
        ("a.npy", _of(np.array([[1.0, 2.0], [1e300, 3.0]])), "1 of 2 rows, .* datum 1,"),
        ("a.npy", _of(np.ones((3, 5, 6, 4), np.uint8)), r"one or three channels; got \(3, 5, 6, 4"),
        (
            "a.npz",
            lambda p: np.savez(p, x=BYTES, labels=np.ones(3, int)),
            r"labels of a.npz must be 7 integers, one a datum; got \(3,\) int64",
        ),
        ("a.npz", lambda p: np.savez(p, x=BYTES, labels=np.ones(7)), r"got \(7,\) float64"),
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "a,b\n", "a.csv is empty; its shape is"),
        ("a.csv", "a,b\n1,2\n", "a.csv has one row"),
        (
            "a.csv",
            "a,b\n1,2\n3,x\n",
            "in a.csv, column b holds text \\('x' in row 3\\): leave columns out \\(drop\\), or",
        ),
        ("a.csv", "a,b\n1,2\n3,\n", r"in a.csv, there are empty cells in b \(1\), 25% of all: "),
        (
            "a.csv",
            "a,b,c,d\n1,x,,y\n3,2,NA,\n",
            r"column b holds text \('x' in row 2\); column d holds text \('y' in row 2\); "
            r"there are empty cells in c \(2\), 50% of all: leave columns out \(drop\), name one "
            r"of text as the class \(label\), fill the empty cells in, or keep them for a factVAE",
        ),
        ("a.csv", "a,a\n1,2\n3,4\n", "a.csv has two columns named 'a'; give each its own name"),
        ("a.csv", "a,b\n1,2\n3\n", "row 3 of a.csv has 1 cells, and the first 2"),
        ("a.csv", "a;b\n1;2\n3;4\n", "separated by ;, where , is expected"),
        ("a.csv", b"\xff\xfe\x00", "a.csv is no table of text"),
        ("f", lambda p: p.mkdir(), "f has no image; images end in .png"),
        ("f", lambda p: pictures(p, [BYTES[0]]), "f has one row"),
        (
            "f",
            lambda p: pictures(p, [BYTES[0], BYTES[1].T]),
            "0.png has 6 x 5 pixels and 1.png 5 x 6;",
        ),
        (
            "f",
            lambda p: (pictures(p, BYTES), (p / "0.png").write_bytes(b"no image")),
            "0.png cannot be read as an image",
        ),
        (
            "f",
            lambda p: pictures(p, [np.arange(30, dtype=np.uint16).reshape(5, 6)] * 2),
            "0.png must have 8 bits a channel; its mode is I",
        ),
        (
            "f",
            lambda p: (pictures(p, BYTES), pictures(p / "more", BYTES)),
            "f has images beside subfolders with images",
        ),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(tmp_path, name, content, message):
    write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as error:
        load_own(tmp_path / name)
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    assert not re.search(r"\. [A-Z]", text), "one sentence"


def test_nothing_is_there(tmp_path):
    with pytest.raises(DataError, match=r"there is no file or folder .*nowhere\.npy"):
        load_own(tmp_path / "nowhere.npy")


def test_a_pickle_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.save(tmp_path / "a.npy", np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="could run code"):
        load_own(tmp_path / "a.npy")
    assert not (tmp_path / "sprung").exists()


def test_infinite_values_are_no_missing_ones(tmp_path):
    with pytest.raises(DataError, match="infinite values in 1 of 2 rows"):
        load_own(table(tmp_path, "1,inf\n2,\n"), missing=True)


def test_arguments_that_do_not_fit(tmp_path):
    path = table(tmp_path, "a,b\n1,2\n3,4\n")
    np.save(tmp_path / "a.npy", BYTES)
    with pytest.raises(ValueError, match="label is 'c'; the columns are a, b"):
        load_own(path, label="c")
    with pytest.raises(ValueError, match=r"label names a column of a table; a\.npy is none"):
        load_own(tmp_path / "a.npy", label="a")
    with pytest.raises(ValueError, match=r"drop names a column of a table; a\.npy is none"):
        load_own(tmp_path / "a.npy", drop=["a"])
    with pytest.raises(ValueError, match="drop is 'c'; the columns are a, b"):
        load_own(path, drop=["c"])
    with pytest.raises(ValueError, match=r"drop must be a list of columns, such as \['a'\]"):
        load_own(path, drop="a")
    with pytest.raises(ValueError, match="size must be a positive integer; got 0"):
        load_own(path, size=0)
    with pytest.raises(
        ValueError, match=r"size is for images of integers from 0 to 255; .* \(2, 2\) float32"
    ):
        load_own(path, size=8)
