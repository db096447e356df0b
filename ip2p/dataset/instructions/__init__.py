"""Captions to instructions: rows of a caption, what to change, and the caption changed; seeds.jsonl has those written for this project one by one."""
