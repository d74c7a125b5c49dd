# What Snakemake runs in a new environment of conda.yaml. TORCH_INDEX chooses torch's build, as for `make setup`.
# `make lock` writes the next line: Snakemake makes the environment anew when this text differs.
# lock.txt sha256: 7dd47d77bf578b8faa978a5878e6ea9b2c79c43b3cb0eafab3f05b2d14fc90fd
set -eu
python "$SEQBENCH_CHECKOUT/envs/install.py" base torch
# The kernels are built where there is a compiler for them, as by `make setup CUDA=1`.
if command -v nvcc > /dev/null; then
  python "$SEQBENCH_CHECKOUT/envs/install.py" cuda kernels
fi
