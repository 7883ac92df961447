"""Distributions that PyTorch does not have, as ``torch.distributions.Distribution`` subclasses."""

from vaelite.distributions.lp_nested import ExponentialPower, IndependentSubspaces, LpNested

__all__ = ["ExponentialPower", "IndependentSubspaces", "LpNested"]
