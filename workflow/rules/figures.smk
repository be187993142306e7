# Every figure, from the tables (and MNIST itself, where it shows digits).


rule figure:
    input:
        mnist=ancient(MNIST),
        tables=expand(f"{RESULTS}/tables/{{table}}.csv", table=[*TIDY, *TABLES]),
        study=f"{RESULTS}/study.json",
    output:
        pdf=update(f"{RESULTS}/figures/{{figure}}.pdf"),
        svg=update(f"{RESULTS}/figures/{{figure}}.svg"),
        png=report(
            update(f"{RESULTS}/figures/{{figure}}.png"),
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        f"logs/{STUDY['preset']}/figure/{{figure}}.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        tables=lambda wildcards, input: Path(input.study).with_name("tables"),
        data=lambda wildcards, input: Path(input.mnist[0]).parent,
        source=ANALYSIS,
        # Not used by the command, and no input: weights that are there are shown, but none is trained for a picture.
        weights=[
            hashlib.sha256(file.read_bytes()).hexdigest()
            for folder in sorted({located(RESULTS), PUBLISHED})
            for file in sorted(Path(folder).glob("weights/*.safetensors"))
        ],
    shell:
        "python -m pixelpatch figure {wildcards.figure} --study {input.study:q} --tables {params.tables:q}"
        " --data {params.data:q} --output {output.pdf:q} 2> {log:q}"
