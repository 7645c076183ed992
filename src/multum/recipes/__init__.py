"""Recipes: functions that return a whole configuration; `--recipe NAME` starts from one, options change it."""
