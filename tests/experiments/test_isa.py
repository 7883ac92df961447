"""What the ISA-VAE experiments measure, and how they choose, on cases whose answer is known."""

import numpy as np
import pytest
import torch

from vaelite.distributions import IndependentSubspaces
from vaelite.experiments import comparison, get, names
from vaelite.experiments.isa import common as isa
from vaelite.gaussian import kl_standard_normal

METHODS = [
    "beta-vae",
    "beta-tcvae",
    "factor-vae",
    "isa-vae",
    "isa-tcvae",
    "isa-vae learned",
    "isa-vae matched-scale",
    "vae sampled-kl",
    "ica-vae p=4",
]
TINY = {
    "data": {"name": "sprites", "size": 8, "steps": [1, 3, 20, 16, 16]},  # 48 images
    "factors": ["shape", "scale", "x"],
    "encoder": [7],
    "decoder": [6, 5],
    "discriminator": 4,
    "sizes": [2, 1],
    "exponents": [2.1, 2.2],
    "batch_size": 8,
    "lr": 1e-2,
    "steps": 12,
    "mig_samples": 20,
    "at_once": 4,
}


def trial(method, seed=0, strength=1.0):
    return {"method": method, "gamma" if method == "factor-vae" else "beta": strength, "seed": seed}


def run(group, settings):
    return get("isa_landing").run_group(group, settings)[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_measured(method):
    results = run([trial(method, 0), trial(method, 1)], TINY)
    assert len(results) == 2
    for result in results:
        assert result["reconstruction"] > -40  # 64 ln 2 = 44 of a model that knows nothing
        assert result["elbo"] == pytest.approx(result["reconstruction"] - result["kl"])
        assert len(result["mig_histogram_by_factor"]) == 3
        assert 0 <= result["active"] <= 3
    assert results[0]["reconstruction"] != results[1]["reconstruction"]
    exponents = results[0]["exponents"]
    if method == "isa-vae learned":
        assert len(exponents) == 2
        assert exponents[0] != pytest.approx(2.0, abs=1e-3)  # it moved
        assert exponents[1] == 2.0  # a subspace of one has no use for an exponent
    elif method.startswith(("isa", "ica", "vae")):
        expected = {"ica-vae p=4": 4.0, "vae sampled-kl": 2.0}.get(method, 2.2)
        assert exponents == pytest.approx([expected] * 2)
    else:
        assert exponents is None


def test_all_methods_start_from_the_same_weights():
    def weights(method):
        torch.manual_seed(5)
        model = isa.make_model(trial(method), TINY)
        return torch.cat(
            [p.flatten() for p in [*model.encoder.parameters(), *model.decoder.parameters()]]
        )

    first = weights(METHODS[0])
    for method in METHODS[1:]:
        assert torch.equal(weights(method), first)


def test_the_sampled_kl_is_that_of_the_normal_prior():
    model = isa.make_model(trial("vae sampled-kl"), TINY)
    torch.manual_seed(0)
    mean, log_var = torch.randn(1, 3), torch.randn(1, 3)
    z = mean + torch.exp(0.5 * log_var) * torch.randn(200_000, 3)
    estimates = model.prior.kl(mean, log_var, z)
    exact = kl_standard_normal(mean, log_var)
    error = estimates.std() / len(z) ** 0.5
    assert abs(estimates.mean() - exact) < 4 * error


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="no method 'gan'; there are: beta-vae"):
        isa.make_model(trial("gan"), TINY)


@pytest.mark.parametrize("sizes", [(2, 2), (4, 3, 3), (1,)])
@pytest.mark.parametrize(("p0", "p"), [(2.0, 2.0), (2.1, 2.2), (2.1, 1.9), (4.0, 4.0), (1.0, 3.0)])
def test_matched_scale_gives_variance_one(sizes, p0, p):
    torch.manual_seed(1)
    scale = isa.matched_scale(sizes, p0, p)
    z = IndependentSubspaces(sizes, p0, p, scale).sample((200_000,))
    square = z.square().mean(1)  # over the coordinates
    assert abs(square.mean() - 1) < 4 * square.std() / len(square) ** 0.5
    if p0 == p == 2.0:
        assert scale == pytest.approx(2.0)  # the standard normal


def test_the_scale_moves_no_kl_when_the_codes_move_with_it():
    """Why s cannot matter at the optimum: rescale prior and posterior alike."""
    torch.manual_seed(2)
    mean, log_var, noise = torch.randn(3, 50, 5).double()
    kls = []
    for s in (1.0, 3.7):
        factor = s ** (1 / 2.1)  # the prior at s is the prior at 1, stretched
        q = torch.distributions.Normal(factor * mean, factor * torch.exp(0.5 * log_var))
        z = factor * (mean + torch.exp(0.5 * log_var) * noise)
        p = IndependentSubspaces((3, 2), 2.1, 2.2, torch.tensor(s).double())
        kls.append(q.log_prob(z).sum(-1) - p.log_prob(z))
    torch.testing.assert_close(*kls, rtol=1e-6, atol=1e-6)


