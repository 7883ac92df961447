r"""Factor analysis, where every quantity of variational inference has a closed form.

The model (ISA-VAE, equation 14) draws :math:`z_n \sim N(0, I)` in :math:`\mathbb{R}^K` and
:math:`x_n \sim N(W z_n, D)` in :math:`\mathbb{R}^L` with diagonal
:math:`D = \mathrm{diag}(\sigma_1^2, \dots, \sigma_L^2)`. Shapes: ``X`` is ``(N, L)``, ``W`` is
``(L, K)``, ``noise_var`` is the diagonal of :math:`D`, ``(L,)``. All results are in nats and, where
data are involved, totals over the ``N`` data. All functions of ``X``, ``W``, ``noise_var`` and
``beta`` can be differentiated by autograd.

Arguments may be anything that NumPy can turn into real arrays: nested lists and tuples, arrays of
any numeric type, PyTorch tensors that need no gradient; all are computed with as float64. Every
function raises TypeError for an array that does not hold real numbers, and ValueError for a shape
that does not fit, a value that is not finite, a variance, count or parameter that is not positive.
Below, "Raises" names only what comes on top.
"""

from __future__ import annotations

import autograd.numpy as np

from ._validation import checked


def sample(W, noise_var, n, rng):
    r"""Draw ``n`` data from the model (ISA-VAE, equation 14).

    Args:
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        n: number of data.
        rng: ``numpy.random.Generator``.

    Returns:
        Observations ``(n, L)`` and the latent variables ``(n, K)`` behind them.
    """
    W, noise_var, n = checked(W=W, noise_var=noise_var, n=n)
    L, K = np.shape(W)
    Z = rng.standard_normal((n, K))
    X = Z @ np.transpose(W) + np.sqrt(noise_var) * rng.standard_normal((n, L))
    return X, Z


def log_likelihood(X, W, noise_var):
    r"""Exact log-likelihood :math:`\sum_n \log N(x_n; 0, W W^\top + D)` (ISA-VAE, B.2).

    It is invariant under :math:`W \to W R` for every orthogonal :math:`R`.

    Args:
        X: data ``(N, L)``.
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.

    Returns:
        The total over the data, in nats.
    """
    X, W, noise_var = checked(X=X, W=W, noise_var=noise_var)
    N, L = np.shape(X)
    scale = np.sqrt(noise_var)
    X, V = X / scale, np.transpose(np.transpose(W) / scale)  # noise variance 1 in these units
    covariance = V @ V.T + np.eye(L)
    log_det = np.linalg.slogdet(covariance)[1] + np.sum(np.log(2 * np.pi * noise_var))
    return -0.5 * (N * log_det + np.sum(X * np.linalg.solve(covariance, X.T).T))


def posterior_precision(W, noise_var, beta=1.0):
    r"""Precision :math:`W^\top D^{-1} W / \beta + I` of the exact posterior, ``(K, K)``.

    With ``beta = 1`` this is the posterior of equation 15 in the ISA-VAE paper; any other value
    belongs to the model whose likelihood is raised to the power :math:`M = 1 / \beta` (B.2).

    Args:
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        beta: weight of the KL divergence.
    """
    W, noise_var, beta = checked(W=W, noise_var=noise_var, beta=beta)
    return np.transpose(W) / noise_var @ W / beta + np.eye(np.shape(W)[1])


def posterior(W, noise_var, beta=1.0):
    r"""Exact posterior :math:`N(z; R x, \Sigma)` of the model with likelihood to the power 1/beta.

    .. math::
        \Sigma = (W^\top D^{-1} W / \beta + I)^{-1}, \qquad
        R = \Sigma\, W^\top D^{-1} / \beta .

    Args:
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        beta: weight of the KL divergence; 1 gives the posterior of equation 15.

    Returns:
        Recognition weights :math:`R`, ``(K, L)``, and covariance :math:`\Sigma`, ``(K, K)``.
    """
    W, noise_var, beta = checked(W=W, noise_var=noise_var, beta=beta)
    covariance = np.linalg.inv(posterior_precision(W, noise_var, beta))
    return covariance @ (np.transpose(W) / noise_var) / beta, covariance


def mean_field(W, noise_var, beta=1.0):
    r"""Best factorised :math:`q(z) = N(z; R x, \mathrm{diag}(v))` for the given ``beta``.

    The mean is that of the exact posterior. The variances are the inverse *diagonal of the
    precision*, :math:`v_k = 1 / (\Sigma^{-1})_{kk}`. They are at most :math:`\Sigma_{kk}`:
    mean-field inference is overconfident wherever the posterior is correlated.  ISA-VAE, B.2.

    Args:
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        beta: weight of the KL divergence.

    Returns:
        Recognition weights :math:`R`, ``(K, L)``, and variances :math:`v`, ``(K,)``.
    """
    recognition, _ = posterior(W, noise_var, beta)
    return recognition, 1 / np.diag(posterior_precision(W, noise_var, beta))


