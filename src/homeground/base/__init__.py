"""Common base of all packages: errors, files, hardware, weights, progress and memory; nothing that knows of runs."""