class Known(torch.nn.Module):
    """An encoder with the mean (10 x0, 0.1 x0, 0) and unit variance."""

    def forward(self, x):
        first = 10 * x[:, :1]
        mean = torch.cat([first, 0.01 * first, torch.zeros_like(first)], 1)
        return mean, torch.zeros_like(mean)


def test_measurements_of_a_known_model(monkeypatch):
    dataset = isa.dataset(TINY)
    images = (dataset.factors[:, 1] > 0).to(torch.uint8)[:, None, None] * 255
    known = type(dataset)(
        name="known",
        x=images.expand(-1, 8, 8).contiguous(),
        source="stand-in",
        citation="",
        factors=dataset.factors,
        factor_names=dataset.factor_names,
    )
    model = isa.VAE(Known(), torch.nn.Linear(3, 64), 3, (64,))
    torch.nn.init.zeros_(model.decoder.weight)
    torch.nn.init.zeros_(model.decoder.bias)
    monkeypatch.setattr(isa, "dataset", lambda settings: known)
    result = isa.measure(model, {"seed": 0}, {**TINY, "mig_samples": 2000})
    assert result["reconstruction"] == pytest.approx(-64 * np.log(2), rel=1e-5)
    # KL: half the mean square of the means, (10^2 + 0.1^2) / 2 for half of the images
    assert result["kl"] == pytest.approx(0.25 * (100 + 0.01), rel=1e-4)
    assert result["active"] == 1
    # two of the three codes are, in histograms, copies of whether the scale is large: no gap
    assert result["mig_histogram"] == pytest.approx(0, abs=1e-9)
    # of the active latents alone there is one: a gap of one in the scale, of none in the others
    gaps = isa.histogram_gaps(model, TINY)
    assert gaps["all"] == pytest.approx(0, abs=1e-9)
    assert gaps["active"] == pytest.approx(1 / 3)
    # in distribution only the first is, and it says all about scale, nothing about shape and x
    assert result["mig"] == pytest.approx(1 / 3, abs=0.02)


def test_representative_is_in_the_upper_half_and_nearest_its_mean():
    mig = [0.9, 0.1, 0.5, 0.7, 0.2, 0.0]
    # upper half: runs 0, 2, 3 with means 0.7 and -10
    assert isa.representative(mig, [-10, -1, -10, -10, -1, -1]) == 3
    # the reconstruction decides where it is far off: the mean is -20, run 3 at -40 is farther
    assert isa.representative(mig, [-10, -1, -10, -40, -1, -1]) in (0, 2)
    # units do not matter
    reconstruction = np.array([-10.0, -1, -30, -25, -1, -1])
    assert isa.representative(mig, reconstruction) == isa.representative(
        1e3 * np.array(mig), 1e-3 * reconstruction
    )
    assert isa.representative([0.3], [-1.0]) == 0
    with pytest.raises(ValueError, match="N at least 1"):
        isa.representative([], [])


def test_paired_differences_match_seeds():
    entries = [("a", 2, 5.0), ("a", 1, 3.0), ("b", 1, 1.0), ("b", 2, 2.0), ("b", 3, 9.0)]
    results = {
        "trials": [
            {"trial": {"method": method, "beta": 1.0, "seed": seed}, "result": {"mig": value}}
            for method, seed, value in entries
        ]
    }
    a, b = ({"method": method, "beta": 1.0} for method in "ab")
    np.testing.assert_allclose(comparison.paired_differences(results, "mig", a, b), [2.0, 3.0])
    with pytest.raises(ValueError, match="no seed in common"):
        comparison.paired_differences(results, "mig", a, {"method": "b", "beta": 2.0})


@pytest.mark.parametrize("name", ["isa_sprites", "isa_heads", "isa_cars"])
def test_trials_compare_methods_on_the_same_seeds(name):
    experiment = get(name)
    for profile, settings in experiment.settings.items():
        seeds = {}
        for one in experiment.trials(settings):
            rest = tuple(sorted((k, v) for k, v in one.items() if k != "seed"))
            seeds.setdefault(rest, []).append(one["seed"])
        least = {"quick": 4, "standard": 8, "full": 10}[profile]
        for found in seeds.values():
            assert sorted(found) == list(range(len(found)))
            assert len(found) >= least


