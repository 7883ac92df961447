"""Tests of the tests: deliberate mistakes, and which check notices each.

A mistake is made in the code, in an experiment's settings, or in a copy of a stored file.  It is
noticed by what is stored and by what is computed anew, never by a comparison of source, so it is
noticed whoever made it and whatever was executed since.  ``make test`` tries some of them;
``VAELITE_MISTAKES=all``, as in ``make mistakes`` and every week, tries all.
"""

import importlib.util
import inspect
import textwrap
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sampling import some
from torch import nn

from vaelite import (
    contrastive,
    cpvae,
    factorial_mixture,
    factvae,
    gaussian,
    isa,
    metrics,
    optimal_prior,
    vae,
)
from vaelite.disentangle import BetaTCVAE, FactorVAE
from vaelite.distributions import lp_nested, normal_gamma
from vaelite.experiments import anchors, checks, comparison, get, networks
from vaelite.experiments.factvae import bars, mocap
from vaelite.experiments.factvae import common as aspects
from vaelite.experiments.factvae import heads as seven_views
from vaelite.experiments.isa import cars, common
from vaelite.experiments.optimal_prior import common as tasks
from vaelite.experiments.optimal_prior import usps_mnist
from vaelite.experiments.results import read, results_folder, write
from vaelite.toys import ica

FOLDER = results_folder()
TESTS = Path(__file__).parents[1]


def reduced(tmp_path, name, *settings):
    """Copy the stored trials of a few settings, with their trace and weights; return the path."""
    path = FOLDER / f"{name}.standard.json"
    results = read(path)

    def kept(trial):
        return not settings or any(one.items() <= trial.items() for one in settings)

    weights = [None] * len(results["anchors"]["trials"])
    if results["anchors"]["sha256"]:
        weights = anchors.load(anchors.path_beside(path), results["anchors"]["sha256"])
    pairs = list(zip(results["anchors"]["trials"], weights, strict=True))
    for part in ("trials", "trace"):
        results[part] = [entry for entry in results[part] if kept(entry["trial"])]
        # A check of nothing would find nothing.
        assert results[part] or get(name).train is None, f"{name} has no {part} of {settings}"
    copy_of = tmp_path / path.name
    own = [(trial, one) for trial, one in pairs if kept(trial)]
    with anchors.saving(anchors.path_beside(copy_of), [one for _, one in own]) as sha256:
        results["anchors"] = {"sha256": sha256, "trials": [trial for trial, _ in own]}
    write(results, copy_of)
    return copy_of


def trace_of(name, *settings):
    return lambda tmp_path: checks.trace(read(reduced(tmp_path, name, *settings)), get(name))


def anchors_of(name, *settings):
    def guard(tmp_path):
        path = reduced(tmp_path, name, *settings)
        return checks.anchors(read(path), get(name), path)

    return guard


def declared_of(name):
    return lambda tmp_path: checks.declared(read(FOLDER / f"{name}.standard.json"), get(name))


def failure_of(test, *arguments):
    """The complaint of a test, if it fails."""

    def guard(tmp_path):
        try:
            test(*arguments)
        except AssertionError as error:
            return [str(error) or test.__name__]
        return []

    return guard


def other_test(file, name, *arguments):
    """A test of another file, by its name."""

    def run():
        location = TESTS / file
        spec = importlib.util.spec_from_file_location(f"guard_{location.stem}", location)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        getattr(module, name)(*arguments)

    return failure_of(run)


def test_radii_of_samples_are_precise():
    """Eq. 11: r^p0 / s is a gamma variable of shape n / p0; its mean, to a few parts in 10,000."""
    torch.manual_seed(0)
    prior = lp_nested.IndependentSubspaces((3, 2), 2.1, 2.2, 0.7)
    radii = prior.log_radii(prior.sample((1_500_000,)).double()).exp()
    found = radii**2.1 / 0.7
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - torch.tensor([3.0, 2.0]) / 2.1).abs() < 3.5 * error).all()


# Mistakes in the code ---------------------------------------------------------------------------


def wrapped(owner, name, change):
    """Put ``change(original)`` in the place of an attribute."""
    return lambda patch: patch.setattr(owner, name, change(getattr(owner, name)))


def edited(owner, name, old, new):
    """Put a function with one piece of its text changed in the place of an attribute."""

    def make_mistake(patch):
        original = inspect.unwrap(getattr(owner, name))
        source = textwrap.dedent(inspect.getsource(original))
        assert source.count(old) == 1, f"{name} has {source.count(old)} times {old!r}"
        found = {}
        exec(source.replace(old, new), original.__globals__, found)
        patch.setattr(owner, name, found[name])

    return make_mistake


def trial_changed(**changes):
    return wrapped(
        common, "make_model", lambda make: lambda trial, settings: make(trial | changes, settings)
    )


def exponents(p0):
    return wrapped(
        common,
        "make_model",
        lambda make: lambda trial, settings: make(trial, settings | {"exponents": [p0, 2.2]}),
    )


def scaled_log_prob(factor):
    return wrapped(isa.ISAPrior, "log_prob", lambda f: lambda self, z: factor * f(self, z))


