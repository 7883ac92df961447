import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaelite import data
from vaelite.data import heads
from vaelite.data.heads import render

identities = st.integers(0, 182)
azimuths = st.floats(-180, 180)
elevations = st.floats(-30, 30)
lights = st.floats(-75, 75)


def one(identity, azimuth=0.0, elevation=0.0, light=0.0, size=24):
    return render([identity], [azimuth], [elevation], [light], size)[0].float()


def distance(a, b):
    """Return the mean difference of two pictures, in grey levels of 255."""
    return (a - b).abs().mean().item()


@settings(deadline=None, max_examples=15)
@given(identities, azimuths, elevations, lights)
def test_the_mirror_image_is_the_view_from_the_other_side(identity, azimuth, elevation, light):
    image = one(identity, azimuth, elevation, light)
    mirrored = one(identity, -azimuth, elevation, -light)
    assert distance(image.flip(1), mirrored) < 0.3


@settings(deadline=None, max_examples=10)
@given(identities)
def test_a_frontal_view_in_frontal_light_is_symmetric_and_others_are_not(identity):
    front, lit = one(identity), one(identity, light=60.0)
    assert distance(front, front.flip(1)) < 0.3
    assert distance(lit, lit.flip(1)) > 5
    turned = one(identity, azimuth=40.0)
    assert distance(turned, turned.flip(1)) > 5


@settings(deadline=None, max_examples=10)
@given(identities, azimuths, elevations, lights, st.sampled_from([1, 2, 3]))
def test_neighbours_look_alike(identity, azimuth, elevation, light, moved):
    place = [azimuth, elevation, light]
    near, far = list(place), list(place)
    near[moved - 1] += 1.0
    far[moved - 1] += 30.0
    image = one(identity, *place)
    assert distance(image, one(identity, *near)) < 3
    assert distance(image, one(identity, *near)) < distance(image, one(identity, *far))


def test_a_full_turn_is_the_same_picture():
    assert distance(one(4, 30.0, 10.0, 20.0), one(4, 390.0, 10.0, 20.0)) < 0.1


def test_identities_differ_from_every_view():
    for azimuth in (0.0, 90.0, 180.0):
        images = render(list(range(20)), [azimuth] * 20, [0.0] * 20, [0.0] * 20, 24).float()
        apart = (images[:, None] - images).abs().mean((2, 3)) + 99 * torch.eye(20)
        assert apart.min() > 0.8
    front = render(list(range(20)), [0.0] * 20, [0.0] * 20, [0.0] * 20, 24).float()
    assert ((front[:, None] - front).abs().mean((2, 3)) + 99 * torch.eye(20)).min() > 2


def test_the_camera_goes_round_to_the_right_and_up():
    # From the head's left side, at the picture's right, the nose points to the left; it is
    # pointed, and the back of the head round.
    columns = (one(3, azimuth=90.0, size=48) > 0).nonzero()[:, 1]
    assert (columns == columns.min()).sum() <= 3 < (columns == columns.max()).sum()
    # From above there is more of the hair to see, and hair is darker than skin.
    above, below = (one(5, elevation=e, size=48) for e in (30.0, -30.0))
    assert above[above > 0].mean() < below[below > 0].mean()


@pytest.mark.parametrize("light", [-75.0, -30.0, 30.0, 75.0])
def test_the_side_of_the_light_is_brighter(light):
    image = one(8, light=light)
    left, right = image[:, :12].mean(), image[:, 12:].mean()
    assert (right > left) == (light > 0)


