# One job per experiment × seed: a spec and a seed in, one record out.


rule train:
    input:
        mnist=training_data,
    output:
        # A record that is there and right is kept, also where Snakemake was killed before it saw it.
        update(f"{RESULTS}/runs/{{experiment}}/seed{{seed}}.json"),
    log:
        f"logs/{STUDY['preset']}/train/{{experiment}}/seed{{seed}}.log",
    priority: lambda wildcards: EXPERIMENTS[wildcards.experiment]["resources"]["minutes"]  # long runs first
    conda:
        "../envs/pixelpatch.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards: EXPERIMENTS[wildcards.experiment]["resources"]["memory_mb"],
        runtime=lambda wildcards, attempt: attempt * EXPERIMENTS[wildcards.experiment]["resources"]["minutes"],
    params:
        data=DATA,
        spec=lambda wildcards: canonical_json(EXPERIMENTS[wildcards.experiment]["spec"]),
        # Not used by the command: it has Snakemake notice edits of the code that training runs.
        source=source_digest(),
    shell:
        "python -m pixelpatch train --experiment {wildcards.experiment} --spec {params.spec:q} --seed {wildcards.seed}"
        " --data {params.data:q} --threads {threads} --record {output:q} 2> {log:q}"
