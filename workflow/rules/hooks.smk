# Messages at the end, beside the verdicts: nobody would look for them in a log.
import shlex

BEFORE = {}  # the inodes of records that trainings were to make again
ASIDE = set()  # what earlier trainings put aside


def inode(path):
    """Which file this is, None if there is none: a record that is written anew is another one."""
    return os.stat(path).st_ino if os.path.exists(path) else None


def note_what_is_forced():
    """Remember the records that --force, --forcerun or --forceall would make again although they are valid."""
    if not workflow.touch:
        for job in workflow.dag.jobs:
            if job.rule.name == "train" and workflow.dag.reason(job).forced:
                BEFORE[job.output[0]] = inode(job.output[0])


def put_aside():
    """Files that a training found in its record's place, and that were no valid record of it."""
    return set(Path(RESULTS).glob("runs/*/*.json.replaced-*"))


def say_what_was_kept():
    """No option overwrites evidence."""
    if new := sorted(map(str, put_aside() - ASIDE)):
        logger.warning(
            f"Made {len(new)} records again that were damaged, or of another spec or code. What stood there is now: "
            + ", ".join(new)
        )
    kept = [path for path in sorted(BEFORE) if BEFORE[path] and BEFORE[path] == inode(path)]
    if kept:
        logger.warning(
            f"Kept {len(kept)} of {len(BEFORE)} records: they are valid, and no option overwrites a valid record. "
            f"To train a run again, move its record away and repeat the command:\n"
            f"    mv {shlex.quote(kept[0])} {shlex.quote(kept[0] + '.before')}"
        )


def say_what_was_killed():
    """A training removes its lock when it ends, also by an error; a killed one leaves it. (Slurm reports kills itself.)"""
    locks = [Path(record).with_suffix(".lock") for record in RECORDS] if LOCAL else []
    if killed := abandoned(locks, since=workflow.start_time.timestamp()):
        runs = ", ".join(f"{lock.parent.name} {lock.stem}" for lock in killed)
        logger.error(
            f"Killed, probably out of memory: {runs}. The same command resumes them. To run fewer at once, use fewer --cores "
            f"or --resources mem_mb={workflow.global_resources['mem_mb'].value // 2}."
        )
