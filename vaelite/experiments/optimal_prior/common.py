r"""What the experiments on optimal priors share: models, training with a stop, and measures.

The experiments are ``optimal_prior_usps_mnist`` and ``optimal_prior_mnist_usps``, two tasks of
digits (the slides' tables on density estimation and classification), and ``optimal_prior_faces``,
three tasks.  A trial is a method and a seed; the data are drawn anew for each seed, alike for all
methods.

**Methods.**

======================  ==========================================================================
``vae target``          a VAE on the target's training data alone
``vae``                 a VAE on all tasks, which it is not told
``cvae``                the conditional VAE
``cvae vamp``           with a VampPrior of 200 pseudo-inputs
``cvae hsic``           with a penalty on the dependence between code and task
``proposed``            with the optimal prior: a density ratio, trained beside it
``proposed 3``          the same with three steps of the estimator for each of the networks'
``cvae balanced``       every task is seen equally often, and q(z) pools them equally
``proposed balanced``   the same
======================  ==========================================================================

**Training.**  Batches mix the tasks as the data do: 1.5 % of a batch are the target's.  The weights
that are kept are those with the best bound on held-out data of the targets, each method by its own
bound, looked at every ``check_every`` steps.

**What is measured**, on ``scored`` test data of each target, drawn anew for each seed:

- ``log_likelihood``, importance-sampled at 50 codes for ``likelihood_data`` of them, nats a datum,
  under the model's own prior: N(0, I); the VampPrior; for the proposed models p(z) e^T, normalised.
  Targets are averaged; ``log_likelihoods`` has each.
- ``log_likelihood_normal``, ``log_likelihood_ratio`` and ``log_likelihood_aggregate``: the same
  networks under N(0, I), under p(z) e^T, and under the exact q(z), the mixture over the encodings
  of all training data.  For the CVAE they tell what another prior after training is worth.
  T is learned once more for this, by the final codes, and stopped on held-out ones.
- ``log_normalizer``: ln E[e^T] from 100,000 draws, half of them near the codes, that the
  likelihoods subtract; ``log_normalizer_plain``, all drawn from N(0, I).
- ``ratio``: the mean of T over training codes; ``ratio_exact``, that of ln q(z)/p(z);
  ``ratio_online``, of the proposed models, for the estimator as training left it.
- ``accuracy``: a logistic regression on the posterior means of the target's training data and their
  labels, on test data; ``accuracy_transfer``, one that is fitted on the source's instead.
- ``auc_linear`` and ``auc``: how well a logistic regression, or boosted trees, tell a test code's
  task, fitted on half of the codes, all tasks alike in number; 1/2 is chance.
- ``task_information``, ``marginal_kl``, ``data_information``: theorem 1 for those codes, where each
  task has the same share; ``active``: latents in use.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelite import gaussian
from vaelite.experiments.networks import check_method, seeded
from vaelite.experiments.probes import linear_accuracy
from vaelite.metrics import active_latents
from vaelite.nets import evaluated
from vaelite.optimal_prior import (
    CVAE,
    HSICCVAE,
    AggregatePosterior,
    OptimalPriorVAE,
    RatioPrior,
    VampPriorCVAE,
    kl_decomposition,
)
from vaelite.training import History, Phase, fit
from vaelite.vae import VAE, Gaussian, Prior, StandardNormal

METHODS = [
    "vae target",
    "vae",
    "cvae",
    "cvae vamp",
    "cvae hsic",
    "proposed",
    "proposed 3",
    "cvae balanced",
    "proposed balanced",
]
KINDS = {"cvae vamp": VampPriorCVAE, "cvae hsic": HSICCVAE}


@dataclass(frozen=True)
class Part:
    """Data of all tasks, one after the other: training, validation or test data.

    Attributes:
        x: ``(N, P)`` uint8.
        task: ``(N,)``.
        labels: ``(N,)`` classes, or None.
    """

    x: Tensor
    task: Tensor
    labels: Tensor | None = None

    @classmethod
    def of(cls, tasks: Sequence[tuple[Tensor, Tensor | None]]) -> Part:
        """Put the data of tasks, with their labels, one after the other."""
        task = [torch.full((len(x),), k) for k, (x, _) in enumerate(tasks)]
        labels = [y for _, y in tasks if y is not None]
        return cls(
            torch.cat([x.flatten(1) for x, _ in tasks]),
            torch.cat(task),
            torch.cat(labels) if labels else None,
        )

    def only(self, task: int) -> Part:
        """Return the data of one task."""
        return self.rows(self.task == task)

    def rows(self, rows: Tensor) -> Part:
        """Return some of the data."""
        labels = None if self.labels is None else self.labels[rows]
        return Part(self.x[rows], self.task[rows], labels)


@dataclass(frozen=True)
class Tasks:
    """The data of a seed.

    Attributes:
        train: what models are trained on.
        valid: what decides when to stop.
        test: as many of each task.
        targets: the tasks that count.
    """

    train: Part
    valid: Part
    test: Part
    targets: tuple[int, ...]

    @property
    def count(self) -> int:
        """K."""
        return 1 + int(self.train.task.max())


def make_model(method: str, data: Tasks, settings: Mapping[str, Any]) -> VAE:
    """Build the model of a method.

    Raises:
        ValueError: if there is no such method.
    """
    check_method(method, METHODS)
    sizes = (data.train.x.shape[1], settings["hidden"], settings["latent_dim"])
    noise = settings["noise"]
    options: dict[str, Any] = {}
    if noise is not None:
        options["likelihood"] = Gaussian(noise, learned=True)
    if method.startswith("vae"):
        return VAE.mlp(*sizes, **options)
    match method:
        case "cvae vamp":
            rows = torch.randperm(len(data.train.x))[: settings["pseudo_inputs"]]
            options |= {"pseudo_inputs": data.train.x[rows], "pseudo_tasks": data.train.task[rows]}
        case "cvae hsic":
            options["weight"] = settings["hsic_weight"]
        case "proposed" | "proposed 3" | "proposed balanced":
            options["ratio_hidden"] = settings["ratio_hidden"]
            options["ratio_steps"] = 3 if method == "proposed 3" else 1
            return OptimalPriorVAE.mlp(data.count, *sizes, **options)
    return KINDS.get(method, CVAE).mlp(data.count, *sizes, **options)


def training_data(method: str, data: Tasks) -> Any:
    """Return what a method is trained on."""
    train = data.train
    if method == "vae target":
        return train.only(data.targets[0]).x
    if method == "vae":
        return train.x
    if method.endswith("balanced"):
        rows = balanced_rows(train.task)
        return train.x[rows], train.task[rows]
    return train.x, train.task


def balanced_rows(task: Tensor) -> Tensor:
    """Return the rows of all data, those of small tasks several times, so that all are as large."""
    counts = task.bincount()
    rows = [
        (task == k).nonzero()[:, 0].repeat_interleave(round(float(counts.max() / counts[k])))
        for k in range(len(counts))
    ]
    return torch.cat(rows)


def train(
    trial: Mapping[str, Any], settings: Mapping[str, Any], data: Tasks, checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial, and keep its best weights."""
    with seeded(trial["seed"]):
        model = make_model(trial["method"], data, settings)
    model.best = best = Best(data, trial["seed"])  # a part: checkpoints hold what it remembers
    every, steps = settings["check_every"], settings["steps"]
    chosen = training_data(trial["method"], data)
    rows = len(chosen[0] if isinstance(chosen, tuple) else chosen)
    history = fit(
        model,
        chosen,
        phases=[
            Phase(min(every, steps - start), before=best.look) for start in range(0, steps, every)
        ],
        batch_size=min(settings["batch_size"], rows),
        lr=settings["lr"],
        seed=trial["seed"],
        progress=False,
        checkpoint=checkpoint,
        resume=checkpoint is not None,
    )
    best.look(model)
    return [best.restore(model)], [history]


