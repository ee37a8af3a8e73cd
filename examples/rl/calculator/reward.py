from homeground.agents.reward_terms import equals, matches, weighted

reward = weighted(
    right=(1.0, equals("answer")),
    number=(0.1, matches(r"-?\d+(\.\d+)?")),
)
