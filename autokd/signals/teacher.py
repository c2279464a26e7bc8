"""A frozen network that is asked about views, with the normalisation it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
from torch import Tensor, nn

from autokd.augment.normalise import normalise
from autokd.models.features import Features, forward_features
from autokd.models.precision import arithmetic

__all__ = ["Teacher", "weights_hash"]


class Teacher:
    """model in eval mode without gradients, in float32. `fingerprint` names its weights and the network they belong to
    (that of the weights alone if not given).

    make: builds the same network anew, so that it may `rest` while its kept answers serve. precision: of its products
    (autokd.models.precision); whatever keeps an answer keeps it under that.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str = "cpu",
        *,
        name: str = "teacher",
        fingerprint: str | None = None,
        make: Callable[[], nn.Module] | None = None,
        precision: str = "auto",
    ) -> None:
        self.device = torch.device(device)
        self.precision = precision
        self._make = make
        self._model: nn.Module | None = self._settled(model)
        self.mean, self.std, self.name = tuple(mean), tuple(std), name
        self.fingerprint = fingerprint or weights_hash(self.model)

    @property
    def model(self) -> nn.Module:
        if self._model is None:
            assert self._make is not None
            self._model = self._settled(self._make())
        return self._model

    def rest(self) -> None:
        """Free the network's memory until it is asked again, where it can be made anew."""
        if self._make is not None:
            self._model = None

    def _settled(self, model: nn.Module) -> nn.Module:
        return model.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """pixels: uint8 [B, C, H, W]. Returns float32 [B, classes]."""
        with arithmetic(self.precision, self.device):
            return self.model(self._images(pixels)).float()

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Features:
        """Stage features, pooled vector and logits of the views. pixels: uint8 [B, C, H, W]."""
        with arithmetic(self.precision, self.device):
            return forward_features(self.model, self._images(pixels))

    def answers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, classes] and the pooled vectors [B, D] that its classifier reads, float32, of one pass."""
        features = self.features(pixels)
        return features.logits.float(), features.pooled.float()

    def _images(self, pixels: Tensor) -> Tensor:
        images = normalise(pixels.to(self.device, non_blocking=True), self.mean, self.std)
        return images.contiguous(memory_format=torch.channels_last)


def weights_hash(model: nn.Module) -> str:
    """32 hexadecimal digits of every tensor of a network, by name."""
    digest = blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
