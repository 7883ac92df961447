"""How far a training run has come: what is saved, and taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vaelite.checkpoint import Checkpoint, numbers, set_numbers
from vaelite.history import Log
from vaelite.phases import Planned, scheduled, total_steps
from vaelite.stack import Single
from vaelite.streams import Batches


class Progress:
    """Models in training together, and all that a checkpoint must hold of them.

    Args:
        members: the models.
        plan: the phases of the run.
        seeds: of each model.
        noise: the generators of each model.
        log: where losses are collected.
        device: where the models are.
    """

    def __init__(
        self,
        members: Single,
        plan: list[Planned],
        seeds: Sequence[int],
        noise: list[list[torch.Generator]],
        log: Log,
        device: torch.device,
    ) -> None:
        self.members, self.plan, self.seeds = members, plan, seeds
        self.noise, self.log, self.device = noise, log, device
        self.dtype = next(members.models[0].parameters()).dtype
        self.batches: list[list[Batches]] = [[] for _ in seeds]
        self.done, self.seconds = 0, 0.0
        self.settings = [numbers(model, scheduled(plan)) for model in members.models]
        # Buffers that wait for a phase to fill them.
        named = members.models[0].named_buffers()
        self.blank = {name for name, buffer in named if torch.isnan(buffer).any()}
        self.new_adam(plan[0].lr)

    def new_adam(self, lr: float) -> None:
        """Give the models an Adam that remembers nothing."""
        self.optimizer = torch.optim.Adam(self.members.adams(), lr=lr, fused=True)

    def outcome(self) -> dict[str, Any]:
        """Return what is left to keep when all steps are done."""
        models = self.members.models
        return {
            "models": [model.state_dict() for model in models],
            "memories": [_memories(model) for model in models],
            "numbers": [numbers(model) for model in models],
            "settings": self.settings,
            "frozen": [n for n, p in models[0].named_parameters() if not p.requires_grad],
            "log": self.log.state(),
            "step": self.done,
            "seconds": self.seconds,
        }

    def state(self) -> dict[str, Any]:
        """Return what it takes to go on; raise FloatingPointError if it is damaged."""
        self._check_finite()
        return {
            **self.outcome(),
            "optimizer": self.optimizer.state_dict(),
            "batches": [[one.state() for one in streams] for streams in self.batches],
            "noise": [[one.get_state() for one in generators] for generators in self.noise],
        }

    def restore(self, file: Checkpoint) -> None:
        """Take up the next group that was saved, if there is one.

        Raises:
            ValueError: if it is of models that were made otherwise, or has more steps than planned;
                then nothing is changed.
        """
        saved = file.next_group()
        if saved is None:
            return
        for run, old, new in zip(self.log.runs, saved["settings"], self.settings, strict=True):
            name = next((n for n in [*new, *old] if old.get(n) != new.get(n)), None)
            if name is not None:
                raise ValueError(
                    f"checkpoint {file.path} belongs to another run: {run}{name} was "
                    f"{old.get(name)}, and is {new.get(name)} now."
                )
        if saved["step"] > total_steps(self.plan):
            raise ValueError(
                f"steps is {total_steps(self.plan)}, but checkpoint {file.path} is {saved['step']} "
                "steps old already; steps counts those of the earlier run too."
            )
        for model, state, memories, values in zip(
            self.members.models, saved["models"], saved["memories"], saved["numbers"], strict=True
        ):
            model.load_state_dict(state)
            for name, memory in memories.items():
                model.get_submodule(name).remember(memory)
            set_numbers(model, values)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name not in saved["frozen"])
        self.members.each(lambda model, index: None, "resume")
        self.log.load_state(saved["log"], self.device)
        self.done, self.seconds = saved["step"], saved["seconds"]
        if "optimizer" in saved:
            self.optimizer.load_state_dict(saved["optimizer"])
            for seed, streams, states in zip(
                self.seeds, self.batches, saved["batches"], strict=True
            ):
                for position, state in enumerate(states):
                    streams.append(Batches(seed, position, self.device))
                    streams[-1].load_state(state)
            # A checkpoint from a CPU has no state of the GPU's generator.
            for generators, states in zip(self.noise, saved["noise"], strict=True):
                for generator, state in zip(generators, states, strict=False):
                    generator.set_state(state)

    def _check_finite(self) -> None:
        self.log.check_finite()
        for run, model in zip(self.log.runs, self.members.models, strict=True):
            for name, parameter in model.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise FloatingPointError(
                        f"{run}training diverged at step {self.done}: parameter {name} is NaN or "
                        "infinite; try a smaller step size or a warm-up."
                    )
            for name, buffer in model.named_buffers():  # which may hold infinities on purpose
                if name not in self.blank and torch.isnan(buffer).any():
                    raise FloatingPointError(
                        f"{run}training diverged at step {self.done}: buffer {name} is NaN."
                    )


def _memories(model: nn.Module) -> dict[str, dict]:
    """Return what parts of a model remember beside their weights: that of an optimiser, say."""
    named = model.named_modules()
    return {name: module.memory() for name, module in named if hasattr(module, "memory")}
