"""Two kinds of runs: those that never learned some digit, and the others.

Some systems have seeds that end on a plateau: one digit is hardly ever answered, and accuracy is a tenth below that of
the other seeds. A mean over both kinds describes neither, so they are told apart, by a rule that was written before it
was applied:

**Rule.** A run is *stuck* where, of the test images of at least one digit, fewer than half are recognised in its final
predictions (a recall below one half). A run that is not stuck has *escaped*.

Whatever is answered instead counts the same: another digit, or, of a grid reader, a token that is no digit. A grid
reader's digits are pooled over the four places of a grid: the rule is about what a network can tell apart, wherever it
stands. A digit without test images has no recall and no part in it.

**Which runs.** All that were tested, of every system and every check of numerics. A run that diverged has no
predictions: it is neither stuck nor escaped, and is not counted. A run in progress is not either. Experiments at a
reduced budget are left out, for whoever trains less has not learned yet, and is not stuck.

**Rate.** `rate` is the share of stuck runs. The interval `interval_low..interval_high` is that of Clopper and Pearson
(1934) at 1 − alpha, which covers the true share at least that often, however few the runs are. Each row stands for
itself: nothing is tested, and nothing corrected.
"""
