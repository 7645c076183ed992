"""Compute in 3D that is short: sparse point-voxel convolution and the search for its networks."""
