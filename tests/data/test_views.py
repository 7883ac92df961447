"""Subjects in seven views: what is drawn, what is missing, and photographs by view."""

import numpy as np
import pytest
import torch
from PIL import Image

from vaelite import data
from vaelite.data import DataError, heads, views
from vaelite.data.views import load_folder

FRONT, SMILE, TEETH = (list(views.VIEWS).index(name) for name in ("front", *list(views.VIEWS)[-2:]))


def small(**options):
    return data.load("views", **{"subjects": 6, "size": 20} | options)


def apart(a, b):
    """Return the mean difference of pictures, in grey levels of 255."""
    return (a.float() - b.float()).abs().mean((-2, -1))


def test_shapes_and_names():
    dataset = data.load("views", subjects=17, size=9)
    assert dataset.x.shape == (17, 7, 9, 9) and dataset.x.dtype == torch.uint8
    assert dataset.observed.shape == (17, 7) and dataset.observed.dtype == torch.bool
    assert len(dataset.views) == 7 and dataset.views[TEETH] == "smile with teeth"
    assert dataset.factor_names == ("identity", "glasses", "shape")
    assert dataset.source == "stand-in" and dataset.name == "views"
    assert dataset.factors[:, 0].unique().numel() == 17


def test_missing_images_are_black_and_observed_ones_are_not():
    dataset = small(missing=0.9)
    assert 0 < dataset.observed.sum() < dataset.observed.numel()
    assert ((dataset.x > 0).any((2, 3)) == dataset.observed).all()


def test_a_subject_has_one_face_in_all_views_and_its_pictures_are_a_little_off():
    dataset = small(missing=0.0)
    identity, glasses, shape = dataset.factors.unbind(1)
    for view, (azimuth, smile) in enumerate(views.VIEWS.values()):

        def posed(who=identity, glasses=glasses, shape=shape, azimuth=azimuth, smile=smile):
            still = torch.zeros(6)
            return heads.render(
                who, still + azimuth, still, still, 20,
                glasses=glasses, shape=shape, smile=still + smile,
            )  # fmt: skip

        found = apart(dataset.x[:, view], posed())
        assert (found > 0).all() and (found < 8).all()
        # Others differ more, on average over subjects.
        assert found.mean() < 0.6 * apart(dataset.x[:, view], posed(who=identity.roll(1))).mean()
        assert found.mean() < apart(dataset.x[:, view], posed(shape=1 - shape)).mean()
        assert found.mean() < apart(dataset.x[:, view], posed(azimuth=azimuth + 30)).mean()


def test_right_shows_the_right_side_and_teeth_show_in_the_last_view_alone():
    images = data.load("views", subjects=12, size=48, missing=0.0).images()
    for view, end in (("far right", "right"), ("far left", "left")):
        # Seen from its right, a head looks to the picture's right; the nose is pointed.
        ink = images[:, list(views.VIEWS).index(view), 18:34] > 0
        ends = {"left": ink.int().argmax(2), "right": ink.flip(2).int().argmax(2)}
        nose, back = ends.pop(end), *ends.values()
        for one, other in zip(nose, back, strict=True):
            assert (one == one.min()).sum() < (other == other.min()).sum()
    mouth = images[:, :, 32:39, 20:28].amax((2, 3)).mean(0)
    assert mouth[TEETH] > mouth[SMILE] + 0.08
    assert abs(mouth[SMILE] - mouth[FRONT]) < 0.08


def test_draws_depend_on_the_seed_but_not_on_the_number_of_subjects():
    few, many = small(subjects=4), small(subjects=20)
    for part in ("x", "observed", "factors"):
        assert torch.equal(getattr(few, part), getattr(many, part)[:4])
    other = small(subjects=20, seed=1)
    assert not torch.equal(many.factors, other.factors)
    assert not torch.equal(many.observed, other.observed)


def test_without_missingness_the_same_pictures_show_what_was_missing():
    some, whole = small(missing=0.8), small(missing=0.0)
    assert whole.observed.all()
    assert torch.equal(some.x[some.observed], whole.x[some.observed])


def test_the_last_fourteen_subjects_are_held_out():
    options = {"subjects": 23, "size": 8, "seed": 3}
    whole, train, test = (
        data.load("views", split=split, **options) for split in ("all", "train", "test")
    )
    assert (len(train), len(test)) == (9, 14)
    for part in ("x", "observed", "factors"):
        both = torch.cat([getattr(train, part), getattr(test, part)])
        assert torch.equal(both, getattr(whole, part))


def test_each_view_is_missing_as_often_as_asked():
    count = 1000
    observed = data.load("views", subjects=count, size=1, missing=0.5).observed.double()
    lacking = 1 - observed.mean(0)
    assert lacking[FRONT] == 0
    for view in set(range(7)) - {FRONT}:
        chance = 0.5 if view == TEETH else 0.1
        assert abs(lacking[view] - chance) < 4 * (chance * (1 - chance) / count) ** 0.5
    others = torch.corrcoef(observed[:, [v for v in range(7) if v != FRONT]].T) - torch.eye(6)
    assert others.abs().max() < 4.5 / count**0.5


def test_batches_hold_each_view_and_the_mask():
    dataset = small(missing=0.5)
    *x, observed = dataset.batch()
    assert len(x) == 7 and all(part.shape == (6, 400) for part in x)
    assert torch.equal(x[4], dataset.images()[:, 4].flatten(1))
    assert torch.equal(observed, dataset.observed)
    rows = torch.tensor([5, 2])
    for part, whole in zip(dataset.batch(rows), (*x, observed), strict=True):
        assert torch.equal(part, whole[rows])
    assert torch.equal(dataset.select(rows).observed, observed[rows])


