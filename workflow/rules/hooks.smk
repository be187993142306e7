# What the screen says at the end, beside the verdicts: what no log would be read for.
import shlex

BEFORE = {}  # the inodes of records that trainings were to make again


def inode(path):
    """Which file this is, None if there is none: a record that is written anew is another one."""
    return os.stat(path).st_ino if os.path.exists(path) else None


def note_what_is_forced():
    """By --force, --forcerun or --forceall: Snakemake runs a rule then whose outputs are as they should be."""
    if not workflow.touch:
        for job in workflow.dag.jobs:
            if job.rule.name == "train" and workflow.dag.reason(job).forced:
                BEFORE[job.output[0]] = inode(job.output[0])


def say_what_was_kept():
    """A right record is evidence, which no option overwrites."""
    kept = [path for path in sorted(BEFORE) if BEFORE[path] and BEFORE[path] == inode(path)]
    if kept:
        logger.warning(
            f"Records that are there and right were kept, {len(kept)} of {len(BEFORE)}: no option overwrites evidence. "
            f"To train a run again, move its record away, and say the same once more:\n"
            f"    mv {shlex.quote(kept[0])} {shlex.quote(kept[0] + '.before')}"
        )


def say_what_was_killed():
    """A training that ends in peace, whatever its end, leaves no lock; on a cluster it is the queue that kills."""
    locks = [Path(record).with_suffix(".lock") for record in RECORDS] if LOCAL else []
    if killed := abandoned(locks, since=workflow.start_time.timestamp()):
        runs = ", ".join(f"{lock.parent.name} {lock.stem}" for lock in killed)
        logger.error(
            f"Killed, probably for want of memory: {runs}. The same command goes on where they stopped; have fewer run at "
            f"once, with fewer --cores or with --resources mem_mb={workflow.global_resources['mem_mb'].value // 2}."
        )
