from homeground.agents.reward_terms import equals, weighted


def formed(task, answer):
    """The share of the model's turns that had the right form."""
    return answer["formed"]


reward = weighted(
    right=(1.0, equals("answer")),
    formed=(0.1, formed),
)
