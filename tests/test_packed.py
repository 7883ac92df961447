import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaelite.packed import PackedImages
from vaelite.training import fit, fit_seeds
from vaelite.vae import VAE

sizes = st.tuples(st.integers(0, 6), st.integers(1, 19), st.integers(1, 19))


def random_images(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4


@settings(deadline=None)
@given(sizes, st.integers(0, 99))
def test_a_round_trip_changes_nothing(shape, seed):
    images = random_images(shape, seed)
    packed = PackedImages.pack(images)
    assert packed.shape == shape and len(packed) == shape[0] and packed.ndim == 3
    assert packed[:].dtype == packed.dtype == torch.uint8
    assert torch.equal(packed[:], images.to(torch.uint8) * 255)
    assert torch.equal(PackedImages.pack(packed[:]).bits, packed.bits)


@settings(deadline=None)
@given(sizes, st.integers(0, 99))
def test_the_bits_are_numpys(shape, seed):
    images = random_images(shape, seed)
    expected = np.packbits(images.flatten(1).numpy(), axis=1)
    np.testing.assert_array_equal(PackedImages.pack(images).bits.numpy(), expected)


@settings(deadline=None)
@given(st.data())
def test_every_index_selects_what_it_selects_of_a_tensor(data):
    images = random_images((7, 3, 5)).to(torch.uint8) * 255
    packed = PackedImages.pack(images)
    rows = data.draw(st.lists(st.integers(0, 6), max_size=12))
    index = torch.tensor(rows, dtype=torch.long)
    assert torch.equal(packed[index], images[index])
    assert torch.equal(packed.index_select(0, index), images.index_select(0, index))
    many = index[:, None].expand(-1, 2)  # one batch for each of many runs
    assert torch.equal(packed[many], images[many])
    start, stop = data.draw(st.integers(-8, 8)), data.draw(st.integers(-8, 8))
    assert torch.equal(packed[start:stop], images[start:stop])
    assert torch.equal(packed[-2], images[-2])


def test_packing_piece_by_piece():
    images = random_images((11, 6, 7))
    pieces = PackedImages.pack(iter(images.split(4)))
    assert torch.equal(pieces.bits, PackedImages.pack(images).bits)
    assert pieces.nbytes == 11 * 6  # 42 pixels need 6 bytes


def test_moving():
    packed = PackedImages.pack(random_images((3, 4, 5)))
    moved = packed.to("meta")
    assert moved.device.type == "meta" and packed.device.type == "cpu"
    assert moved.shape == packed.shape


@pytest.mark.parametrize(
    ("bits", "size", "error", "message"),
    [
        (torch.zeros(3, 2), (3, 5), TypeError, "bits must be a uint8 tensor; got torch.float32"),
        ([[0]], (2, 2), TypeError, r"bits must be a uint8 tensor; got \[\[0\]\]"),
        (torch.zeros(3, 2).byte(), (0, 5), ValueError, "positive; got 0 and 5"),
        (torch.zeros(3, 3).byte(), (3, 5), ValueError, r"bits must be \(N, 2\).*got \(3, 3\)"),
        (torch.zeros(6).byte(), (3, 5), ValueError, r"bits must be \(N, 2\).*got \(6,\)"),
    ],
)
def test_bad_bits(bits, size, error, message):
    with pytest.raises(error, match=message):
        PackedImages(bits, *size)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 4), TypeError, "images must be uint8 or bool; got torch.float32"),
        (torch.zeros(2, 3).byte(), ValueError, r"images must be \(N, H, W\).*got \(2, 3\)"),
        ([], ValueError, "at least one tensor"),
        (torch.zeros(2, 3, 0).bool(), ValueError, "height and width must be positive"),
        ([torch.zeros(2, 3, 4).bool(), torch.zeros(2, 4, 3).bool()], ValueError, "of one size"),
    ],
)
def test_bad_images(images, error, message):
    with pytest.raises(error, match=message):
        PackedImages.pack(images)


def test_only_rows_can_be_selected():
    with pytest.raises(ValueError, match="dim must be 0 for packed images; got 1"):
        PackedImages.pack(random_images((3, 4, 5))).index_select(1, torch.tensor([0]))


def trained(data, pixels=35):
    torch.manual_seed(0)
    model = VAE.mlp(pixels, 8, 2)
    history = fit(model, data, steps=9, batch_size=5, progress=False)
    return history["loss"], torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_on_packed_images_is_training_on_the_images():
    images = random_images((23, 5, 7)).to(torch.uint8) * 255
    losses, parameters = trained(images)
    packed_losses, packed_parameters = trained(PackedImages.pack(images))
    np.testing.assert_array_equal(packed_losses, losses)
    assert torch.equal(packed_parameters, parameters)


def test_so_is_training_many_models():
    images = random_images((23, 5, 7)).to(torch.uint8) * 255
    (plain, losses), (packed, packed_losses) = (
        fit_seeds(lambda seed: VAE.mlp(35, 8, 2), x, [0, 1], steps=9, batch_size=5, progress=False)
        for x in (images, PackedImages.pack(images))
    )
    for one, other in zip(plain, packed, strict=True):
        assert torch.equal(one.encoder.net[0].weight, other.encoder.net[0].weight)
    np.testing.assert_array_equal(losses[1]["loss"], packed_losses[1]["loss"])


def test_packed_images_of_another_size_are_refused_before_training():
    with pytest.raises(ValueError, match="36"):
        trained(PackedImages.pack(random_images((23, 5, 7))), pixels=36)
