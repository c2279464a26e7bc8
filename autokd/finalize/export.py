"""Write a trained student where others can load it, and read it back before anyone relies on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

__all__ = ["export_weights"]


def export_weights(model: nn.Module, fresh: Callable[[], nn.Module], path: Path, images: Tensor) -> dict[str, Any]:
    """Save `model` to `path` (safetensors), load it into `fresh()`, and compare both on `images` (normalised, [B, C, H, W]).

    Returns the file's size in bytes, its SHA-256, and the largest difference of two logits. Raises AutokdError where they differ.
    """
    import torch

    from autokd.models.checkpoint import load_weights, save_weights

    save_weights(model, path)
    again = fresh()
    loaded = load_weights(again, path)
    device = next(model.parameters()).device
    again = again.to(device)
    modes = model.training, again.training
    model.eval(), again.eval()
    with torch.no_grad():
        difference = (model(images.to(device)) - again(images.to(device))).abs().max().item() if len(images) else 0.0
    model.train(modes[0]), again.train(modes[1])
    if not difference <= 1e-4:
        raise AutokdError(
            f"the exported student answers differently (by {difference:g}) from the trained one",
            where=str(path),
            fix="the network keeps something outside its state dict; register it as a buffer",
        )
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": loaded.sha256, "largest_difference": difference}