def test_full_settings_are_the_papers():
    sprites, heads = get("isa_sprites").settings["full"], get("isa_heads").settings["full"]
    trials = isa.trials(sprites)
    betas = {c["beta"] for c in trials if c["method"] == "isa-vae"}
    assert betas == {1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6}
    assert {c["gamma"] for c in trials if c["method"] == "factor-vae"} == set(range(1, 11))
    assert sprites["steps"] == 20 * (737_280 // 2048)
    assert heads["steps"] == 1500 * (127_050 // 2048)
    learned = {c["beta"] for c in isa.trials(heads) if c["method"] == "isa-vae learned"}
    assert learned == {0.5, 1, 2, 3, 4, 5}
    assert (sum(sprites["sizes"]), sum(heads["sizes"])) == (20, 10)


def test_packed_images_give_the_same_numbers():
    """The full profile keeps its images packed."""
    packed = {**TINY, "data": {**TINY["data"], "packed": True}}
    group = [trial("isa-vae", 0), trial("isa-vae", 1)]
    results = [run(group, settings) for settings in (TINY, packed)]
    for plain, other in zip(*results, strict=True):
        assert plain == other


@pytest.mark.parametrize(
    ("old", "new", "networks_change"),
    [
        ("isa_heads", "isa_heads_again", False),
        ("isa_sprites", "isa_sprites_again", False),
        ("isa_sprites", "isa_sprites_deep", True),
        ("isa_sprites_deep", "isa_landing", False),
    ],
)
def test_a_second_look_has_fresh_seeds_and_compares_with_the_vae(old, new, networks_change):
    first, again = get(old), get(new)
    for profile, settings in again.settings.items():
        fresh = again.trials(settings)
        strengths = {trial["beta"] for trial in fresh}
        seen = {
            c["seed"] for c in first.trials(first.settings[profile]) if c.get("beta") in strengths
        }
        assert not seen & {trial["seed"] for trial in fresh}
        assert {"beta-vae", "vae sampled-kl"} <= {trial["method"] for trial in fresh}
        changed = {key for key in settings if settings[key] != first.settings[profile].get(key)}
        assert changed <= {"runs", "encoder", "decoder", "steps"}
        if profile == "full" or not networks_change:
            assert changed == {"runs"}


def test_runs_come_beta_by_beta_in_disjoint_pieces():
    assert isa.runs(["a", "b"], [1.0, 2.0], 5, first_seed=3) == [
        {"method": method, "beta": [beta], "first_seed": 3, "seeds": 5}
        for beta, method in [(1.0, "a"), (1.0, "b"), (2.0, "a"), (2.0, "b")]
    ]
    for name in [name for name in names() if name.startswith("isa_") and "orient" not in name]:
        experiment = get(name)
        for profile, settings in experiment.settings.items():
            every = [tuple(sorted(trial.items())) for trial in experiment.trials(settings)]
            assert len(every) == len(set(every)), f"{name} {profile} runs a trial twice"


def test_without_the_score_the_bound_and_its_expected_gradient_stay():
    names = ("isa-vae learned", "isa-vae learned without score")
    model, without = (isa.make_model(trial(name), TINY).double() for name in names)
    x = torch.rand(1, 64, generator=torch.Generator().manual_seed(0)).round().double()
    mean, log_var = (part.detach() for part in model.encode(x))
    noise = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(1)).double()
    gradients = []
    for one in (model, without):
        m, v = (part.expand(len(noise), 3).clone().requires_grad_() for part in (mean, log_var))
        z = one.sample_posterior(m, v, noise)
        kl = one.prior.kl(m, v, z)
        gradients.append([*torch.autograd.grad(kl.sum(), (m, v)), kl.detach()])
    assert torch.allclose(gradients[0][2], gradients[1][2])
    for first, second in zip(gradients[0][:2], gradients[1][:2], strict=True):
        score = first - second
        assert score.abs().max() > 0.1  # something was dropped
        error = score.std(0) / len(noise) ** 0.5
        assert (score.mean(0).abs() < 5 * error).all()


@pytest.mark.parametrize("packed", [False, True])
def test_the_landing_experiment_trains_what_it_names(packed):
    settings = {**TINY, "data": {**TINY["data"], "packed": packed}}
    found = {}
    for method in ("vae sampled-kl", "vae sampled-kl without score", "isa-vae without score"):
        group = [trial(method, 0), trial(method, 1)]
        found[method] = run(group, settings)
    with_score, without, isa_without = ([r["elbo"] for r in runs] for runs in found.values())
    assert with_score != without
    assert found["isa-vae without score"][0]["exponents"] == pytest.approx([2.2, 2.2])
    assert isa_without != without
    plain = run([trial("vae sampled-kl", 0), trial("vae sampled-kl", 1)], settings)
    assert with_score == [result["elbo"] for result in plain]