def test_groups_are_the_columns_of_the_views():
    dataset = small(size=5)
    assert tuple(dataset.groups) == dataset.views and dataset.groups.sizes == (25,) * 7
    for part, whole in zip(dataset.groups.split(dataset.flat()), dataset.batch(), strict=False):
        assert torch.equal(part, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": 0}, "subjects must be a positive integer; got 0"),
        ({"subjects": 1001}, "subjects must be at most 1000; got 1001"),
        ({"subjects": 14, "split": "train"}, "subjects must be more than the 14 held out; got 14"),
        ({"size": 2.5}, r"size must be a positive integer; got 2\.5"),
        ({"missing": 1.0}, r"missing must be a number from 0 to below 1; got 1\.0"),
        ({"missing": float("nan")}, "missing must be a number from 0 to below 1; got nan"),
        ({"missing": "some"}, "missing must be a number from 0 to below 1; got 'some'"),
        ({"split": "valid"}, "split is 'valid'; it must be one of all, train, test"),
        ({"seed": -1}, "seed must be an integer from 0; got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message) as error:
        data.load("views", **options)
    assert "\n" not in str(error.value)


# Photographs.


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three subjects, two views; bob has no smile, and eve's names end otherwise."""
    for view, names in {"b smile": ("ann.png", "eve.PNG"), "a front": ("bob.bmp",)}.items():
        (tmp_path / view).mkdir()
        for name in names:
            Image.fromarray(noise(6, 6, 3, seed=len(name))).save(tmp_path / view / name)
    Image.fromarray(noise(6, 6, seed=9)).save(tmp_path / "a front" / "ann.tif")
    Image.fromarray(noise(4, 8, seed=8)).save(tmp_path / "a front" / "eve.pgm")
    return tmp_path


def test_photographs_by_view(folder):
    (folder / "a front" / "Thumbs.db").write_bytes(b"no image")
    (folder / "a front" / ".hidden.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("nothing to see")
    dataset = load_folder(folder, size=6)
    assert dataset.x.shape == (3, 2, 6, 6) and dataset.x.dtype == torch.uint8
    assert dataset.views == ("a front", "b smile") and dataset.source == "real"
    assert dataset.observed.tolist() == [[True, True], [True, False], [True, True]]
    assert torch.equal(dataset.x[0, 0], torch.from_numpy(noise(6, 6, seed=9)))
    assert (dataset.x[1, 1] == 0).all()
    assert dataset.batch()[1].shape == (3, 36) and dataset.groups.sizes == (36, 36)
    grey = np.array(Image.fromarray(noise(6, 6, 3, seed=7)).convert("L"))
    assert torch.equal(dataset.x[0, 1], torch.from_numpy(grey))


def test_photographs_in_colour(folder):
    dataset = load_folder(folder, size=6, colour=True)
    assert dataset.x.shape == (3, 2, 3, 6, 6)
    assert torch.equal(dataset.x[1, 0], torch.from_numpy(noise(6, 6, 3, seed=7)).permute(2, 0, 1))
    assert torch.equal(dataset.x[0, 0, 0], dataset.x[0, 0, 2])  # a grey one
    assert dataset.batch()[0].shape == (3, 108)


def test_photographs_are_cut_to_the_middle_resized_and_turned_upright(folder):
    small = load_folder(folder, size=4)
    assert torch.equal(small.x[2, 0], torch.from_numpy(noise(4, 8, seed=8)[:, 2:6].copy()))
    assert small.x.shape == (3, 2, 4, 4)
    lying = Image.fromarray(noise(6, 6, seed=5))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held to the right
    lying.save(folder / "b smile" / "bob.png", exif=exif)
    upright = torch.from_numpy(np.rot90(noise(6, 6, seed=5), -1).copy())
    assert torch.equal(load_folder(folder, size=6).x[1, 1], upright)


def test_folders_that_are_no_views(tmp_path, folder):
    with pytest.raises(DataError, match="nowhere is no folder"):
        load_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no image; images end in \.png"):
        load_folder(folder)
    with pytest.raises(DataError, match="a subfolder for each of two views or more; it has 0"):
        load_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="size must be a positive integer; got 0"):
        load_folder(folder, size=0)


def test_subjects_that_are_in_one_view_alone(tmp_path):
    for view, name in (("front", "ann"), ("smile", "bob")):
        (tmp_path / view).mkdir()
        Image.fromarray(noise(3, 3)).save(tmp_path / view / f"{name}.png")
    with pytest.raises(DataError, match=r"no subject in .* has two views; one subject's files"):
        load_folder(tmp_path)


def test_photographs_that_cannot_be_used(folder):
    for name, content, message in (
        ("ann.jpg", b"", "has two images of ann: ann.jpg and ann.png"),
        ("bob.jpg", b"no jpeg", r"bob.jpg cannot be read as an image \(UnidentifiedImageError\)"),
    ):
        (folder / "b smile" / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_folder(folder)
        (folder / "b smile" / name).unlink()
    Image.fromarray(noise(40, 40)).save(folder / "b smile" / "bob.png")
    whole = (folder / "b smile" / "bob.png").read_bytes()
    (folder / "b smile" / "bob.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"bob.png cannot be read as an image"):
        load_folder(folder)
    deep = Image.fromarray(noise(6, 6).astype(np.uint16) * 257)
    deep.save(folder / "b smile" / "bob.png")
    with pytest.raises(DataError, match=r"bob\.png has mode I;16; save it with 8 bits a channel"):
        load_folder(folder)
