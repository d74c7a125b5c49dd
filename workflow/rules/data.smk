# From a publisher's file, a file of yours or a generator to arrays on disk.


rule prepare:
    # All but times.npy, which only data with real times have. Snakemake looks only for those that are asked for: data that
    # are damaged are made again with --force, by themselves, so that nothing trained on them is out of date.
    output:
        "results/data/{dataset}/dataset.json",
        "results/data/{dataset}/items.npy",
        "results/data/{dataset}/offsets.npy",
        "results/data/{dataset}/rows.npy",
        "results/data/{dataset}/users.npz",
        "results/data/{dataset}/user_ids.txt",
        "results/data/{dataset}/item_ids.txt",
    log:
        "results/logs/prepare/{dataset}.log",
    priority: order.PREPARING
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=1,
    params:
        definition=dataset_definition,
        content=raw_content,
        source=public_source,
        code=provenance.representative(provenance.preparing()),
    shell:
        "python -m seqbench prepare --name {wildcards.dataset:q} --definition {params.definition:q}"
        ' --data-dir "$DATA_DIR" --out results/data/{wildcards.dataset:q} 2>&1 | tee {log:q}'


# On a cluster: where the run was started, because compute nodes often have no network.
localrules:
    prepare,
