# The study, from MNIST to verdicts. `snakemake --cores all` makes all of it; config.yaml says what it is.
from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


include: "workflow/rules/config.smk"


configfile: CONFIGFILE


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/tracking.smk"
include: "workflow/rules/hooks.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/study.json",
        RECORDS,
        expand(f"{RESULTS}/tables/{{table}}.{{format}}", table=TABLES, format=["csv", "md", "tex"]),
        expand(f"{RESULTS}/figures/{{figure}}.{{format}}", figure=FIGURES, format=["pdf", "svg", "png"]),
        f"{RESULTS}/FINDINGS.md",
        f"{RESULTS}/report.html",
        [] if TRACKING == "disabled" else rules.track.output,
    localrule: True


onstart:
    note_what_is_forced()
    ASIDE.update(put_aside())


onsuccess:
    if Path(f"{RESULTS}/tables/claims.csv").exists():  # not where a part of the study was asked for
        shell("python -m pixelpatch show {RESULTS:q}")
    say_what_was_kept()


onerror:
    say_what_was_kept()
    say_what_was_killed()
