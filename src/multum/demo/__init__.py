"""The main job on a real model and real text: `multum demo`."""

from multum.demo.config import DemoConfig
from multum.demo.main_job import PAPER_SENTENCE, REPORT_FILE, run_demo

__all__ = ["PAPER_SENTENCE", "REPORT_FILE", "DemoConfig", "run_demo"]
