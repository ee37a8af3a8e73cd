"""Think, search, answer over one's own docs, after Search-R1 (arXiv 2503.09516).

The model writes `<think>...</think>` and then either `<search>QUERY</search>`, which is answered with
`<information>...</information>` in the next turn, or `<answer>...</answer>`, which ends it. What a document says goes
into the information with its tags taken apart, and only the model's own turns are ever read for an answer: a document
that contains an answer tag has said nothing.
"""

import re

SYSTEM = (
    "Fill the blank ___ from the docs. Write <think>your thought</think> and then <search>words</search>, "
    "or <answer>what the blank was</answer> when the information says it."
)
MOST_SEARCHES = 2
SHOWN = 3
TURN = re.compile(r"\s*<think>(?P<think>[^<>]*)</think>\s*<(?P<kind>search|answer)>(?P<said>[^<>]*)</(?P=kind)>\s*")


async def agent(task, client, search):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task["question"]}]
    formed = []
    for turn in range(MOST_SEARCHES + 1):
        done = await client.chat.completions.create(model="policy", messages=messages, max_tokens=40)
        text = done.choices[0].message.content
        said = TURN.fullmatch(text)
        formed.append(said is not None)
        if said is None or said["kind"] == "answer" or turn == MOST_SEARCHES:
            answer = said["said"] if said is not None and said["kind"] == "answer" else None
            return {"answer": answer, "formed": sum(formed) / len(formed), "searched": turn > 0}
        hits = await search(said["said"], 5)
        messages += [{"role": "assistant", "content": text}, information(hits, said["said"])]
    raise AssertionError("the last turn always ends it")


def information(hits, query):
    """The sentences of the hits that share most words with the query, best first."""
    wanted = words(query)
    sentences = list(dict.fromkeys(one for hit in hits for one in sentences_of(hit["text"])))
    best = sorted(sentences, key=lambda one: -len(wanted & words(one)) / (3 + len(words(one)) ** 0.5))[:SHOWN]
    return {"role": "user", "content": f"<information>{' / '.join(map(harmless, best)) or 'nothing'}</information>"}


def sentences_of(text):
    """Sentences of a text on one line each, without headings' marks and tables' bars."""
    plain = " ".join(re.sub(r"^[#>|*\-\s]+", "", line) for line in text.splitlines())
    return [one.strip() for one in re.split(r"(?<=[.;:!?])\s+|\s\|\s", plain) if 20 <= len(one.strip()) <= 240]


def harmless(text):
    """A document's text without anything that reads as one of our tags or as chat markup."""
    return text.replace("<", "(").replace(">", ")")


def words(text):
    return set(re.findall(r"\w+", text.casefold()))
