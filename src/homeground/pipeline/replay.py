"""Replay without anybody's data: the base model's own conversations, mixed into training so that it stays what it was.

The template opens a user's turn and the model writes one; the template opens the assistant's turn and the model
answers (Xu et al. 2024, arXiv 2406.08464). Both are sampled at temperature 1, from the model's own distribution: there
the expected gradient of the loss on them is zero at the base model, so they teach nothing and only hold it in place.
That is true of every sampled token, so an answer that was cut off is kept as an unfinished row, trained up to the cut
and without an end; were it left out, the rows would teach short answers. A question that was cut off is left out with
its conversation: it is no target, and not what people ask.

A constant number of conversations is under way: when a question ends its answer is begun, and when a conversation ends
the next one. All of it happens in the sampler's own thread, between two of its steps. So which rows decode together,
and with it every rounding, follows from the recipe alone, and equal seeds give equal files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl
from homeground.base.progress import Bar
from homeground.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from homeground.rollouts import Generation

QUESTION_TOKENS, ANSWER_TOKENS = 48, 160
SHORTEST_QUESTION = 3
"""Words."""
TRIES_A_ROW = 8
_PLACE = _TORN = "\N{REPLACEMENT CHARACTER}"


def write_replay(bench: Workbench, file: Path, rows: int) -> dict[str, Any]:
    """Sample conversations of the recipe's model, its adapter fresh, until there are enough, and write them.

    Args:
        bench: of the model; `eval.batch` of its recipe is how many conversations are under way at once.
        file: JSON lines of messages, in the order in which the conversations began.
        rows: how many.

    Raises:
        HomegroundError: the tokenizer has no chat template, or the model hardly ever ends a question.
    """
    bar = bench.progress.bar("sampling replay", total=rows)
    # What was cached before could change a rounding.
    bench.sampler.publish()
    sampling = Conversations(bench, rows, bar)
    made = sampling.rows()
    if len(made) < rows:
        raise HomegroundError(
            f"only {len(made)} of {sampling.begun} conversations that the model began are of use",
            where=bench.recipe.model.name,
            hint="use an instruct model, or your own general examples as a replay source",
        )
    atomic_write_jsonl(file, made)
    unfinished = sum("unfinished" in row for row in made)
    bar.done(f"{rows} conversations of {sampling.begun} that were begun; {unfinished} answers were cut off")
    return {"train": rows, "heldout": 0, "removed": dict(sorted(sampling.removed.items())), "train_file": str(file)}


class Conversations:
    """The first conversations that a model holds with itself and that are of use, in the order in which they began.

    All but the constructor and :meth:`rows` runs in the sampler's thread.

    Args:
        bench: of the model.
        wanted: how many.
        bar: advances with each.

    Attributes:
        begun: how many were begun.
        removed: how many of them are not of use, by the reason.
    """

    def __init__(self, bench: Workbench, wanted: int, bar: Bar) -> None:
        from homeground.policy.chat import encode, end_token

        self.begun = 0
        self.removed: Counter[str] = Counter()
        self._sampler, self._compute, self._tokenizer = bench.sampler, bench.compute, bench.policy.tokenizer
        self._seed, self._at_once = bench.recipe.seed, bench.recipe.eval.batch
        self._wanted, self._bar = wanted, bar
        self._opening = encode(self._tokenizer, user_opening(self._tokenizer))
        self._end = end_token(self._tokenizer)
        self._made: dict[int, dict[str, Any]] = {}
        self._asked: set[str] = set()
        self._over: Future[None] = Future()

    def rows(self) -> list[dict[str, Any]]:
        """The conversations as rows for fine-tuning; fewer than were wanted when too many are of no use."""
        # Its end is a moment in the sampler's thread, where all others are sent from; locked, it cannot end too soon.
        with self._compute:
            self._sample(self._opening, 1, 0, lambda _: self._go_on())
        self._over.result()
        return [self._made[number] for number in sorted(self._made)]

    def _go_on(self) -> None:
        """Begin what may begin: never more than will be of use if all that runs is, so that no length is preferred."""
        lost = self.removed.total()
        running = self.begun - lost - len(self._made)
        most = min(self._wanted + lost, TRIES_A_ROW * self._wanted)
        while running < self._at_once and self.begun < most:
            number = self.begun
            self.begun += 1
            running += 1
            self._sample(self._opening, QUESTION_TOKENS, 2 * number, lambda one, at=number: self._answer(at, one))
        if not running:
            self._over.set_result(None)

    def _answer(self, number: int, question: Generation) -> None:
        from homeground.policy.chat import encode, prompt_text

        text = _words(self._tokenizer, question)
        if not _ended(question):
            self._leave_out("questions without an end")
        elif len(text.split()) < SHORTEST_QUESTION:
            self._leave_out("short questions")
        elif text in self._asked:
            self._leave_out("repeated questions")
        else:
            self._asked.add(text)
            said = [{"role": "user", "content": text}]
            prompt = encode(self._tokenizer, prompt_text(self._tokenizer, said))
            self._sample(prompt, ANSWER_TOKENS, 2 * number + 1, lambda one: self._keep(number, said, one))

    def _keep(self, number: int, said: list[dict[str, str]], answer: Generation) -> None:
        text = _words(self._tokenizer, answer)
        if text:
            row = {"messages": [*said, {"role": "assistant", "content": text}], "source": "replay"}
            self._made[number] = row if _ended(answer) else {**row, "unfinished": True}
            self._bar.advance()
            self._go_on()
        else:
            self._leave_out("empty answers")

    def _leave_out(self, reason: str) -> None:
        self.removed[reason] += 1
        self._go_on()

    def _sample(self, prompt: list[int], tokens: int, call: int, then: Callable[[Generation], None]) -> None:
        from homeground.rollouts import SamplingParams
        from homeground.rollouts.sampling import call_seed

        def ended(future: Future[Generation]) -> None:
            if self._over.done():
                return
            try:
                then(future.result())
            except Exception as error:  # what a callback raises is logged and lost
                self._over.set_exception(error)

        params = SamplingParams(seed=call_seed(self._seed, 0, 0, 0, call))
        self._sampler.submit(prompt, tokens, params, stop_ids=[self._end]).add_done_callback(ended)


def user_opening(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template's text up to where a user's first message begins."""
    from homeground.policy.chat import prompt_text

    return prompt_text(tokenizer, [{"role": "user", "content": _PLACE}], open_turn=False).partition(_PLACE)[0]


def _ended(one: Generation) -> bool:
    from homeground.rollouts.engine import FinishReason

    return one.finish_reason is FinishReason.STOP


def _words(tokenizer: PreTrainedTokenizerBase, one: Generation) -> str:
    """What was written, without a letter that a limit cut in two."""
    text = tokenizer.decode(one.ids, skip_special_tokens=True)
    assert isinstance(text, str)
    return text.strip() if _ended(one) else text.rstrip(_TORN).strip()
