"""Voxels as scans have them: on surfaces, in two batches, in no order, some below zero."""

import torch
from torch import Tensor


def surface(count: int, *, seed: int, num_batches: int = 2) -> Tensor:
    """Different voxels (N, 4), int32, on a wavy ground of double thickness; N is `count`."""
    generator = torch.Generator().manual_seed(seed)
    side = max(3, int((2 * count / num_batches) ** 0.5))
    x, y = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    height = (4 * torch.sin(x / 5) + 3 * torch.cos(y / 4)).round().long()
    ground_N3 = torch.stack([x, y, height], dim=-1).view(-1, 3) - side // 2
    both_N3 = torch.cat([ground_N3, ground_N3 + torch.tensor([0, 0, 1])])
    batches = [
        torch.cat([torch.full((len(both_N3), 1), batch), both_N3], dim=1) for batch in range(num_batches)
    ]
    all_N4 = torch.cat(batches)
    return all_N4[torch.randperm(len(all_N4), generator=generator)[:count]].int()
