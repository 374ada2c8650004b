"""Consensus tables: what synthesize leaves beside the groups."""

import pyarrow as pa

_CASE = [("case_id", pa.string()), ("split", pa.string())]
REJECTED = pa.schema(
    [
        *_CASE,
        ("reason", pa.string()),
        ("text", pa.string()),  # the best of the candidates; empty where there was none
        ("support", pa.float64()),  # nan: nothing was measured, or no text
    ]
)
CANDIDATES = pa.schema(
    [
        *_CASE,
        ("number", pa.int64()),  # 0: greedy, or rendered; the refined one has the number of what it refines
        ("refined", pa.bool_()),
        ("text", pa.string()),
        ("ended", pa.bool_()),
        ("support", pa.float64()),
        ("contradictions", pa.int64()),
        ("inventions", pa.int64()),
        ("omissions", pa.int64()),
        ("chosen", pa.bool_()),  # became the consensus
        ("reason", pa.string()),  # why it could not; empty: it could
        ("note", pa.string()),  # what the context or the writer did: a digest, a failure
    ]
)
SUPPORT = pa.schema(
    [
        *_CASE,
        ("finding", pa.string()),
        ("attribute", pa.string()),
        ("value", pa.string()),
        ("start", pa.int64()),  # span in code points of the consensus
        ("end", pa.int64()),
        ("support", pa.float64()),
        ("contradiction", pa.bool_()),
        ("invention", pa.bool_()),
    ]
)
