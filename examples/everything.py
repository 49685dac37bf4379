"""
Everything the examples serve, as one application:  make serve
"""

from __future__ import annotations

from first.my_model import my_model
from flights.service import delay, delays

import lore

app = lore.serve.app(my_model, delay, delays, title="lore's examples")
