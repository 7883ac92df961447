"""What codes hold of a truth that is known: clusters, and what a linear classifier reads."""

from __future__ import annotations

from torch import Tensor

from vaelite._validation import check_count


def cluster_agreement(codes: Tensor, labels: Tensor, clusters: int, seed: int) -> float:
    """Return the adjusted Rand index between k-means clusters of codes and the true classes.

    Args:
        codes: ``(N, D)``.
        labels: ``(N,)``.
        clusters: how many k-means looks for, from ten starts.
        seed: of those starts.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    means = KMeans(check_count("clusters", clusters), n_init=10, random_state=seed)
    found = means.fit_predict(codes.double().cpu().numpy())
    return float(adjusted_rand_score(labels.cpu().numpy(), found))


def linear_accuracy(codes: Tensor, labels: Tensor, new_codes: Tensor, new_labels: Tensor) -> float:
    """Return how often logistic regression on standardised codes names the class of new ones.

    Args:
        codes: ``(N, D)``, to fit it on.
        labels: ``(N,)``.
        new_codes: ``(M, D)``, to score it on.
        new_labels: ``(M,)``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, x_new = (part.double().cpu().numpy() for part in (codes, new_codes))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(x, labels.cpu().numpy()).score(x_new, new_labels.cpu().numpy()))


def read_off(codes: Tensor, labels: Tensor) -> float:
    """Return how well a linear classifier reads a class from codes it was not fitted on.

    :func:`linear_accuracy` on the second half of the data, fitted on the first.
    """
    half = len(codes) // 2
    return linear_accuracy(codes[:half], labels[:half], codes[half:], labels[half:])
