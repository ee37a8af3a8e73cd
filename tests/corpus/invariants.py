"""What holds of the chunks of any input."""

import itertools

from homeground.corpus import approximate_tokens, chunk_lines


def check_invariants(lines, language, max_tokens):
    chunks = chunk_lines("pkg/file.x", lines, language, max_tokens=max_tokens)
    whole = list(_joined(chunks))
    covered = [row for start, end, _ in whole for row in range(start, end + 1)]
    assert len(covered) == len(set(covered)), "a line is in two chunks"
    filled = {number for number, line in enumerate(lines, start=1) if line.strip()}
    assert filled <= set(covered), "a line is in no chunk"
    assert covered == sorted(covered), "chunks are out of order"
    for start, end, text in whole:
        assert text == "\n".join(lines[start - 1 : end])
        assert text.split("\n")[0].strip()
        assert text.split("\n")[-1].strip()
    for chunk in chunks:
        assert chunk.text.strip()
        budget = max(max_tokens - 2 - approximate_tokens([chunk.header])[0], 16)
        fits = sum(approximate_tokens(chunk.text.split("\n"))) <= budget
        assert fits or (chunk.start == chunk.end and len(chunk.text.split()) == 1)
    by_id = sorted(chunks, key=lambda chunk: (chunk.start, chunk.id))
    assert by_id == chunks, "ids do not sort the parts of a line"
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert chunks == chunk_lines("pkg/file.x", lines, language, max_tokens=max_tokens)
    return chunks


def _joined(chunks):
    """(start, end, text) of the chunks, the parts of one line together."""
    for _, parts in itertools.groupby(chunks, key=lambda chunk: chunk.start):
        parts = list(parts)
        yield parts[0].start, parts[-1].end, "".join(part.text for part in parts)