class Best(nn.Module):
    """Keeps the weights with the best bound on the targets' validation data.

    Args:
        data: the tasks.
        seed: of the codes, the same at each look.
    """

    def __init__(self, data: Tasks, seed: int) -> None:
        super().__init__()
        self.parts = [data.valid.only(k) for k in data.targets]
        self.seed = seed
        self._bounds: list[float] = []
        self._state: dict[str, Any] = {}

    def look(self, model: nn.Module, data: Any = None) -> None:
        """Compute the bound, and keep the weights if it is the best so far."""
        bounds = [bound(model, part, self.seed) for part in self.parts]
        self._bounds.append(sum(bounds) / len(bounds))
        if self._bounds[-1] == max(self._bounds):
            self._state = copy.deepcopy(model.state_dict())

    def restore(self, model: nn.Module) -> nn.Module:
        """Load the best weights; the bounds stay in a buffer."""
        model.load_state_dict(self._state)
        model.register_buffer("bounds", torch.tensor(self._bounds))
        return model

    def memory(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the looks so far."""
        return {"bounds": self._bounds, "state": self._state}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take it back, so that a resumed run goes on as it was."""
        self._bounds, self._state = memory["bounds"], memory["state"]


@torch.no_grad()
@torch.random.fork_rng()
def bound(model: VAE, part: Part, seed: int) -> float:
    """Return the mean of a model's own bound at one code a datum, nats."""
    torch.manual_seed(seed)
    with evaluated(model):
        parts = model.loss(_batch(model, part))[1]
    return -float(parts["reconstruction"] + parts["kl"] - parts.get("log_ratio", 0.0))


def _batch(model: VAE, part: Part) -> Any:
    return (part.x, part.task) if isinstance(model, CVAE) else part.x


def encode(model: VAE, part: Part) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of q, whether or not the model is told the task."""
    return model.encode(part.x, part.task) if isinstance(model, CVAE) else model.encode(part.x)


@torch.no_grad()
@torch.random.fork_rng()
def measure(
    model: VAE, method: str, data: Tasks, settings: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Measure what the module's docstring lists."""
    torch.manual_seed(seed)
    with evaluated(model):
        return {
            **_likelihoods(model, method, data, settings, seed),
            **_classification(model, method, data),
            **_dependence(model, data, seed),
            "bound": sum(bound(model, data.test.only(k), seed) for k in data.targets)
            / len(data.targets),
            "best_check": int(model.bounds.argmax()),
            "checks": len(model.bounds),
        }


def _likelihoods(
    model: VAE, method: str, data: Tasks, settings: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    part = data.train.only(data.targets[0]) if method == "vae target" else data.train
    if method.endswith("balanced"):
        part = part.rows(balanced_rows(part.task))
    mean, log_var = encode(model, part)
    z = gaussian.reparameterize(mean, log_var)
    normal, aggregate = StandardNormal(model.latent_dim), AggregatePosterior(mean, log_var)
    ratio = RatioPrior(model.latent_dim, settings["ratio_hidden"])
    with torch.enable_grad():
        ratio.ratio.fit(z, normal.sample(len(z)), seed=seed)
    ratio.normalize(settings["normalizer_samples"], z)
    priors: dict[str, Prior] = {"normal": normal, "ratio": ratio, "aggregate": aggregate}
    own = "normal"
    found = {
        "log_normalizer": float(ratio.log_constant),
        "log_normalizer_plain": float(ratio.log_normalizer(settings["normalizer_samples"])),
        "ratio": float(ratio.log_ratio(z).mean()),
        "ratio_exact": float((aggregate.log_prob(z) - normal.log_prob(z)).mean()),
    }
    if method == "cvae vamp":
        priors["vamp"], own = model.prior, "vamp"
    if isinstance(model, OptimalPriorVAE):
        own = "ratio"
        found["ratio_online"] = float(model.prior.log_ratio(z).mean())
    each = [
        _log_likelihood(
            model,
            data.test.only(k).rows(torch.arange(settings["likelihood_data"])),
            priors,
            settings["codes"],
        )
        for k in data.targets
    ]
    means = {name: sum(task[name] for task in each) / len(each) for name in priors}
    return found | {
        "log_likelihood": means[own],
        "log_likelihoods": [task[own] for task in each],
        **{f"log_likelihood_{name}": means[name] for name in ("normal", "ratio", "aggregate")},
    }


def _log_likelihood(
    model: VAE, part: Part, priors: Mapping[str, Prior], codes: int
) -> dict[str, float]:
    """Return the mean log-likelihood under each prior, all at the same codes."""
    totals = dict.fromkeys(priors, 0.0)
    for rows in torch.arange(len(part.x)).split(100):
        batch = model.prepare(_batch(model, part.rows(rows)))
        mean, log_var = model._encode(batch)
        z = gaussian.reparameterize(mean, log_var, torch.randn(codes, *mean.shape))
        rest = model._log_likelihood(batch, z) - gaussian.log_density(z, mean, log_var)
        for name, prior in priors.items():
            weights = rest + prior.log_prob(z)
            totals[name] += float((weights.logsumexp(0) - math.log(codes)).sum())
    return {name: total / len(part.x) for name, total in totals.items()}


def _classification(model: VAE, method: str, data: Tasks) -> dict[str, float]:
    if data.train.labels is None:
        return {}
    (target,) = data.targets
    test = data.test.only(target)
    few = data.train.only(target)
    found = {"accuracy": _accuracy(model, few, test)}
    if method != "vae target":
        found["accuracy_transfer"] = _accuracy(model, data.train.only(1 - target), test)
    return found


def _accuracy(model: VAE, fitted: Part, test: Part) -> float:
    codes, new_codes = (encode(model, part)[0] for part in (fitted, test))
    return linear_accuracy(codes, fitted.labels, new_codes, test.labels)


def _dependence(model: VAE, data: Tasks, seed: int) -> dict[str, float]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    size = int(data.test.task.bincount().min())
    rows = torch.cat([(data.test.task == k).nonzero()[:size, 0] for k in range(data.count)])
    rows = rows[torch.randperm(len(rows))]
    part = data.test.rows(rows)
    mean, log_var = encode(model, part)
    terms = kl_decomposition(mean, log_var, part.task, samples=5)
    z, task = gaussian.reparameterize(mean, log_var).double().numpy(), part.task.numpy()
    trees = HistGradientBoostingClassifier(random_state=seed)
    return {
        "auc_linear": _area(LogisticRegression(max_iter=1000), z, task),
        "auc": _area(trees, z, task),
        "task_information": float(terms.task_information),
        "marginal_kl": float(terms.marginal_kl),
        "data_information": float(terms.data_information),
        "active": int(active_latents(mean, log_var).sum()),
    }


def _area(classifier: Any, z: np.ndarray, task: np.ndarray) -> float:
    """Fit a classifier on half of the codes; return the area under its curve on the others."""
    from sklearn.metrics import roc_auc_score

    half = len(z) // 2
    chances = classifier.fit(z[:half], task[:half]).predict_proba(z[half:])
    if chances.shape[1] == 2:
        chances = chances[:, 1]
    return float(roc_auc_score(task[half:], chances, multi_class="ovr"))
