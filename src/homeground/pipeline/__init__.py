"""What the verbs do: the demo, its stages one by one, and their results."""

from homeground.pipeline.demo import run_demo
from homeground.pipeline.measured import write_results
from homeground.pipeline.workbench import Workbench

__all__ = ["Workbench", "run_demo", "write_results"]
