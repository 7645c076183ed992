"""Readers and bundled samples.

Text: passages with queries, sentence pairs, STS-B, SST-2, WikiText-2, a user's own. Pictures: a user's own folder,
clothes, Caltech-101, digits; how they are split, varied and put into batches.
"""

from multum.data.caltech import CALTECH_NUM_PICTURES, CALTECH_SOURCE, person_of, read_caltech, split_caltech
from multum.data.clothing import CLOTHING_NUM_PICTURES, CLOTHING_SOURCE, read_clothing
from multum.data.digits import DIGIT_CLASSES, Digits, read_digits
from multum.data.image_batches import ImageBatches, shrink
from multum.data.image_folder import ImageFolder, read_image_folder
from multum.data.image_framing import PictureTransform, TestTransform, TrainTransform
from multum.data.image_split import ImageSplit, split_images, split_per_class, take_per_class
from multum.data.image_transforms import (
    colour_jitter,
    draw_crop,
    horizontal_flip,
    normalize,
    random_resized_crop,
    resize,
    resize_and_centre_crop,
    unit,
)
from multum.data.models import MINILM_REQUIREMENT, SMOLLM2_REQUIREMENT, minilm_folder, smollm2_file
from multum.data.pairs import MAX_SCORE, SentencePair, load_sentence_pairs
from multum.data.passages import PROVENANCE, Passage, load_passages
from multum.data.picture_file import check_picture, picture_size, read_picture
from multum.data.seeded_generator import seeded_generator
from multum.data.sst2 import SST2_NUM_SENTENCES, SST2_SOURCE, LabelledSentence, read_sst2
from multum.data.stsb import STSB_NUM_PAIRS, STSB_SOURCE, Split, read_stsb
from multum.data.text_files import read_lines
from multum.data.wikitext import WIKITEXT2_SOURCE, Cloze, WikiSplit, read_wikitext2, take_first_sentence

__all__ = [
    "CALTECH_NUM_PICTURES",
    "CALTECH_SOURCE",
    "CLOTHING_NUM_PICTURES",
    "CLOTHING_SOURCE",
    "DIGIT_CLASSES",
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
    "Digits",
    "ImageBatches",
    "ImageFolder",
    "ImageSplit",
    "LabelledSentence",
    "Passage",
    "PictureTransform",
    "SentencePair",
    "Split",
    "TestTransform",
    "TrainTransform",
    "WikiSplit",
    "check_picture",
    "colour_jitter",
    "draw_crop",
    "horizontal_flip",
    "load_passages",
    "load_sentence_pairs",
    "minilm_folder",
    "normalize",
    "person_of",
    "picture_size",
    "random_resized_crop",
    "read_caltech",
    "read_clothing",
    "read_digits",
    "read_image_folder",
    "read_lines",
    "read_picture",
    "read_sst2",
    "read_stsb",
    "read_wikitext2",
    "resize",
    "resize_and_centre_crop",
    "seeded_generator",
    "shrink",
    "smollm2_file",
    "split_caltech",
    "split_images",
    "split_per_class",
    "take_first_sentence",
    "take_per_class",
    "unit",
]
