# MNIST, from the first source that answers, checked byte for byte.


rule fetch:
    output:
        update(MNIST),  # right files are kept, whatever the sources are by now
    log:
        "logs/fetch.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    resources:
        mem_mb=1000,
        runtime=15,
        sources=SOURCES,
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python -m pixelpatch fetch --folder {params.folder:q} --sources {resources.sources:q} 2> {log:q}"
