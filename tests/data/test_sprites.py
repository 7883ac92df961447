import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaelite import data
from vaelite.data import cache, sprites
from vaelite.data.sprites import render

SHAPE, SCALE, ORIENTATION, X, Y = range(5)
SQUARE, ELLIPSE, HEART = range(3)

shapes = st.integers(0, 2)
scales = st.integers(0, 5)
orientations = st.integers(0, 39)
positions = st.integers(0, 31)
classes = st.tuples(shapes, scales, orientations, positions, positions)


def one(*row, size=64):
    return render([row], size)[0]


def centroid(image):
    """Return the mean column and the mean row of the ink, in pixels."""
    rows, columns = torch.nonzero(image, as_tuple=True)
    return columns.double().mean().item() + 0.5, rows.double().mean().item() + 0.5


def real_grid():
    path = cache.folder() / "dsprites_real_grid.npz"
    if not path.exists():
        pytest.skip("the real dSprites grid is not in the cache")
    with np.load(path, allow_pickle=False) as file:
        images = np.unpackbits(file["imgs"], axis=1).reshape(-1, 64, 64)
        return torch.from_numpy(images), torch.from_numpy(file["latents_classes"][:, 1:]).long()


def test_the_rendering_agrees_with_the_real_images():
    images, classes = real_grid()
    assert len(images) == 46_080
    wrong = (render(classes) != images).sum((1, 2)).double()
    assert wrong.mean() < 0.1  # of 4,096
    assert (wrong == 0).double().mean() > 0.9
    assert wrong.max() < 20
    for shape in range(3):
        assert wrong[classes[:, SHAPE] == shape].mean() < 0.15


def test_the_grid_of_the_registry_has_the_order_of_the_original():
    _, classes = real_grid()
    factors = torch.cartesian_prod(
        *(
            torch.arange(0, n, step)
            for n, step in zip(sprites.CLASSES, (1, 1, 4, 2, 2), strict=True)
        )
    )
    assert torch.equal(factors, classes)


@settings(deadline=None, max_examples=40)
@given(classes, st.sampled_from([7, 16, 33, 64, 101]))
def test_one_image_equals_its_place_in_a_batch(row, size):
    others = [[HEART, 5, 11, 31, 0], list(row), [SQUARE, 0, 39, 0, 31]]
    images = render(torch.tensor(others), size)
    assert images.shape == (3, size, size)
    assert images.dtype == torch.uint8
    assert set(images.unique().tolist()) <= {0, 1}
    assert torch.equal(images[1], one(*row, size=size))


@settings(deadline=None, max_examples=30)
@given(shapes, scales, orientations, positions, positions, positions)
def test_x_moves_along_columns_and_y_along_rows(shape, scale, orientation, start, end, other):
    def move(*rows):
        first, last = (centroid(image) for image in render(list(rows), size=256))
        return last[0] - first[0], last[1] - first[1]

    look, distance = (shape, scale, orientation), 256 / 64 * (end - start) * 32 / 31
    along_x = move((*look, start, other), (*look, end, other))
    along_y = move((*look, other, start), (*look, other, end))
    assert along_x == pytest.approx((distance, 0), abs=1.5)
    assert along_y == pytest.approx((0, distance), abs=1.5)


@settings(deadline=None, max_examples=20)
@given(shapes, scales, orientations)
def test_corner_to_corner_is_a_shift_by_32_whole_pixels(shape, scale, orientation):
    first = one(shape, scale, orientation, 0, 0)
    assert torch.equal(one(shape, scale, orientation, 31, 0), first.roll(32, 1))
    assert torch.equal(one(shape, scale, orientation, 0, 31), first.roll(32, 0))


@given(st.integers(0, 5), positions, positions)
@settings(deadline=None, max_examples=20)
def test_an_upright_square_is_centred_where_its_classes_say(scale, x, y):
    image = one(SQUARE, scale, 0, x, y, size=512)
    assert centroid(image) == pytest.approx((8 * (16 + 32 * x / 31), 8 * (16 + 32 * y / 31)), abs=1)


