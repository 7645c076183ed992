"""SST-2 is read exactly, and a broken copy ends in a clear error."""

from pathlib import Path

import pytest

from multum.core import UserError
from multum.data import SST2_NUM_SENTENCES, LabelledSentence, read_sst2


def write(folder: Path, text: str, name: str = "dev.tsv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder


@pytest.mark.parametrize(
    "text",
    [
        'label\tsentence\n1\ta café \n0\tdull " stuff\n',
        'sentence\tlabel\r\na café \t1\r\ndull " stuff\t0\r\n',
        '\ufefflabel\tcontent\n1\ta café\n\n0\tdull " stuff',
    ],
)
def test_columns_come_in_either_order_and_quotes_are_text(tmp_path: Path, text: str) -> None:
    assert read_sst2(write(tmp_path, text)) == (
        LabelledSentence(text="a café", label=1),
        LabelledSentence(text='dull " stuff', label=0),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\tno header\n", "header of dev.tsv must be label and sentence or content"),
        ("index\tsentence\n0\tunlabelled\n", "header of dev.tsv must be"),
        ("label\tsentence\n", "at least one row below the header"),
        ("label\tsentence\n2\tthird\n", "label in row 2 of dev.tsv must be 0 or 1; got '2'"),
        ("label\tsentence\n1\tfine\n1 no tab\n", "row 3 of dev.tsv must be a label and a text"),
        ("label\tsentence\n1\t \n", "text in row 2 of dev.tsv must be"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_sst2(write(tmp_path, text))


def test_errors_say_where_the_data_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"SST-2 folder must be an existing folder.*SST-2\.zip"):
        read_sst2(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"SST-2 file must be an existing file.*SST-2\.zip"):
        read_sst2(tmp_path, "train")
    with pytest.raises(UserError, match="split must be one of train, dev, test"):
        read_sst2(tmp_path, "valid")


def test_part_of_a_split_is_refused_only_on_request(tmp_path: Path) -> None:
    folder = write(tmp_path, "label\tsentence\n1\tfine\n")
    assert len(read_sst2(folder)) == 1
    with pytest.raises(UserError, match="872 sentences; got 1"):
        read_sst2(folder, require_complete=True)


@pytest.mark.data
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_real_split_is_complete(data_folder: Path, split: str) -> None:
    sentences = read_sst2(data_folder / "glue_sst2", split, require_complete=True)
    assert len(sentences) == SST2_NUM_SENTENCES[split]
    assert 0.45 < sum(it.label for it in sentences) / len(sentences) < 0.6
