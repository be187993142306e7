# The verdicts and figures, shown to Weights & Biases: a mirror, which nothing reads and whose failure fails nothing.


rule track:
    input:
        expand(f"{RESULTS}/tables/{{table}}.csv", table=TABLES),
        expand(f"{RESULTS}/figures/{{figure}}.png", figure=FIGURES),
        study=f"{RESULTS}/study.json",
    output:
        touch(f"{RESULTS}/.tracked"),
    log:
        f"logs/{STUDY['preset']}/track.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    params:
        tracking=TRACKING,  # what was shown offline can be shown online as well
    shell:
        "python -m pixelpatch track --study {input.study:q} --tracking {params.tracking} 2> {log:q}"
