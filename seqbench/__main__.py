"""``python -m seqbench``."""

import signal

from .cli import main

try:
    raise SystemExit(main())
except KeyboardInterrupt:
    raise SystemExit(128 + signal.SIGINT) from None
