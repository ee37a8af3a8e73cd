"""What the verbs do: the demo, its stages one by one, and their results."""

from homeground.pipeline.demo import run_demo
from homeground.pipeline.measured import write_results
from homeground.pipeline.planning import plan_stage, refuse_what_cannot_fit
from homeground.pipeline.workbench import Workbench

__all__ = ["Workbench", "plan_stage", "refuse_what_cannot_fit", "run_demo", "write_results"]
