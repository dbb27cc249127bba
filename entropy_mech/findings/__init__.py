"""Numbers and claims from tidy frames: what a notebook's verdict cell says."""

from entropy_mech.findings.claims import Claim, over_replicates

__all__ = ["Claim", "over_replicates"]
