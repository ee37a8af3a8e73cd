"""Benchmarks: each module here is `make bench-NAME`; what several of them share lies in the folders."""
