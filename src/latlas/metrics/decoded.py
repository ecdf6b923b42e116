"""Numbers on what a decoder makes: how sharp its images are, and how evenly they change along a line of codes."""

from __future__ import annotations

from torch import Tensor


def gradient_energy(x: Tensor) -> float:
    """Mean squared difference of neighbouring pixels, down and across: x (N, C, H, W); 0 for images of one pixel."""
    differences = [x.diff(dim=dim) for dim in (2, 3)]
    total = sum(d.double().square().sum().item() for d in differences)
    return total / max(1, sum(d.numel() for d in differences))


def sharpness(images: Tensor, real: Tensor) -> float | None:
    """Gradient energy of images against that of real ones, both (N, C, H, W): 1 is as sharp as the data.

    Blur lowers it and noise raises it. None where real images are all even.
    """
    energy = gradient_energy(real)
    return gradient_energy(images) / energy if energy > 0 else None


def morph_smoothness(path: Tensor) -> float | None:
    """How evenly decoded items change along straight lines of codes: path (P, T, *item), T points on P lines.

    For each line the largest of the T - 1 steps' root mean square changes over their mean: 1 is perfectly even, and
    T - 1 one jump. The mean over lines; those on which nothing changes are left out, None if all are.
    """
    steps = path.diff(dim=1).flatten(2).double().square().mean(2).sqrt()
    largest, mean = steps.amax(1), steps.mean(1)
    moved = mean > 0
    return float((largest[moved] / mean[moved]).mean()) if moved.any() else None
