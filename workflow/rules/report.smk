# From records to tables to a page. Nothing here makes a training or a measurement run again.


rule collect:
    input:
        records(),
        prepared(),
        grid="results/grid.json",
    output:
        TABLES,
    log:
        "results/logs/collect.log",
    conda:
        CONDA_ENV
    threads: 8  # processes, of as many cores as Snakemake was given
    resources:
        machine=1,
    params:
        code=rendering_code("seqbench/analysis/collect.py"),
        texts=text_of(
            f"{ROOT}/config/claims.yaml",
            f"{ROOT}/config/published_values.yaml",
            f"{ROOT}/workflow/schemas/tables.yaml",
        ),
        renewals=integrity.renewals(VERIFIED),
    shell:
        "python -m seqbench collect --grid {input.grid:q} --results results --out results/tables"
        " --processes {threads} 2>&1 | tee {log:q}"


rule render:
    input:
        TABLES,
    output:
        report(
            "report/index.html",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"content": "the whole report"},
        ),
        report(
            directory("report/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        report(
            directory("report/tables"),
            patterns=["{table}.csv"],
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "results/logs/report.log",
    conda:
        CONDA_ENV
    threads: 8  # processes, of as many cores as Snakemake was given
    resources:
        machine=1,
    params:
        code=rendering_code("seqbench/report/page.py"),
        texts=text_of(*glob(f"{ROOT}/report/template/*")),
    shell:
        "python -m seqbench report --tables results/tables --out report"
        " --processes {threads} 2>&1 | tee {log:q}"


# Without outputs: both run whenever they are asked for.
rule check:
    input:
        TABLES,
    log:
        "results/logs/check.log",
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=1,
    shell:
        "python -m seqbench check --tables results/tables 2>&1 | tee {log:q}"


rule publish:
    input:
        records(),
        prepared(),
        grid="results/grid.json",
    log:
        "results/logs/publish.log",
    conda:
        CONDA_ENV
    threads: 1
    resources:
        machine=1,
    params:
        # The checkout's README tells the checkout's results, not those of a folder elsewhere (--directory).
        readme="--readme README.md" if Path.cwd().samefile(ROOT) else "",
    shell:
        "python -m seqbench publish --grid {input.grid:q} --results results {params.readme} 2>&1 | tee {log:q}"


localrules:
    grid,
    collect,
    render,
    check,
    publish,
