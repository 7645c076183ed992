"""What `adapt` left behind works in every command: its delta, its schedule, its head."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multum.attention import (
    AdaptConfig,
    EmbedConfig,
    EncoderSchedule,
    EvaluateConfig,
    HeadSchedule,
    RecoveryConfig,
    RunConfig,
    SentenceEncoder,
    ShowConfig,
    TokenSchedule,
    adapt,
    adapted_encoder,
    embed_file,
    evaluate,
    load_delta,
    load_schedule,
    run_model,
    save_schedule,
    show_text,
)
from multum.core import UserError
from multum.training import LearningRate, LoopConfig
from small_sentence_encoder import save_sentence_encoder, write_sst2, write_stsb

TEXT = "a dog runs and a cat sleeps on the ship"
SCHEDULE = TokenSchedule(keep_ratios=(0.6, 0.5, 0.5, 0.5), spare_tokens=(), min_tokens=2)
LOOP = LoopConfig(num_epochs=1, batch_size=8, rate=LearningRate(peak=1e-3))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentence_encoder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The run folder of a classifier that reads the mean, and its data beside it."""
    folder = tmp_path_factory.mktemp("classified")
    config = AdaptConfig(
        data=write_sst2(folder / "data"),
        task="classify",
        schedule=SCHEDULE,
        recovery=RecoveryConfig(loop=LOOP),
        pooling="mean",
        precision="exact",
        model=model_folder,
    )
    adapt(config, folder / "run")
    return folder


@pytest.fixture(scope="module")
def similar(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """The run folder of an encoder tuned on pairs, and its data beside it."""
    folder = tmp_path_factory.mktemp("similar")
    config = AdaptConfig(
        data=write_stsb(folder / "data"),
        task="similarity",
        schedule=SCHEDULE,
        recovery=RecoveryConfig(loop=LOOP),
        model=model_folder,
    )
    adapt(config, folder / "run")
    return folder


def test_a_classifier_is_measured_with_its_own_head_and_schedule(
    classified: Path, model_folder: Path
) -> None:
    found = evaluate(
        EvaluateConfig(
            data=classified / "data",
            task="labels",
            split="dev",
            model=model_folder,
            adapted=classified / "run",
        )
    )
    told = (classified / "run" / "run.json").read_text()
    assert f'"recovered": {found.pruned}' in told
    assert found.saved > 1.2
    assert load_delta(classified / "run").pooling == "mean"


def test_pairs_are_measured_as_adapt_measured_them(similar: Path, model_folder: Path) -> None:
    config = EvaluateConfig(
        data=similar / "data", split="dev", model=model_folder, adapted=similar / "run", batch=64
    )
    found = evaluate(config)
    told = (similar / "run" / "run.json").read_text()
    assert f'"recovered": {found.pruned}' in told
    milder = evaluate(replace(config, keep_ratio=0.9))
    assert 1.0 <= milder.saved < found.saved


def test_embeddings_are_those_of_the_adapted_encoder(
    similar: Path, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text(TEXT)
    done = embed_file(
        EmbedConfig(
            file=tmp_path / "texts.txt",
            out=tmp_path / "e.npy",
            model=model_folder,
            adapted=similar / "run",
        )
    )
    schedule = load_schedule(similar / "run")
    assert isinstance(schedule, TokenSchedule)
    theirs_TD, reduction = adapted_encoder(model_folder, load_delta(similar / "run")).embed(
        [TEXT], schedule=schedule
    )
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), theirs_TD.numpy())
    assert done.token_reduction == reduction > 1.5


def test_words_that_leave_before_the_first_layer_are_shown_gone(similar: Path, model_folder: Path) -> None:
    fate = show_text(ShowConfig(text=TEXT, model=model_folder, adapted=similar / "run"))
    assert fate.tokens_per_layer[0] < len(fate.tokens)
    never = [token for token in fate.tokens if token.last_layer == 0]
    assert len(never) == len(fate.tokens) - fate.tokens_per_layer[0]
    assert all(token.importance == () and token.earned == 0.0 for token in never)
    assert min(word.last_layer for word in fate.words) == 0


