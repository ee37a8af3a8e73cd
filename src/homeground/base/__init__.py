"""What every package stands on: errors, files, hardware, weights, progress and memory; nothing that knows of runs."""
