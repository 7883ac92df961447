"""Heads with attributes: do the labels of some name the factors of all?

Figures 1 and 6 and table 1 of the factorial-mixture paper, on drawn heads in place of CelebA.  Five
factors of 8 latents: glasses, a smile and a shape of the head, of two components each, for which
40 % of the images have labels, and two of 16 components without.  Heads look at the viewer within
12 degrees, as CelebA's aligned ones do: turned further, a smile cannot be judged at 16 x 16 pixels.

The full profile has the paper's sizes: 64 x 64 pixels, its four convolutions with a mean and a
deviation for each pixel, 64 latents a factor, two free factors of 64 components, and a weight of 20
on the KL of z that falls to one.  The paper does not say how fast; here within half of the last
phase.  Its deviations lie between 0.001 and 0.4, which for intensities from 0 to 1, in place of -1
to 1, are half as much.

**Methods.**  ``labels`` is eq. 8 with Delta = 50, and ``labels strong`` with the paper's 1,000,
which stands there beside images of 12,288 numbers, here of 256.  ``clamped`` has Delta = 0, so that
labels clamp responsibilities and nothing else.  ``unlabelled`` sees no label.

**What is measured.**

- ``accuracy_glasses``, ``_smile`` and ``_shape``: how often the likelier component of the
  attribute's factor is the true one, on test heads.  Without labels, the factor and the name of its
  components are those that fit one half of the test heads best, and the other half is scored.
  ``accuracy`` is the mean of the three.
- ``judged_glasses`` and so on: 400 heads drawn with all combinations of the three components, the
  others free, the mean of p(x|z) shown to a judge: how often it sees what was asked for.  Table 1,
  with networks in place of people.  ``judged`` is the mean.  None without labels.
- ``judge_glasses`` and so on: how often that judge is right about real test heads.  Judges are
  networks of 64 units, fitted on other heads.
- ``bound``, ``reconstruction``, ``kl_z`` and ``kl_r`` on test heads; ``used``, components of the
  two free factors with a datum or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from vaelite.convnets import FACES, PixelGaussian
from vaelite.data import heads
from vaelite.experiments import networks
from vaelite.experiments.factorial_mixture import common
from vaelite.experiments.factorial_mixture.mnist import bound
from vaelite.experiments.networks import check_method, device, seeded
from vaelite.factorial_mixture import FactorialMixture, FactorialMixtureVAE
from vaelite.nets import evaluated
from vaelite.training import History
from vaelite.vae import Gaussian

LABEL_WEIGHTS = {"labels": 50.0, "labels strong": 1000.0}
METHODS = [*LABEL_WEIGHTS, "clamped", "unlabelled"]
ATTRIBUTES = ("glasses", "smile", "shape")
IDENTITIES, AZIMUTH, ELEVATION, LIGHT = 1000, 12.0, 6.0, 40.0  # the last three in degrees, +-
DRAWN = 400
COMMON = {
    "methods": METHODS,
    "size": 16,
    "labelled": 0.4,
    "free": [16, 16],
    "factor_dim": 8,
    "noise": 0.01,
    "batch_size": 128,
    "lr": 2e-3,
    "shares": [0.25, 0.05],
}

SETTINGS = {
    "quick": {
        **COMMON,
        "hidden": [128],
        "train": 1500,
        "test": 300,
        "judge": 1000,
        "steps": 600,
        "seeds": 1,
    },
    "standard": {
        **COMMON,
        "hidden": [128],
        "train": 6000,
        "test": 2000,
        "judge": 4000,
        "steps": 3000,
        "seeds": 10,
    },
    "full": {
        **COMMON,
        "size": 64,
        "free": [64, 64],
        "factor_dim": 64,
        "convolutions": [list(part) for part in FACES],
        "deviations": [0.0005, 0.2],
        "first_beta": 20.0,
        "train": 160_000,
        "test": 4000,
        "judge": 20_000,
        "batch_size": 64,
        "lr": 1e-4,
        "steps": 430_000,
        "seeds": 3,
    },
}


anchors, trials = networks.no_anchors, networks.trials


def make_model(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> FactorialMixtureVAE:
    """Build a trial's model.

    Raises:
        ValueError: if there is no such method.
    """
    method = trial["method"]
    check_method(method, METHODS)
    labelled = 0 if method == "unlabelled" else len(ATTRIBUTES)
    components = [2] * len(ATTRIBUTES) + settings["free"]
    prior = FactorialMixture(components, settings["factor_dim"], labelled=labelled)
    noise, outputs = Gaussian(settings["noise"], learned=True), 1
    if "deviations" in settings:
        noise, outputs = PixelGaussian(*settings["deviations"]), 2
    return common.make(
        FactorialMixtureVAE,
        (1, settings["size"], settings["size"]),
        prior.dim,
        settings,
        outputs,
        prior=prior,
        dataset_size=settings["train"],
        likelihood=noise,
        label_weight=LABEL_WEIGHTS.get(method, 0.0),
    )


def train(
    group: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], checkpoint: Any = None
) -> tuple[list[nn.Module], list[History]]:
    """Train the model of a trial."""
    (trial,) = group
    with seeded(trial["seed"]):
        model = make_model(trial, settings)
    x, attributes = drawn("train", settings)
    data = x
    if trial["method"] != "unlabelled":
        generator = torch.Generator().manual_seed(trial["seed"])
        known = torch.rand(len(x), 1, generator=generator) < settings["labelled"]
        data = (x, torch.where(known, attributes, -1))
    return [model], [common.train_one(model, data, settings, trial["seed"], checkpoint)]


@torch.no_grad()
@torch.random.fork_rng()
def measure(
    model: FactorialMixtureVAE, trial: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure what the module's docstring lists."""
    torch.manual_seed(trial["seed"])
    model.to(device())
    x, attributes = drawn("test", settings)
    seen_by_model = x.to(device())
    named = trial["method"] != "unlabelled"
    with evaluated(model):
        gammas = model.responsibilities(seen_by_model)
        clusters = [gamma.argmax(1).cpu() for gamma in gammas[: len(ATTRIBUTES)]]
        shown = _judged(model, settings) if named else {}
        found = bound(model, seen_by_model)
    if named:
        right = [
            float((own == truth).double().mean())
            for own, truth in zip(clusters, attributes.T, strict=True)
        ]
    else:
        right = [best_factor(clusters, truth) for truth in attributes.T]
    used = model.prior.used()[len(ATTRIBUTES) :]
    return {
        "accuracy": sum(right) / len(right),
        **_each("accuracy", right),
        **shown,
        **_each(
            "judge",
            [j.score(x, truth) for j, truth in zip(judges(settings), attributes.T, strict=True)],
        ),
        **found,
        "used": int(sum(each.sum() for each in used)),
    }


