"""What the leader does beside answering calls: level-triggered jobs, each one small class.

A duty looks at what is there, does what is due and says how much it did; whatever a crash left
half-way it finds again. The fast path of every event does most of this work at once, so a duty
usually finds nothing. Each write is a compare-and-set: a second leader does no harm.
"""

from accord.services.duties.duty import Duties, Duty

__all__ = ["Duties", "Duty"]
