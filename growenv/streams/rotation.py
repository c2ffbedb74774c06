"""Rotation of flattened images by bilinear interpolation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CHUNK = 8192  # images at a time, so that the float copies stay small


def rotate(inputs: Tensor, image_shape: tuple[int, int], degrees: float, background: float = 0.0) -> Tensor:
    """Rotate images counter-clockwise about their centre; what comes from outside is background.

    Every pixel is the weighted sum of the four source pixels around the point that it comes from.

    Args:
        inputs: flattened images, shape (n, height * width), uint8 or floating point.
        image_shape: height and width.
        degrees: angle, counter-clockwise as the image is looked at (first row on top).
        background: value of a pixel outside of the image.

    Returns:
        The rotated images, same shape and type; bytes are rounded to the nearest.
    """
    sources, weights = _taps(image_shape, degrees)
    rotated = torch.empty_like(inputs)
    for start in range(0, len(inputs), _CHUNK):
        images = inputs[start : start + _CHUNK].to(torch.float32) - background
        total = torch.zeros_like(images)
        for source, weight in zip(sources, weights, strict=True):
            total += images[:, source] * weight
        total += background
        if not inputs.is_floating_point():
            total = total.round_().clamp_(0, 255)
        rotated[start : start + _CHUNK] = total.to(inputs.dtype)
    return rotated


def _taps(image_shape: tuple[int, int], degrees: float) -> tuple[Tensor, Tensor]:
    """Index and weight of the four source pixels of every pixel, two tensors of shape (4, height * width)."""
    height, width = image_shape
    angle = math.radians(degrees)
    row, column = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    right, up = column - (width - 1) / 2, (height - 1) / 2 - row
    # The source of a pixel is found by turning it back, clockwise.
    source_column = (width - 1) / 2 + right * math.cos(angle) + up * math.sin(angle)
    source_row = (height - 1) / 2 + right * math.sin(angle) - up * math.cos(angle)
    sources, weights = [], []
    for below in (0, 1):
        for beside in (0, 1):
            at_row, at_column = source_row.floor() + below, source_column.floor() + beside
            inside = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            weight = (1 - (source_row - at_row).abs()) * (1 - (source_column - at_column).abs())
            sources.append((at_row.clamp(0, height - 1) * width + at_column.clamp(0, width - 1)).long().reshape(-1))
            weights.append((weight * inside).float().reshape(-1))
    return torch.stack(sources), torch.stack(weights)
