"""What users pick instead of multum, each in an environment of its own, driven from the same run."""

from benchmarks.peers.environment import ENVIRONMENTS, PeerEnvironment
from benchmarks.peers.process import Peer, PeerError, ask_environment

__all__ = ["ENVIRONMENTS", "Peer", "PeerEnvironment", "PeerError", "ask_environment"]
