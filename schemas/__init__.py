"""What a message is: one file per family of messages, with no behaviour beyond checking it.

This package imports nothing else of the project; every other package may import it. Those that use Arrow do so first
of all, because of where its memory comes from: pyarrow asks the environment once, when it is loaded, and which module
loads it is not the same in a worker, a command, a benchmark and a test.

Arrow's own allocator (mimalloc) keeps what a burst has left: 73 to 144 MB in a soak that had 4 MB in use, up and down
for hours. What comes from the system's, `deploy/give_back.py` returns once a minute; no time was lost by it that could
be measured.
"""

import os

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