def reconstruction(X, W, noise_var, beta=1.0):
    r"""Expected log-likelihood :math:`\sum_n E_q[\log p(x_n \mid z)]` at the mean-field q for beta.

    .. math::
        -\tfrac12 \sum_n \Big( \log\det(2\pi D) + (x_n - W R x_n)^\top D^{-1} (x_n - W R x_n)
        + \mathrm{trace}(W^\top D^{-1} W \Sigma_q) \Big)

    Equation 16 of the ISA-VAE paper is this, divided by ``beta``.

    Args:
        X: data ``(N, L)``.
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        beta: weight of the KL divergence, on which q depends.

    Returns:
        The total over the data, in nats.
    """
    X, W, noise_var, beta = checked(X=X, W=W, noise_var=noise_var, beta=beta)
    recognition, variance = mean_field(W, noise_var, beta)
    residual = X - X @ recognition.T @ np.transpose(W)
    spread = np.sum(np.transpose(W) ** 2 / noise_var * variance[:, None])
    constant = np.sum(np.log(2 * np.pi * noise_var))
    return -0.5 * (np.shape(X)[0] * (constant + spread) + np.sum(residual**2 / noise_var))


def kl(X, W, noise_var, beta=1.0):
    r"""Divergence :math:`\sum_n \mathrm{KL}(q(z_n) \| N(0, I))` at the mean-field q for beta.

    .. math::
        \tfrac12 \sum_n \Big( |R x_n|^2 + \sum_k (v_k - 1 - \log v_k) \Big)

    Args:
        X: data ``(N, L)``.
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        beta: weight of the KL divergence in the objective, on which q depends; the result is not
            multiplied by it.

    Returns:
        The total over the data, in nats.
    """
    X, W, noise_var, beta = checked(X=X, W=W, noise_var=noise_var, beta=beta)
    recognition, variance = mean_field(W, noise_var, beta)
    spread = np.sum(variance - 1 - np.log(variance))
    return 0.5 * (np.sum((X @ recognition.T) ** 2) + np.shape(X)[0] * spread)


def free_energy(X, W, noise_var, beta=1.0):
    r"""Free energy in the normalisation of equation 13: reconstruction - beta KL.

    .. math:: F_\beta = \sum_n E_q[\log p(x_n \mid z_n)] - \beta\, \mathrm{KL}(q(z_n) \| p(z_n))

    at the mean-field q that is optimal for that ``beta``. For ``beta`` of at least 1 it is a lower
    bound on :func:`log_likelihood`; at ``beta = 1`` the two agree where
    :math:`W^\top D^{-1} W` is diagonal. Appendix B of the paper plots this divided by ``beta``.

    Args:
        X: data ``(N, L)``.
        W: weights ``(L, K)``.
        noise_var: noise variances ``(L,)``.
        beta: weight of the KL divergence.

    Returns:
        The total over the data, in nats.
    """
    (beta,) = checked(beta=beta)
    return reconstruction(X, W, noise_var, beta) - beta * kl(X, W, noise_var, beta)


def rotation(angle):
    r"""Rotation matrix :math:`\begin{pmatrix}\cos & -\sin\\ \sin & \cos\end{pmatrix}`, ``(2, 2)``.

    ``W @ rotation(angle)`` turns the *latent* space: it changes the weights and leaves the
    likelihood alone. (``rotation(angle) @ W``, as B.3 of the paper prints it, would turn the
    observation space and change the likelihood.)

    Args:
        angle: in radians.
    """
    (angle,) = checked(angle=angle)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def over_complete_weights(alpha, rho=1.0):
    r"""Three components for two observed dimensions, the family of equation 17, ``(2, 3)``.

    .. math::
        W = \tfrac{1}{\sqrt2} \begin{pmatrix}
        \alpha & \sqrt{1 - \alpha^2} & \rho \\ \alpha & \sqrt{1 - \alpha^2} & -\rho \end{pmatrix}

    :math:`W W^\top`, and so the likelihood, is the same for all ``alpha``. (The paper calls the
    second coefficient beta; it has nothing to do with the weight of the KL divergence.)

    Args:
        alpha: in [0, 1]; at 0 the first component is pruned, at 1 the second.
        rho: length of the third column.

    Raises:
        ValueError: if ``alpha`` lies outside [0, 1].
    """
    alpha, rho = checked(alpha=alpha, rho=rho)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1]; got {alpha}.")
    rest = np.sqrt(1 - alpha**2)
    return np.array([[alpha, rest, rho], [alpha, rest, -rho]]) / np.sqrt(2.0)
