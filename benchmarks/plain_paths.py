"""Growth paths in plain PyTorch: one module, one optimiser, one path at a time.

What one would write without growenv, as fast as it goes: samples and one-hot targets lie in memory, ready to be
read, and Adam updates all parameters in one call. At a growth step the two linear layers that a wider hidden layer
touches are replaced by larger ones. Old weights keep their moments and the count of steps; new ones begin with zero
moments under that count.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from growenv.paths import PathProblem

BETAS = (0.9, 0.99)
HE = float(np.sqrt(2.0))
ADAMS: dict[str, dict[str, bool]] = {"fused": {"fused": True}, "foreach": {"foreach": True}, "for-loop": {}}
"""Ways in which torch.optim.Adam updates several parameters."""


class Samples:
    """Samples of a problem as its networks read them, in memory.

    Args:
        problem: what is learned.
    """

    def __init__(self, problem: PathProblem) -> None:
        data, dtype = problem.dataset, problem.config.dtype
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        limits = {"validation": problem.config.validation_samples, "test": problem.config.test_samples}
        chosen = {name: index[: limits.get(name)] for name, index in parts.items()}
        self.inputs = {name: (data.inputs[index].to(dtype) - data.shift) * data.scale for name, index in chosen.items()}
        self.labels = {name: data.labels[index] for name, index in chosen.items()}
        self.targets = nn.functional.one_hot(self.labels["train"], data.classes).to(dtype)

    def minibatches(self, count: int, size: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Random inputs (size, D) and targets (size, C), drawn with replacement."""
        for index in torch.randint(len(self.targets), (count, size)):
            yield self.inputs["train"][index], self.targets[index]


class PlainNetwork:
    """A network of two or more hidden layers that grows.

    Args:
        sizes: inputs, hidden layers, outputs.
        rate: step size of Adam.
        dtype: float32 or float64.
        adam: how Adam updates, a key of `ADAMS`.
    """

    def __init__(self, sizes: tuple[int, ...], rate: float, dtype: torch.dtype, adam: str = "fused") -> None:
        layers: list[nn.Module] = []
        for below, above in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(below, above, dtype=dtype), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=rate, betas=BETAS, **ADAMS[adam])
        self.loss = nn.MSELoss()

    def linear(self, layer: int) -> nn.Linear:
        """The weights into a hidden layer; of the outputs with the number of hidden layers."""
        found = self.network[2 * layer]
        assert isinstance(found, nn.Linear)
        return found

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """One minibatch: inputs (B, D), one-hot targets (B, C)."""
        self.optimizer.zero_grad()
        self.loss(self.network(inputs), targets).backward()
        self.optimizer.step()

    @torch.no_grad()
    def grow(self, layer: int, vectors: Tensor) -> None:
        """Add neurons to a hidden layer that change nothing yet: what they send starts at zero, and so do their biases.

        Args:
            layer: which hidden layer.
            vectors: incoming weights of the new neurons, (new, fan_in).
        """
        into, out = self.linear(layer), self.linear(layer + 1)
        new, options = len(vectors), {"dtype": vectors.dtype}
        wider = nn.Linear(into.in_features, into.out_features + new, **options)  # type: ignore[arg-type]
        taller = nn.Linear(out.in_features + new, out.out_features, **options)  # type: ignore[arg-type]
        self._replace(into.weight, wider.weight)
        self._replace(into.bias, wider.bias)
        self._replace(out.weight, taller.weight)
        self._replace(out.bias, taller.bias)
        wider.weight[into.out_features :] = vectors
        self.network[2 * layer], self.network[2 * layer + 2] = wider, taller
        self.optimizer.param_groups[0]["params"] = list(self.network.parameters())

    def _replace(self, old: Tensor, new: Tensor) -> None:
        """Copy a parameter and what Adam knows of it into a larger one; the rest is zero."""
        new.copy_(padded(old, new))
        state = self.optimizer.state.pop(old, None)
        if state:
            moments = {name: padded(state[name], new) for name in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[new] = {"step": state["step"], **moments}

    @torch.no_grad()
    def right_answers(self, inputs: Tensor, labels: Tensor) -> int:
        """How many samples it gets right."""
        return int((self.network(inputs).argmax(dim=1) == labels).sum())


def padded(old: Tensor, like: Tensor) -> Tensor:
    """A tensor of another one's shape with the numbers of a smaller one in its first places, and zeros."""
    whole = torch.zeros_like(like)
    whole[tuple(slice(size) for size in old.shape)] = old
    return whole


def he_vectors(new: int, fan_in: int, dtype: torch.dtype) -> Tensor:
    """Random directions of He's length, (new, fan_in)."""
    vectors = torch.randn(new, fan_in, dtype=dtype)
    scaled: Tensor = vectors * (HE / vectors.norm(dim=1, keepdim=True))
    return scaled
