# Has a change made anything slower, larger or different? Runs alone and whenever it is asked for.


rule regression:
    input:
        golden=f"{ROOT}/results/reference/golden.json",
    log:
        "results/logs/regression.log",
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=100,
        runtime=60,
    params:
        base=lambda wildcards: [f"--base={b}" for b in [config["regression"]["base"]] if b],
        budget=config["regression"]["budget_s"],
    # Status 3, "cannot tell", is no failure of the workflow: the verdict stands in results/regression.
    shell:
        "python -m tools.gate {params.base:q} --budget-s {params.budget}"
        " --out results/regression 2>&1 | tee {log:q} || [ $? -eq 3 ]"
