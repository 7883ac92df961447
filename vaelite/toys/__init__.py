"""Models small enough that the truth is known: factor analysis and ICA, in NumPy and autograd.

- :mod:`vaelite.toys.factor_analysis`: likelihood, posterior and free energy in closed form;
- :mod:`vaelite.toys.ica`: Student-t sources, one quadrature, and a fit that only ever improves;
- :mod:`vaelite.toys.cross_population`: the linear-Gaussian CPVAE, with every information exact;
- :mod:`vaelite.toys.optimal_prior`: a conditional VAE on tasks in one dimension, every term exact.
"""
