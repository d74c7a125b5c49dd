"""Times of the selective scan by backend, on a GPU or here: ``python -m tools.gpu.scan_bench --out results/checks/scan.json``.

Everything else that a GPU computes runs by the workflow: docs/gpu.md.
"""