def test_a_run_merges_the_delta_and_prunes_by_its_schedule(similar: Path, model_folder: Path) -> None:
    ran = run_model(RunConfig(model=model_folder, text=TEXT, adapted=similar / "run"))
    assert ran.tokens_per_layer[0] < ran.num_tokens
    base = run_model(RunConfig(model=model_folder, text=TEXT, schedule=similar / "run"))
    assert base.tokens_per_layer == ran.tokens_per_layer
    assert base.agreement != ran.agreement


def test_a_head_that_a_command_would_not_use_is_refused(classified: Path, model_folder: Path) -> None:
    with pytest.raises(UserError, match="a delta without a head of its own"):
        run_model(RunConfig(model=model_folder, text=TEXT, adapted=classified / "run"))


def test_a_delta_does_not_go_onto_another_model(similar: Path, tmp_path: Path) -> None:
    other = save_sentence_encoder(tmp_path / "other", num_hidden_layers=3)
    with pytest.raises(UserError, match="the one that the delta was made for"):
        show_text(ShowConfig(text=TEXT, model=other, adapted=similar / "run"))


def test_an_adaptation_is_no_dial_of_a_model_that_generates(similar: Path) -> None:
    with pytest.raises(UserError, match="adapted must be left alone for the task perplexity"):
        EvaluateConfig(data=similar, task="perplexity", adapted=similar / "run")


def test_a_single_pair_ranks_nothing(similar: Path, model_folder: Path) -> None:
    with pytest.raises(UserError, match="pairs must be of two scores at least; got '1 pairs'"):
        evaluate(EvaluateConfig(data=similar / "data", model=model_folder, split="dev", num_texts=1))


@pytest.mark.parametrize("wish", ["linear:0.6", "file"])
def test_adaptation_takes_its_schedule_from_a_file_or_a_word(
    similar: Path, model_folder: Path, tmp_path: Path, wish: str
) -> None:
    kept = TokenSchedule(keep_ratios=(1.0, 0.8, 0.5, 0.5))
    place = save_schedule(EncoderSchedule(tokens=kept), tmp_path / "mine.json") if wish == "file" else wish
    config = AdaptConfig(
        data=similar / "data",
        task="similarity",
        schedule_from=Path(place),
        recovery=RecoveryConfig(loop=LOOP),
        model=model_folder,
        num_texts=8,
    )
    adapt(config, tmp_path / "run")
    found = load_schedule(tmp_path / "run")
    assert isinstance(found, TokenSchedule)
    assert found == kept if wish == "file" else 1.0 < found.token_reduction < 2.0


def test_what_is_not_trained_through_is_refused_and_leaves_the_folder_free(
    similar: Path, model_folder: Path, tmp_path: Path
) -> None:
    heads = EncoderSchedule(heads=HeadSchedule(keep_ratios=(1.0, 1.0, 0.5, 0.5)))
    place = save_schedule(heads, tmp_path / "heads.json")
    config = AdaptConfig(
        data=similar / "data",
        task="similarity",
        schedule_from=place,
        recovery=RecoveryConfig(loop=LOOP),
        model=model_folder,
        num_texts=8,
    )
    with pytest.raises(UserError, match="schedule_from must be a schedule that prunes tokens and nothing"):
        adapt(config, tmp_path / "run")
    adapt(replace(config, schedule_from=Path("linear:0.6")), tmp_path / "run")


def test_an_encoder_without_adaptation_is_loaded_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(TEXT)
    embed_file(EmbedConfig(file=tmp_path / "texts.txt", out=tmp_path / "e.npy", model=model_folder))
    theirs_TD, _ = SentenceEncoder.load(model_folder).embed([TEXT])
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), theirs_TD.numpy())
