"""Comparisons on made-up results whose differences are known."""

from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from vaelite import claims
from vaelite.book import figures
from vaelite.experiments import comparison, isa
from vaelite.experiments.comparison import Estimate, at, difference
from vaelite.experiments.statistics import mean_interval

METHODS = {"vae": "VAE", "new": "New", "absent": "Absent", "factor-vae": "FactorVAE"}
BASE = [0.10, 0.30, 0.20, 0.40]  # MIG of "vae" at beta 1, seed by seed
GAIN = [0.05, 0.02, 0.03, 0.06]


def entry(trial, mig, reconstruction=-8.0):
    return {"trial": trial, "result": {"mig": mig, "reconstruction": reconstruction}}


@pytest.fixture
def results():
    """Seeds of "new" in reverse, one of them without a partner; beta 4 comes before beta 2."""
    trials = [entry(at("vae", 1.0) | {"seed": k}, mig, -8.0 - k) for k, mig in enumerate(BASE)]
    trials += [entry(at("new", 1.0) | {"seed": 9}, 0.99)]
    trials += [
        entry(at("new", 1.0) | {"seed": k}, BASE[k] + GAIN[k], -8.5 - k) for k in (3, 2, 1, 0)
    ]
    trials += [
        entry(at("vae", b) | {"seed": k}, b / 10 + k, -b) for b in (4.0, 2.0) for k in (0, 1)
    ]
    trials += [entry(at("new", 4.0) | {"seed": 0}, 0.5)]  # one seed has no interval
    trials += [
        entry({"method": "factor-vae", "gamma": 6.0, "seed": k}, 0.3 + k, -20.0 - k) for k in (0, 1)
    ]
    return {
        "experiment": "made_up",
        "trials": trials,
        "seconds": 90.0 * 60,
        "hardware": [{"cpu": "Abacus", "cores": 3}],
    }


@pytest.fixture
def axes():
    _, ax = plt.subplots()
    yield ax
    plt.close("all")


def test_values_come_in_the_order_of_the_run_and_are_empty_where_nothing_was_run(results):
    np.testing.assert_allclose(comparison.values(results, at("vae", 1.0)), BASE)
    np.testing.assert_allclose(
        comparison.values(results, at("vae", 1.0), "reconstruction"), [-8, -9, -10, -11]
    )
    assert comparison.values(results, at("vae", 3.0)).shape == (0,)
    assert comparison.values(None, at("vae", 1.0)).shape == (0,)
    with pytest.raises(ValueError, match="did not measure"):
        comparison.values(results, at("vae", 1.0), "mgi")


def test_difference_pairs_the_seeds(results):
    found = difference(results, at("new", 1.0), at("vae", 1.0))
    np.testing.assert_allclose(found.values, GAIN)
    assert found.mean == pytest.approx(0.04)
    assert found.deviation == pytest.approx(np.std(GAIN, ddof=1))
    half = stats.t.ppf(0.975, df=3) * found.deviation / 2
    assert found.interval == pytest.approx((0.04 - half, 0.04 + half))
    assert not found.missing
    back = difference(results, at("vae", 1.0), at("new", 1.0))
    np.testing.assert_allclose(back.values, -found.values)
    assert (found.verdict, back.verdict) == (claims.HOLDS, claims.DOES_NOT_HOLD)
    worse = difference(results, at("new", 1.0), at("vae", 1.0), "reconstruction")
    np.testing.assert_allclose(worse.values, -0.5)


def test_difference_without_runs_is_missing_and_without_common_seeds_an_error(results):
    for given, second in ((None, at("vae", 1.0)), (results, at("absent", 1.0))):
        found = difference(given, at("new", 1.0), second)
        assert found.missing
        assert np.isnan([found.mean, *found.interval]).all()
        assert found.text() == found.verdict == "not run yet"
    results["trials"].append(entry(at("other", 1.0) | {"seed": 77}, 0.1))
    with pytest.raises(ValueError, match="no seed in common"):
        difference(results, at("other", 1.0), at("vae", 1.0))


def test_text_of_an_estimate():
    assert Estimate(np.full(3, 0.25)).text() == "+0.250 [+0.250, +0.250], 3 pairs"
    minus = Estimate(np.full(12, -1.236))
    assert minus.text(2) == "−1.24 [−1.24, −1.24], 12 pairs"
    assert minus.text(1, "nats", "seeds") == "−1.2 [−1.2, −1.2] nats, 12 seeds"
    assert Estimate(np.full(2, 3.0)).text(1, signed=False) == "3.0 [3.0, 3.0], 2 pairs"


