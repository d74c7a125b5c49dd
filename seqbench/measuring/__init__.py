"""Measuring time and memory: interleaved fresh processes, phases, workloads, counts."""
