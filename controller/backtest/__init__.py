"""Backtest: points and thresholds over what was recorded, judged by the real Panel, before they go live.

    recording (CSV, history) ─ chunks of samples ─┬─ trial: Panel of the plan ────── verdicts, counts ─┬─ comparison
                                                  ├─ trial: Panel of the other plan ─ verdicts, counts ─┘
                                                  └─ trace (as wide as the picture) ─ picture

Everything streams: memory holds one chunk of samples, the transitions (bounded) and a trace of bounded length.
"""
