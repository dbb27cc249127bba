"""Numbers and claims from tidy frames: what a notebook's verdict cell says."""

from entropy_mech.findings.claims import Claim, Fact, over_replicates

__all__ = ["Claim", "Fact", "over_replicates"]
