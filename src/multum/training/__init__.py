"""What training loops share: checkpoints and resume, schedules, the metric log."""
