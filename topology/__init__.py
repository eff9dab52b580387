"""Static relations of the city: point -> cell, cell -> parent, children and neighbours, cell -> region shard and halo,
datum -> datum, device -> registered place, place and time -> jurisdiction and unit, node -> nodes downstream; and the
city's offices: place and category -> department -> deadline.

Everything here is data plus pure functions; nothing reads a clock or a topic. Array functions are numba kernels with a
thin typed front; the kernels themselves are exported so that other kernels can call them.
"""

import schemas  # noqa: F401  before Arrow is loaded: see there
