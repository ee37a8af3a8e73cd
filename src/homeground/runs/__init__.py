"""Workspace and run folders: step log, rollout log, stage timer, listing and removal of runs."""
