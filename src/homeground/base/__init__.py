"""What every room stands on: errors, recipes, workspaces, weights, the hardware probe, progress and memory."""
