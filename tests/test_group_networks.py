"""Convolutional networks of groups: the same as one network for each group, and no other's."""

import math

import pytest
import torch
from stacks import assert_stacked_as_alone
from torch import nn

from vaelite.factvae import (
    MMVAE,
    MVAE,
    OIVAE,
    FactVAE,
    GroupConvDecoder,
    GroupConvEncoder,
    GroupMLP,
    JMVAEPlus,
)
from vaelite.metrics import log_marginal_likelihood
from vaelite.training import fit

G, SHAPE, H, P, K, WIDTH = 3, (2, 16, 32), 5, 4, 6, 3
SIZE = math.prod(SHAPE)
KINDS = [FactVAE, MVAE, MMVAE, JMVAEPlus]


def own(layer, g):
    """The layer of one group, as torch has it, with that group's share of the weights."""
    kind = type(layer)
    alone = kind(
        layer.in_channels // G, layer.out_channels // G, kernel_size=4, stride=2, padding=1
    )
    with torch.no_grad():
        for mine, whole in zip(alone.parameters(), layer.parameters(), strict=True):
            mine.copy_(whole.chunk(G)[g])
    return alone


def convolved(convolutions, x, g):
    for layer in convolutions:
        x = layer(x) if not hasattr(layer, "weight") else own(layer, g)(x)
    return x


def linear(mlp, x, g):
    return (x @ mlp.weights[0][g] + mlp.biases[0][g]).relu()


def networks(groups=G, shape=SHAPE):
    return (
        GroupConvEncoder(groups, shape, H, WIDTH),
        GroupConvDecoder(groups, P, shape, WIDTH),
    )


def test_the_encoder_is_one_convolutional_network_for_each_group():
    torch.manual_seed(0)
    encoder, _ = networks()
    x = torch.randn(G, 7, SIZE)
    found = encoder(x)
    assert found.shape == (G, 7, H) and encoder.out_features == (H,) * G
    for g in range(G):
        images = x[g].view(7, *SHAPE)
        wanted = linear(encoder.last, convolved(encoder.convolutions, images, g).flatten(1), g)
        torch.testing.assert_close(found[g], wanted, atol=1e-5, rtol=1e-4)
        assert found[g].abs().max() > 0


