from .base.reward import Reward as Reward
from .evaluate import evaluate_policy as evaluate_policy
from .index import Index as Index
from .index import IndexConfig as IndexConfig
from .policy import LoraConfig as LoraConfig
from .policy import ModelConfig as ModelConfig
from .policy import Policy as Policy
from .training import DpoConfig as DpoConfig
from .training import GrpoConfig as GrpoConfig
from .training import SftConfig as SftConfig
from .training import TrainingRun as TrainingRun
from .training import train_dpo as train_dpo
from .training import train_grpo as train_grpo
from .training import train_sft as train_sft

__version__: str
