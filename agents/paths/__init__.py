"""Agents for growth paths: fixed orders, search, tables and networks, and how far from the optimum they are."""
