"""What pages and the command line read. Nothing here writes, and nothing here calls a CRM.

Every reading is cheap with 100,000 leads: it goes by an index, or is bounded.
"""
