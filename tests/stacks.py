"""What a stack of models promises: each becomes what it becomes alone."""

import torch

from vaelite.training import fit, fit_seeds


def assert_stacked_as_alone(build, data, equal_nan=False, **options):
    """Train models of two seeds together and alone; all of their tensors agree.

    ``build(seed)`` makes a model in double precision.
    """
    stacked, _ = fit_seeds(build, data, [3, 4], progress=False, **options)
    for seed, other in zip((3, 4), stacked, strict=True):
        torch.manual_seed(seed)
        model = build(seed)
        fit(model, data, seed=seed, progress=False, **options)
        for name, tensor in model.state_dict().items():
            if isinstance(tensor, torch.Tensor):  # not the state of an optimiser
                torch.testing.assert_close(
                    tensor, other.state_dict()[name], atol=1e-9, rtol=1e-7, equal_nan=equal_nan
                )
