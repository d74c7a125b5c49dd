# What Snakemake runs in a new environment of conda.yaml. TORCH_INDEX chooses torch's build, as for `make setup`.
# `make lock` writes the next line: Snakemake makes the environment anew when this text differs.
# lock.txt sha256: 2a4a5c6fe4c27f76340bfd49f093728fed9b4a329265ae09daa42b9c8868bd73
set -eu
python "$SEQBENCH_CHECKOUT/envs/install.py" base torch
# The kernels are built, as by `make setup CUDA=1`, where a compiler and a torch for them are there.
if command -v nvcc > /dev/null && python -c 'import sys, torch; sys.exit(not torch.version.cuda)'; then
  python "$SEQBENCH_CHECKOUT/envs/install.py" cuda kernels
fi
