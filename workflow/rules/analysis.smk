# Records into tidy tables, tidy tables into verdicts and comparisons.


rule study:
    input:
        # With seeds=recorded the records say which runs there are: none may be in the making.
        ancient(RECORDS if wanted_seeds(config) == RECORDED else []),
        schema=ancient(SCHEMA),
    output:
        update(f"{RESULTS}/study.json"),
    log:
        f"logs/{STUDY['preset']}/study.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    params:
        # In its own order, which is that of tables and figures. A function, for its braces are no wildcards.
        config=lambda wildcards: json.dumps(PLACED),
        # Not used by the command: with seeds=recorded, the runs change when a record is added.
        runs=RECORDS,
        source=ANALYSIS,
    shell:
        "python -m pixelpatch study --config {params.config:q} --schema {input.schema:q} --output {output:q} 2> {log:q}"


rule collect:
    input:
        RECORDS,
        mnist=ancient(MNIST),  # whose first labels are documented
        study=f"{RESULTS}/study.json",
    output:
        update(expand(f"{RESULTS}/tables/{{tidy}}.csv", tidy=TIDY)),
        update(f"{RESULTS}/tables/tidy.sha256"),
    log:
        f"logs/{STUDY['preset']}/collect.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        tables=lambda wildcards, output: Path(output[0]).parent,
        data=lambda wildcards, input: Path(input.mnist[0]).parent,
        source=ANALYSIS,
        ledger=LEDGER.read_text(encoding="utf-8") if LEDGER.exists() else "",
    shell:
        "python -m pixelpatch collect --study {input.study:q} --data {params.data:q} --tables {params.tables:q} 2> {log:q}"


rule tables:
    input:
        expand(f"{RESULTS}/tables/{{tidy}}.csv", tidy=TIDY),
        study=f"{RESULTS}/study.json",
    output:
        report(
            update(expand(f"{RESULTS}/tables/{{table}}.csv", table=TABLES)),
            caption="../report/tables.rst",
            category="Tables",
        ),
        update(expand(f"{RESULTS}/tables/{{table}}.{{format}}", table=TABLES, format=["md", "tex"])),
        update(f"{RESULTS}/tables/tables.sha256"),
    log:
        f"logs/{STUDY['preset']}/tables.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        tables=lambda wildcards, output: Path(output[0]).parent,
        source=ANALYSIS,
    shell:
        "python -m pixelpatch tables --study {input.study:q} --tables {params.tables:q} 2> {log:q}"


rule findings:
    input:
        expand(f"{RESULTS}/tables/{{table}}.csv", table=["provenance", *TABLES]),
        study=f"{RESULTS}/study.json",
    output:
        update(f"{RESULTS}/FINDINGS.md"),
    log:
        f"logs/{STUDY['preset']}/findings.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    params:
        tables=lambda wildcards, input: Path(input.study).with_name("tables"),
        source=ANALYSIS,
        text=digest(Path(package).with_name("templates").joinpath("findings.md").read_text(encoding="utf-8")),
    shell:
        "python -m pixelpatch findings --study {input.study:q} --tables {params.tables:q} --output {output:q} 2> {log:q}"