def test_difference_rows_go_through_all_rivals_before_the_next_beta(results):
    rivals = [("a", "new", "vae"), ("b", "vae", "vae")]
    rows = comparison.difference_rows(results, rivals, (1.0, 2.0))
    assert [row[0] for row in rows] == ["a, β = 1", "b, β = 1", "a, β = 2", "b, β = 2"]
    assert rows[0][1].startswith("+0.040 [")
    assert rows[0][2] == "−0.50 [−0.50, −0.50], 4 pairs"
    assert rows[2][1:] == ["not run yet"] * 2
    assert rows[3][1:] == ["0.000 [0.000, 0.000], 2 pairs", "0.00 [0.00, 0.00], 2 pairs"]


def test_summaries(results):
    np.testing.assert_allclose(isa.upper_half(np.array([5.0, 1, 4, 2, 3])), [3, 4, 5])
    np.testing.assert_allclose(isa.upper_half(np.array([5.0, 1, 4, 2])), [4, 5])
    runs = comparison.values(results, at("vae", 1.0))
    assert comparison.summary(runs, (np.mean, np.max), digits=2) == ["0.25", "0.40"]
    assert comparison.summary(np.array([]), (np.mean, np.max)) == ["not run yet"] * 2


def test_representative_text(results):
    # Both runs of the upper half are equally far from their mean; the first, by MIG, is taken.
    assert isa.representative_text(results, at("vae", 1.0)) == "0.30, -9.00 (of 4)"
    assert isa.representative_text(results, at("vae", 3.0)) == "not run yet"
    assert isa.representative_text(None, at("vae", 1.0)) == "not run yet"


def test_provenance(results):
    models = f"{len(results['trials'])} models"
    assert comparison.provenance(results) == [models, "90 min", "Abacus, 3 cores"]
    results["hardware"] = [{"cpu": "Abacus", "cores": 3, "gpu": "Loom"}]
    assert comparison.provenance(results)[2] == "Loom, 3 cores"
    assert comparison.provenance(None) == ["not run yet", "", ""]


@pytest.fixture
def planned(monkeypatch, tmp_path, results):
    """Five plans in a file of claims of their own, on the made-up results."""
    path = tmp_path / "made.toml"
    path.write_text(PLANS, encoding="utf-8")
    monkeypatch.setattr(claims, "_files", lambda: [path])
    monkeypatch.setattr(claims, "words", lambda id: claims.Words(**claims._read(path)["words"]))
    monkeypatch.setattr(comparison, "_stored", lambda plan: results)
    registry = claims.registry
    registry.cache_clear()
    yield
    registry.cache_clear()


PLANS = """
[words.experiments]
made_up = "on nothing"
[words.symbols]
beta = "β"
[words.quantities.mig]
name = "MIG"
unit = "units"
digits = 2
above = "has a higher MIG than"
below = "has a lower MIG than"
matters = 0.1
why = "made up"
[[words.labels]]
of = { method = "new" }
text = "New"
[[words.labels]]
of = { method = "vae" }
text = "VAE"
[[words.labels]]
of = { method = "absent" }
text = "Absent"
""" + "\n".join(
    f"""
["made.{number}"]
source = "nobody"
experiment = "made_up"
profile = "quick"
quantity = "mig"
family = "made"
planned = {kind}
expected = "{expected}"
{settings}
"""
    for number, kind, expected, settings in (
        (
            1,
            "false",
            "holds",
            'first = {method="new", beta=1.0}\nsecond = {method="vae", beta=1.0}',
        ),
        (
            2,
            "true",
            "does not hold",
            'first = {method="vae", beta=1.0}\nsecond = {method="new", beta=1.0}',
        ),
        (
            3,
            "true",
            "holds",
            'first = {method="absent", beta=1.0}\nsecond = {method="vae", beta=4.0}',
        ),
        (4, "true", "holds", 'first = {method="vae", beta=1.0}\nthreshold = 0.7\nside = "below"'),
        (5, "true", "holds", 'first = {method="vae", beta=1.0}\nthreshold = 0.2\nmatters = 9.0'),
    )
)