@pytest.mark.parametrize("shape", range(3))
@pytest.mark.parametrize("size", [64, 256])
def test_area_grows_with_the_square_of_the_scale(shape, size):
    areas = render([[shape, s, 7, 12, 19] for s in range(6)], size).sum((1, 2)).double()
    expected = ((5 + torch.arange(6).double()) / 10) ** 2
    tolerance = 0.03 if size == 64 else 0.006
    torch.testing.assert_close(areas / areas[-1], expected, atol=tolerance, rtol=0)


def test_areas_against_their_formulas():
    size = 512
    areas = render([[shape, 5, 0, 15, 16] for shape in range(3)], size).sum((1, 2)).double()
    areas = areas * (64 / size) ** 2
    # Each side of the upright square is a whole number of pixels, here 153 or 154.
    assert areas[SQUARE].item() == pytest.approx(4 * 9.6**2, rel=0.01)
    polygon = 50 * np.sin(2 * np.pi / 100) * 12.77 * 7.22  # a little under pi a b
    assert areas[ELLIPSE].item() == pytest.approx(polygon, rel=0.003)
    angle = (np.arange(20_000) + 0.5) / 20_000 * np.pi - np.pi / 2
    outline = np.polynomial.chebyshev.chebval(2 * angle / np.pi, sprites.HEART_OUTLINE)
    assert areas[HEART].item() == pytest.approx(np.mean(outline**2) * np.pi, rel=0.003)


def test_no_sprite_reaches_beyond_the_window_that_is_drawn():
    outline = np.polynomial.chebyshev.chebval(np.linspace(-1, 1, 999), sprites.HEART_OUTLINE)
    assert outline.min() > 0
    farthest = max(9.6 * np.sqrt(2), max(sprites.ELLIPSE_SEMI_AXES), outline.max())
    assert farthest < sprites._REACH


def test_symmetries():
    def wrong(a, b):
        return (a != b).sum().item() / a.sum().item()

    square, ellipse, heart = (one(shape, 5, 0, 31, 31, size=256) for shape in range(3))
    # Around the centre of the sprite, which lies between pixels 191 and 192.
    square, ellipse, heart = (
        image[192 - 60 : 192 + 60, 192 - 60 : 192 + 60] for image in (square, ellipse, heart)
    )
    for image in (square, ellipse):
        assert wrong(image, image.flip(0)) == wrong(image, image.flip(1)) == 0
    assert wrong(square, square.T) == 0
    assert wrong(ellipse, ellipse.T) > 0.3
    assert wrong(heart, heart.flip(1)) == 0  # left and right alike
    assert wrong(heart, heart.flip(0)) > 0.1  # but not top and bottom


def test_the_heart_stands_on_its_tip():
    heart = one(HEART, 5, 0, 0, 0)
    widths = heart.sum(1)[heart.sum(1) > 0]
    assert widths[0] > widths[-1]


@pytest.mark.parametrize("shape", range(3))
def test_39_steps_are_a_full_turn_and_the_way_back_is_a_mirror(shape):
    assert torch.equal(one(shape, 4, 0, 9, 22), one(shape, 4, 39, 9, 22))
    # Mirrored left to right, every shape looks as if it were turned the other way.
    for step in (3, 11):
        turned, back = (
            one(shape, 4, step, 0, 5, size=256),
            one(shape, 4, 39 - step, 31, 5, size=256),
        )
        assert (turned.flip(1) != back).sum() <= 4


def test_orientation_turns_anticlockwise_on_the_screen():
    # The right end of the ellipse goes up, where the rows are small, as in the original images.
    image = one(ELLIPSE, 5, 3, 0, 0).double()
    rows, columns = torch.nonzero(image, as_tuple=True)
    covariance = torch.cov(torch.stack([columns, rows]).double())
    angle = 2 * np.pi * 3 / 39
    expected = (12.77**2 - 7.22**2) / 4 * np.sin(angle) * np.cos(angle)
    assert covariance[0, 1].item() == pytest.approx(-expected, rel=0.1)


@pytest.mark.parametrize("size", [16, 32, 48])
def test_other_sizes_show_the_same_picture(size):
    row = (HEART, 5, 5, 8, 23)
    large, small = one(*row).double(), one(*row, size=size).double()
    assert small.mean().item() == pytest.approx(large.mean().item(), rel=0.1)
    scale = 64 / size
    x, y = centroid(small)
    assert (x * scale, y * scale) == pytest.approx(centroid(large), abs=0.3 * scale)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_sizes_are_drawn(size):
    assert render(torch.tensor([[2, 5, 0, 31, 31], [0, 5, 0, 0, 0]]), size).shape == (2, size, size)