def test_lamberts_law():
    angles = torch.tensor([0.0, 40.0])
    height, around = torch.tensor(heads.LIGHT_HEIGHT).deg2rad(), angles.deg2rad()
    towards = torch.stack(
        [height.cos() * around.sin(), height.sin().expand(2), height.cos() * around.cos()]
    )[:, :, None].expand(3, 2, 16)
    reflected = torch.tensor([0.81, 0.36])[:, None].expand(2, 16)
    assert heads._shade(towards, reflected, angles, 2).unique().tolist() == [153, 230]  # 255 sqrt
    ambient = heads._shade(-towards, reflected, angles, 2)
    expected = 255 * (heads.AMBIENT * torch.tensor([0.81, 0.36])).sqrt()
    torch.testing.assert_close(ambient[:, 0, 0].float(), expected, atol=0.5, rtol=0)


def test_rays_end_where_a_dense_search_finds_the_surface():
    rays, count = 24, 6
    head = heads._identities(torch.arange(count))
    azimuth = torch.tensor([0.0, 35.0, -90.0, 150.0, 60.0, -20.0])
    elevation = torch.tensor([0.0, 30.0, 0.0, -30.0, 10.0, -15.0])
    axes = [axis[:, :, None] for axis in heads._camera(azimuth, elevation)]
    first = torch.full((count, rays**2), -torch.inf)
    for depth in torch.linspace(1.5, -1.2, 1081):
        here = torch.full((count, rays**2), depth.item())
        inside = heads._surface(head, *heads._points(axes, rays, here)) < 0
        first = torch.where(inside & first.isinf(), here, first)
    found = heads._march(head, axes, rays, torch.full((count, rays**2), 1.4), steps=26)
    value = heads._surface(head, *heads._points(axes, rays, found))
    hit, truly = value.abs() < 0.012, first.isfinite()
    assert 0.3 < truly.float().mean() < 0.7
    assert (hit == truly).float().mean() > 0.985
    error = (found - first)[hit & truly].abs()
    assert (error < 0.03).float().mean() > 0.97


def test_cameras_axes_are_orthonormal_and_look_at_the_head():
    axes = torch.stack(heads._camera(torch.tensor([0.0, 77.0]), torch.tensor([0.0, -21.0])), 1)
    torch.testing.assert_close(axes @ axes.mT, torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(2))
    torch.testing.assert_close(axes[0], torch.eye(3))


@pytest.mark.parametrize(
    ("design", "counts", "names"),
    [
        ("faces", (3, 4, 2, 5), ("identity", "azimuth", "elevation", "light")),
        ("cars3d", (4, 6, 2), ("identity", "azimuth", "elevation")),
    ],
)
def test_the_grid_is_complete_and_every_image_its_own(design, counts, names):
    dataset = data.load("heads", design=design, counts=counts, size=20)
    size = torch.tensor(counts).prod().item()
    assert dataset.x.shape == (size, 20, 20) and dataset.x.dtype == torch.uint8
    assert dataset.factor_names == names and dataset.source == "stand-in"
    assert torch.equal(dataset.factors, torch.cartesian_prod(*map(torch.arange, counts)))
    assert torch.equal(dataset.labels, dataset.factors[:, 0])
    assert len(dataset.flat().unique(dim=0)) == size
    assert (dataset.flat().std(1) > 0.1).all()


def test_the_grid_holds_what_render_draws():
    dataset = data.load("heads", counts=(2, 3, 3, 2), size=17)
    angles = (torch.tensor([-90.0, 0, 90]), torch.tensor([-30.0, 0, 30]), torch.tensor([-75.0, 75]))
    identity, *places = dataset.factors.unbind(1)
    chosen = [angle[place] for angle, place in zip(angles, places, strict=True)]
    assert torch.equal(dataset.x, render(identity, *chosen, size=17))


def test_the_cars3d_design_goes_all_around_once():
    dataset = data.load("heads", design="cars3d", counts=(2, 4, 3), size=16)
    identity, azimuth, elevation = dataset.factors.unbind(1)
    expected = render(identity, azimuth * 90.0, elevation * 15.0, torch.zeros(24), size=16)
    assert torch.equal(dataset.x, expected)


