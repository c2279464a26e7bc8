"""What a network computes on the way to its logits: one map per stage, the pooled vector, the logits.

Networks of the zoo are `Staged` and say it themselves; any other network is observed through hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import relu

from autokd.errors import AutokdError

# No `__all__`: the catalogue of this room lists network families, and this file offers none.


class Features(NamedTuple):
    """Every intermediate a feature method may read.

    stages: maps [B, C, H, W], from the stem to the last stage. pooled: [B, D], what the classifier reads. logits: [B,
    classes]. before_relu: as `stages`, each map as it was before the ReLU that follows it (WideResNet: after the batch
    norm that follows); the same tensor as in `stages` where no ReLU follows or nothing is known of it.
    """

    stages: tuple[Tensor, ...]
    pooled: Tensor
    logits: Tensor
    before_relu: tuple[Tensor, ...]

    def take(self, rows: Tensor) -> Features:
        """The same of some images: `rows` is a mask [B] or positions."""
        return Features(
            tuple(x[rows] for x in self.stages),
            self.pooled[rows],
            self.logits[rows],
            tuple(x[rows] for x in self.before_relu),
        )


class Staged(nn.Module):
    """A network that knows its stages. `head` names the attribute that turns pooled vectors into logits."""

    head = "fc"

    def trace(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Images [B, C, H, W] -> (stages, the same before their ReLU, pooled [B, D])."""
        raise NotImplementedError

    def forward(self, x: Tensor, features: bool = False) -> Any:
        """Logits [B, classes], or everything on the way to them as `Features`."""
        stages, before, pooled = self.trace(x)
        logits = getattr(self, self.head)(pooled)
        return Features(tuple(stages), pooled, logits, tuple(before)) if features else logits


def through(first: Tensor, layers: Iterable[Iterable[nn.Module]]) -> tuple[list[Tensor], list[Tensor]]:
    """(stages, the same before their ReLU) of layers whose blocks leave it to the caller. first: the stem before its own."""
    before, stages = [first], [relu(first)]
    for layer in layers:
        x = stages[-1]
        for block in layer:
            last = block(x)
            x = relu(last)
        before.append(last)
        stages.append(x)
    return stages, before


def pool(x: Tensor) -> Tensor:
    """Global average: [B, C, H, W] -> [B, C], at any size."""
    return x.mean(dim=(2, 3))


def forward_features(model: nn.Module, x: Tensor) -> Features:
    """Run `model` on images [B, C, H, W] and keep what it computed.

    For a network outside the zoo a stage is the map of each resolution that the outermost module left behind last (for
    a torchvision ResNet: the stem's ReLU, its max-pool or first stage, the other stages), and `pooled` is what the Linear
    layer read that gave the logits, or else the last one that read vectors, or the global average of the last stage. Works
    under any device, and leaves no hook behind. Raises AutokdError where the network's output holds no logits.
    """
    if isinstance(inner(model), Staged):
        return model(x, features=True)  # through any wrapper, which must see the pass to synchronise its gradients
    return _observe(getattr(model, "_orig_mod", model), x)


def logits_of(answer: Any, called: str = "the network") -> Tensor:
    """The logits [B, classes] in a forward pass's output: a tensor, the first tensor of a tuple, or the entry `logits`.

    Some networks also return auxiliary logits in training mode; only the main ones are used. Raises AutokdError if there are
    none.
    """
    found = answer
    if isinstance(answer, Mapping):
        found = answer.get("logits")
    elif isinstance(answer, (tuple, list)):
        found = next((one for one in answer if isinstance(one, Tensor)), None)
    elif not isinstance(answer, Tensor):
        found = getattr(answer, "logits", None)
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise AutokdError(
            f"{called} answers with {_words(answer)}, not with logits [images, classes]",
            fix="return one tensor from forward, for example by switching auxiliary outputs off in its options",
        )
    return found


def inner(model: nn.Module) -> nn.Module:
    """The network itself, out of DataParallel, DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _observe(model: nn.Module, x: Tensor) -> Features:
    maps: dict[tuple[int, int], tuple[int, Tensor]] = {}  # side -> (depth in the module tree, map)
    vectors: list[tuple[Tensor, Any]] = []  # what each Linear layer read and gave

    def watch(depth: int) -> Any:
        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(module, nn.Linear) and inputs and inputs[0].ndim == 2:
                vectors.append((inputs[0], output))
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] * output.shape[-2] > 1:
                side = (output.shape[-2], output.shape[-1])
                if side not in maps or depth <= maps[side][0]:
                    maps[side] = (depth, output)

        return after

    handles = [
        module.register_forward_hook(watch(name.count(".") + 1)) for name, module in model.named_modules() if name
    ]
    try:
        answer = model(x)
    finally:
        for handle in handles:
            handle.remove()
    logits = logits_of(answer, type(model).__name__)
    stages = tuple(found for _, found in sorted(maps.values(), key=lambda item: -item[1].shape[-1] * item[1].shape[-2]))
    if not vectors and not stages:
        raise AutokdError(
            f"{type(model).__name__} shows no feature maps and no Linear layer: feature methods have nothing to read",
            fix="choose a method that reads logits only",
        )
    heads = [read for read, gave in vectors if gave is logits] or [read for read, _ in vectors]
    pooled = heads[-1] if heads else pool(stages[-1])
    return Features(stages, pooled, logits, stages)


def _words(value: Any) -> str:
    return f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
