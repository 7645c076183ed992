"""A sentence encoder of a few thousand weights with a tokenizer of whole words, and data sets in the real formats."""

import json
from pathlib import Path
from typing import Any

from small_encoders import make_encoder

WORDS = [
    *(
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        ".",
        ",",
        "the",
        "a",
        "an",
        "is",
        "was",
        "and",
        "of",
        "on",
        "with",
    ),
    *(
        "good",
        "bad",
        "fine",
        "poor",
        "dull",
        "bright",
        "film",
        "plot",
        "dog",
        "cat",
        "runs",
        "sleeps",
        "sea",
        "rises",
    ),
    *(
        "falls",
        "tide",
        "moon",
        "ship",
        "man",
        "woman",
        "plays",
        "reads",
        "long",
        "short",
        "never",
        "always",
        "very",
    ),
]
GOOD, BAD = ("good", "fine", "bright"), ("bad", "poor", "dull")


def save_sentence_encoder(folder: Path, **changes: Any) -> Path:
    """Write a model folder as transformers does: weights, configuration, tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    make_encoder(**changes).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    return folder


def write_sst2(folder: Path, num_train: int = 24) -> Path:
    """Film reviews in GLUE's form, told by one word."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, number in (("train", num_train), ("dev", 8), ("test", 8)):
        rows = []
        for place in range(number):
            label = place % 2
            word = (GOOD if label else BAD)[place // 2 % 3]
            rows.append(
                f"{label}\tthe film is very {word} and the plot is {'long' if place % 3 else 'short'}"
            )
        (folder / f"{split}.tsv").write_text("\n".join(["label\tsentence", *rows, ""]), encoding="utf-8")
    return folder


def write_stsb(folder: Path, num_train: int = 16) -> Path:
    """Sentence pairs in STS-B's form."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, number in (("train", num_train), ("dev", 6), ("test", 6)):
        rows = [
            f"the {'dog' if place % 2 else 'cat'} sleeps on the ship,"
            f"the {'dog' if place % 3 else 'moon'} {'sleeps' if place % 4 else 'rises'} on a ship,{place % 6}"
            for place in range(number)
        ]
        (folder / f"{split}.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    return folder


def write_wikitext2(folder: Path, num_paragraphs: int = 20) -> Path:
    """Articles in WikiText-2's form."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("valid", "test"):
        lines = [" ", " = Tide = ", " "]
        for place in range(num_paragraphs):
            subject = ("sea", "moon", "ship", "man", "woman")[place % 5]
            verb = ("rises", "falls", "runs", "sleeps")[place % 4]
            lines.append(f" The {subject} {verb} . A long tide of the {subject} never {verb} on the sea . ")
        (folder / f"{split}.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder
