"""Readers and bundled samples: passages with queries, sentence pairs, STS-B, SST-2, WikiText-2, a user's own text."""

from multum.data.models import MINILM_REQUIREMENT, SMOLLM2_REQUIREMENT, minilm_folder, smollm2_file
from multum.data.pairs import MAX_SCORE, SentencePair, load_sentence_pairs
from multum.data.passages import PROVENANCE, Passage, load_passages
from multum.data.sst2 import SST2_NUM_SENTENCES, SST2_SOURCE, LabelledSentence, read_sst2
from multum.data.stsb import STSB_NUM_PAIRS, STSB_SOURCE, Split, read_stsb
from multum.data.text_files import read_lines
from multum.data.wikitext import WIKITEXT2_SOURCE, Cloze, WikiSplit, read_wikitext2, take_first_sentence

__all__ = [
    "MAX_SCORE",
    "MINILM_REQUIREMENT",
    "PROVENANCE",
    "SMOLLM2_REQUIREMENT",
    "SST2_NUM_SENTENCES",
    "SST2_SOURCE",
    "STSB_NUM_PAIRS",
    "STSB_SOURCE",
    "WIKITEXT2_SOURCE",
    "Cloze",
    "LabelledSentence",
    "Passage",
    "SentencePair",
    "Split",
    "WikiSplit",
    "load_passages",
    "load_sentence_pairs",
    "minilm_folder",
    "read_lines",
    "read_sst2",
    "read_stsb",
    "read_wikitext2",
    "smollm2_file",
    "take_first_sentence",
]
