"""pixelpatch: do five public write-ups' MNIST accuracies reproduce, and what does each of their oddities cost?"""

__version__ = "0.1.0"
