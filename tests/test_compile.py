"""``torch.compile`` of a model's loss, at two batch sizes, against the loss as it is."""

import shutil

import pytest
import torch

from vaelite.disentangle import BetaTCVAE, FactorVAE
from vaelite.isa import ISAPrior
from vaelite.vae import VAE

SHAPE = (12, 8, 5)
MAKERS = {
    "learned exponents": lambda: VAE.mlp(*SHAPE, prior=ISAPrior([2, 3], learned=True)),
    "beta-TCVAE": lambda: BetaTCVAE.mlp(*SHAPE, prior=ISAPrior([2, 3]), dataset_size=40),
    "FactorVAE": lambda: FactorVAE.mlp(*SHAPE, discriminator_hidden=(8,)),
}


def assert_compiles(model, **options):
    torch._dynamo.reset()
    compiled = torch.compile(model.loss, **options)
    parameters = [
        value for name, value in model.named_parameters() if not name.startswith("discriminator")
    ]
    for size in (7, 11):
        x, noise = torch.rand(size, 12), torch.randn(size, 5)
        results = []
        for loss_of in (compiled, model.loss):
            loss, parts = loss_of(x, noise)
            results.append([loss, *parts.values(), *torch.autograd.grad(loss, parameters)])
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
        assert compiled(x)[0].isfinite()  # and with noise of its own


@pytest.mark.parametrize("name", MAKERS)
def test_the_loss_is_one_graph(name):
    """Everything but the generation of machine code, which takes a minute a model."""
    torch.manual_seed(0)
    # The discriminator is frozen by its flags, which torch takes out of the graph.
    assert_compiles(MAKERS[name](), backend="aot_eager", fullgraph=name != "FactorVAE")


@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler"
)
def test_the_loss_becomes_machine_code():
    torch.manual_seed(0)
    assert_compiles(MAKERS["learned exponents"](), fullgraph=True)
