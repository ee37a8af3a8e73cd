from .index import Index as Index
from .pipeline.supervised import SftRun as SftRun
from .pipeline.supervised import train_sft as train_sft
from .policy import LoraConfig as LoraConfig
from .policy import ModelConfig as ModelConfig
from .policy import Policy as Policy
from .training import DpoConfig as DpoConfig
from .training import GrpoConfig as GrpoConfig
from .training import GrpoRun as GrpoRun
from .training import SftConfig as SftConfig
from .training import train_dpo as train_dpo
from .training import train_grpo as train_grpo

__version__: str
