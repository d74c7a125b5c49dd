# Equal tuning: one study per dataset and model. Its trials are records beside study.json; a study that was interrupted
# goes on with those that are there.


rule tune_model:
    input:
        dataset="results/data/{dataset}/dataset.json",
    output:
        "results/tune/{dataset}/{model}/L{seq_len}/study.json",
    log:
        "results/logs/tune/{dataset}/{model}/L{seq_len}.log",
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=1,
        gpu=GPU,
        gpu_share=100 * GPU,
        runtime=2880,
    params:
        study=study_json,
        first=first_trial,
        code=tuning_code,
    shell:
        "python -m seqbench tune --study {params.study:q} --dataset results/data/{wildcards.dataset:q}"
        " --out $(dirname {output:q}) --threads {threads} --gpu {resources.gpu}"
        " --gpu-share {resources.gpu_share}"
        " --time-limit $(({resources.runtime} * 60 - 60)) 2>&1 | tee {log:q}"


rule tune:
    input:
        [f"{folder}/study.json" for folder in STUDIES],
