from homeground.agents.code_reward import passes
from homeground.agents.reward_terms import weighted

reward = weighted(
    right=(1.0, passes()),
    share=(0.3, passes(partial=True)),
)