def test_a_sentence_is_made_from_its_plan(planned):
    sentences = {id: claim.statement for id, claim in claims.registry().items()}
    assert sentences == {
        "made.1": "On nothing at β = 1, the New has a higher MIG than the VAE.",
        "made.2": "On nothing at β = 1, the VAE has a higher MIG than the New.",
        "made.3": "On nothing, the Absent at β = 1 has a higher MIG than the VAE at β = 4.",
        "made.4": "On nothing at β = 1, the VAE has a lower MIG than 0.7 units.",
        "made.5": "On nothing at β = 1, the VAE has a higher MIG than 0.2 units.",
    }


def test_a_planned_claim_is_evaluated_from_what_its_plan_names(planned):
    gain = comparison.evaluate("made.1")
    np.testing.assert_allclose(np.sort(gain.estimate.values), np.sort(GAIN))
    assert (gain.verdict, gain.label) == (claims.HOLDS, "New minus VAE")
    back = comparison.evaluate("made.2")
    np.testing.assert_allclose(np.sort(back.estimate.values), np.sort(-np.array(GAIN)))
    assert back.verdict == claims.DOES_NOT_HOLD
    absent = comparison.evaluate("made.3")
    assert (absent.verdict, absent.survives) == (claims.NOT_RUN, None)
    assert absent.numbers() == "not run yet"
    below = comparison.evaluate("made.4")
    np.testing.assert_allclose(below.estimate.values, BASE)
    assert below.verdict == claims.HOLDS
    around = comparison.evaluate("made.5")
    assert (around.verdict, around.survives) == (claims.SMALLER, True)


def test_the_correction_counts_the_comparisons_of_one_kind(planned):
    alone = comparison.evaluate("made.1")
    assert (alone.comparisons, alone.survives) == (1, True)
    back = comparison.evaluate("made.2")
    half = stats.t.ppf(1 - 0.05 / 4 / 2, df=3) * np.std(GAIN, ddof=1) / 2
    assert back.comparisons == 4
    assert back.survives == (half < 0.04)
    assert not back.survives  # 0.05: four pairs carry less than that


def test_findings_come_planned_first(planned):
    found = [finding.claim.id for finding in comparison.findings("made")]
    assert found == ["made.2", "made.3", "made.4", "made.5", "made.1"]
    with pytest.raises(ValueError, match="no claim has a plan of the family"):
        comparison.findings("other")
    with pytest.raises(ValueError, match=r"claim made\.9 is not registered"):
        comparison.evaluate("made.9")


def test_deciding_shows_the_verdict_and_insists_on_the_expected_one(planned, capsys, monkeypatch):
    assert comparison.decide("made.1").estimate.mean == pytest.approx(0.04)
    comparison.decide("made.3")
    shown = capsys.readouterr().out
    assert shown.splitlines() == [
        "[made.1] holds: On nothing at β = 1, the New has a higher MIG than the VAE. (nobody)",
        "[made.3] not run: On nothing, the Absent at β = 1 has a higher MIG than the VAE at β = 4."
        " (nobody)",
    ]
    turned = {
        id: replace(claim, plan=replace(claim.plan, expected="does not hold"))
        for id, claim in claims.registry().items()
    }
    monkeypatch.setattr(claims, "registry", lambda: turned)
    with pytest.raises(claims.ClaimError, match=r"made\.1.*expected.*does not hold"):
        comparison.decide("made.1")


def test_the_box_has_numbers_and_provenance_and_its_plain_text_none(planned, monkeypatch):
    shown = []
    monkeypatch.setattr(claims, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **rest: shown.append((data, rest)))
    comparison.decide("made.1")
    [(data, rest)] = shown
    assert data["text/plain"].startswith("[made.1] holds: On nothing")
    assert 'id="claim-made-1"' in data["text/html"]
    assert (
        "New minus VAE: +0.04 [+0.01, +0.07] units, 4 pairs. Exploratory; quick"
        in data["text/html"]
    )
    record = rest["metadata"]["vaelite_claim"]
    assert record["numbers"]["mean"] == pytest.approx(0.04)
    assert {
        key: record[key] for key in ("profile", "experiment", "planned", "pairs", "survives")
    } == {
        "profile": "quick",
        "experiment": "made_up",
        "planned": False,
        "pairs": 4,
        "survives": True,
    }


