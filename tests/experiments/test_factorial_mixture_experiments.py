"""What the experiments on factorial mixtures measure, on cases whose answer is known."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from vaelite.experiments import get
from vaelite.experiments.factorial_mixture import common, heads, mnist
from vaelite.factorial_mixture import FactorialMixture, FactorialMixtureVAE
from vaelite.training import fit
from vaelite.vae import VAE

DIGITS = {
    **mnist.SETTINGS["quick"],
    "components": [1, 3],
    "fixed": 3,
    "factors": [2, 3],
    "hidden": [9],
    "latent_dim": 4,
    "steps": 12,
    "codes": 4,
    "likelihood_data": 20,
    "scored": 50,
}
HEADS = {
    **heads.SETTINGS["quick"],
    "size": 8,
    "free": [3, 2],
    "factor_dim": 2,
    "hidden": [9],
    "train": 80,
    "test": 40,
    "judge": 60,
    "batch_size": 20,
    "steps": 12,
}


def run(experiment, settings, **trial):
    ((result,), _) = get(experiment).run_group([{"seed": 3, **trial}], settings)
    return result


@pytest.mark.parametrize("trial", mnist.trials(DIGITS), ids=str)
def test_every_method_trains_on_digits_and_is_measured(trial):
    result = run("factorial_mixture_mnist", DIGITS, **trial)
    assert result["bound"] == pytest.approx(
        -(result["reconstruction"] + result["kl_z"] + result["kl_r"]), abs=1e-5
    )
    assert 0 <= result["accuracy"] <= 1
    assert (result["kl_r"] == 0) == (
        trial["method"] in ("vae", "vamp") or trial.get("components") == 1
    )
    assert ("used" in result) == (trial["method"] in ("mixture", "two factors"))


# The full profile, which wants a GPU for days: its sizes, and a few steps with its networks.


def test_full_settings_are_the_papers():
    digits, faces = mnist.SETTINGS["full"], heads.SETTINGS["full"]
    mixtures = [trial for trial in mnist.trials(digits) if trial["method"] == "mixture"]
    assert {trial["components"] for trial in mixtures} == {2**power for power in range(10)}
    assert {trial["data"] for trial in mixtures} == {"binary_mnist", "omniglot"}
    model = common.make(VAE, (1, 28, 28), digits["latent_dim"], digits)
    assert [phase.steps for phase in common.phases(model, digits)] == [100_000, 20_000, 200_000]
    assert sum(p.numel() for p in model.parameters()) == 567_745  # in print 567,775
    assert (digits["lr"], digits["batch_size"]) == (1e-4, 64)
    model = heads.make_model({"method": "labels strong"}, {**faces, "train": 10})
    assert model.prior.components == (2, 2, 2, 64, 64) and model.prior.factor_dim == 64
    assert model.label_weight == 1000 and model.data_shape == (1, 64, 64)
    last = common.phases(model, faces)[-1]
    assert last.steps > 300_000 and last.schedules["beta"](0) == 20
    assert last.schedules["beta"](last.steps // 2) == 1


def tiny(settings, **changed):
    small = {"convolutions": [[3, 2], [2, 1]], "steps": 12, "batch_size": 20}
    return {**settings, **small, **changed}


FULL_DIGITS = {key: DIGITS[key] for key in ("data", "labelled", "components", "fixed", "factors")}
FULL_DIGITS |= {key: DIGITS[key] for key in ("latent_dim", "codes", "likelihood_data", "scored")}
FULL_DIGITS = tiny(mnist.SETTINGS["full"], **FULL_DIGITS)
FULL_HEADS = {key: HEADS[key] for key in ("size", "free", "factor_dim", "train", "test", "judge")}
FULL_HEADS = tiny(heads.SETTINGS["full"], **FULL_HEADS)


@pytest.mark.parametrize("trial", mnist.trials(FULL_DIGITS), ids=str)
def test_every_method_trains_with_the_papers_networks_on_digits(trial):
    result = run("factorial_mixture_mnist", FULL_DIGITS, **trial)
    assert all(map(math.isfinite, result.values())) and "accuracy" in result


@pytest.mark.parametrize("method", heads.METHODS)
def test_every_method_trains_with_the_papers_networks_on_heads(method):
    assert all(
        map(math.isfinite, run("factorial_mixture_heads", FULL_HEADS, method=method).values())
    )


def test_omniglot_is_drawn_once_and_divided_once(monkeypatch):
    grey = SimpleNamespace(x=torch.arange(256, dtype=torch.uint8).repeat(400, 1).view(-1, 16, 16))
    monkeypatch.setattr(mnist, "OMNIGLOT", 300)
    monkeypatch.setattr(mnist.data_sets, "load", lambda name, split: grey)
    mnist.images.cache_clear()
    try:
        train, test = mnist.images("omniglot", "train"), mnist.images("omniglot", "test")
        mnist.images.cache_clear()
        assert torch.equal(train, mnist.images("omniglot", "train"))
        assert (len(train), len(test)) == (300, 100)
        drawn = torch.cat([train, test]).double() / 255
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
        chance = torch.arange(256).double() / 255
        error = (drawn.mean(0) - chance) / (chance * (1 - chance) / 400 + 1e-9).sqrt()
        assert error.abs().max() < 5
        settings = {**FULL_DIGITS, "data": ["omniglot"], "likelihood_data": 5, "scored": 10}
        result = run("factorial_mixture_mnist", settings, method="vae", data="omniglot")
        assert "accuracy" not in result and math.isfinite(result["bound"])
    finally:
        mnist.images.cache_clear()


@pytest.mark.parametrize("method", heads.METHODS)
def test_every_method_trains_on_heads_and_is_measured(method):
    result = run("factorial_mixture_heads", HEADS, method=method)
    each = [result[f"accuracy_{name}"] for name in heads.ATTRIBUTES]
    assert result["accuracy"] == pytest.approx(sum(each) / 3)
    assert ("judged" in result) == (method != "unlabelled")
    if method != "unlabelled":
        shown = [result[f"judged_{name}"] for name in heads.ATTRIBUTES]
        assert result["judged"] == pytest.approx(sum(shown) / 3)


def test_phases_are_the_papers_and_others_take_as_many_steps_of_adam():
    settings = {"steps": 100, "shares": [0.3, 0.07], "batch_size": 20, "lr": 1e-2}
    x = torch.randint(0, 2, (60, 5), dtype=torch.uint8) * 255
    prior = FactorialMixture([2], 3)
    mixed = FactorialMixtureVAE.mlp(5, 4, 3, prior=prior, dataset_size=60)
    for model in (mixed, VAE.mlp(5, 4, 3)):
        pretrain, seed, rest = common.phases(model, settings)
        assert (pretrain.steps, seed.steps, rest.steps) == (30, 7, 63)
        seen = []
        fit(model, x, phases=[pretrain], batch_size=20, lr=1e-2, seed=0, progress=False)
        before = [p.clone() for p in model.parameters()]
        fit(model, x, phases=[seed], batch_size=20, lr=1e-2, seed=0, progress=False)
        seen = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        assert all(seen)  # networks rest
    assert mixed.stage == "mixture" and not torch.equal(prior.c[0], torch.ones(2))


def test_clusters_are_named_by_one_half_and_scored_on_the_other():
    clusters = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1, 2, 0, 0, 1])
    labels = torch.tensor([5, 5, 3, 3, 0, 0, 5, 3, 0, 4, 5, 3])
    assert common.share_right(clusters, labels) == pytest.approx(5 / 6)
    # Renaming clusters changes nothing.
    assert common.share_right((clusters + 1) % 3, labels) == common.share_right(clusters, labels)
    torch.manual_seed(0)
    chance = common.share_right(torch.randint(4, (40_000,)), torch.randint(10, (40_000,)))
    assert chance == pytest.approx(0.1, abs=0.02)


def test_the_best_factor_is_found_whatever_its_components_are_called():
    torch.manual_seed(0)
    truth = torch.randint(2, (4000,))
    noise = torch.randint(2, (4000,))
    assert heads.best_factor([noise, 1 - truth], truth) == 1
    assert heads.best_factor([noise, noise], truth) == pytest.approx(0.5, abs=0.05)


def test_heads_have_the_attributes_that_their_labels_say():
    settings = {**HEADS, "size": 12, "train": 300}
    x, attributes = heads.drawn("train", settings)
    again, _ = heads.drawn("train", settings)
    other, _ = heads.drawn("test", settings)
    assert torch.equal(x, again) and not torch.equal(x[:40], other[:40])
    assert attributes.double().mean(0).sub(0.5).abs().max() < 0.1
    # The same head with and without glasses: dark rims where the eyes are.
    rims = x[attributes[:, 0] == 1].double().mean(0) - x[attributes[:, 0] == 0].double().mean(0)
    assert rims.min() < -10


def test_drawn_heads_are_judged_by_what_was_asked_for(monkeypatch):
    class Sees:
        """Judges that read the combination out of the picture."""

        def __init__(self, attribute):
            self.attribute = attribute

        def score(self, x, truth):
            return float((x[:, self.attribute] == truth).double().mean())

    class Draws:
        """A model that does what it is asked for, but for the third attribute."""

        def sample(self, count, clamped):
            row = torch.tensor([clamped[0], clamped[1], 0.0])
            return row.expand(count, 3)

    monkeypatch.setattr(heads, "judges", lambda settings: [Sees(i) for i in range(3)])
    found = heads._judged(Draws(), HEADS)
    assert [found[f"judged_{name}"] for name in heads.ATTRIBUTES] == [1.0, 1.0, 0.5]
    assert found["judged"] == pytest.approx(2.5 / 3)


def test_what_judges_see_is_ordered_by_what_was_asked(monkeypatch):
    torch.manual_seed(0)
    settings = {**HEADS, "free": [2, 2]}
    model = heads.make_model({"method": "labels", "seed": 0}, settings)
    codes = torch.randn(40, model.prior.dim)
    labels = torch.randint(2, (40, 3))
    codes[:, ::2][:, :3] += 20 * labels  # one latent of each labelled factor shows the label
    model.prior.seed(codes, torch.full_like(codes, 1e-4), 40, labels)

    class Sees:
        """A judge that reads the label back from the picture, here the code itself."""

        def __init__(self, attribute):
            self.attribute = attribute

        def sees(self, x):
            return (x[:, 2 * self.attribute] > 10).long()

    monkeypatch.setattr(heads, "judges", lambda settings: [Sees(i) for i in range(3)])
    monkeypatch.setattr(model, "decode", lambda z: z)
    monkeypatch.setattr(model.likelihood, "mean", lambda z: z)
    found = heads.seen(model, settings, 5)
    asked = torch.stack(torch.meshgrid(*[torch.arange(2)] * 3, indexing="ij"), -1)
    assert torch.equal(found, asked.unsqueeze(-2).expand(2, 2, 2, 5, 3))


def test_variance_between_clusters():
    values = torch.tensor([[1.0, 4.0], [3.0, 4.0], [7.0, 0.0], [9.0, 8.0]])
    share = heads.share_between(torch.tensor([2, 2, 0, 0]), values)
    torch.testing.assert_close(share, torch.tensor([36 / 40, 0.0], dtype=torch.double))
    torch.manual_seed(0)
    chance = heads.share_between(torch.randint(5, (4000,)), torch.randn(4000, 200)).mean()
    assert chance == pytest.approx(4 / 3999, rel=0.2)


def test_labels_are_given_to_their_share_alone():
    trial = {"method": "labels", "seed": 0}
    model = heads.make_model(trial, HEADS)
    assert model.prior.labelled == 3 and model.label_weight == 50
    assert heads.make_model({**trial, "method": "clamped"}, HEADS).label_weight == 0
    assert heads.make_model({**trial, "method": "unlabelled"}, HEADS).prior.labelled == 0
    assert heads.make_model({**trial, "method": "labels strong"}, HEADS).label_weight == 1000


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="no method 'nothing'; there are: mixture"):
        mnist.make_model({"method": "nothing", "seed": 0}, DIGITS)
    with pytest.raises(ValueError, match="no method 'nothing'; there are: labels"):
        heads.make_model({"method": "nothing", "seed": 0}, HEADS)


def test_trials_are_paired():
    trials = mnist.trials(mnist.SETTINGS["standard"])
    by_seed = [list(g) for _, g in itertools.groupby(trials, key=lambda trial: trial["seed"])]
    assert len(by_seed) == 10 and {len(group) for group in by_seed} == {8}


@pytest.mark.parametrize("at", [2, 4, 5, 9])  # in each phase, and at the end of the first
@pytest.mark.parametrize(
    ("name", "settings", "trial"),
    [
        ("factorial_mixture_mnist", DIGITS, {"method": "mixture", "components": 3}),
        ("factorial_mixture_mnist", DIGITS, {"method": "vamp", "components": 3}),
        ("factorial_mixture_heads", HEADS, {"method": "labels"}),
    ],
    ids=["mixture", "vamp", "labels"],
)
def test_training_that_was_interrupted_within_a_trial_goes_on(
    name, settings, trial, at, stopped_trial
):
    whole, resumed = stopped_trial(name, settings, {"seed": 3, **trial}, at, steps=12)
    assert resumed == whole
