"""The kernel: `step(event, now) -> effects`, pure; it opens nothing and reads no clock.

Read `incident` (the one state machine), then `policy` (what may be done), then the four agencies
`defense`, `operations`, `audit` and `communication`, which meet only in messages in `node`.
"""