def test_a_forest_draws_each_interval_where_it_lies(planned, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "show", lambda figure, alt, *more: drawn.append((figure, alt)))
    found = comparison.forest(["made.1", "made.2", "made.3", "made.5"])
    assert [finding.claim.id for finding in found] == ["made.2", "made.1", "made.5"]
    [(figure, alt)] = drawn
    assert "made.2, VAE minus New: does not hold." in alt
    differences, means = figure.axes
    assert means.get_xlabel() == "MIG, units"
    bars = [
        line
        for line in differences.lines
        if line.get_linestyle() == "-" and len(line.get_xdata()) == 2
    ]
    for bar, finding in zip(bars, found, strict=False):
        np.testing.assert_allclose(bar.get_xdata(), finding.estimate.interval)
    assert [text.get_text() for text in differences.texts][::2] == [
        "made.2  VAE minus New",
        "made.1  New minus VAE",
    ]
    with pytest.raises(ValueError, match="none of these comparisons was run"):
        comparison.forest(["made.3"])
    plt.close("all")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("profile", "'huge'", "profile must be one of"),
        ("side", "'left'", "side must be above or below"),
        ("threshold", "0.3", "a difference is compared with zero"),
        ("matters", "-1.0", "matters must be positive"),
        ("statement", "'Both.'", "has a plan, from which its statement is made"),
    ],
)
def test_a_malformed_plan_is_refused(planned, tmp_path, monkeypatch, field, value, message):
    lines = [
        line for line in PLANS.splitlines() if not line.startswith(f"{field} = ") or "words" in line
    ]
    text = "\n".join(lines).replace('["made.1"]', f'["made.1"]\n{field} = {value}')
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(claims, "_files", lambda: [path])
    claims.registry.cache_clear()
    with pytest.raises(ValueError, match=message):
        claims.registry()


@pytest.mark.parametrize("vertical", [False, True])
def test_interval_dots_draw_each_run_its_mean_and_its_interval(axes, vertical):
    rows = {"first": np.array(BASE), "none": np.array([]), "third": np.array(GAIN)}
    comparison.interval_dots(axes, rows, vertical=vertical)
    assert len(axes.lines) == 6
    assert [text.get_text() for text in axes.texts] == ["not run yet"]
    for place, runs, lines in ((0, BASE, axes.lines[:3]), (2, GAIN, axes.lines[3:])):
        along, across = zip(
            *(line.get_data()[:: -1 if vertical else 1] for line in lines), strict=True
        )
        np.testing.assert_allclose(along[0], runs)
        np.testing.assert_allclose(along[1], mean_interval(runs))
        np.testing.assert_allclose(along[2], [np.mean(runs)])
        assert np.abs(across[0] - place).max() < 0.5
        np.testing.assert_allclose(np.concatenate(across[1:]), place)
    axis = axes.xaxis if vertical else axes.yaxis
    assert [label.get_text() for label in axis.get_ticklabels()] == list(rows)


def test_trade_off_draws_a_point_for_each_setting_with_two_seeds(axes, results):
    # Three of "vae", one of "new" (beta 4 has one seed), one of FactorVAE.
    assert comparison.trade_off(axes, results, METHODS) == 5
    lines = {drawn.get_label(): drawn.lines[0] for drawn in axes.containers}
    assert list(lines) == ["VAE", "New", "FactorVAE"]
    np.testing.assert_allclose(lines["VAE"].get_xdata(), [-9.5, -2, -4])
    np.testing.assert_allclose(lines["VAE"].get_ydata(), [0.25, 0.7, 0.9])
    np.testing.assert_allclose(lines["FactorVAE"].get_xdata(), [-20.5])
    labels = [text.get_text() for text in axes.texts]
    assert labels == ["β = 1", "β = 2", "β = 4"]
    low, high = axes.containers[0].lines[2][1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx(mean_interval(BASE))
    # The fourth method keeps the fourth colour, though the third has no runs.
    assert lines["FactorVAE"].get_color() == figures.PINK


def test_trade_off_without_results_says_so(axes):
    assert comparison.trade_off(axes, None, METHODS) == 0
    assert [text.get_text() for text in axes.texts] == ["not run yet"]


def test_histograms_count_each_column(axes):
    columns = {"a": np.array([0.1, 0.2, 1.5]), "b": np.array([1.1, 1.2, 2.4])}
    comparison.histograms(axes, columns, np.array([0.0, 1.0, 2.0, 3.0]))
    heights = {
        text.get_text(): patch.get_xy()[:, 1].max()
        for text, patch in zip(axes.get_legend().get_texts(), axes.patches, strict=True)
    }
    assert heights == {"a": 2, "b": 2}
