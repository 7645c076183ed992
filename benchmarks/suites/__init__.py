"""One module per suite; each declares a `SUITE`. A new module in this folder is found by itself."""
