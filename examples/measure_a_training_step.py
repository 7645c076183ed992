"""Where does the memory of a training step go? Freeze most of a network and look again.

python examples/measure_a_training_step.py
"""

import torch
from torch import nn

from multum.cost import measure

torch.manual_seed(0)
network = nn.Sequential(
    *(layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.ReLU())), nn.Linear(512, 10)
)
pictures = torch.randn(64, 512)

everything = measure(
    network, pictures, mode="training", optimizer=torch.optim.AdamW, latency=False, name="all layers"
)
for parameter in network[:-1].parameters():
    parameter.requires_grad_(False)
last = measure(
    network, pictures, mode="training", optimizer=torch.optim.AdamW, latency=False, name="last layer"
)

print(everything / last)
print("kept for backward, layer by layer, when all layers train:")
for layer in everything.layers:
    if layer.kept_bytes:
        print(f"  {layer.path:10} {layer.kept_bytes:9,} bytes")
