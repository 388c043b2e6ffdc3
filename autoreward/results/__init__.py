"""What leaves a run: its summary, its report, its winner as one file."""
