"""Growth policies and what is done with them: schedules, gates, learned agents, search, evaluation."""
