"""A coding agent: it writes a function, runs its examples in the sandbox, and may mend what fails, once.

The code is a model's: it runs in Homeground's sandbox alone (no network, no files, no processes, bounded time and
memory). The agent sees the task's examples; the reward runs other tests, so that writing the examples' answers down
earns nothing.
"""

import asyncio

from homeground.agents.code_reward import complaint, run_tests

SYSTEM = "You write one Python function. Reply with its code alone."
MOST_TRIES = 2


async def agent(task, client):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task["question"]}]
    code = ""
    for _ in range(MOST_TRIES):
        done = await client.chat.completions.create(model="policy", messages=messages, max_tokens=48)
        code = done.choices[0].message.content
        ran = await asyncio.to_thread(run_tests, code, task["entry"], task["examples"])
        wrong = complaint(ran, task["entry"], task["examples"])
        if not wrong:
            break
        messages += [
            {"role": "assistant", "content": code},
            {"role": "user", "content": f"{wrong}. Write it again."},
        ]
    return code
