"""From configuration files to jobs: reading, checking, the grid. A dry run needs no more than this and core."""
