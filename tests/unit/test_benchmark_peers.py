"""Peers answer from an environment of their own, and what fails there is told here."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks.peer_workers.cache_bytes import bytes_read_per_row, packed_row_bytes
from benchmarks.peers import ENVIRONMENTS, Peer, PeerEnvironment, PeerError
from benchmarks.peers.environment import FOLDER_VARIABLE


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PeerEnvironment:
    """An environment that is only another name for this one."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    made = PeerEnvironment(name="here", about="", requirements=("numpy",), packages=("numpy",))
    (made.folder / "bin").mkdir(parents=True)
    made.python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    made.python.chmod(0o755)
    (made.folder / "requirements.txt").write_text("numpy")
    return made


def test_a_peer_tells_its_versions_and_its_failures_and_lives_on(environment: PeerEnvironment) -> None:
    import numpy as np

    with Peer(environment, "llama_cpp", num_threads=1) as peer:
        assert peer.versions() == {"numpy": np.__version__}
        with pytest.raises(PeerError, match="here could not answer 'generate': KeyError"):
            peer.call("generate", cache="f16", num_tokens=1)
        with pytest.raises(PeerError, match="KeyError: 'sing'"):
            peer.call("sing")
        assert peer.call("versions", names=[]) == {}


def test_a_peer_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    remedy = "kvpress is not installed; run python -m benchmarks.peers install kvpress"
    with pytest.raises(PeerError, match=remedy):
        Peer(ENVIRONMENTS["kvpress"], "language_model", num_threads=1)


def test_an_environment_of_other_versions_counts_as_missing(environment: PeerEnvironment) -> None:
    assert environment.installed
    (environment.folder / "requirements.txt").write_text("numpy==1.0")
    assert not environment.installed


def test_requirements_are_pinned_and_their_versions_are_told() -> None:
    for environment in ENVIRONMENTS.values():
        assert all("==" in requirement for requirement in environment.requirements)
        assert environment.packages


@pytest.mark.parametrize(
    ("cache", "row_bytes"),
    [
        ({"kind": "hqq", "nbits": 4}, 32 + 4),
        ({"kind": "quanto", "nbits": 2, "q_group_size": 32}, 16 + 8),
        ({"kind": "turboquant", "bits": 3}, 24 + 2),
        ({"kind": "fp8"}, 64),
    ],
)
def test_a_quantized_row_counts_its_bits_and_its_scales(cache: dict[str, object], row_bytes: int) -> None:
    assert packed_row_bytes(cache, 64) == row_bytes


def test_bytes_read_count_every_row_of_every_step() -> None:
    config = SimpleNamespace(num_key_value_heads=1, head_dim=64, hidden_size=64, num_attention_heads=1)
    model = SimpleNamespace(config=config)
    layer = SimpleNamespace(get_seq_length=lambda: 10, keys=None)
    store = SimpleNamespace(layers=[layer, layer])
    dense = bytes_read_per_row(store, {"kind": "dynamic"}, model, num_new=2)
    assert dense == 2 * (11 + 12) * 2 * 64 * 4
    packed = bytes_read_per_row(store, {"kind": "hqq", "nbits": 4}, model, num_new=2)
    assert packed == 2 * ((1 + 2) * 2 * 64 * 4 + (10 + 10) * 2 * 36)
