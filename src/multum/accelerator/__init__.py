"""The accelerator: first of all, what work it is given."""
