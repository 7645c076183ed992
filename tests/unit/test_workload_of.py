"""From records to a workload: counts, planes, who adds importance up, where tokens are chosen."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from multum.attention import (
    CacheSchedule,
    EncoderSchedule,
    GenerationSchedule,
    HeadSchedule,
    LayerRecord,
    ProgressiveQuantization,
    StaticQuantization,
    TokenSchedule,
    ValueSchedule,
    planned_records,
    prune,
    workload_of,
    workload_of_schedule,
)
from multum.core import UserError
from small_encoders import draw_tokens, make_encoder, pad

STEP = LayerRecord(
    iteration=1,
    layer=0,
    head_width=64,
    heads=((0, 2),),
    num_queries=(1,),
    num_keys=(9,),
    num_values=(4,),
    tokens_kept=(None,),
    heads_kept=(None,),
    key_bits=8,
    lsb_bits=4,
    value_bits=6,
    threshold=0.1,
    flat_rows=((0, 1),),
)


def test_flat_rows_ask_for_the_second_plane_head_by_head() -> None:
    work = workload_of([STEP])
    assert work.head_id.tolist() == [0, 2]
    assert work.if_requant.tolist() == [False, True]
    assert set(work.quant_key_bit.tolist()) == {8}
    assert set(work.auto_requant_incre.tolist()) == {4}
    assert set(work.auto_requant_thres.tolist()) == {0.1}
    assert work.key_bytes == 9 * 64 * (8 + 12) // 8


def test_planes_that_are_always_read_together_are_one() -> None:
    work = workload_of([replace(STEP, threshold=1.0, flat_rows=((1, 1),))])
    assert set(work.quant_key_bit.tolist()) == {12}
    assert not work.if_requant.any()
    assert set(work.auto_requant_incre.tolist()) == {-1}
    assert work.key_bytes == 2 * 9 * 64 * 12 // 8


def test_decay_is_told_as_rescaling() -> None:
    assert workload_of([replace(STEP, rescaled=True)]).if_rescale_previous_importance.all()


@pytest.mark.parametrize(
    ("records", "sentence", "message"),
    [
        ([], 0, "records must be of at least one layer; got 'none'; run the model first"),
        ([STEP], 1, r"sentence must be in 0..0, the batch's size less one; got 1"),
        ([STEP, STEP], 0, "records must come iteration by iteration and layer by layer"),
        ([replace(STEP, layer=1), STEP], 0, "records must come iteration by iteration"),
    ],
)
def test_records_of_no_single_run_are_refused(records: Any, sentence: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        workload_of(records, sentence)


def test_encoder_run_says_what_its_schedule_says() -> None:
    model = make_encoder()
    schedule = EncoderSchedule(
        tokens=TokenSchedule(keep_ratios=(1.0, 0.5, 0.5, 0.2)),
        heads=HeadSchedule(keep_ratios=(1.0, 1.0, 0.75, 0.5)),
        values=ValueSchedule(keep_ratios=(1.0, 0.5, 0.5, 0.5)),
        quantization=StaticQuantization(query_bits=10, key_bits=8, value_bits=6),
    )
    with torch.inference_mode(), prune(model, schedule) as run:
        model(**pad(draw_tokens(20, 13)))
    for sentence, length in enumerate((20, 13)):
        done = workload_of(run.records, sentence)
        planned = workload_of_schedule(schedule, num_heads=4, head_width=8, prompt_tokens=length)
        for name, column in planned.columns().items():
            if name != "head_id":  # which heads are left is known after the run only
                assert getattr(done, name).tolist() == column.tolist(), name
        assert run.workload(sentence) == done
        assert done.if_accumulate_importance.tolist() == [True] * 11 + [False] * 2


def test_generation_counts_tokens_from_the_prompt_on() -> None:
    schedule = GenerationSchedule(
        tokens=CacheSchedule(keep_ratios=(1.0, 0.5), protect_first=0, grace_tokens=1, decay=0.9),
        quantization=ProgressiveQuantization(msb_bits=6, value_bits=4),
    )
    sizes = {"num_heads": 1, "head_width": 64, "prompt_tokens": 10, "generated_tokens": 2}
    work = workload_of_schedule(schedule, **sizes)
    assert work.sentence_length_L.tolist() == [10, 10, 11, 11, 12, 12]
    assert work.key_fetch_num.tolist() == [10, 10, 11, 6, 12, 6]
    assert work.num_queries.tolist() == [10, 10, 1, 1, 1, 1]
    assert work.quant_key_bit.tolist() == [
        -1,
        -1,
        6,
        6,
        6,
        6,
    ]  # a prompt's own attention is in full precision
    assert work.if_rescale_previous_importance.tolist() == [False, False, True, True, True, True]
    generated = workload_of_schedule(schedule, **sizes, generated_only=True)
    assert generated.iteration_id.tolist() == [0, 0, 1, 1]
    assert generated.sentence_length_L.tolist() == [11, 11, 12, 12]
    with pytest.raises(UserError, match="a workload must be of at least one row"):
        workload_of_schedule(schedule, **(sizes | {"generated_tokens": 0}), generated_only=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 0}, "num_heads must be at least 1; got 0"),
        ({"prompt_tokens": 0}, "prompt_tokens must be at least 1; got 0"),
        ({"generated_tokens": 2}, "generated_tokens must be 0 for an encoder; got 2"),
        ({"generated_tokens": -1}, "generated_tokens must be at least 0; got -1"),
        ({"num_layers": 3}, "num_layers must be the schedule's; got 3"),
        ({"schedule": EncoderSchedule()}, "num_layers must be the schedule's; got None"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    sizes = {
        "schedule": TokenSchedule(keep_ratios=(1.0, 0.5)),
        "num_heads": 2,
        "head_width": 8,
        "prompt_tokens": 9,
    }
    with pytest.raises(UserError, match=message):
        planned_records(**(sizes | changes))
