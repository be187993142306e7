"""SGD, Adam and AdamW at PyTorch's defaults, by PyTorch's own fused operations.

The classes of `torch.optim` call the same operations, but load torch.compile to do so: three seconds of every run, and
a tenth of each step of a small model.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Optimiser:
    """Parameters, and what is remembered of each from step to step: `state`, by name a tensor per parameter."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float) -> None:
        self.parameters, self.lr = list(parameters), lr
        self.state: dict[str, list[Tensor]] = {}

    def step(self) -> None:
        """Change the parameters by their gradients, which all must have."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, list[Tensor]]:
        """What `load_state_dict` goes on from."""
        return self.state

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Take over the numbers of another optimiser's `state_dict`; devices and memory formats stay."""
        for name, tensors in self.state.items():
            for tensor, saved in zip(tensors, state[name], strict=True):
                tensor.copy_(saved)

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(parameter) for parameter in self.parameters]


class SGD(Optimiser):
    """Stochastic gradient descent with momentum: `torch.optim.SGD(parameters, lr, momentum)`, fused."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.0) -> None:
        super().__init__(parameters, lr=lr)
        self.momentum = momentum
        # The first step's "velocity = gradient" is that of every step from zero.
        self.state["velocity"] = self._zeros() if momentum else []

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, which all must have."""
        torch._fused_sgd_(
            self.parameters,
            [p.grad for p in self.parameters],
            self.state["velocity"],
            weight_decay=0.0,
            momentum=self.momentum,
            lr=self.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )


class Adam(Optimiser):
    """Adam (Kingma & Ba 2015): `torch.optim.Adam(parameters, lr, weight_decay=weight_decay)`, fused."""

    update = staticmethod(torch._fused_adam_)

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr=lr)
        self.weight_decay = weight_decay
        self.state |= {
            "steps": [torch.zeros((), device=p.device) for p in self.parameters],
            "mean": self._zeros(),
            "square": self._zeros(),
        }

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, which all must have."""
        torch._foreach_add_(self.state["steps"], 1)
        self.update(
            self.parameters,
            [p.grad for p in self.parameters],
            self.state["mean"],
            self.state["square"],
            [],
            self.state["steps"],
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): `torch.optim.AdamW`, fused."""

    update = staticmethod(torch._fused_adamw_)

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.01) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)


OPTIMISERS: dict[str, type[Optimiser]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
