# cython: autotestdict=False
"""Wire bytes straight into a Panel: what a controller does with each DATA message, in one call."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t

from cython_ext.panel cimport Panel
from cython_ext.raw cimport MAX_METRICS
from cython_ext.wire_data cimport AliasTable, Record

from .faults import refuse


def feed_wire(Panel panel not None, bytes data not None, AliasTable table not None, int64_t now_ns):
    """Judge the payload's samples, received at `now_ns` on the Panel's clock; the transitions, nearly always none.

    Raises WireError as `decode_data`, ValueError for a `now_ns` that is no time; then nothing of the payload is judged.
    """
    cdef Record records[MAX_METRICS]
    cdef int count
    cdef Py_ssize_t done
    panel._begin(now_ns)
    count = table.read(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), now_ns, records)
    if count < 0:
        raise refuse(count)
    done = panel._feed(<const char*>records, count)
    return panel._rest(<const char*>&records[done], count - done)
