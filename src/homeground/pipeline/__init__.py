"""What the verbs do: the demo, its stages one by one, and their results.

A verb imports the module that it needs and no other: what one of them loads takes seconds.
"""