def test_the_decoder_is_one_convolutional_network_for_each_group():
    torch.manual_seed(0)
    _, decoder = networks()
    code = torch.randn(G, 7, P)
    found = decoder(code)
    assert found.shape == (G, 7, SIZE) and decoder.out_features == (SIZE,) * G
    for g in range(G):
        start = linear(decoder.first, code[g], g).view(7, *decoder.start)
        wanted = convolved(decoder.convolutions, start, g)
        assert wanted.shape == (7, *SHAPE)
        torch.testing.assert_close(found[g], wanted.flatten(1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "channels", "start"),
    [
        ((1, 8, 8), [1, 3], (3, 4, 4)),
        ((3, 64, 64), [3, 3, 6, 12, 24], (24, 4, 4)),
        ((2, 64, 16), [2, 3, 6], (6, 16, 4)),
    ],
)
def test_images_are_halved_to_four_pixels_and_channels_doubled(shape, channels, start):
    encoder, decoder = networks(2, shape)
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    down, up = (
        [layer for layer in one.convolutions if isinstance(layer, kinds)]
        for one in (encoder, decoder)
    )
    assert [layer.in_channels // 2 for layer in down] == channels[:-1]
    assert [layer.out_channels // 2 for layer in up] == channels[:-1][::-1]
    assert decoder.start == start and down[-1].out_channels // 2 == start[0]
    assert decoder(encoder(torch.rand(2, 4, math.prod(shape)))[..., :P]).shape[-1] == math.prod(
        shape
    )


def test_weights_start_as_those_of_a_network_of_one_group():
    """Torch's bound of a uniform start depends on the inputs of one output, not of all groups."""
    torch.manual_seed(0)
    first = GroupConvEncoder(50, (2, 8, 8), H, 4).convolutions[0].weight
    bound = (2 * 4 * 4) ** -0.5
    assert first.abs().max() <= bound and first.abs().max() > 0.99 * bound


def make(kind=FactVAE, seed=0, **options):
    torch.manual_seed(seed)
    features, decoder = networks()
    if kind is not OIVAE:
        options["features"] = features
    return kind([SIZE] * G, K, rank=P, decoder=decoder, **options)


def batch(rows=9, seed=1):
    g = torch.Generator().manual_seed(seed)
    observed = torch.rand(rows, G, generator=g) < 0.7
    observed[:, 0] |= ~observed.any(1)
    return *torch.rand(G, rows, SIZE, generator=g).unbind(), observed


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_group_has_no_influence_and_exactly_no_gradient(kind):
    model = make(kind, drop=0.0) if kind is FactVAE else make(kind)
    given = batch()
    given[-1][:, 1] = False
    given[-1][:, 0] = True
    other = list(given)
    other[1] = torch.full_like(given[1], math.nan)
    losses = []
    for one in (given, tuple(other)):
        torch.manual_seed(3)
        losses.append(model.loss(one)[0])
    assert losses[0] == losses[1]
    losses[1].backward()
    looked = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.ndim > 2:
            first, absent, _ = parameter.grad.chunk(G)
            assert (absent == 0).all(), name
            assert first.abs().max() > 0, name
            looked += 1
    assert looked >= 8


@pytest.mark.parametrize("kind", [*KINDS, OIVAE])
def test_every_model_takes_them_and_learns(kind):
    model = make(kind)
    given = batch(40)
    if kind is OIVAE:
        given[-1].fill_(True)
    history = fit(
        model, given, steps=40, batch_size=20, lr=3e-3, seed=0, progress=False, log_every=5
    )
    loss = history.parts["loss"]
    assert loss[-1] < loss[0] - 100
    reconstructed = model.eval().reconstruct(given)
    assert [tuple(x.shape) for x in reconstructed] == [(40, SIZE)] * G
    assert log_marginal_likelihood(model, given, 3).isfinite().all()


def test_models_in_a_stack_are_what_they_are_alone():
    given = tuple(x.double() if x.is_floating_point() else x for x in batch(20))

    def build(seed):
        return make(seed=seed, sparsity=0.2).double()

    assert_stacked_as_alone(build, given, steps=4, batch_size=8, lr=1e-3)


def test_the_prior_on_weights_counts_those_of_given_networks():
    for kind in (FactVAE, MMVAE):
        model = make(kind, dataset_size=50)
        others = {"W", "V", *(name for name in model.state_dict() if "likelihoods" in name)}
        weights = [p for name, p in model.named_parameters() if name not in others]
        wanted = sum(w.square().sum() for w in weights) / 100
        torch.testing.assert_close(model.loss(batch())[1]["weights"], wanted)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: networks(shape=(1, 4, 16)), r"powers of two from 8; got \(1, 4, 16\)"),
        (lambda: networks(shape=(1, 24, 16)), "powers of two from 8"),
        (lambda: networks(shape=(16, 16)), r"image_shape must be \(C, H, W\)"),
        (lambda: networks(shape=(0, 16, 16)), "a size of image_shape must be a positive integer"),
        (lambda: networks(groups=0), "groups must be a positive integer; got 0"),
        (lambda: GroupConvEncoder(G, SHAPE, 0), "out_features must be a positive integer"),
        (lambda: GroupConvDecoder(G, P, SHAPE, width=0), "width must be a positive integer"),
        (lambda: GroupConvDecoder(G, 0, SHAPE), "in_features must be a positive integer"),
        (
            lambda: FactVAE([9] * G, K, decoder=networks()[1]),
            r"decoder must give \(9, 9, 9\); it gives \(1024, 1024, 1024\)",
        ),
        (
            lambda: FactVAE([9] * 2, K, features=networks()[0]),
            r"features must give 2 groups as many features each; it gives \(5, 5, 5\)",
        ),
        (lambda: MMVAE([9] * 2, K, features=GroupMLP([9, 9], [], [3, 4])), "features must give 2"),
    ],
)
def test_wrong_settings_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
