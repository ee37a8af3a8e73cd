"""The demo's look-up agent in plain `openai`: it writes a query, sees five hits, and cites one.

Only what the model itself says is read for a citation. Names from the code base are shown on one printable line each,
so that text planted there can neither start a line of its own nor look like a turn of the conversation.
"""

import re

SYSTEM = (
    "You find functions in a code base. First reply 'search: ' and a short query. "
    "When you see the hits, reply 'answer: ' and the number of the right one in brackets."
)
SHOWN = 5
SEARCH = re.compile(r"\s*search:[ \t]*(?P<query>\S[^\r\n]*?)\s*", re.IGNORECASE)
ANSWER = re.compile(r"\s*answer:[ \t]*\[(?P<number>[1-5])\]\s*", re.IGNORECASE)


async def agent(task, client, search):
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Which function does this? {one_line(task['question'], 200)}"},
    ]
    asked = await say(client, messages, 24)
    call = SEARCH.fullmatch(asked)
    hits = await search(call["query"] if call else asked, 10)
    messages.append({"role": "user", "content": listed(hits)})
    picked = ANSWER.fullmatch(await say(client, messages, 8))
    return outcome(hits, call is not None, int(picked["number"]) if picked else 0)


async def say(client, messages, most):
    """The model's next turn, which the conversation goes on with."""
    done = await client.chat.completions.create(model="policy", messages=messages, max_tokens=most)
    messages.append({"role": "assistant", "content": done.choices[0].message.content})
    return done.choices[0].message.content


def listed(hits):
    """The hits as the model sees them."""
    lines = [
        f"[{number}] {one_line(hit['path'].removesuffix('.py'))} {one_line(hit['symbol'])}".rstrip()
        for number, hit in enumerate(hits[:SHOWN], start=1)
    ]
    return "\n".join(lines) or "No hits."


def outcome(hits, searched, number):
    """What reward.py judges: what was found, and which of the hits that were shown was cited, if any."""
    found = [[hit["path"], hit["symbol"]] for hit in hits]
    shown = found[:SHOWN]
    return {"searched": searched, "found": found, "cited": shown[number - 1] if 1 <= number <= len(shown) else None}


def one_line(text, most=120):
    printable = "".join(c if c.isprintable() else " " for c in text).replace("<|", "< |").replace("|>", "| >")
    return " ".join(printable.split())[:most]
