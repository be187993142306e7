# Every figure, from the tables (and MNIST itself, where it shows digits).


rule figure:
    input:
        mnist=ancient(MNIST),
        tables=expand(f"{RESULTS}/tables/{{table}}.csv", table=[*TIDY, *TABLES]),
        study=f"{RESULTS}/study.json",
    output:
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
        png=f"{RESULTS}/figures/{{figure}}.png",
    log:
        f"logs/{STUDY['preset']}/figure/{{figure}}.log",
    conda:
        "../envs/pixelpatch.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        tables=lambda wildcards, input: Path(input.study).with_name("tables"),
        data=lambda wildcards, input: Path(input.mnist[0]).parent,
        source=ANALYSIS,
    shell:
        "python -m pixelpatch figure {wildcards.figure} --study {input.study:q} --tables {params.tables:q}"
        " --data {params.data:q} --output {output.pdf:q} 2> {log:q}"
