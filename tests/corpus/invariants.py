"""What holds of the chunks of any input."""

from homeground.corpus import approximate_tokens, chunk_lines


def check_invariants(lines, language, max_tokens):
    chunks = chunk_lines("pkg/file.x", lines, language, max_tokens=max_tokens)
    covered = [row for chunk in chunks for row in range(chunk.start, chunk.end + 1)]
    assert len(covered) == len(set(covered)), "a line is in two chunks"
    filled = {number for number, line in enumerate(lines, start=1) if line.strip()}
    assert filled <= set(covered), "a line is in no chunk"
    assert covered == sorted(covered), "chunks are out of order"
    for chunk in chunks:
        assert chunk.text == "\n".join(lines[chunk.start - 1 : chunk.end])
        assert chunk.text.split("\n")[0].strip()
        assert chunk.text.split("\n")[-1].strip()
        budget = max(max_tokens - 2 - approximate_tokens([chunk.header])[0], 16)
        assert chunk.start == chunk.end or sum(approximate_tokens(chunk.text.split("\n"))) <= budget
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert chunks == chunk_lines("pkg/file.x", lines, language, max_tokens=max_tokens)
    return chunks
