"""The literature's growth triggers as policies; importing this package registers them.

They were published for training that is measured in epochs; here their unit of time is the decision. Their constants
are the published ones by default, and `agents.search` can tune those that depend on the unit of time or on the scale of
a problem. A gate that reads signals says which; `agents.evaluation` plays it in an environment that shows them.
"""

from agents.gates import curves, evidence, where  # noqa: F401  (registers the gates)
from agents.gates.base import GATES, Gate, gate, signals_of

__all__ = ["GATES", "Gate", "gate", "signals_of"]
