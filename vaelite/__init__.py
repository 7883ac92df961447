"""Structured variational autoencoders, small enough to read.

The package behind the book: one module a paper, in the order of the paper's equations.
Nothing heavy is imported here; ``import vaelite.toys.ica`` never loads PyTorch.
"""

__version__ = "0.1.0"
