"""Distributions that PyTorch does not have, as ``torch.distributions.Distribution`` subclasses."""

from vaelite.distributions.lp_nested import ExponentialPower, IndependentSubspaces, LpNested
from vaelite.distributions.normal_gamma import NormalGamma

__all__ = ["ExponentialPower", "IndependentSubspaces", "LpNested", "NormalGamma"]
