"""Observes a round when it is over, and checks that nothing is lost, doubled or oversold."""
