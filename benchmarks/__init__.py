"""Benchmarks: each module has a ``main`` that writes ``benchmarks/results/NAME.json`` and the table made from it."""
