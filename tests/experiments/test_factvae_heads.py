"""Heads in seven views: what is given and asked, who is counted, and what the controls know."""

from dataclasses import replace

import pytest
import torch
from scipy import stats

from vaelite.data.views import HELD_OUT, VIEWS
from vaelite.experiments import comparison, get, networks
from vaelite.experiments.factvae import heads

SMALL = {
    **heads.SETTINGS["quick"],
    "subjects": 32,
    "missing": 0.6,
    "size": 8,
    "hidden": [7],
    "latent_dim": 3,
    "rank": 4,
    "batch_size": 9,
    "steps": 4,
    "draws": 3,
    "looks": 3,
}
FRONT = list(VIEWS).index("front")


def run(method, **changes):
    ((result,), _) = get("factvae_heads").run_group(
        [{"method": method, "seed": 5}], {**SMALL, **changes}
    )
    return result


@pytest.mark.parametrize("method", heads.METHODS)
def test_every_method_trains_and_is_measured(method):
    result = run(method)
    assert len(result["norms"]) == 7 and all(len(row) == 3 for row in result["norms"])
    assert result["zeros"] == 0  # four steps reach none
    for name in ("error", "averaged", *heads.BASELINES):
        for kind in heads.KINDS:
            by_view = result[f"{name}_{kind}_by_view"]
            assert result[f"{name}_{kind}"] > 0 and len(by_view) == 7
    assert result["error_front_by_view"][FRONT] is None
    for kind in heads.KINDS:
        # A mixture draws one of the views that are given; from the front alone there is no choice.
        gain = result[f"error_{kind}"] - result[f"averaged_{kind}"]
        drawn = method == "jmvae+" and kind != "front"
        assert gain > 1e-6 if drawn else gain == pytest.approx(0, abs=1e-8)


def test_convolutional_networks_are_trained_and_measured():
    settings = {**SMALL, "size": 16, "width": 2}
    model = heads.make_model({"method": "factvae", "seed": 5}, settings)
    assert type(model.features).__name__ == "GroupConvEncoder"
    assert type(model.decoder).__name__ == "GroupConvDecoder"
    for method in ("factvae", "jmvae+"):
        assert run(method, size=16, width=2)["error_training"] > 0
    full = heads.SETTINGS["full"]
    assert (full["size"], full["subjects"], full["width"] > 0) == (64, 114, True)


def test_sparsity_is_on_for_one_method_alone():
    made = {m: heads.make_model({"method": m, "seed": 5}, SMALL) for m in heads.METHODS}
    assert {m for m, model in made.items() if model.sparsity} == {"factvae"}
    assert {model.dataset_size for model in made.values()} == {32 - HELD_OUT}


class Echo:
    """A model that returns what it is given, and black where it is given nothing."""

    def __init__(self):
        self.masks = []

    def reconstruct(self, batch):
        *x, given = batch
        self.masks.append(given)
        return [part * there[:, None] for part, there in zip(x, given.T, strict=True)]


def test_what_is_asked_for_is_not_given():
    subjects, echo = heads.dataset(5, SMALL), Echo()
    for given, target in heads.tasks(subjects.seen.observed)[:7]:
        found = heads.reconstruct(echo, subjects.seen, given, target)
        assert found.shape == (32, 64) and (found == 0).all()
        others = [g for g in range(7) if g != target]
        assert torch.equal(echo.masks[-1][:, others], subjects.seen.observed[:, others])
    for given, target in heads.tasks(subjects.seen.observed)[7:]:
        assert given[:, FRONT].all() and given.sum() == 32
        found = heads.reconstruct(echo, subjects.seen, given, target)
        assert (found == 0).all() or target == FRONT


def test_missing_views_are_black_and_their_truth_is_known():
    subjects = heads.dataset(5, SMALL)
    observed = subjects.seen.observed
    assert (subjects.seen.images().flatten(2)[~observed] == 0).all()
    assert (subjects.truth[~observed].amax(1) > 0).all()
    assert torch.equal(subjects.truth[observed], subjects.seen.images().flatten(2)[observed])
    assert 0.3 < 1 - observed[:, -1].float().mean() < 0.9


def test_each_kind_counts_its_own_subjects_and_views():
    subjects = heads.dataset(5, SMALL)
    observed = subjects.seen.observed
    # An error that names its subject, its view and its task.
    errors = [
        torch.arange(32, dtype=torch.double) * 1000 + 10 * g + (1 if task else 0)
        for task in range(2)
        for g in range(7)
    ]
    wanted = {kind: [[] for _ in range(7)] for kind in heads.KINDS}
    for n in range(32):
        for g in range(7):
            code = n * 1000 + 10 * g
            if n >= 32 - 14:
                wanted["held_out"][g].append(code)
                if g != FRONT:
                    wanted["front"][g].append(code + 1)
            elif all(observed[n]):
                wanted["training"][g].append(code)
            elif not observed[n, g]:
                wanted["missing_view"][g].append(code)
    found = heads.summary("e", errors, subjects)
    for kind, lists in wanted.items():
        flat = [code for one in lists for code in one]
        assert flat and found[f"e_{kind}"] == pytest.approx(sum(flat) / len(flat))
        for one, value in zip(lists, found[f"e_{kind}_by_view"], strict=True):
            assert value == (pytest.approx(sum(one) / len(one)) if one else None)


