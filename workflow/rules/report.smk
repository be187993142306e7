# The page for a browser: the findings' text, the charts, the tables and the records' addresses in one file.
# The published run is shown beside another, where it is there; it is no reason to make that one's page anew.
BESIDE = [f"{PUBLISHED}/tables/accuracy.csv"] if Path(PUBLISHED, "tables").exists() else []
if Path(located(RESULTS)).resolve() == Path(PUBLISHED).resolve():
    BESIDE = []


rule report:
    input:
        expand(f"{RESULTS}/tables/{{tidy}}.csv", tidy=TIDY),
        expand(f"{RESULTS}/tables/{{table}}.{{format}}", table=TABLES, format=["csv", "md"]),
        expand(f"{RESULTS}/figures/{{figure}}.svg", figure=FIGURES),
        f"{RESULTS}/FINDINGS.md",
        [ancient(file) for file in BESIDE],
        study=f"{RESULTS}/study.json",
    output:
        report(update(f"{RESULTS}/report.html"), caption="../report/report.rst", category="Page"),
    log:
        f"logs/{STUDY['preset']}/report.log",
    localrule: True
    conda:
        "../envs/pixelpatch.yaml"
    params:
        published=["--published", PUBLISHED] if BESIDE else [],
        source=ANALYSIS,
        # What a source's digest leaves out: the templates, and the figures' captions, which are their docstrings.
        look=digest(
            [
                path.read_text(encoding="utf-8")
                for pattern in ("templates/report.*", "figures/*.py")
                for path in sorted(Path(package).parent.glob(pattern))
            ]
        ),
    shell:
        "python -m pixelpatch report --study {input.study:q} {params.published:q} --output {output:q} 2> {log:q}"
