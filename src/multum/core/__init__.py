"""What every other part stands on: errors, files, configuration, runs, provenance, progress."""
