"""Let a model write while its key/value cache is pruned and kept in two bit planes, and see what that reads and holds.

    python examples/generate_with_a_pruned_cache.py

Any supported language model will do; this one has random weights, so that the example needs no download.
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from multum.attention import CacheSchedule, GenerationSchedule, prune
from multum.attention.quantization_schedule import ProgressiveQuantization

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=500,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=256,
    eos_token_id=None,
)
model = LlamaForCausalLM(config).eval()

# Two prompts of different length: the shorter one is padded on the left, as generation wants it.
prompt = torch.randint(3, 500, (2, 300))
mask = torch.ones_like(prompt)
mask[1, :100] = 0

schedule = GenerationSchedule(
    tokens=CacheSchedule(keep_ratios=(1.0, 0.5, 0.25, 0.25), protect_first=4, grace_tokens=16),
    quantization=ProgressiveQuantization(msb_bits=8, threshold=0.1),
)
with prune(model, schedule) as run:
    tokens = model.generate(prompt, attention_mask=mask, max_new_tokens=20, do_sample=False, pad_token_id=0)

print("written:", tuple(tokens[:, 300:].shape))
for record in run.records[-4:]:
    print(f"layer {record.layer}: {record.num_keys} rows of {[320 - 1, 220 - 1]}")
print(
    f"cache read for a token: {run.bytes_read_per_token:,.0f} bytes, dense {run.dense_bytes_read_per_token:,.0f}"
)
print(f"cache held at the end:  {run.bytes_held:,} bytes, dense {run.dense_bytes_held:,}")
# Random weights attend to everything alike, so every row is flat; a trained model leaves few.
print(f"rows that fetched the second plane: {run.lsb_rate:.1%}")
print(f"multiply-accumulates: {run.cost().macs:,}; rows of workload: {len(run.workload())}")
