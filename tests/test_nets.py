import pytest
import torch
from torch import nn

from vaelite import nets

B, S, D = 5, 3, 2


def test_as_float_maps_bytes_to_the_unit_interval():
    x = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert torch.equal(nets.as_float(x), torch.tensor([[0.0, 0.2, 1.0]]))
    assert nets.as_float(x, torch.float64).dtype == torch.float64
    assert torch.equal(nets.as_float(x > 0), torch.tensor([[0.0, 1.0, 1.0]]))
    kept = torch.tensor([-3.0, 7.0])
    assert nets.as_float(kept) is kept
    assert x.tolist() == [[0, 51, 255]]


def test_as_float_refuses_what_has_no_scale():
    with pytest.raises(TypeError, match=r"got torch.int64"):
        nets.as_float(torch.tensor([1]))
    with pytest.raises(TypeError, match="got list"):
        nets.as_float([0.5])


def test_mlp_is_what_it_says():
    mlp = nets.MLP(7, (4, 6), 3, activation=nn.Tanh)
    x = torch.randn(S, B, 7)
    first, second, last = mlp[0], mlp[2], mlp[4]
    expected = last(torch.tanh(second(torch.tanh(first(x)))))
    assert mlp(x).shape == (S, B, 3)
    assert torch.equal(mlp(x), expected)


def test_mlp_without_hidden_layers_is_linear():
    mlp = nets.MLP(7, (), 3)
    x = torch.randn(B, 7)
    assert len(mlp) == 1
    assert torch.equal(mlp(x), x @ mlp[0].weight.T + mlp[0].bias)


def test_gaussian_encoder_splits_mean_from_log_variance():
    encoder = nets.GaussianEncoder(nn.Identity())
    mean, log_var = encoder(torch.arange(2.0 * B * D).reshape(B, 2 * D))
    assert mean.shape == log_var.shape == (B, D)
    assert mean[0].tolist() == [0.0, 1.0] and log_var[0].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 16, 4)])
def test_the_convolutional_pair_keeps_height_and_width_apart(shape):
    encoder, decoder = nets.ConvEncoder(shape, 2 * D, width=3), nets.ConvDecoder(D, shape, width=3)
    assert encoder(torch.rand(B, *shape)).shape == (B, 2 * D)
    codes = torch.randn(S, B, D)
    images = decoder(codes)
    assert images.shape == (S, B, *shape)
    torch.testing.assert_close(images[1, 2], decoder(codes[1, 2][None])[0])


def test_the_decoder_sees_the_code_past_its_bottleneck():
    decoder = nets.ConvDecoder(D, (1, 8, 12), width=3)
    nn.init.zeros_(decoder.upsample.weight)  # nothing but the skip is left
    images = decoder(torch.randn(64, D))  # some codes wake no unit
    assert images.std(0).max() > 1e-3


@pytest.mark.parametrize("shape", [(1, 8, 12), (3, 16, 4)])
def test_batch_normalisation_takes_the_batch_in_training_and_the_past_in_use(shape):
    pair = nn.Sequential(
        nets.ConvEncoder(shape, D, width=3, batch_norm=True),
        nets.ConvDecoder(D, shape, width=3, batch_norm=True),
    )
    norms = [layer for layer in pair.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [layer.num_features for layer in norms] == [3, 6, 6, 6, 3]
    x = torch.rand(B, *shape)
    alone, together = pair(x[:2]), pair(x)
    assert alone.shape == (2, *shape)
    assert not torch.allclose(alone, together[:2])
    pair.eval()
    torch.testing.assert_close(pair(x[:2]), pair(x)[:2])


def test_every_parameter_gets_a_gradient():
    shape = (2, 8, 12)
    pair = nn.Sequential(nets.ConvEncoder(shape, D, width=3), nets.ConvDecoder(D, shape, width=3))
    pair(torch.rand(B, *shape)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in pair.parameters())


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match=r"divisible by 4; got \(1, 8, 10\)"):
        nets.ConvEncoder((1, 8, 10), D)
    with pytest.raises(ValueError, match=r"image_shape must be \(C, H, W\)"):
        nets.ConvDecoder(D, (8, 8))
    with pytest.raises(ValueError, match="hidden must be a positive integer; got 0"):
        nets.MLP(7, (4, 0), 3)
    with pytest.raises(ValueError, match="in_features must be a positive integer; got -1"):
        nets.MLP(-1, (4,), 3)
    with pytest.raises(ValueError, match="width must be a positive integer; got 0"):
        nets.ConvDecoder(D, (1, 8, 8), width=0)
    with pytest.raises(ValueError, match=r"a size of image_shape must be .* integer; got 8\.0"):
        nets.ConvEncoder((1, 8.0, 8), D)
    with pytest.raises(ValueError, match=r"in_features must be .* integer; got \(8, 12\)"):
        nets.MLP((8, 12), (4,), 3)