def test_a_head_is_the_same_in_every_grid():
    small = data.load("heads", counts=(2, 1, 1, 1), size=16)
    large = data.load("heads", counts=(5, 1, 3, 1), size=16)
    middle = large.x[large.factors[:, 2] == 1]
    assert torch.equal(small.x, middle[:2])
    assert distance(small.x[1].float(), one(1, size=16)) == 0


def test_the_designs_of_the_papers():
    def product(counts):
        return torch.tensor(counts).prod().item()

    assert product(heads.COUNTS["faces"]) == 127_050
    assert product(heads.COUNTS["cars3d"]) == 17_568


def dressed(identity, size=24, azimuth=0.0, **attributes):
    given = {name: [value] for name, value in attributes.items()}
    return render([identity], [azimuth], [0.0], [0.0], size, **given)[0].float()


@settings(deadline=None, max_examples=10)
@given(identities, st.floats(-30, 30), elevations, lights)
def test_no_glasses_and_no_smile_are_the_plain_head(identity, azimuth, elevation, light):
    place = ([identity] * 3, [azimuth] * 3, [elevation] * 3, [light] * 3, 16)
    plain, mixed = render(*place), render(*place, glasses=[0, 1, 0], smile=[0.0, 0.0, 1.0])
    assert torch.equal(plain[0], mixed[0])
    assert torch.equal(plain, render(*place, glasses=[0, 0, 0], smile=[0.0, 0.0, 0.0]))
    assert torch.equal(mixed[1], render(*place, glasses=[1, 1, 1])[1])


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 999), st.sampled_from([32, 64]))
def test_glasses_are_dark_and_around_the_eyes(identity, size):
    plain, worn = dressed(identity, size), dressed(identity, size, glasses=1)
    # What is darker by a quarter of the scale lies in the upper middle of the picture.
    rows, columns = (plain - worn > 64).nonzero().T.float() / size
    assert len(rows) > 0.005 * size**2
    assert 0.28 < rows.min() and rows.max() < 0.62
    assert columns.min() < 0.45 and columns.max() > 0.55  # both sides
    below = slice(int(0.65 * size), None)
    assert distance(plain[below], worn[below]) < 1


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 999))
def test_a_smile_grows_in_the_lower_face_alone(identity):
    plain, half, full = (dressed(identity, 32, smile=smile) for smile in (0.0, 0.5, 1.0))
    assert 0.3 < distance(plain, half) < distance(plain, full)
    assert distance(plain[:12], full[:12]) < 0.5
    assert full[16:26].max() >= plain[16:26].max() - 3  # teeth


def test_shapes_differ_and_keep_the_identity():
    zero, one = (torch.stack([dressed(k, shape=shape) for k in range(12)]) for shape in (0, 1))
    assert ((zero - one).abs().mean((1, 2)) > 3).all()
    # Two heads of one shape differ as they do without: identities are not wiped out.
    for images in (zero, one):
        assert ((images[:, None] - images).abs().mean((2, 3)) + 99 * torch.eye(12)).min() > 1
    # In front, the lower half of the head is narrower and framed by hair, which is darker.
    zero, one = (images[:, 13:18, 6:18].mean((1, 2)) for images in (zero, one))
    assert (zero - one > 5).all()


def test_attributes_are_symmetric_too():
    for attributes in ({"glasses": 1}, {"smile": 1.0}, {"shape": 0}, {"shape": 1}):
        left, right = (dressed(3, azimuth=azimuth, **attributes) for azimuth in (-25.0, 25.0))
        assert distance(left.flip(1), right) < 0.3


def test_the_attributes_design_holds_what_render_draws():
    dataset = data.load("heads", design="attributes", size=13, count=24)
    assert dataset.factor_names == (*heads.FACTORS, "glasses", "smile", "shape")
    identity, azimuth, elevation, light, glasses, smile, shape = dataset.factors.unbind(1)
    angles = azimuth * 10.0 - 30, elevation * 10.0 - 20, light * 30.0 - 60
    expected = render(identity, *angles, size=13, glasses=glasses, smile=smile / 2, shape=shape)
    assert torch.equal(dataset.x, expected)
    assert torch.equal(dataset.labels, shape)


