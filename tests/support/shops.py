"""A protocol of one's own: two shops as domains, rubbish as out-of-distribution images, and a set that is not there."""

PROTOCOL = """
title = "Two shops"
protocol = "leave-one-domain-out"
seeds = [3]

[tune]
shots = 2
epochs = 3
context_length = 2

[known]
folders = ["missing", "shops"]

[unknown.rubbish]
folders = ["rubbish"]
limit_per_class = 5

[unknown.absent]
folders = ["absent"]
"""