def test_no_images():
    assert render(torch.zeros(0, 5, dtype=torch.long), 9).shape == (0, 9, 9)


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        ([[0, 0, 0, 0]], ValueError, r"classes must be \(B, 5\); got \(1, 4\)"),
        ([0, 0, 0, 0, 0], ValueError, r"classes must be \(B, 5\); got \(5,\)"),
        ([[0.0, 0, 0, 0, 0]], TypeError, "classes must be integers; got torch.float32"),
        ([[3, 0, 0, 0, 0]], ValueError, r"shape must lie in 0\.\.2; got 3 to 3"),
        ([[0, 6, 0, 0, 0]], ValueError, r"scale must lie in 0\.\.5"),
        ([[0, 0, 40, 0, 0]], ValueError, r"orientation must lie in 0\.\.39"),
        ([[0, 0, 0, -1, 0]], ValueError, r"x must lie in 0\.\.31; got -1 to -1"),
        ([[0, 0, 0, 0, 32]], ValueError, r"y must lie in 0\.\.31"),
    ],
)
def test_bad_classes(classes, error, message):
    with pytest.raises(error, match=message):
        render(classes)


def test_bad_size():
    with pytest.raises(ValueError, match="size must be positive; got 0"):
        render([[0] * 5], 0)
    with pytest.raises(TypeError, match=r"size must be an integer; got 8\.0"):
        render([[0] * 5], 8.0)


def test_the_data_set():
    dataset = data.load("sprites", size=24, steps=(2, 3, 10, 8, 16))
    assert dataset.x.shape == (2 * 2 * 4 * 4 * 2, 24, 24)
    assert dataset.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert dataset.factors[1].tolist() == [0, 0, 0, 0, 16]
    assert torch.equal(dataset.labels, dataset.factors[:, SHAPE])
    assert torch.equal(dataset.x, render(dataset.factors, 24) * 255)
    assert set(dataset.images().unique().tolist()) == {0.0, 1.0}
    assert dataset.source == "stand-in"
    assert data.load("sprites", size=64, steps=(3, 6, 40, 32, 32)).source == "re-rendering"


@pytest.mark.parametrize("steps", [(1, 1, 1), (1, 1, 1, 1, 0), (1, 1, 1, 1, 1.0)])
def test_bad_steps(steps):
    with pytest.raises(ValueError, match="steps must be five positive integers"):
        data.load("sprites", steps=steps)


@settings(deadline=None, max_examples=15)
@given(
    st.tuples(*(st.integers(least, 32) for least in (1, 2, 5, 8, 8))),
    st.sampled_from([1, 9, 16, 21, 64]),
)
def test_packed_images_are_the_same_images(steps, size):
    packed = data.load("sprites", size=size, steps=steps, packed=True)
    plain = data.load("sprites", size=size, steps=steps)
    assert packed.x.shape == plain.x.shape and packed.x.dtype == plain.x.dtype
    assert packed.x.nbytes == len(plain) * ((size**2 + 7) // 8)
    assert torch.equal(packed.factors, plain.factors)
    assert torch.equal(packed.x[:], plain.x)
    assert torch.equal(packed.images(slice(1, 4)), plain.images(slice(1, 4)))
    assert torch.equal(packed.flat(), plain.flat())
    assert ("packed" in repr(packed)) and ("packed" not in repr(plain))


def test_more_packed_images_than_are_drawn_at_once():
    steps = (1, 6, 1, 1, 4)
    packed, plain = (data.load("sprites", size=5, steps=steps, packed=p) for p in (True, False))
    assert len(packed) == 3 * 40 * 32 * 8 > 2**14
    assert torch.equal(packed.x[:], plain.x)


def test_a_packed_data_set_moves():
    moved = data.load("sprites", size=8, steps=(3, 6, 20, 16, 16), packed=True).to("meta")
    assert moved.x.device.type == moved.factors.device.type == "meta"
