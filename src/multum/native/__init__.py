"""Compiled halves of kernels and simulators: found, built, loaded; without torch, which takes seconds to start."""

from multum.native.library import NativeLibrary, cache_folder, load_native

__all__ = ["NativeLibrary", "cache_folder", "load_native"]
