"""What a trained network is good for: predictions, files for other programs, smaller deltas, more classes."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from multum.backbones import Backbone
from multum.core import UserError, from_dict, to_dict
from multum.transfer import (
    EvaluateTransferConfig,
    Mode,
    TransferConfig,
    evaluate_transfer,
    load_delta,
    merge,
    train_transfer,
)
from multum.transfer.add_classes_command import STATISTICS_FILE, AddClassesConfig, add_classes
from multum.transfer.add_classes_result import AddClassesResult
from multum.transfer.delta import write_delta
from multum.transfer.delta_command import DeltaConfig, show_delta
from multum.transfer.export_command import ExportConfig, MergeConfig, export_transfer, merge_transfer
from multum.transfer.int8_backbone import int8_paths
from multum.transfer.predict_command import PredictConfig, predict_transfer
from multum.transfer.trained_run import load_trained
from small_pictures import COLOURS, SIDE, tiny, write_pictures

OTHERS = {"white": (230, 230, 230), "yellow": (230, 220, 40)}


def put_small_networks(patch: pytest.MonkeyPatch) -> None:
    """Put a small network in the place of every backbone."""
    for place in ("train_command", "evaluate_command", "trained_run"):
        patch.setattr(f"multum.transfer.{place}.fresh_backbone", tiny)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that knows three colours, and its pictures; trained once."""
    folder = tmp_path_factory.mktemp("original")
    config = TransferConfig(
        data=write_pictures(folder / "pictures", COLOURS), side=SIDE, num_epochs=12, batch_size=5,
        pretrained=False, learning_rate=0.01, validation=0.25, test=0.25, crop_scale=(0.5, 1.0),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        put_small_networks(patch)
        train_transfer(config, folder / "run")
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run and its pictures, to do with it what one likes."""
    put_small_networks(monkeypatch)
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace(original.as_posix(), tmp_path.as_posix()))
    return tmp_path / "run"


# --- predictions -----------------------------------------------------------------------------------------------------


def test_a_folder_is_predicted_whole_and_in_order(run: Path, tmp_path: Path) -> None:
    found = predict_transfer(PredictConfig(run=run, pictures=(tmp_path / "pictures",), most=2, batch_size=7))
    assert len(found.predictions) == 24
    assert all(it.classes[0] == Path(it.picture).parent.name for it in found.predictions)
    assert all(1 >= it.confidences[0] >= it.confidences[1] >= 0 for it in found.predictions)
    assert found.path == run / "predictions.csv"
    rows = list(csv.reader(found.path.read_text().splitlines()))
    assert rows[0] == ["picture", "class", "confidence", "class_2", "confidence_2"]
    assert [row[:2] for row in rows[1:]] == [[it.picture, it.classes[0]] for it in found.predictions]


def test_any_kind_and_size_of_picture_is_taken(run: Path, tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{number}.tif" for number in range(4))
    Image.new("L", (9, 300), 90).save(paths[0])
    Image.new("RGBA", (500, 8), (200, 0, 0, 255)).save(paths[1])
    Image.new("1", (30, 30)).save(paths[2])
    Image.new("RGB", (31, 33), COLOURS["green"]).save(paths[3], "JPEG")
    config = PredictConfig(run=run, pictures=(*paths, paths[0]), out=tmp_path / "all.json", most=99)
    found = predict_transfer(config)
    assert [it.picture for it in found.predictions] == [it.as_posix() for it in paths]
    assert found.predictions[3].classes[0] == "green"
    assert all(sum(it.confidences) == pytest.approx(1, abs=1e-5) for it in found.predictions)
    assert json.loads((tmp_path / "all.json").read_text()) == to_dict(found)


def test_what_it_says_is_what_the_network_says(run: Path, tmp_path: Path) -> None:
    trained = load_trained(run)
    path = tmp_path / "pictures" / "red" / "3.png"
    (found,) = predict_transfer(PredictConfig(run=run, pictures=(path,))).predictions
    from multum.data import read_picture

    with torch.no_grad():
        sure_K = trained.network.model(trained.frame(read_picture(path))[None]).softmax(dim=1)[0]
    expected = dict(zip(trained.run.classes, sure_K.tolist(), strict=True))
    assert dict(zip(found.classes, found.confidences, strict=True)) == pytest.approx(expected, abs=1e-5)


def test_broken_pictures_are_named_or_left_out(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    write_pictures(folder, {"red": COLOURS["red"]}, per_class=3)
    whole = (folder / "red" / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "note.txt").write_text("hello")
    cut = PredictConfig(run=run, pictures=(folder,))
    with pytest.raises(UserError, match=r"got '1 broken of 4'.*cut\.png must be whole.*skip_broken"):
        predict_transfer(cut)
    (folder / "none.jpg").write_bytes(b"no picture")
    (folder / "phone.heic").write_bytes(b"ftypheic")
    with pytest.raises(UserError, match=r"got '2 broken of 6'.*none\.jpg must be .*phone\.heic"):
        predict_transfer(cut)
    assert not (run / "predictions.csv").exists()
    found = predict_transfer(PredictConfig(run=run, pictures=(folder,), skip_broken=True))
    assert len(found.predictions) == 3
    assert len(found.skipped) == 4


def test_a_picture_of_a_hundred_megapixels_is_refused_before_it_is_decoded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (10_000, 10_000)).save(path)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(UserError, match=r"huge\.png must be of at most 50 million pixels"):
        predict_transfer(PredictConfig(run=run, pictures=(path,)))
    with pytest.raises(UserError, match="pictures must be one readable at least"):
        predict_transfer(PredictConfig(run=run, pictures=(path,), skip_broken=True))


def test_pictures_that_are_not_there_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"existing files or folders; got .*nowhere"):
        predict_transfer(PredictConfig(run=run, pictures=(tmp_path / "nowhere",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"pictures in .*empty must be one at least"):
        predict_transfer(PredictConfig(run=run, pictures=(tmp_path / "empty",)))
    for dials, message in (
        ({"pictures": ()}, "pictures must be one file or folder"),
        ({"out": Path("a.xls")}, r"out must be a file that ends in \.csv or \.json"),
        ({"most": 0}, "most must be at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            PredictConfig(**{"run": run, "pictures": (run,), **dials})


# --- files for other programs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("folded", [True, False])
def test_an_export_computes_the_same_and_says_what_it_needs(run: Path, tmp_path: Path, folded: bool) -> None:
    done = export_transfer(ExportConfig(run=run, merge=folded, out=tmp_path / "out", name="colours"))
    assert (done.path, done.num_bytes) == (tmp_path / "out" / "colours.pt2", done.path.stat().st_size)
    assert done.difference <= 1e-4
    assert (done.merge_difference is not None) == folded
    about = json.loads(done.about.read_text())
    assert (about["classes"], about["side"], about["keep_ratio"]) == (["blue", "green", "red"], SIDE, 0.875)
    given = torch.randn(3, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = load_trained(run).network.model(given)
        torch.testing.assert_close(
            torch.export.load(done.path).module()(given), expected, rtol=1e-3, atol=1e-3
        )


def test_a_name_is_no_path(run: Path) -> None:
    with pytest.raises(UserError, match="name must be a file name without folders"):
        ExportConfig(run=run, name="../model")


def test_merged_weights_are_those_of_a_plain_network(run: Path) -> None:
    done = merge_transfer(MergeConfig(run=run))
    assert done.path == run / "merged.safetensors"
    assert done.folded
    assert "stem.norm: BatchNorm2d" in done.folded
    assert done.num_after < done.num_before
    assert done.bytes_after < done.bytes_before
    assert done.difference <= 1e-4
    state = load_file(done.path)
    assert sum(it.numel() for it in state.values()) == done.num_after
    model = load_trained(run).network.model
    plain = merge(model)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
        plain.load_state_dict(state)
        torch.testing.assert_close(plain(x := torch.randn(2, 3, SIDE, SIDE)), model(x), rtol=1e-3, atol=1e-3)


def test_a_delta_tells_what_it_holds(run: Path, tmp_path: Path) -> None:
    facts = show_delta(DeltaConfig(run=run))
    delta = load_delta(run / "adapted.safetensors")
    assert (facts.mode, facts.classes) == ("lite+bias", ("blue", "green", "red"))
    assert (facts.backbone, facts.copy, facts.precision) == (delta.header.backbone, None, "float32")
    assert facts.backbone_name == "efficientnet-lite0"
    kinds = {it.kind: it for it in facts.kinds}
    assert set(kinds) == {"classifier", "lite residuals, convolutions", "lite residuals, norms", "shifts"}
    assert kinds["classifier"].num_numbers == 3 * 32 + 3
    assert sum(it.num_bytes for it in facts.kinds) == delta.num_bytes
    small = show_delta(DeltaConfig(run=run / "adapted.safetensors", precision="int8")).copy
    assert small is not None
    assert small.path == run / "adapted-int8.safetensors"
    assert small.num_bytes == small.path.stat().st_size < facts.num_bytes
    assert 0 < small.largest_error < 0.005
    with pytest.raises(UserError, match="out must be left alone without a precision"):
        DeltaConfig(run=run, out=tmp_path / "copy")


def test_a_rounded_delta_in_the_place_of_the_exact_one_decides_the_same(run: Path, tmp_path: Path) -> None:
    wish = EvaluateTransferConfig(run=run, data=tmp_path / "pictures")
    before = evaluate_transfer(wish)
    show_delta(DeltaConfig(run=run, precision="int8", out=run / "adapted.safetensors"))
    assert load_delta(run / "adapted.safetensors").header.precision == "int8"
    after = evaluate_transfer(wish)
    assert after.confusion == before.confusion
    assert after.loss == pytest.approx(before.loss, abs=0.02)


# --- more classes ----------------------------------------------------------------------------------------------------


def test_new_classes_come_and_old_ones_stay(run: Path, tmp_path: Path) -> None:
    more, new = tmp_path / "more", write_pictures(tmp_path / "new", OTHERS)
    result = add_classes(AddClassesConfig(run=run, data=new, test=0.25), more)
    assert result.classes == ("blue", "green", "red", "white", "yellow")
    assert (result.added, result.num_old, result.num_new) == (("white", "yellow"), 12, 12)
    for found in (result.old_before, result.old_as_means, result.old_after):
        assert found is not None
        assert (found.accuracy, found.num_pictures) == (1.0, 6)
    assert (result.new.accuracy, result.new.num_pictures) == (1.0, 4)
    assert from_dict(AddClassesResult, json.loads(json.dumps(to_dict(result)))) == result
    assert add_classes(AddClassesConfig(run=run, data=new, test=0.25), more, resume=True) == result
    before, after = load_delta(run / "adapted.safetensors"), load_delta(more / "adapted.safetensors")
    assert before.header.backbone == after.header.backbone
    for name, tensor in before.tensors.items():
        assert name.startswith("classifier.") or torch.equal(after.tensors[name], tensor)
    # what can be done with a run can be done with this one
    assert evaluate_transfer(EvaluateTransferConfig(run=more, data=new)) == result.new
    old = evaluate_transfer(EvaluateTransferConfig(run=more, data=tmp_path / "pictures"))
    assert old == result.old_after
    found_new = predict_transfer(PredictConfig(run=more, pictures=(new / "yellow",)))
    assert {it.classes[0] for it in found_new.predictions} == {"yellow"}
    assert export_transfer(ExportConfig(run=more)).difference <= 1e-4
    assert merge_transfer(MergeConfig(run=more)).difference <= 1e-4
    assert show_delta(DeltaConfig(run=more)).classes == result.classes


def test_one_class_at_a_time_is_all_at_once_without_any_old_picture(run: Path, tmp_path: Path) -> None:
    new = write_pictures(tmp_path / "new", OTHERS)
    for name in OTHERS:
        shutil.copytree(new / name, tmp_path / name / name)
    together = add_classes(AddClassesConfig(run=run, data=new, test=0.25), tmp_path / "together")
    assert (run / STATISTICS_FILE).exists()
    shutil.rmtree(tmp_path / "pictures")
    add_classes(AddClassesConfig(run=run, data=tmp_path / "white", test=0.25), tmp_path / "first")
    shutil.rmtree(tmp_path / "white")
    second = AddClassesConfig(run=tmp_path / "first", data=tmp_path / "yellow", test=0.25)
    after = add_classes(second, tmp_path / "second")
    assert (after.old_before, after.old_after) == (None, None)
    assert (after.classes, len(after.learned)) == (together.classes, 3)
    heads = [
        load_delta(tmp_path / name / "adapted.safetensors").tensors["classifier.weight"]
        for name in ("together", "second")
    ]
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-4, atol=1e-4)
    yellow = evaluate_transfer(EvaluateTransferConfig(run=tmp_path / "second", data=tmp_path / "yellow"))
    assert yellow == after.new


def test_without_means_the_pictures_must_be_there_once(run: Path, tmp_path: Path) -> None:
    new = write_pictures(tmp_path / "new", OTHERS)
    (tmp_path / "pictures").rename(tmp_path / "moved")
    message = r"that .*run has learned from must be there once.*existing folder.*old_data"
    with pytest.raises(UserError, match=message):
        add_classes(AddClassesConfig(run=run, data=new), tmp_path / "more")
    moved = AddClassesConfig(run=run, data=new, old_data=tmp_path / "moved")
    assert add_classes(moved, tmp_path / "more").old_before is not None
    (run / STATISTICS_FILE).unlink()
    (tmp_path / "moved" / "red" / "0.png").unlink()
    with pytest.raises(UserError, match="have changed since the run"):
        add_classes(moved, tmp_path / "again")


def test_means_of_other_features_do_not_count(run: Path, tmp_path: Path) -> None:
    new = write_pictures(tmp_path / "new", OTHERS)
    add_classes(AddClassesConfig(run=run, data=new), tmp_path / "more")
    delta = load_delta(run / "adapted.safetensors")
    write_delta(run / "adapted.safetensors", delta, precision="int8")
    before = (run / STATISTICS_FILE).read_bytes()
    add_classes(AddClassesConfig(run=run, data=new), tmp_path / "again")
    assert (run / STATISTICS_FILE).read_bytes() != before
    (run / STATISTICS_FILE).write_bytes(before[:-9])
    with pytest.raises(UserError, match="must be a safetensors file"):
        add_classes(AddClassesConfig(run=run, data=new), tmp_path / "third")


def known(new: Path) -> None:
    (new / "white").rename(new / "red")


def empty(new: Path) -> None:
    (new / "black").mkdir()


def single(new: Path) -> None:
    for number in range(1, 8):
        (new / "white" / f"{number}.png").unlink()


def corrupt(new: Path) -> None:
    path = new / "white" / "0.png"
    path.write_bytes(path.read_bytes()[:900])


def without_classes(new: Path) -> None:
    shutil.rmtree(new / "white")
    shutil.rmtree(new / "yellow")
    Image.new("RGB", (9, 9)).save(new / "1.png")


def huge(new: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(new / "white" / "huge.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (known, r"classes of .*new must be new ones; got \['red'\]; the run knows them already"),
        (empty, "black must be one with pictures in it; got 'none'"),
        (single, "class white must be of at least 2 readable pictures; got 1"),
        (corrupt, r"0\.png must be whole and readable.*skip_broken"),
        (without_classes, "must be one with a sub-folder for each class"),
        (huge, r"1 broken of 17.*huge\.png must be of at most 50 million pixels"),
    ],
    ids=lambda it: getattr(it, "__name__", ""),
)
def test_pictures_that_cannot_be_added_are_named(
    run: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    new = write_pictures(tmp_path / "new", OTHERS)
    spoil(new)
    with pytest.raises(UserError, match=message):
        add_classes(AddClassesConfig(run=run, data=new), tmp_path / "more")


def test_a_run_is_not_added_to_itself_nor_written_over(run: Path, tmp_path: Path) -> None:
    new = write_pictures(tmp_path / "new", OTHERS)
    with pytest.raises(UserError, match="out must be another folder than that of the run"):
        add_classes(AddClassesConfig(run=run, data=new), run, overwrite=True)
    add_classes(AddClassesConfig(run=run, data=new), tmp_path / "more")
    with pytest.raises(UserError, match="holds a finished run"):
        add_classes(AddClassesConfig(run=run, data=new), tmp_path / "more")


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"test": 0.0}, r"test must be in \(0, 1\)"),
        ({"shrinkage": 0.0}, r"shrinkage must be in \(0, 1\]; got 0\.0; 0\.0001 is the paper's"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        AddClassesConfig(run=Path("run"), data=Path("new"), **dials)


# --- runs that are not what they were --------------------------------------------------------------------------------


def test_a_run_whose_delta_is_of_other_classes_is_refused(run: Path, tmp_path: Path) -> None:
    new = write_pictures(tmp_path / "new", OTHERS)
    add_classes(AddClassesConfig(run=run, data=new), tmp_path / "more")
    shutil.copy(tmp_path / "more" / "adapted.safetensors", run / "adapted.safetensors")
    with pytest.raises(UserError, match=r"classes of .*must be those of the run, blue, green, red; got"):
        load_trained(run)


def test_a_run_whose_backbone_is_another_now_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(config: TransferConfig) -> Backbone:
        net = tiny(config)
        net.get_parameter("stem.conv.weight").data[0, 0, 0, 0] += 1e-3
        return net

    monkeypatch.setattr("multum.transfer.trained_run.fresh_backbone", other)
    with pytest.raises(
        UserError, match=r"adapted\.safetensors: model must be the backbone that the delta was"
    ):
        export_transfer(ExportConfig(run=run))


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run must be a folder with run\.json in it"):
        predict_transfer(PredictConfig(run=tmp_path, pictures=(tmp_path,)))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "running"}))
    with pytest.raises(UserError, match="must be finished"):
        show_delta(DeltaConfig(run=run))
    (run / "run.json").write_text(json.dumps({**record, "result": {"trained": {}}}))
    with pytest.raises(UserError, match="must hold a run of multum transfer add-classes"):
        load_trained(run)


# --- a backbone in int8 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bias", "lite+bias"])
def test_a_training_in_int8_is_used_as_it_was_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    monkeypatch.setattr("multum.transfer.train_command.make_backbone", lambda *_, **__: tiny(config))
    config = TransferConfig(
        data=write_pictures(tmp_path / "pictures", COLOURS), side=SIDE, num_epochs=2, batch_size=5, int8=True,
        pretrained=False, learning_rate=0.01, validation=0.25, test=0.25, mode=mode,
    )  # fmt: skip
    result = train_transfer(config, tmp_path / "run")
    found = evaluate_transfer(EvaluateTransferConfig(run=tmp_path / "run", data=tmp_path / "pictures"))
    assert found == result.test
    trained = load_trained(tmp_path / "run")
    assert len(int8_paths(trained.network.model)) > 5
    tensors = trained.delta.tensors
    assert not any("int8" in name for name in tensors)
    fresh = tiny(config).state_dict()
    moved = [name for name in fresh if name.endswith("running_mean") and name.startswith("last.")]
    assert moved
    assert all(not torch.equal(tensors[name], fresh[name]) for name in moved), "means follow the rounding"


def test_int8_needs_something_frozen() -> None:
    with pytest.raises(UserError, match="int8 must be False in mode full"):
        TransferConfig(data="digits", mode="full", int8=True)
