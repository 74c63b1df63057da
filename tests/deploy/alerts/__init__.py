"""Alert rules, the dashboard and the runbook."""
