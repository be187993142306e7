# One job per experiment × seed: a spec and a seed in, one record out. And weights, of some, from their records.


rule train:
    input:
        mnist=training_data,
    output:
        # A record that is there and right is kept, also where Snakemake was killed before it saw it.
        update(f"{RESULTS}/runs/{{experiment}}/seed{{seed}}.json"),
    log:
        f"logs/{STUDY['preset']}/train/{{experiment}}/seed{{seed}}.log",
    priority: lambda wildcards: minutes(wildcards.experiment)  # long runs first
    conda:
        "../envs/pixelpatch.yaml"
    threads: lambda wildcards: EXPERIMENTS[wildcards.experiment]["resources"].get("threads", 1)
    resources:
        gpu=1 if ON_GPU else 0,
        # A job that failed for want of either gets more of both; what it had done is not lost.
        mem_mb=lambda wildcards, attempt: attempt * memory_mb(wildcards.experiment),
        runtime=lambda wildcards, attempt: attempt * minutes(wildcards.experiment),
        how=HOW,
        slurm_extra="--signal=USR1@60",  # a minute before the time is up the run saves its state and stops
    params:
        data=located(DATA),
        # As the experiment has it, also where there are fewer cores: its bits depend on it.
        threads=lambda wildcards, threads: EXPERIMENTS[wildcards.experiment]["resources"].get("threads", threads),
        may_diverge=lambda wildcards: "--may-diverge" if EXPERIMENTS[wildcards.experiment]["may_diverge"] else "",
        spec=lambda wildcards: canonical_json(EXPERIMENTS[wildcards.experiment]["spec"]),
        # Not used by the command: it has Snakemake notice edits of the code that training runs.
        source=lambda wildcards: source_digest(EXPERIMENTS[wildcards.experiment]["spec"], gpu=ON_GPU),
    shell:
        # >>: a second copy of the job may wait, and say so, while the first one's words go on.
        # exec: the shell would die at once of a SIGTERM to the whole job, and Slurm kill what its end leaves behind.
        "exec python -m pixelpatch train --experiment {wildcards.experiment} --spec {params.spec:q} --seed {wildcards.seed}"
        " --data {params.data:q} --threads {params.threads} --record {output:q} {params.may_diverge} {resources.how} 2>> {log:q}"


rule retrain:
    input:
        record=ancient(f"{RESULTS}/runs/{{experiment}}/seed0.json"),
        mnist=ancient(MNIST),
    output:
        update(f"{RESULTS}/weights/{{experiment}}.safetensors"),
    log:
        f"logs/{STUDY['preset']}/retrain/{{experiment}}.log",
    conda:
        "../envs/pixelpatch.yaml"
    threads: lambda wildcards: EXPERIMENTS[wildcards.experiment]["resources"].get("threads", 1)
    resources:
        gpu=1 if ON_GPU else 0,
        mem_mb=lambda wildcards, attempt: attempt * memory_mb(wildcards.experiment),
        runtime=lambda wildcards, attempt: attempt * minutes(wildcards.experiment),
    params:
        data=lambda wildcards, input: Path(input.mnist[0]).parent,
        device=[] if config["device"] == "auto" else ["--device", config["device"]],
        source=lambda wildcards: source_digest(EXPERIMENTS[wildcards.experiment]["spec"], gpu=ON_GPU),
    shell:
        "exec python -m pixelpatch weights --record {input.record:q} --data {params.data:q} {params.device:q}"
        " --output {output:q} 2>> {log:q}"


rule weights:
    input:
        expand(f"{RESULTS}/weights/{{experiment}}.safetensors", experiment=config["weights"]),
    localrule: True