def test_attributes_are_drawn_uniformly_and_independently():
    factors = data.load("heads", design="attributes", size=1, count=3000).factors
    levels = torch.tensor(heads.COUNTS["attributes"])
    assert factors.min() == 0 and (factors.amax(0) == levels - 1).all()
    for column, count in zip(factors.T[1:], levels[1:], strict=True):
        share = column.bincount() / 3000
        assert (share - 1 / count).abs().max() < 5 * (0.25 / 3000) ** 0.5
    assert (torch.corrcoef(factors.T.double()) - torch.eye(7)).abs().max() < 5 / 3000**0.5


def test_draws_depend_on_the_seed_and_not_on_how_many_there_are():
    options = {"design": "attributes", "size": 8, "lights": 2}
    few, many = (data.load("heads", count=count, **options) for count in (5, 12))
    assert len(few) == 5 and torch.equal(few.x, many.x[:5])
    assert torch.equal(few.factors, many.factors[:5])
    other = data.load("heads", count=12, seed=1, **options)
    assert not torch.equal(other.factors, many.factors)
    looks = many.factors[:, [0, 1, 2, 4, 5, 6]].view(6, 2, 6)
    assert torch.equal(looks[:, 0], looks[:, 1])
    assert (many.factors[::2, 3] != many.factors[1::2, 3]).any()


def test_no_heads_and_tiny_heads():
    none = torch.zeros(0)
    assert render(none.long(), none, none, none, 9).shape == (0, 9, 9)
    assert one(0, size=1).shape == (1, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"design": "cars"}, ValueError, "design is 'cars'; it must be one of faces, cars3d"),
        ({"counts": (2, 2, 2)}, ValueError, "counts must be 4 positive integers for faces"),
        ({"counts": (2, 0, 2, 2)}, ValueError, "counts must be 4 positive integers for faces"),
        ({"design": "cars3d", "counts": (2, 2, 1.0)}, ValueError, "counts must be 3 positive"),
        ({"count": 5}, ValueError, "count, lights and seed are for attributes; faces takes counts"),
        ({"lights": 2}, ValueError, "count, lights and seed are for attributes"),
        (
            {"design": "attributes", "counts": (2, 2)},
            ValueError,
            "counts are for the grids; with attributes give count",
        ),
        ({"design": "attributes", "count": 0}, ValueError, "count must be a positive integer"),
        ({"design": "attributes", "lights": 0}, ValueError, "lights must be a positive integer"),
        ({"design": "attributes", "seed": -1}, ValueError, "seed must be an integer from 0"),
        ({"size": 0}, ValueError, "size must be positive; got 0"),
        ({"size": 8.0}, TypeError, r"size must be an integer; got 8\.0"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        data.load("heads", **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0], [0.0, 1.0], [0.0], [0.0]), ValueError, r"one shape \(B,\); got"),
        ((0, 0.0, 0.0, 0.0), ValueError, r"one shape \(B,\)"),
        (([0.5], [0.0], [0.0], [0.0]), TypeError, "identity must hold integers; got torch.float32"),
        (([-1], [0.0], [0.0], [0.0]), ValueError, "identity must not be negative; got -1"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        render(*arguments)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"glasses": [2]}, "glasses must be 0 or 1; got 2"),
        ({"shape": [0.5]}, "shape must be 0 or 1; got 0.5"),
        ({"smile": [1.25]}, "smile must lie between 0 and 1; got 1.25"),
        ({"smile": [float("nan")]}, "smile must lie between 0 and 1; got nan"),
        ({"smile": [0.0, 1.0]}, r"smile must have the shape of identity, \(1,\); got \(2,\)"),
    ],
)
def test_bad_attributes(attributes, message):
    with pytest.raises(ValueError, match=message):
        render([0], [0.0], [0.0], [0.0], 8, **attributes)
