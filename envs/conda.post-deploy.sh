# What Snakemake runs in a new environment of conda.yaml. TORCH_INDEX chooses torch's build, as for `make setup`.
# `make lock` writes the next line: Snakemake makes the environment anew when this text differs.
# lock.txt sha256: 7dd47d77bf578b8faa978a5878e6ea9b2c79c43b3cb0eafab3f05b2d14fc90fd
set -eu
python "$SEQBENCH_CHECKOUT/envs/install.py" base torch
# The kernels are built, as by `make setup CUDA=1`, where a compiler and a torch for them are there.
if command -v nvcc > /dev/null && python -c 'import sys, torch; sys.exit(not torch.version.cuda)'; then
  python "$SEQBENCH_CHECKOUT/envs/install.py" cuda kernels
fi