def in_order_of_the_group_backwards(fit_seeds):
    return lambda make, data, seeds, **options: fit_seeds(make, data, seeds[::-1], **options)


def with_estimator(name):
    def change(make):
        def build(trial, settings):
            model = make(trial, settings)
            model.prior.estimator = name
            return model

        return build

    return wrapped(common, "make_model", change)


def frozen_exponents(make):
    def build(trial, settings):
        model = make(trial, settings)
        for parameter in model.prior.parameters():
            parameter.requires_grad_(False)
        return model

    return build


def ignoring_leaf_counts(descend):
    def wrong(tree, log_radius):
        sizes = lp_nested._sizes
        lp_nested._sizes = lambda node: [1] * len(sizes(node))
        try:
            return descend(tree, log_radius)
        finally:
            lp_nested._sizes = sizes

    return wrong


def doubled_step_size(fit_seeds):
    return lambda *a, lr, **options: fit_seeds(*a, lr=2 * lr, **options)


def fewer_samples(estimate):
    return lambda *a, samples, **options: estimate(*a, samples=samples // 10, **options)


BETA_VAE, ISA_VAE = {"method": "beta-vae"}, {"method": "isa-vae"}
SAMPLED, LEARNED = {"method": "vae sampled-kl"}, {"method": "isa-vae learned"}
ONE, FOUR = {"beta": 1.0}, {"beta": 4.0}

CODE = {
    "make_model ignores beta": (
        trace_of("isa_sprites", BETA_VAE | FOUR),
        trial_changed(beta=1.0),
    ),
    "active means above 0.01": (
        anchors_of("isa_sprites", ONE),
        lambda patch: patch.setattr(metrics, "ACTIVE", 0.01),
    ),
    "p0 = 2.0 in isa-vae": (trace_of("isa_sprites", ISA_VAE | ONE), exponents(2.0)),
    "an exponent is 1e-3 off": (trace_of("isa_sprites", ISA_VAE | ONE), exponents(2.101)),
    "the prior's log density is 1e-3 off": (
        trace_of("isa_sprites", ISA_VAE | ONE),
        scaled_log_prob(1.001),
    ),
    "the sampler of the ISA prior is 1e-3 off": (
        failure_of(test_radii_of_samples_are_precise),
        wrapped(
            lp_nested.IndependentSubspaces,
            "rsample",
            lambda f: lambda self, *shape: 1.001 * f(self, *shape),
        ),
    ),
    "the nested sampler ignores leaf counts": (
        other_test(
            "distributions/test_conventions.py",
            "test_mean_variance_and_entropy_are_those_of_the_samples",
            lambda: lp_nested.LpNested((1.3, 2, (2.6, 1, (0.9, 3))), 0.8),
        ),
        wrapped(lp_nested, "_descend", ignoring_leaf_counts),
    ),
    "isa-tcvae has a normal prior": (
        trace_of("isa_sprites", {"method": "isa-tcvae", "beta": 2.0}),
        trial_changed(method="beta-tcvae"),
    ),
    "factor-vae ignores gamma": (
        trace_of("isa_sprites", {"method": "factor-vae", "gamma": 6.0}),
        trial_changed(gamma=1.0),
    ),
    "the scale that gives variance one is 1": (
        trace_of("isa_sprites", {"method": "isa-vae matched-scale"} | ONE),
        lambda patch: patch.setattr(common, "matched_scale", lambda *a: 1.0),
    ),
    "learned exponents do not learn": (
        trace_of("isa_heads", LEARNED | ONE),
        wrapped(common, "make_model", frozen_exponents),
    ),
    "samples have half the noise": (
        trace_of("isa_sprites", BETA_VAE | ONE),
        wrapped(
            gaussian,
            "reparameterize",
            lambda f: lambda mean, log_var, *a, **k: f(mean, log_var - 2 * np.log(2), *a, **k),
        ),
    ),
    "the likelihood is a mean over pixels": (
        trace_of("isa_cars", BETA_VAE | ONE),
        wrapped(vae.Draw, "reconstruction", lambda f: lambda self: f(self) / self.x[0].numel()),
    ),
    "a sampled KL drops the score": (
        trace_of("isa_landing", SAMPLED),
        with_estimator("without score"),
    ),
    "an independent KL has the decoder's noise": (
        trace_of("isa_landing", {"method": "vae independent-kl"}),
        with_estimator("sampled"),
    ),
    "the total correlation counts once, not beta times": (
        trace_of("isa_sprites", {"method": "beta-tcvae", "beta": 2.0}),
        wrapped(
            BetaTCVAE,
            "__init__",
            lambda f: lambda self, *a, beta, **k: f(self, *a, beta=1.0, **k),
        ),
    ),
    "the discriminator never learns": (
        trace_of("isa_sprites", {"method": "factor-vae", "gamma": 6.0}),
        lambda patch: patch.setattr(FactorVAE, "after_step", lambda self, *a: None),
    ),
    "seeds are shuffled in training": (
        trace_of("isa_sprites", BETA_VAE | ONE),
        wrapped(networks, "fit_seeds", in_order_of_the_group_backwards),
    ),
    "the step size is doubled": (
        trace_of("isa_heads_again", BETA_VAE | ONE),
        wrapped(networks, "fit_seeds", doubled_step_size),
    ),
    "other positions are drawn": (
        trace_of("isa_sprites_deep", BETA_VAE),
        wrapped(
            common,
            "dataset",
            lambda f: (
                lambda settings: f(
                    settings | {"data": settings["data"] | {"steps": [1, 1, 8, 4, 4]}}
                )
            ),
        ),
    ),
    "MIG is estimated with a tenth of the samples": (
        anchors_of("isa_cars", BETA_VAE | ONE),
        wrapped(common, "mutual_information_gap_from_posterior", fewer_samples),
    ),
    "MIG is taken over other factors": (
        anchors_of("isa_cars", BETA_VAE | ONE),
        wrapped(
            cars,
            "measure",
            lambda f: (
                lambda model, trial, settings: f(
                    model, trial, settings | {"factors": settings["factors"][:2]}
                )
            ),
        ),
    ),
    "the noise of measuring is another trial's": (
        anchors_of("isa_cars", BETA_VAE | ONE),
        wrapped(
            cars,
            "measure",
            lambda f: (
                lambda model, trial, settings: f(
                    model, trial | {"seed": trial["seed"] + 1}, settings
                )
            ),
        ),
    ),
    "active means nearly all of the variance, on digits": (
        anchors_of("latent_variables"),
        lambda patch: patch.setattr(metrics, "ACTIVE", 0.9),
    ),
    "a column counts as pruned below 50 percent": (
        anchors_of("variational_biases"),
        wrapped(ica, "pruned", lambda f: lambda W, **k: f(W, **k | {"threshold": 0.5})),
    ),
    "the angle of two columns is a quarter off": (
        anchors_of("variational_biases"),
        wrapped(ica, "angles_between", lambda f: lambda W: [0.75 * angle for angle in f(W)]),
    ),
    "pairs are made by position": (
        other_test("experiments/test_isa.py", "test_paired_differences_match_seeds"),
        lambda patch: patch.setattr(
            comparison,
            "paired_differences",
            lambda results, key, first, second: [
                one - other
                for one, other in zip(
                    comparison.values(results, first, key),
                    comparison.values(results, second, key),
                    strict=False,
                )
            ],
        ),
    ),
    "800 steps are declared for 8,000": (
        declared_of("isa_sprites_deep"),
        lambda patch: patch.setitem(get("isa_sprites_deep").settings["standard"], "steps", 800),
    ),
    "seeds are shifted for one method": (
        declared_of("isa_heads"),
        lambda patch: patch.setitem(
            get("isa_heads").settings["standard"]["runs"][1], "first_seed", 1
        ),
    ),
    "a planned comparison is turned around": (
        other_test("test_plan.py", "test_every_planned_comparison_comes_out_as_the_book_says"),
        wrapped(comparison, "difference", lambda f: lambda r, a, b, *more: f(r, b, a, *more)),
    ),
}


TERMS = other_test("test_cpvae.py", "test_terms_and_all_gradients_are_those_of_the_equations", 3)
WEIGHING = other_test("test_cpvae.py", "test_the_loss_weighs_the_two_objectives")
CLASSES = other_test("test_cpvae.py", "test_weights_are_constant_where_the_encoder_is_exact")
PHASES = other_test("test_cpvae.py", "test_each_phase_moves_what_it_should_and_nothing_else")
BOUNDS = other_test("test_contrastive.py", "test_the_loss_is_the_negative_sum_of_both_bounds")

CODE |= {
    "CPVAE: the cross term has the own population in it": (
        TERMS,
        edited(cpvae, "_terms", "(table.sum(1) - own_kl) / others", "table.sum(1) / others"),
    ),
    "CPVAE: the cross term is over K, not K - 1": (
        TERMS,
        edited(cpvae, "_terms", "others = len(batches) - 1", "others = len(batches)"),
    ),
    "CPVAE: the cross term is weighed by n_j": (
        TERMS,
        edited(cpvae, "_terms", "(table.sum(1) - own_kl)", "(table.sum(0) - own_kl)"),
    ),
    "CPVAE: fictitious codes are made by the data's own encoder": (
        TERMS,
        edited(cpvae, "_terms", "(table.sum(1) - own_kl)", "(own_kl.sum() - own_kl)"),
    ),
    "CPVAE: fictitious codes are detached": (
        TERMS,
        edited(cpvae, "_terms", "= (table.sum(1) - own_kl)", "= (table.detach().sum(1) - own_kl)"),
    ),
    "CPVAE: the shared code is detached": (
        TERMS,
        edited(cpvae, "_terms", "model.shared_decoder(z)", "model.shared_decoder(z.detach())"),
    ),
    "CPVAE: another population's decoder": (
        TERMS,
        edited(cpvae, "_terms", "model.private_decoders[k](", "model.private_decoders[k - 1]("),
    ),
    "CPVAE: another population's encoder": (
        TERMS,
        edited(
            cpvae,
            "_terms",
            "torch.cat([private_mean[k, rows_of_k]",
            "torch.cat([private_mean[k - 1, rows_of_k]",
        ),
    ),
    "CPVAE: the likelihood is a mean over features": (
        TERMS,
        wrapped(
            cpvae.CPVAE,
            "log_density",
            lambda f: lambda self, x, parameters: f(self, x, parameters) / x[0].numel(),
        ),
    ),
    "CPVAE: alpha weighs the private KL as well": (
        WEIGHING,
        edited(cpvae.CPVAE, "_weighed", "(1 - weight) *", "self.alpha * (1 - weight) *"),
    ),
    "CPVAE: J keeps the private KL": (
        WEIGHING,
        edited(cpvae.CPVAE, "_weighed", "(1 - weight) * parts", "parts"),
    ),
    "CPVAE: alpha also counts without mutual information": (
        WEIGHING,
        edited(cpvae.CPVAE, "_weighed", "weight * self.alpha * parts", "self.alpha * parts"),
    ),
    "CPVAE: the loss is a datum of the batch's": (
        WEIGHING,
        edited(cpvae.CPVAE, "loss", "sum(self.sizes or map(len, batch))", "sum(map(len, batch))"),
    ),
    "CPVAE: weights without the shared code's prior": (
        CLASSES,
        edited(
            cpvae.CPVAE,
            "_samples",
            "self.prior.log_prob(z) - gaussian.log_density(z",
            "-gaussian.log_density(z",
        ),
    ),
    "CPVAE: weights with another population's ratio": (
        CLASSES,
        edited(cpvae, "_score", "private_log_ratio[k]", "private_log_ratio[k - 1]"),
    ),
    "CPVAE: weights are summed, not averaged": (
        CLASSES,
        edited(cpvae, "_score", " - math.log(samples)", ""),
    ),
    "CPVAE: effective samples are inverted": (
        CLASSES,
        edited(cpvae, "_score", "1 / weights.softmax", "weights.softmax"),
    ),
    "CPVAE: a datum is weighed by the first population's code": (
        CLASSES,
        edited(cpvae.CPVAE, "log_weights", "t[k][:, rows]", "t[0][:, rows]"),
    ),
    "CPVAE: the mean of log weights stands for the log of their mean": (
        other_test("test_cpvae.py", "test_estimates_match_the_exact_evidence", None),
        edited(cpvae, "_score", "weights.logsumexp(0) - math.log(samples)", "weights.mean(0)"),
    ),
    "CPVAE: reconstructions come from the first population's encoder": (
        other_test("test_cpvae.py", "test_parts_of_a_reconstruction"),
        edited(cpvae.CPVAE, "reconstruct", "t[population]", "t[0]"),
    ),
    "CPVAE: looking at a model moves its batch statistics": (
        other_test("test_cpvae.py", "test_looking_at_a_model_leaves_it_as_it_was"),
        lambda patch: patch.setattr(cpvae, "evaluated", lambda model: nullcontext()),
    ),
    "CPVAE: a new task trains the first population's decoder": (
        PHASES,
        edited(cpvae.NewTask, "_loss", "model.decode(z, t, k)", "model.decode(z, t, 0)"),
    ),
    "CPVAE: a frozen task takes batch statistics": (
        PHASES,
        lambda patch: patch.setattr(cpvae.NewTask, "train", nn.Module.train),
    ),
    "CPVAE: a frozen task trains the shared code's prior": (
        PHASES,
        edited(cpvae.NewTask, "loss", '("private_")', '(("private_", "prior"))'),
    ),
    "contrastive VAE: the salient code is detached": (
        BOUNDS,
        edited(
            contrastive.ContrastiveVAE, "loss", "self.decode(z, s)", "self.decode(z, s.detach())"
        ),
    ),
    "contrastive VAE: the KLs of target and background are exchanged": (
        BOUNDS,
        edited(
            contrastive.ContrastiveVAE,
            "loss",
            "shared_kl, background_kl =",
            "background_kl, shared_kl =",
        ),
    ),
    "contrastive VAE: the target is decoded without its salient code": (
        BOUNDS,
        edited(contrastive.ContrastiveVAE, "loss", "self.decode(z, s)", "self.decode(z)"),
    ),
}


def optimal(name, *arguments):
    return other_test("test_optimal_prior.py", name, *arguments)


def measured(name, *arguments):
    return other_test("experiments/test_optimal_prior_experiments.py", name, *arguments)


class Held(tuple):
    """What a copy does not copy."""

    def __deepcopy__(self, memo):
        return self


def holding_the_model_for_good(init):
    def wrong(self, model, *arguments):
        init(self, model, *arguments)
        self._model = Held(self._model)

    return wrong


PARTS = optimal("test_decomposition_is_that_of_quadrature")
BOUND = optimal("test_the_proposed_bound_is_the_cvaes_plus_the_mean_log_ratio")
HELD = optimal("test_kl_to_the_learned_prior_holds_the_estimator_and_reaches_the_encoder")
POOLED = optimal("test_estimator_learns_the_pooled_codes_whatever_their_tasks")
NORMALISED = optimal("test_a_constant_in_the_ratio_moves_the_bound_but_not_the_normalised_density")

CODE |= {
    "optimal prior: tasks are pooled without their shares": (
        PARTS,
        edited(optimal_prior, "kl_decomposition", " + math.log(members.double().mean())", ""),
    ),
    "optimal prior: the two informations are exchanged": (
        PARTS,
        edited(
            optimal_prior,
            "kl_decomposition",
            "log_task - log_pooled, marginal_kl, log_own - log_task",
            "log_own - log_task, marginal_kl, log_task - log_pooled",
        ),
    ),
    "optimal prior: ln q(z) is a mean of logarithms": (
        PARTS,
        edited(optimal_prior, "kl_decomposition", ".logsumexp(0).mean()", ".mean(0).mean()"),
    ),
    "optimal prior: the log ratio is added to the loss": (
        BOUND,
        edited(optimal_prior.OptimalPriorVAE, "loss", "(kl - log_ratio)", "(kl + log_ratio)"),
    ),
    "optimal prior: the gradient is cut through z": (
        HELD,
        edited(optimal_prior.RatioPrior, "log_ratio", "log_ratio(z)", "log_ratio(z.detach())"),
    ),
    "optimal prior: the networks train the estimator": (
        HELD,
        lambda patch: patch.setattr(optimal_prior, "frozen", lambda module: nullcontext()),
    ),
    "optimal prior: the labels of the ratio are exchanged": (
        POOLED,
        edited(
            optimal_prior.OptimalPriorVAE,
            "after_step",
            "(z, torch.randn_like(z))",
            "(torch.randn_like(z), z)",
        ),
    ),
    "optimal prior: the estimator sees means in place of codes": (
        POOLED,
        edited(
            optimal_prior.OptimalPriorVAE,
            "after_step",
            "self.sample_posterior(*carry)",
            "carry[0]",
        ),
    ),
    "optimal prior: the learned prior is not normalised": (
        NORMALISED,
        edited(optimal_prior.RatioPrior, "log_prob", " - self.log_constant", ""),
    ),
    "optimal prior: draws near the codes are not weighed": (
        optimal("test_normaliser_is_too_low_and_more_so_with_dimensions"),
        edited(optimal_prior.RatioPrior, "log_normalizer", "(log_ratio + log_weight)", "log_ratio"),
    ),
    "optimal prior: the decoder is told the same task for all data": (
        optimal("test_encoder_and_decoder_see_the_task"),
        edited(optimal_prior.CVAE, "decode", "(task, device", "(0 * task, device"),
    ),
    "optimal prior: a copy's VampPrior asks the first model's encoder": (
        optimal("test_vamp_prior_is_the_mixture_of_its_pseudo_inputs_codes_and_trains_them"),
        wrapped(optimal_prior.VampPrior, "__init__", holding_the_model_for_good),
    ),
    "optimal prior: the dependence is not centred": (
        optimal("test_hsic_is_the_trace_formula"),
        edited(optimal_prior, "_hsic", "indicators - indicators.mean(0)", "indicators"),
    ),
    "optimal prior: validation data stop the training of the source": (
        measured("test_the_stop_looks_at_the_targets_alone"),
        wrapped(
            tasks.Best,
            "__init__",
            lambda init: (
                lambda self, data, seed: init(self, replace(data, targets=range(data.count)), seed)
            ),
        ),
    ),
    "optimal prior: the target's test data are trained on": (
        measured("test_no_datum_is_in_two_parts"),
        edited(usps_mnist, "_split", "[: train + valid]", "[:train].repeat(2)[: train + valid]"),
    ),
    "optimal prior: likelihoods take a mean of logarithms": (
        measured("test_likelihood_of_an_experiment_is_that_of_the_metric"),
        edited(
            tasks, "_log_likelihood", "weights.logsumexp(0) - math.log(codes)", "weights.mean(0)"
        ),
    ),
}


def mixture(name, *arguments):
    """A test of the factorial mixture, in double precision, as its fixture would have it."""

    def run():
        torch.set_default_dtype(torch.float64)
        try:
            found = other_test("test_factorial_mixture.py", name, *arguments)(None)
        finally:
            torch.set_default_dtype(torch.float32)
        assert not found, found

    return failure_of(run)


FACTOR, PRODUCT = factorial_mixture.ConjugateFactor, factorial_mixture.FactorialPrior


def as_printed(patch):
    """Appendix C.1, in the place where torch looks for the divergence."""
    source = inspect.getsource(normal_gamma._kl_normal_gamma).partition("\n")[2]  # no decorator
    found, key = {}, (normal_gamma.NormalGamma, normal_gamma.NormalGamma)
    exec(source.replace("torch.lgamma", "torch.digamma"), vars(normal_gamma), found)
    patch.setitem(torch.distributions.kl._KL_REGISTRY, key, found["_kl_normal_gamma"])
    patch.setattr(torch.distributions.kl, "_KL_MEMOIZE", {})


def stale_encodings(patch):
    """Keep what the loss encoded, and never encode again."""
    model = factorial_mixture.FactorialMixtureVAE
    edited(model, "loss", "() if self.reencode else (draw", "(draw")(patch)


def turned_divergence(patch):
    """Measure the hyperprior's divergence from the components' posterior, not theirs from it."""
    right = FACTOR.expected

    def expected(self):
        m0, s0, a0, b0, _ = self.hyperprior
        prior = normal_gamma.NormalGamma(m0, s0, a0, b0)
        turned = torch.distributions.kl_divergence(
            prior.expand(self.m.shape), self.posterior()
        ).sum()
        return right(self)._replace(kl_components=turned.to(self.m.dtype))

    patch.setattr(FACTOR, "expected", expected)


ASCENT = mixture("test_a_full_step_of_length_one_is_coordinate_ascent", None)
WRITTEN_OUT = mixture("test_minibatches_stand_for_all_data", None)
SAMPLED_SIX = mixture(
    "test_expected_log_likelihood_and_responsibilities_are_those_of_samples", None
)

CODE |= {
    "factorial mixture: the mean parameters are interpolated": (
        mixture("test_it_is_natural_parameters_that_are_interpolated", None),
        edited(
            FACTOR,
            "natural_step",
            "m = product / s",
            "m = m.lerp((s0 * m0 + first) / (s0 + rows), rho)",
        ),
    ),
    "factorial mixture: a minibatch is not scaled to all data": (
        WRITTEN_OUT,
        edited(PRODUCT, "natural_step", " / len(mean)", " / dataset_size"),
    ),
    "factorial mixture: the statistics forget the encoder's variance": (
        ASCENT,
        edited(
            PRODUCT,
            "natural_step",
            "_moments(mean, var)",
            "_moments(mean, torch.zeros_like(var))",
        ),
    ),
    "factorial mixture: eq. 6 forgets the encoder's variance": (
        SAMPLED_SIX,
        edited(
            factorial_mixture.Factor,
            "expected_log_likelihood",
            "code_moments(mean, var)",
            "code_moments(mean, torch.zeros_like(var))",
        ),
    ),
    "factorial mixture: eq. 6 forgets 1 / s": (
        SAMPLED_SIX,
        edited(FACTOR, "expected", "torch.addcmul(1 / s, weighted, m)", "weighted * m"),
    ),
    "factorial mixture: the step size rises": (
        mixture("test_step_sizes_fall_as_robbins_and_monro_want"),
        edited(factorial_mixture, "step_size", "-forgetting", "forgetting"),
    ),
    "factorial mixture: the weights' logarithm is that of their mean": (
        SAMPLED_SIX,
        edited(FACTOR, "expected", "torch.digamma(c) - torch.digamma(total)", "(c / total).log()"),
    ),
    "factorial mixture: the components' divergence is the wrong way round": (
        mixture("test_the_four_divergences_are_those_of_samples", None),
        turned_divergence,
    ),
    "factorial mixture: C.1 as it is printed, digamma for log gamma": (
        other_test("distributions/test_normal_gamma.py", "test_divergence_is_that_of_samples"),
        as_printed,
    ),
    "factorial mixture: zero times its logarithm": (
        other_test(
            "test_factorial_mixture.py", "test_sure_responsibilities_count_no_logarithm_of_zero"
        ),
        edited(PRODUCT, "kl_r", ".clamp(min=_LOG_ZERO)", ""),
    ),
    "factorial mixture: the global divergences are not divided by N": (
        mixture("test_the_loss_is_minus_the_elbo_and_beta_weighs_line_4b_alone", None),
        edited(
            factorial_mixture.FactorialMixtureVAE,
            "loss",
            "reduce(torch.add, components) / self.dataset_size",
            "reduce(torch.add, components)",
        ),
    ),
    "factorial mixture: Student's t has a degrees of freedom": (
        mixture("test_density_is_that_of_samples_of_q", None),
        edited(FACTOR, "_student", "2 * q.a", "q.a"),
    ),
    "factorial mixture: a prediction forgets that its mean is not known": (
        mixture("test_density_is_the_sum_over_all_combinations_of_students_t", None),
        edited(FACTOR, "_student", "(q.s + 1) / q.s * q.b", "q.b"),
    ),
    "factorial mixture: labels do not clamp": (
        mixture("test_labels_clamp_responsibilities_and_feed_the_statistics", None),
        edited(
            factorial_mixture,
            "_log_responsibilities",
            "known = (label >= 0)",
            "known = (label < -1)",
        ),
    ),
    "factorial mixture: the term of labels counts data without one": (
        mixture("test_the_term_of_labels_is_the_cross_entropy_of_free_responsibilities", None),
        edited(PRODUCT, "local_terms", "torch.where(labels >= 0, ", "torch.where(labels >= -1, "),
    ),
    "factorial mixture: the third step takes the encodings of the second": (
        mixture("test_the_third_step_takes_the_moved_encoders_responsibilities", True, None),
        stale_encodings,
    ),
}


def many(name, *arguments):
    return other_test("test_factvae.py", name, *arguments)


def of_walks(name, *arguments):
    return other_test("experiments/test_factvae_experiments.py", name, *arguments)


CODE |= {
    "many aspects: the threshold has no step size": (
        many("test_matrices_take_a_plain_gradient_step_and_the_prox_jointly"),
        edited(factvae.GroupedVAE, "after_step", "self.phi_lr * self.sparsity", "self.sparsity"),
    ),
    "many aspects: the encoders' matrix is left out of the columns": (
        many("test_matrices_take_a_plain_gradient_step_and_the_prox_jointly"),
        edited(factvae.FactVAE, "columns", "[self.W, self.V.mT]", "[self.W, 0 * self.V.mT]"),
    ),
    "many aspects: the penalty is left in the gradient": (
        many("test_the_penalty_is_in_the_loss_and_not_in_its_gradient"),
        edited(
            factvae.GroupedVAE,
            "_with_priors",
            "bound + penalty,",
            "bound + self.sparsity * self.norms().sum(),",
        ),
    ),
    "many aspects: hidden groups have their say": (
        many("test_an_absent_group_has_no_influence_and_no_gradient", factvae.FactVAE),
        edited(factvae.FactVAE, "infer", "self.experts(prepared), mask", "self.experts(prepared)"),
    ),
    "many aspects: only groups that inference saw are scored": (
        many("test_the_two_masks_are_two"),
        edited(
            factvae.NormalVAE,
            "_bound",
            "self.log_likelihood(prepared, z)",
            "self.log_likelihood(Prepared(prepared.x, mask), z)",
        ),
    ),
    "many aspects: a mixture's density is not divided by its experts": (
        many("test_the_mixture_is_that_of_torch_and_its_bound_is_tighter_than_jmvaes"),
        edited(factvae.MMVAE, "log_mixture", "return log_q - mask.sum(0).log()", "return log_q"),
    ),
    "walks: the one that is held out is trained on": (
        of_walks("test_training_walks_are_nested_and_never_hold_the_one_held_out"),
        edited(mocap, "_walks", "order[1 : 1 + count]", "order[:count]"),
    ),
    "walks: what is given counts among the errors": (
        of_walks("test_errors_are_in_degrees_and_of_what_is_hidden_alone"),
        edited(mocap, "_error", "if g not in groups:", "if True:"),
    ),
    "walks: hiding groups brings missing ones back": (
        of_walks("test_only_hides_and_adds_nothing"),
        edited(aspects, "only", "data[-1] & kept", "kept"),
    ),
    "bars: one half alone passes for the pattern": (
        of_walks("test_the_pattern_of_bars_is_judged", ((1, 1, 0, 0), (1, 1, 0, 0)), False, 1.0),
        edited(bars, "follows_the_bars", "kinds == {TOP, BOTTOM}", "kinds <= {TOP, BOTTOM}"),
    ),
}


def of_seven_views(name, *arguments):
    return other_test("experiments/test_factvae_heads.py", name, *arguments)


CODE |= {
    "heads in seven views: the view that is asked for is given": (
        of_seven_views("test_what_is_asked_for_is_not_given"),
        edited(seven_views, "tasks", "(observed & (view != target), target)", "(observed, target)"),
    ),
    "heads in seven views: held-out subjects are part of the mean image": (
        of_seven_views("test_mean_images_are_those_of_training_subjects_who_have_the_view"),
        edited(seven_views, "mean_images", "part[subjects.training]", "part[:]"),
    ),
    "heads in seven views: the black of missing views is part of the mean image": (
        of_seven_views("test_mean_images_are_those_of_training_subjects_who_have_the_view"),
        edited(seven_views, "mean_images", "x[seen[:, g], g]", "x[:, g]"),
    ),
    "heads in seven views: the regression learns from held-out subjects": (
        of_seven_views("test_ridge_sees_what_is_given_and_learns_from_the_training_subjects_alone"),
        edited(seven_views, "ridge", "rows[subjects.held_out] = False", "pass"),
    ),
    "heads in seven views: complete subjects count among the missing views": (
        of_seven_views("test_each_kind_counts_its_own_subjects_and_views"),
        edited(
            seven_views, "summary", "train[:, None] & ~observed)", "train[:, None] | ~observed)"
        ),
    ),
}


@pytest.mark.parametrize("name", some(CODE, 5))
def test_a_mistake_in_the_code_is_noticed(name, monkeypatch, tmp_path):
    guard, make_mistake = CODE[name]
    assert guard(tmp_path) == []
    make_mistake(monkeypatch)
    assert guard(tmp_path) != []


# Mistakes in stored files -----------------------------------------------------------------------


def rows(results, **where):
    return [e["result"] for e in results["trials"] if where.items() <= e["trial"].items()]


def add_to(key, amount, where=lambda trial: True):
    def change(results):
        for entry in results["trials"]:
            if where(entry["trial"]):
                entry["result"][key] += amount

    return change


def exchanged_seeds(results):
    """Give the runs of one method each other's seeds, as a careless sort would."""
    group = [e["trial"] for e in results["trials"] if e["trial"]["method"] == "isa-vae"]
    for trial, seed in zip(group, [trial["seed"] for trial in group][::-1], strict=True):
        trial["seed"] = seed


def exchanged_results(results):
    """Leave the seeds as they are, and turn the results of one method around."""
    group = [e for e in results["trials"] if e["trial"]["method"] == "isa-vae"]
    for entry, result in zip(group, [e["result"] for e in group][::-1], strict=True):
        entry["result"] = result


def quick_run(results):
    """What a run of the quick profile's steps would have measured, in the place of the real one."""
    experiment = get("isa_cars")
    group = [entry["trial"] for entry in results["trials"]][:2]
    settings = results["settings"] | {"steps": 250}
    measured, _ = experiment.run_group(group, settings)
    for entry, result in zip(results["trials"], measured, strict=False):
        entry["result"] = result


def rewritten(*path, value):
    def change(results):
        *most, last = path
        holder = results
        for key in most:
            holder = holder[key]
        holder[last] = value(holder[last])

    return change


def is_isa(trial):
    return trial["method"].startswith("isa")


def check_anchors(results, path, name):
    write(results, path)
    return checks.anchors(read(path), get(name), path)


def check_declared(results, path, name):
    return checks.declared(results, get(name))


def check_identities(results, path, name):
    return checks.identities(results)


def check_trace(results, path, name):
    return checks.trace(results, get(name))


STORED = {
    "0.01 more MIG for every ISA-VAE": (
        "isa_sprites",
        ISA_VAE | ONE,
        check_anchors,
        add_to("mig", 0.01, is_isa),
    ),
    "0.01 more MIG for every ISA-VAE, on heads": (
        "isa_heads",
        LEARNED | ONE,
        check_anchors,
        add_to("mig", 0.01, is_isa),
    ),
    "one ELBO is 1e-6 off": (
        "isa_landing",
        {},
        check_identities,
        rewritten("trials", 7, "result", "elbo", value=lambda x: x + 1e-6),
    ),
    "one histogram MIG is typed anew": (
        "isa_heads",
        {},
        check_identities,
        rewritten("trials", 3, "result", "mig_histogram", value=lambda x: round(x, 4)),
    ),
    "one factor's gap is rounded": (
        "isa_cars",
        {},
        check_identities,
        rewritten("trials", 9, "result", "mig_histogram_by_factor", 0, value=lambda x: round(x, 3)),
    ),
    "seeds are exchanged, so that pairs are no pairs": (
        "isa_sprites",
        {},
        check_declared,
        exchanged_seeds,
    ),
    "results are exchanged between seeds": (
        "isa_sprites",
        ISA_VAE | ONE,
        check_anchors,
        exchanged_results,
    ),
    "a trial that looks odd is left out": (
        "isa_heads_again",
        {},
        check_declared,
        lambda results: results["trials"].pop(11),
    ),
    "a trial is there twice": (
        "isa_orientation",
        {},
        check_declared,
        lambda results: results["trials"].insert(5, results["trials"][5]),
    ),
    "the settings of the quick profile": (
        "isa_sprites_deep",
        {},
        check_declared,
        rewritten("settings", "steps", value=lambda _: 800),
    ),
    "a step size that was not used": (
        "latent_variables",
        {},
        check_declared,
        rewritten("settings", "lr", value=lambda x: x / 2),
    ),
    "runs of a few steps beside the settings of many": (
        "isa_cars",
        BETA_VAE | ONE,
        check_anchors,
        quick_run,
    ),
    "one active latent more": (
        "isa_sprites_again",
        BETA_VAE | {"beta": 3.0},
        check_anchors,
        add_to("active", 1),
    ),
    "a log-likelihood is a nat better": (
        "latent_variables",
        {},
        check_anchors,
        add_to("log_likelihood", 1.0),
    ),
    "an outcome of the map is turned around": (
        "variational_biases",
        {},
        check_anchors,
        rewritten("trials", 0, "result", "more_orthogonal", value=lambda x: not x),
    ),
    "a loss of the trace is a thousandth off": (
        "isa_landing",
        SAMPLED,
        check_trace,
        rewritten("trace", 1, "loss", 8, value=lambda x: 1.001 * x),
    ),
    "the trace is a step short": (
        "isa_landing",
        SAMPLED,
        check_trace,
        rewritten("trace", 0, "kl", value=lambda x: x[:-1]),
    ),
    "the trace of a setting is missing": (
        "isa_cars",
        {},
        check_trace,
        lambda results: results["trace"].pop(3),
    ),
    "an anchor is left out": (
        "isa_cars",
        {},
        check_anchors,
        lambda results: results["anchors"]["trials"].pop(),
    ),
}


@pytest.mark.parametrize("name", some(STORED, 4))
def test_a_mistake_in_a_stored_file_is_noticed(name, tmp_path):
    experiment, setting, check, make_mistake = STORED[name]
    path = reduced(tmp_path, experiment, *([setting] if setting else []))
    results = read(path)
    assert check(results, path, experiment) == []
    make_mistake(results)
    assert check(results, path, experiment) != []


def test_weights_that_were_touched_are_noticed(tmp_path):
    path = reduced(tmp_path, "latent_variables")
    results = read(path)
    beside = anchors.path_beside(path)
    weights = anchors.load(beside, results["anchors"]["sha256"])
    name = next(iter(weights[0]))
    weights[0][name] = weights[0][name] * np.float32(1.01)
    with anchors.saving(beside, weights) as sha256:
        pass
    (complaint,) = checks.anchors(results, get("latent_variables"), path)
    assert "is not the file that its results name" in complaint
    results["anchors"]["sha256"] = sha256
    assert any(
        "log_likelihood" in line for line in checks.anchors(results, get("latent_variables"), path)
    )
