"""GRPO in plain Python: no server, no trainer class, no data format.

Run: python examples/grpo.py

The reward wants answers that are short and end with a full stop. A 135M model on a CPU takes a few minutes.
"""

from homeground import GrpoConfig, Policy, train_grpo

PROMPTS = [f"Explain {thing} in one sentence." for thing in ("rain", "a prime number", "bread", "a queue", "the moon")]


def reward(prompt: str, completion: str) -> float:
    words = len(completion.split())
    return 0.5 * completion.rstrip().endswith(".") + 0.5 * (5 <= words <= 25)


if __name__ == "__main__":
    run = train_grpo(Policy.load(), PROMPTS, reward, GrpoConfig(steps=20, group_size=6), max_tokens=48)
    print(f"reward {run.history[0]['reward_mean']:.2f} -> {run.history[-1]['reward_mean']:.2f}; {run.adapter}")