def test_training_sees_the_training_subjects_alone(monkeypatch):
    seen = []

    def fit(model, data, **options):
        seen.append(data)

    monkeypatch.setattr(networks, "fit", fit)
    heads.train([{"method": "mvae", "seed": 5}], SMALL)
    (data,) = seen
    assert len(data) == 8 and all(len(part) == 32 - 14 for part in data)
    subjects = heads.dataset(5, SMALL)
    assert torch.equal(data[-1], subjects.seen.observed[:18])
    assert all((x[~there] == 0).all() for x, there in zip(data[:7], data[-1].T, strict=True))


def test_mean_images_are_those_of_training_subjects_who_have_the_view():
    subjects = heads.dataset(5, SMALL)
    means = heads.mean_images(subjects)
    for g in range(7):
        rows = [n for n in range(18) if subjects.seen.observed[n, g]]
        assert len(rows) < 18 or g == FRONT or subjects.seen.observed[:18, g].all()
        torch.testing.assert_close(means[g], subjects.truth[rows, g].mean(0))


def changed(subjects, rows, views):
    """The same subjects with noise in some pictures."""
    x = subjects.seen.x.clone()
    x[rows, views] = torch.randint(0, 256, x[rows, views].shape, dtype=torch.uint8)
    return replace(subjects, seen=replace(subjects.seen, x=x))


def test_ridge_sees_what_is_given_and_learns_from_the_training_subjects_alone():
    subjects = heads.dataset(5, SMALL)
    means = heads.mean_images(subjects)
    given, target = heads.tasks(subjects.seen.observed)[6]
    found = heads.ridge(subjects, means, given, target)
    held_out, train = torch.arange(18, 32), torch.arange(18)
    # The view that is asked for, of whom it does not learn from.
    torch.testing.assert_close(
        found, heads.ridge(changed(subjects, held_out, target), means, given, target)
    )
    # What is not given, here all but the front.
    alone, view = heads.tasks(subjects.seen.observed)[7 + 6]
    torch.testing.assert_close(
        heads.ridge(subjects, means, alone, view),
        heads.ridge(changed(subjects, slice(None), 0), means, alone, view),
    )
    # Held-out subjects do not change what others get; training subjects do.
    other = heads.ridge(changed(subjects, held_out, FRONT), means, given, target)
    torch.testing.assert_close(found[train], other[train])
    assert not torch.allclose(found[held_out], other[held_out])


def test_the_controls_are_worse_where_they_should_be():
    settings = {**SMALL, "subjects": 114, "missing": 0.3}
    result = heads.baselines(5, settings)
    for kind in heads.KINDS:
        assert result[f"baseline_ridge_{kind}"] < result[f"baseline_mean_{kind}"]
    assert result["baseline_ridge_training"] < result["baseline_ridge_held_out"]


def test_the_normal_around_the_mean_image_is_scipys():
    subjects = heads.dataset(5, SMALL)
    observed, truth = subjects.seen.observed, subjects.truth.double()
    means = heads.mean_images(subjects).double()
    total = 0.0
    for g in range(7):
        rows = [n for n in range(18) if observed[n, g]]
        scale = float((truth[rows, g] - means[g]).square().mean().sqrt())
        for n in range(18, 32):
            if observed[n, g]:
                total += stats.norm(means[g], scale).logpdf(truth[n, g]).sum()
    found = heads.baselines(5, SMALL)["baseline_mean_log_likelihood"]
    assert found == pytest.approx(total / 14, rel=1e-4)


def test_seeds_draw_other_subjects_and_all_methods_the_same():
    first, second = (heads.dataset(seed, SMALL) for seed in (5, 6))
    assert not torch.equal(first.truth, second.truth)
    assert not torch.equal(first.seen.observed, second.seen.observed)
    assert heads.dataset(5, SMALL | {"hidden": [3], "steps": 1}) is heads.dataset(5, SMALL)
    one, other = run("factvae"), run("mvae")
    assert one["baseline_ridge_held_out"] == other["baseline_ridge_held_out"]
    trials = heads.trials(SMALL | {"seeds": 3})
    assert len({str(t) for t in trials}) == len(trials) == 12


def test_what_is_derived_is_baseline_minus_model():
    row = run("mvae")
    for name, derive in heads.DERIVED.items():
        baseline, kind = name.split("_minus_model_")
        assert derive(row) == row[f"{baseline}_{kind}"] - row[f"error_{kind}"]
    results = {
        "experiment": "factvae_heads",
        "trials": [{"trial": {"method": "mvae", "seed": 5}, "result": row}],
    }
    found = comparison.by_seed(results, {"method": "mvae"}, "baseline_ridge_minus_model_held_out")
    assert found.mean == row["baseline_ridge_held_out"] - row["error_held_out"]


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="there is no method 'poe'; there are: factvae, "):
        heads.make_model({"method": "poe", "seed": 0}, SMALL)