def _each(name: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{name}_{which}": value for which, value in zip(ATTRIBUTES, values, strict=True)}


def best_factor(clusters: Sequence[Tensor], truth: Tensor) -> float:
    """Score, on the second half of the data, the factor that names the first half best."""
    half = len(truth) // 2
    first = [common.share_right(own[:half], truth[:half]) for own in clusters]
    return common.share_right(clusters[first.index(max(first))], truth)


def _judged(model: FactorialMixtureVAE, settings: Mapping[str, Any]) -> dict[str, float]:
    """Draw heads with every combination of the named components, and ask the judges."""
    right = torch.zeros(len(ATTRIBUTES))
    combinations = list(product(range(2), repeat=len(ATTRIBUTES)))
    each = DRAWN // len(combinations)
    for combination in combinations:
        x = model.sample(each, dict(enumerate(combination)))
        for i, judge in enumerate(judges(settings)):
            right[i] += judge.score(x, torch.full((each,), combination[i]))
    shares = (right / len(combinations)).tolist()
    return {"judged": sum(shares) / len(shares), **_each("judged", shares)}


@torch.no_grad()
def seen(model: FactorialMixtureVAE, settings: Mapping[str, Any], count: int) -> Tensor:
    """Return what judges see in heads drawn for every combination, ``(2, 2, 2, count, 3)``.

    The first three axes are the components asked for.  A head keeps its draw of the free factors,
    and of each component, so that neighbours along an axis differ by one factor alone.
    """
    drawn = {k: model.prior.sample(count, dict.fromkeys(range(3), k)) for k in (0, 1)}
    own = [model.prior.parts(drawn[k]) for k in (0, 1)]
    found = []
    for combination in product((0, 1), repeat=len(ATTRIBUTES)):
        asked = [own[k][i] for i, k in enumerate(combination)]
        x = model.likelihood.mean(model.decode(torch.cat([*asked, *own[0][len(asked) :]], -1)))
        found.append(torch.stack([judge.sees(x) for judge in judges(settings)], -1))
    return torch.stack(found).reshape(2, 2, 2, count, -1)


def share_between(clusters: Tensor, values: Tensor) -> Tensor:
    r"""Return the share of each variance that lies between clusters, ``(N,), (N, V) -> (V,)``.

    .. math:: \sum_k n_k (\bar v_k - \bar v)^2 \Big/ \sum_n (v_n - \bar v)^2

    Clusters drawn at random among K explain (K - 1) / (N - 1) on average.
    """
    values = values.double() - values.double().mean(0)
    member = torch.nn.functional.one_hot(clusters).double()  # (N, K)
    sums = member.mT @ values
    between = (sums.square() / member.sum(0).clamp(min=1).unsqueeze(-1)).sum(0)
    return between / values.square().sum(0)


class Judge:
    """A network of 64 units that tells an attribute from pixels.

    Args:
        x: ``(N, P)``, uint8 or intensities from 0 to 1.
        truth: ``(N,)`` 0 or 1.
    """

    def __init__(self, x: Tensor, truth: Tensor) -> None:
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        network = MLPClassifier((64,), alpha=1e-2, early_stopping=True, random_state=0)
        self.model = make_pipeline(StandardScaler(), network).fit(self._pixels(x), truth.numpy())

    def score(self, x: Tensor, truth: Tensor) -> float:
        """Return how often it is right."""
        return float(self.model.score(self._pixels(x), truth.numpy()))

    def sees(self, x: Tensor) -> Tensor:
        """Return what it sees in each picture, ``(N,)`` 0 or 1."""
        return torch.from_numpy(self.model.predict(self._pixels(x)))

    @staticmethod
    def _pixels(x: Tensor) -> Any:
        x = x.double() / 255 if x.dtype == torch.uint8 else x.double()
        return x.flatten(1).cpu().numpy()


def judges(settings: Mapping[str, Any]) -> list[Judge]:
    """Return each attribute's judge, fitted on heads of its own."""
    return _fitted(settings["size"], settings["judge"])


@lru_cache(maxsize=2)
def _fitted(size: int, count: int) -> list[Judge]:
    x, attributes = _draw(size, count, 2)
    return [Judge(x, truth) for truth in attributes.T]


def drawn(split: str, settings: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the heads of a split, ``(N, P)`` uint8, and their attributes, ``(N, 3)``."""
    return _draw(settings["size"], settings[split], ("train", "test").index(split))


def turned(split: str, settings: Mapping[str, Any]) -> Tensor:
    """Return azimuth, elevation and light of a split's heads in degrees, ``(N, 3)``."""
    return _choices(settings[split], ("train", "test").index(split))[2]


@lru_cache(maxsize=4)
def _draw(size: int, count: int, stream: int) -> tuple[Tensor, Tensor]:
    identity, attributes, pose = _choices(count, stream)
    worn = dict(zip(ATTRIBUTES, attributes.T, strict=True)) | {"smile": attributes[:, 1].float()}
    return heads.render(identity, *pose.T, size=size, **worn).flatten(1), attributes


def _choices(count: int, stream: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw identities ``(N,)``, attributes ``(N, 3)`` and angles ``(N, 3)``."""
    generator = torch.Generator().manual_seed(stream)
    identity = torch.randint(IDENTITIES, (count,), generator=generator)
    attributes = torch.randint(2, (count, len(ATTRIBUTES)), generator=generator)
    spread = torch.tensor([AZIMUTH, ELEVATION, LIGHT])
    return identity, attributes, (2 * torch.rand(count, 3, generator=generator) - 1) * spread
