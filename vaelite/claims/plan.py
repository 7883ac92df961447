"""The plan of a comparison, as data, and the sentence that follows from it.

A claim that long runs decide carries its plan in the chapter's ``.toml`` file: what is compared
with what, in which stored results, against which threshold, and which difference would matter.  The
sentence of such a claim is never written by hand.  It is made from the plan, with the words of the
same file, so that sentence and computation cannot point in two directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PROFILES = ("quick", "standard", "full")


@dataclass(frozen=True)
class Plan:
    """One comparison: "the quantity of ``first`` exceeds that of ``second``".

    Attributes:
        experiment: name of the stored results.
        profile: the profile whose results decide.
        first: entries that a trial of the first setting has, without its seed.
        second: the same for what is subtracted; None where the quantity itself is compared with
            the threshold.
        quantity: key of what was measured.
        expected: the verdict that the book relies on.
        family: comparisons that are corrected together.
        planned: written down before the runs that decide it; otherwise exploratory.
        threshold: what the mean has to exceed.
        side: ``above``, or ``below`` where the mean has to fall short of the threshold.
        matters: the difference from the threshold that would matter, or None.
        why: where that difference comes from.
    """

    experiment: str
    profile: str
    first: Mapping[str, Any]
    quantity: str
    expected: str
    family: str
    planned: bool
    second: Mapping[str, Any] | None = None
    threshold: float = 0.0
    side: str = "above"
    matters: float | None = None
    why: str = ""

    def __post_init__(self):
        """Refuse a plan that no sentence could be made from."""
        if self.profile not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(PROFILES)}; got {self.profile!r}.")
        if self.side not in ("above", "below"):
            raise ValueError(f"side must be above or below; got {self.side!r}.")
        if self.second is not None and (self.threshold or self.side == "below"):
            raise ValueError(
                "a difference is compared with zero, and says which setting is higher by its order."
            )
        if self.matters is not None and not self.matters > 0:
            raise ValueError(f"matters must be positive; got {self.matters}.")


@dataclass(frozen=True)
class Words:
    """What a chapter calls its settings, experiments and quantities.

    Attributes:
        experiments: a phrase such as "on small sprites" for each experiment.
        quantities: for each key its ``name``, ``unit`` and ``digits``, and the verbs ``above`` and
            ``below``, such as "has a higher mean MIG than".
        labels: pairs of entries (``of``) and ``text``; the first whose entries a setting has names
            it.
        symbols: how a parameter is written in a sentence, such as ``beta`` as "β".
    """

    experiments: Mapping[str, str] = field(default_factory=dict)
    quantities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labels: Sequence[Mapping[str, Any]] = ()
    symbols: Mapping[str, str] = field(default_factory=dict)

    def label(self, setting: Mapping[str, Any]) -> str:
        """Return what a setting is called, such as "ISA-VAE".

        Raises:
            ValueError: if no label fits.
        """
        for label in self.labels:
            if all(setting.get(key) == value for key, value in label["of"].items()):
                return label["text"]
        raise ValueError(f"no label fits the setting {dict(setting)}.")

    def difference(self, plan: Plan) -> str:
        """Return the label of what is estimated, such as "ISA-VAE minus VAE"."""
        if plan.second is None:
            return self.label(plan.first)
        return f"{self.label(plan.first)} minus {self.label(plan.second)}"

    def context(self, plan: Plan) -> str:
        """Return where a comparison was made, such as "on small sprites at β = 1"."""
        return self.experiments[plan.experiment] + self._parameters(plan.first, plan.second)

    def sentence(self, plan: Plan) -> str:
        """Return the sentence whose truth the comparison decides."""
        quantity = self.quantities[plan.quantity]
        first = f"the {self.label(plan.first)}{self._own(plan.first, plan.second)}"
        if plan.second is None:
            other = f"{plan.threshold:g} {quantity['unit']}".strip()
        else:
            other = f"the {self.label(plan.second)}{self._own(plan.second, plan.first)}"
        context = self.context(plan)
        return f"{context[0].upper()}{context[1:]}, {first} {quantity[plan.side]} {other}."

    def _parameters(self, setting: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
        """Parameters that both settings share."""
        return "".join(
            f" at {symbol} = {setting[name]:g}"
            for name, symbol in self.symbols.items()
            if name in setting and (other is None or other.get(name) == setting[name])
        )

    def _own(self, setting: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
        """Parameters in which a setting differs from the other."""
        return "".join(
            f" at {symbol} = {setting[name]:g}"
            for name, symbol in self.symbols.items()
            if name in setting and other is not None and other.get(name) != setting[name]
        )
