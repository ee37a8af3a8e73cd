"""Steps of fine-tuning with checkpoints in a folder, without the run folder around them."""

from homeground.training.loop import fit
from homeground.training.sft import SftModule, steps_of


def fit_sft(policy, examples, config, folder, log_step, *, seed=0):
    module = SftModule(policy, examples, config, log_step, seed=seed)
    return fit(module, steps=steps_of(len(examples), config), checkpoints=folder, every=config.checkpoint_every)
