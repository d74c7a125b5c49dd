# Quality (train) and cost (measure): one record per job and model, also for a job that failed.


rule grid:
    output:
        "results/grid.json",
    log:
        "results/logs/grid.log",
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=1,
    params:
        config=config_json,
        code=rendering_code(
            "seqbench/config/grid.py", "seqbench/config/load.py", "seqbench/core/jobs.py"
        ),
        models=[rendering_code(f"models/{m}.py") for m in AVAILABLE],
    shell:
        "python -m seqbench grid --config {params.config:q} --out {output:q} 2>&1 | tee {log:q}"


rule train:
    input:
        dataset="results/data/{dataset}/dataset.json",
    output:
        record="results/runs/{dataset}/{track}/{model}/L{seq_len}-s{seed}/record.json",
        samples="results/runs/{dataset}/{track}/{model}/L{seq_len}-s{seed}/samples.npz",
        weights="results/runs/{dataset}/{track}/{model}/L{seq_len}-s{seed}/weights.safetensors",
    log:
        "results/logs/train/{dataset}/{track}/{model}/L{seq_len}-s{seed}.log",
    benchmark:
        "results/logs/train/{dataset}/{track}/{model}/L{seq_len}-s{seed}.jsonl"
    wildcard_constraints:
        model=TRAINED,
    priority: training_priority
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=1,
        gpu=GPU,
        gpu_share=100 * GPU,
        runtime=1440,
    params:
        experiment=training_json,
        code=training_code,
    # One minute less than the scheduler allows, so that a training out of time still leaves its record.
    shell:
        "python -m seqbench run --job {params.experiment:q}"
        " --dataset results/data/{wildcards.dataset:q}"
        " --out $(dirname {output.record:q}) --threads {threads} --gpu {resources.gpu}"
        " --gpu-share {resources.gpu_share}"
        " --time-limit $(({resources.runtime} * 60 - 60)) 2>&1 | tee {log:q}"


# Seconds each, without a GPU: on a cluster some of them share a job, whose way through the queue costs more than they do.
use rule train as baseline with:
    wildcard_constraints:
        model=BASELINES,
    group:
        "cheap"
    resources:
        machine=1,
        gpu=0,
        gpu_share=0,
        cheap=1,
        runtime=60,


if MEASURED:

    # One job for all models, interleaved, alone on the machine.
    rule measure:
        input:
            dataset=measured_dataset,
        output:
            expand(
                "results/runs/{{dataset}}/{{track}}/measure/{{size}}/{model}/{file}",
                model=MEASURED,
                file=["record.json", "samples.npz"],
            ),
        log:
            "results/logs/measure/{dataset}/{track}/{size}.log",
        priority: measurement_priority
        conda:
            CONDA_ENV
        threads: 1
        resources:
            machine=100,
            gpu=GPU,
            gpu_share=100 * GPU,
            runtime=240,
        params:
            measurement=measurement_json,
            dataset=measured_dataset_option,
            code=measuring_code,
        shell:
            "python -m seqbench measure --job {params.measurement:q} {params.dataset:q}"
            " --out results/runs/{wildcards.dataset:q}/{wildcards.track:q}/measure/{wildcards.size:q}"
            " --threads {threads} --gpu {resources.gpu}"
            " --time-limit $(({resources.runtime} * 60 - 60)) 2>&1 | tee {log:q}"
