"""The demo's reward: form, the rank of the right function in the agent's own search, and the citation."""

from homeground.agents import lookup_reward


def reward(task, answer):
    gold = [task["path"], task["symbol"]]
    cited = answer["cited"]
    return lookup_reward(
        search_formed=answer["searched"],
        answer_formed=cited is not None,
        rank=answer["found"].index(gold) + 1 if gold in answer["found"] else None,
        right_symbol=cited == gold,
        right_file=cited is not None and cited[0] == gold[0],
    )
