"""The pages of chapter 12: the world, the members and the heat map are what they say."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from scipy import stats

from vaelite import claims, one_family
from vaelite.book import live
from vaelite.book import one_family_figures as draw
from vaelite.data import dolls
from vaelite.experiments.comparison import Estimate, Finding
from vaelite.one_family import FAMILY, Scenes, Sizes

AMOUNTS = [
    dict(azimuth=-21.0, elevation=8.0, glasses=1, hair=0, light=37.0, fog=0.0),
    dict(azimuth=14.0, elevation=-17.0, glasses=0, hair=1, light=0.0, fog=0.45),
]


def world(amounts, size):
    row = torch.tensor([[float(amounts[name]) for name in dolls.FACTORS]])
    return dolls._pictures(row, size)[0].numpy()


@pytest.mark.parametrize("amounts", AMOUNTS)
def test_the_page_draws_the_world(amounts):
    # The world stores bytes.
    found = draw.doll(**amounts, size=9)
    np.testing.assert_allclose(255 * found, world(amounts, 9), atol=0.51)


def test_what_the_page_draws_again_is_the_world():
    names = list(AMOUNTS[0])
    inputs = {
        name: live.Expression("input", (), AMOUNTS[0][name], number=n)
        for n, name in enumerate(names)
    }
    image = draw.mosaic(draw.doll(**inputs, size=6))
    other = {n: np.asarray(float(AMOUNTS[1][name])) for n, name in enumerate(names)}
    again = live.recompute(image, other)
    np.testing.assert_allclose(again, draw.mosaic(draw.doll(**AMOUNTS[1], size=6)), atol=1e-9)


def test_a_mosaic_and_its_tags_agree():
    pictures = np.random.default_rng(0).uniform(size=(7, 3, 5))
    laid, tagged = draw.mosaic(pictures), draw.tags(3, 5, 7)
    assert laid.shape == tagged.shape == (2 * 3 + 1, 4 * 5 + 3)
    for g in range(7):
        np.testing.assert_array_equal(laid[tagged == g].reshape(3, 5), pictures[g])
    assert (laid[tagged == -1] == 1).all()
    assert (tagged == -1).sum() == tagged.size - 7 * 15


@pytest.mark.parametrize("deviation", [0.1, 0.6])
def test_what_a_normal_loses_on_two_bumps(deviation):
    grid = np.linspace(-5, 5, 4001)
    two, plain, loss = draw.bumps(deviation, grid)
    middle = (1 - deviation**2) ** 0.5
    wanted = 0.5 * (
        stats.norm.pdf(grid, -middle, deviation) + stats.norm.pdf(grid, middle, deviation)
    )
    np.testing.assert_allclose(two, wanted, atol=1e-300)
    np.testing.assert_allclose(plain, stats.norm.pdf(grid))
    rng = np.random.default_rng(1)
    draws = rng.choice([-middle, middle], 400_000) + deviation * rng.standard_normal(400_000)
    log_two = np.log(np.interp(draws, grid, two))
    assert loss == pytest.approx(float(np.mean(log_two - stats.norm.logpdf(draws))), abs=0.01)


SIZES = Sizes(views=3, pixels=4, hidden=5, shared=4, private=2, components=3, data=6)


@pytest.mark.parametrize("name", ["vae", "isa", "mixture", "multi-aspect"])
@pytest.mark.parametrize("present", [(1, 1, 1), (0, 1, 0), (0, 0, 1)])
def test_a_member_in_a_page_sees_and_draws_as_in_the_kernel(name, present):
    torch.manual_seed(0)
    model = one_family.build(name, SIZES).double().eval()
    x = torch.rand(6, 3, 4, dtype=torch.double)
    whole = Scenes(x.flatten(1), torch.zeros(6).long(), torch.ones(6, 3, dtype=torch.bool))
    page = draw.LiveMember(model, whole, cameras=(2, 0))
    mask = torch.tensor(present).bool().expand(6, 3)
    seen = x.masked_fill(~mask.unsqueeze(-1), -1.0).flatten(1)
    wanted = one_family.look(model, Scenes(seen, whole.population, mask))
    which = live.Expression("input", (), 1.0, number=0)
    asked = live.Expression("input", (), np.ones(3), number=1)
    code = page.code(which, asked)
    views = page.views(code, 2)
    given = {0: np.asarray(4.0), 1: np.asarray(present, dtype=float)}
    np.testing.assert_allclose(live.recompute(code, given), wanted.whole[4], atol=1e-5)
    pictures = wanted.picture[4].view(3, 2, 2)
    for found, g in zip(views, (2, 0), strict=True):
        np.testing.assert_allclose(live.recompute(found, given), pictures[g], atol=2e-3)


def finding(quantity, values, method="isa", survives=None):
    """A comparison with the VAE whose paired differences are given."""
    ids = [
        id
        for id, claim in claims.planned("one").items()
        if (claim.plan.first, claim.plan.second, claim.plan.quantity)
        == ({"method": method}, {"method": "vae"}, quantity)
    ]
    claim = claims.registry()[ids[0]]
    estimate = Estimate(np.array(values, dtype=float))
    plan = claim.plan
    verdict = (
        claims.NOT_RUN
        if estimate.missing
        else claims.verdict(estimate.interval, plan.threshold, plan.matters)
    )
    return Finding(claim, estimate, verdict, survives, 1)


@pytest.mark.parametrize(
    ("quantity", "values", "wanted"),
    [
        ("log_likelihood", [30.0, 32, 31], "better"),
        ("log_likelihood", [-30.0, -32, -31], "worse"),
        ("filled", [0.0003, 0.00031, 0.00032], "worse"),
        ("leak", [-0.2, -0.21, -0.22], "better"),
        ("leak", [-0.01, -0.011, -0.012], "small"),
        ("gap", [0.01, -0.01, 0.0], "small"),
        ("gap", [0.3, -0.2, 0.01], "open"),
        ("gap", [], "not run"),
    ],
)
def test_an_outcome_says_what_the_interval_says(quantity, values, wanted):
    assert draw.outcome(finding(quantity, values)) == wanted


def test_units_count_differences_that_matter_and_better_is_up():
    assert draw.units(finding("leak", [-0.2, -0.1])) == pytest.approx(3)
    assert draw.units(finding("log_likelihood", [-20.0, -30.0])) == pytest.approx(-2.5)
    assert [draw.short(v) for v in (0.04, -3.14159, 123.4, -9.97)] == ["0.0", "−3.1", "+123", "−10"]


def test_the_heat_map_draws_every_comparison_in_its_cell():
    some = [
        finding("leak", [-0.2, -0.21, -0.22], "shared ratio", True),
        finding("error", [3e-4, 3.1e-4, 3.2e-4], "multi-aspect", False),
        finding("gap", [0.3, -0.2, 0.01], "isa"),
        finding("clusters", [], "mixture"),
    ]
    (ax,) = draw.heat(some).axes
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {(4, 6): "▲\n+4.2", (1, 4): "▽\n−3.1", (2, 0): "?\n+0.7"}
    outlined = sum(isinstance(p, Rectangle) and not p.get_fill() for p in ax.patches)
    assert outlined == sum(map(len, draw.MADE_FOR.values()))
    (row,) = [row for row in draw.who(some) if row[0] == "leak"]
    assert row == ["leak", "shared ratio", "–", "–"]


def test_every_member_has_its_words_and_every_measure_its_comparisons():
    assert list(draw.NAMES) == list(draw.LINES) == list(FAMILY)
    assert list(draw.MADE_FOR) == list(FAMILY)[1:]
    found = {
        (claim.plan.first["method"], claim.plan.quantity)
        for claim in claims.planned("one").values()
        if claim.plan.second == {"method": "vae"}
    }
    assert found == {(method, measure) for method in draw.MADE_FOR for measure in draw.MEASURES}
    assert len(draw.against_vae()) == len(found)


def test_missing_views_are_framed():
    rows = {"one": np.zeros((7, 2, 2)), "two": np.ones((7, 2, 2))}
    hidden = {"two": np.arange(7) == 3}
    axes = np.array(draw.scenes(rows, hidden).axes).reshape(2, 7)
    framed = [[ax.spines["top"].get_visible() for ax in line] for line in axes]
    assert framed == [[False] * 7, [g == 3 for g in range(7)]]
    assert [ax.get_title() for ax in axes[0]][:4] == ["−90°", "−60°", "−30°", "0°"]


def test_one_view_of_a_decoder_is_that_part_of_all():
    decoder = one_family.build("vae", SIZES).decoder
    z = torch.randn(3, 6)
    whole = decoder(z).view(3, 3, 4)
    for g in range(3):
        torch.testing.assert_close(draw.one_view(decoder, g, 3)(z), whole[:, g])


def test_shares_of_variance_are_written_into_their_cells():
    share = np.random.default_rng(0).uniform(size=(7, 7))
    ax = draw.views_explained(share).axes[0]
    assert {t.get_position(): t.get_text() for t in ax.texts}[
        (2, 5)
    ] == f"{share[5, 2]:.2f}".lstrip("0")
