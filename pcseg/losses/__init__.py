"""Criteria: Influencer losses and the Hungarian baseline."""
