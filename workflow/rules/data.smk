# From a publisher's file, a file of yours or a generator to arrays on disk.


rule prepare:
    input:
        local=local_file,
        code=sources(
            "seqbench/data/__init__.py",
            without=code.PLUMBING - {"seqbench/data/pipeline.py"},
        ),
    output:
        "results/data/{dataset}/dataset.json",
        "results/data/{dataset}/items.npy",
        "results/data/{dataset}/offsets.npy",
    log:
        "results/logs/prepare/{dataset}.log",
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=1,
    params:
        definition=dataset_definition,
    shell:
        "python -m seqbench prepare --name {wildcards.dataset} --definition {params.definition:q}"
        ' --data-dir "$DATA_DIR" --out results/data/{wildcards.dataset} 2>&1 | tee {log}'
