"""What the training benchmarks share: the workload, our side of it, how memory and operations are counted."""
