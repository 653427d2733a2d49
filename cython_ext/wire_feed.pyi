from .model import Transition
from .panel import Panel
from .wire_data import AliasTable

def feed_wire(panel: Panel, data: bytes, table: AliasTable, now_ns: int) -> list[Transition]: ...
