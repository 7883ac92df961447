"""The contrastive VAE against its two bounds, written out."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from vaelite.batches import Unpaired
from vaelite.contrastive import ContrastiveVAE
from vaelite.training import fit, fit_seeds

D_X, D_Z, D_S = 6, 3, 2


def small(**options):
    torch.manual_seed(0)
    return ContrastiveVAE.mlp(D_X, [7, 5], D_Z, D_S, **options).double()


def sets():
    torch.manual_seed(1)
    return [torch.randn(4, D_X).double(), torch.randn(7, D_X).double() + 1]


def divergence(q):
    return kl_divergence(q, Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))).sum()


def bounds(model, data, z_noise, s_noise):
    """Both bounds, datum by datum, the mean of each over its set."""
    totals, row = [0.0, 0.0], 0
    std = (0.5 * model.likelihood.log_var).exp()
    for which, x_set in enumerate(data):
        for x in x_set:
            mean, log_var, s_mean, s_log_var = (part[0] for part in model.encode(x[None]))
            q_z, q_s = Normal(mean, (0.5 * log_var).exp()), Normal(s_mean, (0.5 * s_log_var).exp())
            z = q_z.mean + q_z.stddev * z_noise[row]
            s = torch.zeros(D_S).double()
            bound = -divergence(q_z)
            if which == 0:
                s = q_s.mean + q_s.stddev * s_noise[row]
                bound = bound - divergence(q_s)
            image = model.decoder(torch.cat([z, s]))
            totals[which] += (bound + Normal(image, std).log_prob(x).sum()) / len(x_set)
            row += 1
    return totals


def test_the_loss_is_the_negative_sum_of_both_bounds():
    model, data = small(), sets()
    torch.manual_seed(2)
    z_noise = torch.randn(11, D_Z, dtype=torch.double)
    s_noise = torch.randn(4, D_S, dtype=torch.double)
    torch.manual_seed(2)
    loss, parts = model.loss(data)
    target, background = bounds(model, data, z_noise, s_noise)
    expected = -target - background
    torch.testing.assert_close(loss, expected)
    of_background = parts.pop("background") + parts.pop("background_kl")
    torch.testing.assert_close(of_background, -background)
    torch.testing.assert_close(sum(parts.values()), -target)
    parameters = list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters)
    )


def test_background_data_do_not_reach_the_salient_head():
    model, data = small(), sets()
    _, parts = model.loss(data)
    for name, part in parts.items():
        found = torch.autograd.grad(
            part, [model.salient_head.weight], retain_graph=True, materialize_grads=True
        )[0]
        assert bool((found != 0).any()) == (name in ("reconstruction", "private_kl")), name


def test_without_a_salient_code_it_is_zero():
    model, z = small(), torch.randn(3, 5, D_Z).double()
    torch.testing.assert_close(model.decode(z), model.decode(z, torch.zeros(3, 5, D_S).double()))


def test_many_runs_are_what_each_is_alone():
    data = Unpaired(*(x.float() for x in sets()))
    options = {"steps": 8, "batch_size": (2, 3), "progress": False}
    models, _ = fit_seeds(lambda seed: small().float(), data, [3, 4], **options)
    alone = small().float()
    fit(alone, data, seed=4, **options)
    torch.testing.assert_close(models[1].state_dict(), alone.state_dict(), rtol=1e-3, atol=1e-5)


X = torch.zeros(4, D_X)
BAD = {
    "no salient code": (lambda: ContrastiveVAE.mlp(D_X, 5, 3, 0), "salient_dim must be a positive"),
    "an empty layer": (lambda: ContrastiveVAE.mlp(D_X, [0], 3, 2), "hidden must be a positive"),
    "another trunk": (
        lambda: ContrastiveVAE(nn.Identity(), 5, nn.Linear(5, D_X), 3, 2, (D_X,)).loss([X, X]),
        r"trunk must return \(8, 5\)",
    ),
    "a decoder of one number": (
        lambda: ContrastiveVAE(nn.Identity(), D_X, nn.Linear(5, 1), 3, 2, (D_X,)).loss([X, X]),
        r"decoder must make data of shape \(6,\); it makes \(4, 1\)",
    ),
    "the target alone": (lambda: small().validate([X]), r"Unpaired\(target, background\)"),
    "a set too many": (lambda: small().loss([X, X, X]), r"Unpaired\(target, background\)"),
    "an empty background": (lambda: small().validate([X, X[:0]]), "must not be empty"),
    "NaN": (lambda: small().validate([X, X * torch.nan]), "data must be finite"),
    "another salient code": (
        lambda: small().decode(torch.zeros(4, D_Z), torch.zeros(4, 1)),
        r"s must have shape \(4, 2\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_one_sentence(name):
    call, message = BAD[name]
    with pytest.raises((TypeError, ValueError), match=message) as error:
        call()
    assert "\n" not in str(error.value)
