"""Prune a classifier that reads its first token, and see what each layer worked on.

    python examples/prune_an_encoder.py

Any supported encoder will do; this one has random weights, so that the example needs no download.
"""

import torch
from transformers import BertConfig, BertForSequenceClassification

from multum.attention import linear_schedule, prune
from multum.cost import measure

torch.manual_seed(0)
config = BertConfig(hidden_size=128, num_hidden_layers=6, num_attention_heads=4, intermediate_size=512)
model = BertForSequenceClassification(config).eval()

# Two texts of different length: the shorter one is padded, and keeps its part of its own length.
tokens = torch.randint(1000, 20000, (2, 64))
mask = torch.ones_like(tokens)
mask[1, 40:] = 0

# The paper's rule suits a head that reads only the first token, which is never pruned.
schedule = linear_schedule(6, average_keep_ratio=0.5, final_keep_ratio=0.2)
with torch.inference_mode(), prune(model, schedule) as run:
    logits = model(input_ids=tokens, attention_mask=mask).logits
print("logits:", tuple(logits.shape))
for number, layer in enumerate(run.layers, start=1):
    print(f"layer {number}: {layer.mask_BL.sum(dim=1).tolist()} tokens")

inputs = {"input_ids": tokens, "attention_mask": mask}
dense = measure(model, inputs, latency=False, name="dense")
with prune(model, schedule):
    pruned = measure(model, inputs, latency=False, name="pruned")
print(dense / pruned)
