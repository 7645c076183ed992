"""Recovery trains through the pruning, survives a kill bit for bit, and leaves a delta that gives its result."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from multum.attention import (
    AdaptConfig,
    RecoveryConfig,
    SentenceClassifier,
    SentenceEncoder,
    TokenSchedule,
    adapt,
    adapted_classifier,
    adapted_encoder,
    annealed_schedule,
    distill_embeddings,
    flat_schedule,
    load_delta,
    prune,
)
from multum.attention.delta import changed_names
from multum.attention.recovery import TokenizedTexts, following_loss, pool_all, pooled, trained_parameters
from multum.attention.recovery_labels import pair_correlation
from multum.attention.recovery_scores import make_clozes, rank_of_own, reached_reduction, recall_at_1
from multum.attention.sparse_schedule import load_schedule
from multum.attention.text_windows import TextWindows
from multum.core import UserError
from multum.data import read_sst2, read_stsb, read_wikitext2
from multum.training import CHECKPOINT_FILE, LearningRate, LoopConfig, read_metrics
from small_sentence_encoder import WORDS, save_sentence_encoder, write_sst2, write_stsb, write_wikitext2

SCHEDULE = TokenSchedule(keep_ratios=(1.0, 0.7, 0.5, 0.5), min_tokens=2)
LOOP = LoopConfig(num_epochs=2, batch_size=8, rate=LearningRate(peak=1e-3), checkpoint_steps=2)
RECOVERY = RecoveryConfig(loop=LOOP, anneal_part=0.5, matrix_weight=0.1)
TEXTS = [
    "the sea rises",
    "a dog runs and a cat sleeps on the ship",
    "never",
    "the man reads a long film plot",
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentence_encoder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def encoder(model_folder: Path) -> SentenceEncoder:
    return SentenceEncoder.load(model_folder)


def config_for(task: str, data: Path, model: Path, **changes: Any) -> AdaptConfig:
    made = AdaptConfig(
        data=data, task=task, schedule=SCHEDULE, recovery=RECOVERY, model=model, least_tokens=8, max_tokens=16
    )
    return replace(made, **changes)


WRITERS = {"classify": write_sst2, "similarity": write_stsb, "distill": write_wikitext2}


# the way from dense to pruned


def test_keep_ratios_fall_in_a_line_to_the_schedules() -> None:
    at = [annealed_schedule(SCHEDULE, done, 0.4).keep_ratios[2] for done in (0.0, 0.2, 0.4, 1.0)]
    assert at == pytest.approx([1.0, 0.75, 0.5, 0.5])
    halfway = annealed_schedule(SCHEDULE, 0.1, 0.4)
    assert (halfway.min_tokens, halfway.keep_ratios[0]) == (2, 1.0)
    assert annealed_schedule(SCHEDULE, 0.0, 0.0) == SCHEDULE


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_pooled_vectors_do_not_depend_on_the_batch(encoder: SentenceEncoder, pooling: str) -> None:
    texts = TokenizedTexts.of(encoder, TEXTS)
    together_TD = pool_all(texts, SCHEDULE, pooling, batch_size=4)
    for place, text in enumerate(TEXTS):
        alone = pool_all(TokenizedTexts.of(encoder, [text]), SCHEDULE, pooling)
        torch.testing.assert_close(alone[0], together_TD[place], rtol=1e-4, atol=1e-5)


def test_mean_pooling_is_that_of_the_sentence_encoder(encoder: SentenceEncoder) -> None:
    ours_TD = torch.nn.functional.normalize(
        pool_all(TokenizedTexts.of(encoder, TEXTS), SCHEDULE, "mean"), dim=-1
    )
    theirs_TD, reduction = encoder.embed(TEXTS, schedule=SCHEDULE)
    torch.testing.assert_close(ours_TD, theirs_TD, rtol=1e-4, atol=1e-5)
    lengths = TokenizedTexts.of(encoder, TEXTS).lengths
    assert reached_reduction(SCHEDULE, lengths) == pytest.approx(reduction)


def test_gradients_reach_every_trained_parameter_through_the_pruning(encoder: SentenceEncoder) -> None:
    parameters = trained_parameters(encoder.model, RECOVERY)
    vector_BD = pooled(encoder.model, TokenizedTexts.of(encoder, TEXTS).batch(range(4)), SCHEDULE, "mean")
    (vector_BD * torch.linspace(-1, 1, vector_BD.shape[1])).sum().backward()
    # a bias of the keys shifts all scores of a query alike, which a softmax does not see
    idle = [name for name, it in parameters.items() if it.grad is None or float(it.grad.abs().max()) == 0.0]
    assert [name for name in idle if not name.endswith("key.bias")] == []


def test_gradients_through_pruning_are_those_of_the_kept_rows(encoder: SentenceEncoder) -> None:
    """The choice is a constant: nudging a weight along its gradient changes the loss as the gradient says."""
    parameters = trained_parameters(encoder.model, RECOVERY)
    inputs = TokenizedTexts.of(encoder, TEXTS[1:2]).batch([0])
    weight = parameters["encoder.layer.2.output.dense.weight"]

    def loss_at(shift: float) -> torch.Tensor:
        with torch.no_grad():
            weight[0, 0] += shift
        with prune(encoder.model, SCHEDULE) as run:
            hidden = encoder.model(**inputs).last_hidden_state
        with torch.no_grad():
            weight[0, 0] -= shift
        positions.append(run.positions.tolist())
        return hidden[0, :, 1].sum()

    positions: list[list[list[int]]] = []
    with prune(encoder.model, SCHEDULE):
        encoder.model(**inputs).last_hidden_state[0, :, 1].sum().backward()
    assert weight.grad is not None
    with torch.no_grad():
        slope = (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2
    assert positions[0] == positions[1]
    assert float(slope) == pytest.approx(float(weight.grad[0, 0]), rel=0.05, abs=1e-3)


@pytest.mark.parametrize(("part", "frozen"), [("layers", 0), ("layers", 2), ("norms_and_biases", 0)])
def test_only_the_chosen_part_is_trained(encoder: SentenceEncoder, part: str, frozen: int) -> None:
    config = replace(RECOVERY, part=part, num_frozen_layers=frozen)
    trained = trained_parameters(encoder.model, config)
    assert {name for name, it in encoder.model.named_parameters() if it.requires_grad} == set(trained)
    assert all(name.startswith("encoder.layer.") for name in trained)
    assert min(int(name.split(".")[2]) for name in trained) == frozen
    assert part == "layers" or all(it.dim() == 1 for it in trained.values())


def test_the_teachers_own_vectors_cost_nothing_and_others_do() -> None:
    vector_BD = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert float(following_loss(vector_BD, 3 * vector_BD, RECOVERY)) == pytest.approx(0, abs=1e-6)
    turned = following_loss(vector_BD.roll(1, 0), vector_BD, RECOVERY)
    assert float(turned) > float(
        following_loss(vector_BD.roll(1, 0), vector_BD, replace(RECOVERY, matrix_weight=0.0))
    )


# the whole way


@pytest.mark.parametrize("spare", ["common", "absence"])
@pytest.mark.parametrize("task", list(WRITERS))
def test_tokens_that_a_sentence_can_spare_are_ranked_on_the_way(
    tmp_path: Path, model_folder: Path, task: str, spare: str
) -> None:
    data = WRITERS[task](tmp_path / "data")
    schedule = TokenSchedule(keep_ratios=(0.6, 0.5, 0.5, 0.5), spare_tokens=(), min_tokens=2)
    config = config_for(task, data, model_folder, schedule=schedule, spare=spare)
    adapt(config, tmp_path / "run")
    found = load_schedule(tmp_path / "run")
    assert isinstance(found, TokenSchedule)
    assert found.spare_tokens
    assert replace(found, spare_tokens=()) == schedule
    assert "spare-tokens" in json.loads((tmp_path / "run" / "run.json").read_text())["stages"]


@pytest.mark.parametrize("task", list(WRITERS))
def test_recovery_writes_a_delta_that_gives_what_it_reports(
    tmp_path: Path, model_folder: Path, task: str
) -> None:
    data = WRITERS[task](tmp_path / "data")
    config = config_for(task, data, model_folder, precision="int8")
    result = adapt(config, tmp_path / "run")
    delta = load_delta(tmp_path / "run")
    assert load_schedule(tmp_path / "run") == SCHEDULE
    assert not any("embeddings" in name for name in changed_names(delta))
    assert len(result["curve"]) == LOOP.num_epochs
    assert result["delta_bytes"] == delta.num_bytes
    assert not list((tmp_path / "run").rglob(CHECKPOINT_FILE))
    if task == "classify":
        again = adapted_classifier(model_folder, delta).accuracy(read_sst2(data), SCHEDULE)
    elif task == "similarity":
        again = pair_correlation(adapted_encoder(model_folder, delta), read_stsb(data, "dev"), SCHEDULE)[0]
    else:
        assert result["curve"][-1] == pytest.approx(result["recovered"], abs=0.05)  # eight bits are not exact
        return
    assert again == pytest.approx(result["recovered"])


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(("task", "kill_after"), [("classify", 8), ("distill", 3)])
def test_a_killed_recovery_ends_bit_for_bit_like_an_undisturbed_one(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, task: str, kill_after: int
) -> None:
    config = config_for(task, WRITERS[task](tmp_path / "data"), model_folder, precision="exact")
    whole = adapt(config, tmp_path / "whole")
    steps = 0
    step = torch.optim.AdamW.step

    def deadly(self, *args, **kwargs):
        nonlocal steps
        steps += 1
        if steps > kill_after:
            raise KilledError
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", deadly)
        with pytest.raises(KilledError):
            adapt(config, tmp_path / "killed")
    assert adapt(config, tmp_path / "killed", resume=True) == whole
    deltas = [load_delta(tmp_path / name) for name in ("whole", "killed")]
    assert deltas[0].stored.keys() == deltas[1].stored.keys()
    for name, tensor in deltas[0].stored.items():
        assert torch.equal(tensor, deltas[1].stored[name]), name


def test_the_dense_peer_is_trained_for_as_long_when_wished_for(tmp_path: Path, model_folder: Path) -> None:
    config = config_for("classify", write_sst2(tmp_path / "data"), model_folder, compare=True)
    result = adapt(config, tmp_path / "run")
    assert len(result["dense_longer_curve"]) == len(result["curve"]) == 2
    assert load_delta(tmp_path / "run" / "longer").precision == "exact"


def test_a_seed_draws_the_part_that_is_trained_on(tmp_path: Path, model_folder: Path) -> None:
    data = write_sst2(tmp_path / "data")
    result = adapt(config_for("classify", data, model_folder, num_texts=8), tmp_path / "run")
    assert result["token_reduction"] > 1.2


def test_lines_of_a_users_own_file_can_teach(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "mine.txt").write_text("\n".join(TEXTS * 3))
    result = adapt(config_for("distill", tmp_path / "mine.txt", model_folder), tmp_path / "run")
    assert result["dense"] == 1.0


def test_distillation_brings_the_pruned_vectors_nearer(tmp_path: Path, encoder: SentenceEncoder) -> None:
    texts = list(read_wikitext2(write_wikitext2(tmp_path)))
    loop = replace(LOOP, num_epochs=20, rate=LearningRate(peak=3e-3))
    recovery = replace(RECOVERY, loop=loop, anneal_part=0.0, matrix_weight=0.0)
    half = flat_schedule(4, 0.5)
    log = distill_embeddings(encoder, texts, half, recovery, tmp_path / "run", least_tokens=12, max_tokens=20)
    losses = [record["loss"] for record in read_metrics(log)]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


# windows of running text


def test_windows_are_pieces_of_the_text_between_special_tokens(encoder: SentenceEncoder) -> None:
    windows = TextWindows.of(encoder, TEXTS * 5, least_tokens=6, most_tokens=12)
    stream = windows.stream.tolist()
    lengths = set()
    for _ in range(30):
        token_BL = windows.draw(11)
        assert token_BL.shape[0] == 11
        lengths.add(token_BL.shape[1])
        for first, *inside, last in token_BL.tolist():
            assert (first, last) == (WORDS.index("[CLS]"), WORDS.index("[SEP]"))
            assert any(stream[it : it + len(inside)] == inside for it in range(len(stream)))
    assert min(lengths) >= 6
    assert max(lengths) <= 12
    assert len(lengths) > 3


def test_windows_of_a_group_are_neighbours_and_groups_are_not(encoder: SentenceEncoder) -> None:
    windows = TextWindows.of(encoder, ["sea"], least_tokens=3, most_tokens=3)
    counted = replace(windows, stream=torch.arange(10_000), least_tokens=12, most_tokens=12)
    first_GB = torch.stack([counted.draw(16)[:, 1].view(2, 8) for _ in range(20)])
    spread = first_GB.amax(dim=-1) - first_GB.amin(dim=-1)
    assert int(spread.max()) <= 80
    assert float((first_GB[:, 0, 0] - first_GB[:, 1, 0]).abs().float().mean()) > 1000


def test_every_step_draws_other_windows_and_a_seed_draws_the_same(encoder: SentenceEncoder) -> None:
    windows = TextWindows.of(encoder, TEXTS * 20, least_tokens=8, most_tokens=8)
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append([windows.draw(4), windows.draw(4)])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert torch.equal(draws[0][1], draws[1][1])


def test_a_short_text_gives_short_windows_and_a_shorter_one_is_refused(encoder: SentenceEncoder) -> None:
    assert TextWindows.of(encoder, TEXTS[:1], least_tokens=4, most_tokens=200).most_tokens == 5
    with pytest.raises(UserError, match="texts must be of at least 6 tokens together; got '5 tokens'"):
        TextWindows.of(encoder, TEXTS[:1], least_tokens=6, most_tokens=200)
    with pytest.raises(UserError, match="least_tokens must be at most 9"):
        replace(TextWindows.of(encoder, TEXTS * 3, least_tokens=4, most_tokens=9), least_tokens=2)


# bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_texts": 0}, "num_texts must be at least 1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"task": "distill", "compare": True}, "compare must be False for distill"),
    ],
)
def test_bad_dials_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        AdaptConfig(data=tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anneal_part": 1.5}, r"anneal_part must be in \[0, 1\]"),
        ({"teacher_weight": -1.0}, "teacher_weight must be at least 0"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_bad_recoveries_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RecoveryConfig(**changes)


def test_more_frozen_layers_than_there_are_is_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(UserError, match="num_frozen_layers must be below the model's 4 layers"):
        trained_parameters(encoder.model, replace(RECOVERY, num_frozen_layers=4))


def test_a_delta_without_a_head_makes_no_classifier(tmp_path: Path, model_folder: Path) -> None:
    adapt(config_for("distill", write_wikitext2(tmp_path / "data"), model_folder), tmp_path / "run")
    with pytest.raises(UserError, match="delta must be of a classifier, with a head"):
        adapted_classifier(model_folder, load_delta(tmp_path / "run"))


def test_a_single_text_cannot_be_held_out_too(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "one.txt").write_text(TEXTS[1])
    with pytest.raises(UserError, match="data must be at least two texts; got 1"):
        adapt(config_for("distill", tmp_path / "one.txt", model_folder), tmp_path / "run")


# scores


def test_clozes_are_made_of_paragraphs_that_fit() -> None:
    paragraphs = ["It rose . It fell .", "Only one .", "Too long . Far too long ."]
    (cloze,) = make_clozes(paragraphs, [5, 5, 50], least_tokens=2, most_tokens=10)
    assert (cloze.query, cloze.rest) == ("It rose .", "It fell .")
    with pytest.raises(UserError, match="some of 90 to 99 tokens"):
        make_clozes(paragraphs, [5, 5, 50], least_tokens=90, most_tokens=99)


def test_ties_count_against_the_own_passage() -> None:
    passage_PD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rank_Q = rank_of_own(torch.eye(2), passage_PD, torch.tensor([0, 2]))
    assert rank_Q.tolist() == [1, 0]
    assert recall_at_1(rank_Q) == 0.5


def test_a_fresh_classifier_is_the_same_for_the_same_seed(encoder: SentenceEncoder) -> None:
    heads = [
        SentenceClassifier.fresh(
            encoder, num_classes=3, pooling="mean", generator=torch.Generator().manual_seed(4)
        ).head
        for _ in range(2)
    ]
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert heads[0].bias.abs().max() == 0


@pytest.mark.parametrize(("rank", "precision"), [(0, "int8"), (4, "exact")])
def test_impossible_ranks_are_refused_before_the_training(rank: int, precision: str) -> None:
    with pytest.raises(UserError, match="rank must be at least 1, and with differences only"):
        AdaptConfig(data=Path("x"), rank=rank, precision=precision)
